/**
 * Whether a Parquet file holds what it says, as far as its reader takes that on trust: the lengths in its footer, the columns of each row group, and the sizes and counts in the
 * head of each page, and how often a number is repeated in it. A damaged one would have the reader make arrays of any size, or reject promises that nobody waits for.
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

/** Writes what is compressed into an array of the size that it has then. */
type Uncompress = (from: Uint8Array, to: Uint8Array) => void;

/** Compressions that are read. */
const codecs = ['UNCOMPRESSED', 'SNAPPY'];

/** @throws DataError that says what is wrong with the columns of a row group, or with the pages of one */
export function checkColumns(bytes: Uint8Array, { row_groups: groups }: FileMetaData, schema: SchemaTree, uncompress: Uncompress): void {
  const leaves = leavesOf(schema);
  const mostValues = MOST_VALUES + MOST_VALUES_A_BYTE * bytes.length;
  const wanted = leaves.map(({ path }) => path.join('.'));
  for (const { columns, num_rows } of groups) {
    const names = columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.'));
    if (names.length !== wanted.length || names.some((name, i) => name !== wanted[i])) throw new DataError(`the columns of a row group are not those of the schema (${wanted.join(', ')})`);
    for (const [i, { meta_data: meta }] of columns.entries()) {
      const leaf = leaves[i]!;
      const [values, rows] = [Number(meta!.num_values), Number(num_rows)];
      const fits = leaf.repetition > 0 ? values >= rows : values === rows;
      if (!(rows >= 0) || !fits || values > mostValues) throw new DataError(`column ${wanted[i]}: ${values} values do not fit ${rows} rows in ${bytes.length} bytes`);
      const start = Number(meta!.dictionary_page_offset || meta!.data_page_offset);
      const end = start + Number(meta!.total_compressed_size);
      if (!(start >= 4 && start <= end && end <= bytes.length)) throw new DataError(`column ${wanted[i]}: its bytes ${start} to ${end} are not inside the file's ${bytes.length}`);
      if (!codecs.includes(meta!.codec)) throw new DataError(`column ${wanted[i]} is compressed by ${meta!.codec}, which is not read here: write the file with ${codecs.join(' or ')}`);
      try {
        checkPages(bytes, { leaf, start, end, values, codec: meta!.codec, mostValues, uncompress });
      } catch (error) {
        throw new DataError(`column ${wanted[i]}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
}

/** A column of the schema; the largest levels of its values (Dremel). */
interface Leaf {
  path: readonly string[];
  repetition: number;
  definition: number;
}

function leavesOf(schema: SchemaTree): Leaf[] {
  const leaves: Leaf[] = [];
  const walk = (node: SchemaTree, repetition: number, definition: number): void => {
    for (const child of node.children) {
      const kind = child.element.repetition_type;
      const levels = [repetition + Number(kind === 'REPEATED'), definition + Number(kind !== 'REQUIRED')] as const;
      if (child.children.length > 0) walk(child, ...levels);
      else leaves.push({ path: child.path, repetition: levels[0], definition: levels[1] });
    }
  };
  walk(schema, 0, 0);
  return leaves;
}

interface Chunk {
  leaf: Leaf;
  start: number;
  end: number;
  values: number;
  codec: string;
  mostValues: number;
  uncompress: Uncompress;
}

const [DATA, DICTIONARY, DATA_V2] = [0, 2, 3];
const DICTIONARIES = [2, 8];
const RUNS = 3;

/** The pages of a column: 1 type, 2 bytes of the contents, 3 bytes in the file, 5, 7, 8 the head by type. */
function checkPages(bytes: Uint8Array, { leaf, start, end, values, codec, mostValues, uncompress }: Chunk): void {
  const thrift = new Thrift(bytes, start, end);
  let found = 0;
  while (found < values) {
    const fields = thrift.struct();
    const numbers = (from: Fields | number | undefined, ...places: number[]): number[] =>
      places.map((place) => {
        const value = typeof from === 'object' ? from.get(place) : undefined;
        return typeof value === 'number' ? value : NaN;
      });
    const [type, contents, stored] = numbers(fields, 1, 2, 3) as [number, number, number];
    const most = codec === 'UNCOMPRESSED' ? stored : MOST_SNAPPY * stored + 64;
    if (!(stored >= 0 && thrift.at + stored <= end && contents >= 0 && contents <= most)) throw new DataError(`a page of ${contents} bytes, ${stored} in the file, does not fit`);
    const head = fields.get(type === DATA ? 5 : type === DICTIONARY ? 7 : 8);
    const [count] = numbers(head, 1) as [number];
    if (!(count >= 0 && count <= mostValues)) throw new DataError(`a page of ${count} values does not fit`);
    const page = bytes.subarray(thrift.at, thrift.at + stored);
    const unpacked = (packed: Uint8Array, size: number): Uint8Array => {
      if (codec !== 'SNAPPY') return packed;
      const whole = new Uint8Array(size);
      uncompress(packed, whole);
      return whole;
    };
    if (type === DATA) {
      const [encoding] = numbers(head, 2) as [number];
      checkLevels(unpacked(page, contents), leaf, encoding, count);
    } else if (type === DATA_V2) {
      const [nulls, encoding, definition, repetition] = numbers(head, 2, 4, 5, 6) as [number, number, number, number];
      const levels = definition + repetition;
      if (!(nulls >= 0 && nulls <= count && definition >= 0 && repetition >= 0 && levels <= Math.min(stored, contents))) throw new DataError('a page whose head does not fit it');
      if (leaf.repetition > 0) checkRuns(page, 0, bitsOf(leaf.repetition), count);
      if (leaf.definition > 0) checkRuns(page, repetition, bitsOf(leaf.definition), count);
      // 7: whether it is compressed; 1 is true, as it is where nothing is said.
      const isPacked = (numbers(head, 7)[0] ?? NaN) !== 2;
      const rest = page.subarray(levels);
      checkValues(isPacked ? unpacked(rest, contents - levels) : rest, 0, encoding, count);
    }
    if (type !== DICTIONARY) found += count;
    // One without values, of which there could be any number.
    if (type !== DICTIONARY && count === 0 && stored === 0) throw new DataError('a page is empty');
    thrift.at += stored;
  }
  if (found !== values) throw new DataError(`its pages hold ${found} values, expected ${values}`);
}

const bitsOf = (largest: number): number => 32 - Math.clz32(largest);

/** Before the values of a page stand their levels, each list with its length. */
function checkLevels(page: Uint8Array, { repetition, definition }: Leaf, encoding: number, count: number): void {
  let at = 0;
  for (const largest of [repetition, definition]) {
    if (largest === 0) continue;
    if (at + 4 > page.length) throw new DataError('a page is cut off');
    checkRuns(page, at + 4, bitsOf(largest), count);
    at += 4 + new DataView(page.buffer, page.byteOffset).getUint32(at, true);
  }
  checkValues(page, at, encoding, count);
}

/** Numbers of a dictionary's entries, with their width before them, and truths. */
function checkValues(page: Uint8Array, at: number, encoding: number, count: number): void {
  if (DICTIONARIES.includes(encoding) && at < page.length) checkRuns(page, at + 1, page[at]!, count);
  if (encoding === RUNS) checkRuns(page, at + 4, 1, count);
}

/** Runs of equal numbers, and numbers side by side, until there are as many as values: no run is longer than that. */
function checkRuns(page: Uint8Array, at: number, width: number, count: number): void {
  for (let seen = 0; seen < count && at < page.length;) {
    let head = 0;
    for (let shift = 0, more = true; more && at < page.length; shift += 7) {
      head |= (page[at]! & 127) << shift;
      more = page[at++]! > 127;
    }
    const length = head >>> 1;
    if ((head & 1) === 1) {
      seen += 8 * length;
      at += width * length;
    } else {
      if (length > count) throw new DataError(`a number is repeated ${length} times in a page of ${count} values`);
      seen += length;
      at += (width + 7) >> 3;
    }
  }
}
