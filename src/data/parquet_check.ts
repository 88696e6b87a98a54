/**
 * Whether a Parquet file holds what it says, as far as its reader takes that on trust: the lengths in its footer, the columns of each row group, and the sizes and counts in the
 * head of each page. A damaged one would have the reader make arrays of any size, or reject promises that nobody waits for.
 */
import type { FileMetaData, SchemaTree } from 'hyparquet';
import { DataError } from '../errors';

/** Snappy writes at most 64 bytes for three that it reads. */
const MOST_SNAPPY = 22;
/** Values of a column in a few bytes are all alike: beyond so many, and so many for each byte of the file, that is damage. */
const MOST_VALUES = 1_000_000;
const MOST_VALUES_A_BYTE = 100;
const MOST_DEPTH = 64;

/** The fields of a struct in Thrift's compact protocol: numbers and structs; all others are passed over. */
type Fields = ReadonlyMap<number, number | Fields>;

/** Thrift's compact protocol, in which lengths are checked against what is there. */
class Thrift {
  constructor(private readonly bytes: Uint8Array, public at: number, private readonly end: number) {}

  struct(depth = 0): Fields {
    if (depth > MOST_DEPTH) throw new DataError(`structs are nested more than ${MOST_DEPTH} deep`);
    const fields = new Map<number, number | Fields>();
    for (let field = 0;;) {
      const head = this.byte();
      const type = head & 15;
      if (type === 0) return fields;
      field = head >> 4 === 0 ? this.integer() : field + (head >> 4);
      const value = this.value(type, depth);
      if (value !== null) fields.set(field, value);
    }
  }

  private value(type: number, depth: number): number | Fields | null {
    // A boolean is its type.
    if (type === 1 || type === 2) return type;
    if (type === 3) return this.byte();
    if (type === 4 || type === 5 || type === 6) return this.integer();
    if (type === 7) return this.pass(8);
    if (type === 8) return this.pass(this.varint());
    if (type === 9) return this.list(depth);
    if (type === 12) return this.struct(depth + 1);
    throw new DataError(`there is no Thrift type ${type} in Parquet`);
  }

  private list(depth: number): null {
    const head = this.byte();
    const size = head >> 4 === 15 ? this.varint() : head >> 4;
    // An element takes a byte at least.
    if (size > this.end - this.at) throw new DataError(`a list of ${size} is longer than the file`);
    const type = head & 15;
    for (let i = 0; i < size; i++) this.value(type === 1 || type === 2 ? 3 : type, depth + 1);
    return null;
  }

  private pass(length: number): null {
    if (length > this.end - this.at) throw new DataError(`${length} bytes are more than the file has`);
    this.at += length;
    return null;
  }

  private byte(): number {
    if (this.at >= this.end) throw new DataError('it is cut off');
    return this.bytes[this.at++]!;
  }

  private varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 63; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new DataError('a number has more than 64 bits');
  }

  /** Zigzag: 0, −1, 1, −2, … */
  private integer(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}

/** @throws DataError that says what is wrong with the footer */
export function checkFooter(bytes: Uint8Array): void {
  const magic = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4)) === 'PAR1';
  if (bytes.length < 12 || !magic(0) || !magic(bytes.length - 4)) throw new DataError('it does not begin and end with PAR1');
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(bytes.length - 8, true);
  if (length > bytes.length - 12) throw new DataError(`a footer of ${length} bytes is longer than the file`);
  new Thrift(bytes, bytes.length - 8 - length, bytes.length - 8).struct();
}

/** @throws DataError that says what is wrong with the columns of a row group, or with the pages of one */
export function checkColumns(bytes: Uint8Array, { row_groups: groups }: FileMetaData, schema: SchemaTree): void {
  const leaves = leavesOf(schema);
  const mostValues = MOST_VALUES + MOST_VALUES_A_BYTE * bytes.length;
  const wanted = leaves.map(({ path }) => path.join('.'));
  for (const { columns, num_rows } of groups) {
    const names = columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.'));
    if (names.length !== wanted.length || names.some((name, i) => name !== wanted[i])) throw new DataError(`the columns of a row group are not those of the schema (${wanted.join(', ')})`);
    for (const [i, { meta_data: meta }] of columns.entries()) {
      const values = Number(meta!.num_values);
      const rows = Number(num_rows);
      const fits = leaves[i]!.repeats ? values >= rows : values === rows;
      if (!(rows >= 0) || !fits || values > mostValues) throw new DataError(`column ${wanted[i]}: ${values} values do not fit ${rows} rows in ${bytes.length} bytes`);
      const start = Number(meta!.dictionary_page_offset || meta!.data_page_offset);
      checkPages(bytes, { name: wanted[i]!, start, end: start + Number(meta!.total_compressed_size), values, isPlain: meta!.codec === 'UNCOMPRESSED', mostValues });
    }
  }
}

function leavesOf(schema: SchemaTree): { path: readonly string[]; repeats: boolean }[] {
  const leaves: { path: readonly string[]; repeats: boolean }[] = [];
  const walk = (node: SchemaTree, repeats: boolean): void => {
    for (const child of node.children) {
      const isRepeated = repeats || child.element.repetition_type === 'REPEATED';
      if (child.children.length > 0) walk(child, isRepeated);
      else leaves.push({ path: child.path, repeats: isRepeated });
    }
  };
  walk(schema, false);
  return leaves;
}

interface ChunkOfPages {
  name: string;
  start: number;
  end: number;
  values: number;
  /** Not compressed. */
  isPlain: boolean;
  mostValues: number;
}

/** The heads of a column's pages, one after the other: 1 type, 2 bytes of the contents, 3 bytes in the file, 5, 7, 8 the head by type (1 values). */
function checkPages(bytes: Uint8Array, { name, start, end, values, isPlain, mostValues }: ChunkOfPages): void {
  if (!(start >= 4 && start <= end && end <= bytes.length)) throw new DataError(`column ${name}: its bytes ${start} to ${end} are not inside the file's ${bytes.length}`);
  const thrift = new Thrift(bytes, start, end);
  let found = 0;
  while (found < values) {
    const head = thrift.struct();
    const number = (fields: Fields | number | undefined, field: number): number => {
      const value = fields instanceof Map ? (fields as Fields).get(field) : undefined;
      return typeof value === 'number' ? value : NaN;
    };
    const [type, contents, stored] = [1, 2, 3].map((field) => number(head, field)) as [number, number, number];
    const most = isPlain ? stored : MOST_SNAPPY * stored + 64;
    if (!(stored >= 0 && thrift.at + stored <= end && contents >= 0 && contents <= most)) {
      throw new DataError(`column ${name}: a page of ${contents} bytes, ${stored} in the file, does not fit`);
    }
    const count = number(head.get(type === 0 ? 5 : type === 2 ? 7 : 8), 1);
    if (!(count >= 0 && count <= mostValues)) throw new DataError(`column ${name}: a page of ${count} values does not fit`);
    if (type !== 2) found += count;
    // One without values, of which there could be any number.
    if (type !== 2 && count === 0 && stored === 0) throw new DataError(`column ${name}: a page is empty`);
    thrift.at += stored;
  }
  if (found !== values) throw new DataError(`column ${name}: its pages hold ${found} values, expected ${values}`);
}
