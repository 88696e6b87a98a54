/** A reader of the protobuf wire format, after its description and independent of our writer. */
export type Fields = Record<number, (Buffer | bigint)[]>;

export function parseMessage(bytes: Buffer): Fields {
  const fields: Fields = {};
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('a varint is cut off');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new Error('a field is cut off');
    return bytes.subarray(at, at += length);
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const [field, wireType] = [key >>> 3, key & 7];
    const value = wireType === 0 ? varint() : wireType === 1 ? take(8) : wireType === 2 ? take(Number(varint())) : wireType === 5 ? take(4) : null;
    if (value === null) throw new Error(`wire type ${wireType}`);
    (fields[field] ??= []).push(value);
  }
  return fields;
}
