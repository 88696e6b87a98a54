/** The parts of the protobuf wire format that event files and W&B records use. */

type Field = Buffer;

/** An unsigned integer, seven bits a byte, the lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  // Divided, not shifted: a step may be above 2³¹.
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

const tag = (field: number, wireType: number): Buffer => varint(field * 8 + wireType);

/** A non-negative integer: uint64, int64, bool, enum. */
export const integerField = (field: number, value: number): Field => Buffer.concat([tag(field, 0), varint(value)]);

export function doubleField(field: number, value: number): Field {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([tag(field, 1), bytes]);
}

export function floatField(field: number, value: number): Field {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([tag(field, 5), bytes]);
}

/** Text, or a message of fields. */
export function bytesField(field: number, content: string | readonly Field[]): Field {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : Buffer.concat(content);
  return Buffer.concat([tag(field, 2), varint(bytes.length), bytes]);
}
