/**
 * Parquet files of rows with nested columns, as pyarrow and Hugging Face `datasets` write them: lists are three-level LIST groups,
 * objects are structs, integers are INT64. (The two libraries are ES modules, hence the dynamic imports.)
 */
import type { SchemaElement } from 'hyparquet';
import { DataError, showValue } from '../errors';
import { checkList, checkPath, isObject } from './check';
import { readBytes, writeWhole } from './files';
import { checkColumns, checkFooter } from './parquet_check';

type Row = Record<string, unknown>;

/** The rows of a file. INT64 values are numbers where a number holds them exactly. @throws DataError for a file that is no Parquet, or damaged. */
export async function readParquet(file: string): Promise<Record<string, unknown>[]> {
  const bytes = readBytes(file);
  const { parquetMetadata, parquetReadObjects, parquetSchema, snappyUncompress } = await import('hyparquet');
  try {
    checkFooter(bytes);
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    // What GeoParquet says of columns is not looked for: a damaged schema would keep that from ending.
    const metadata = parquetMetadata(buffer, { geoparquet: false });
    checkColumns(bytes, metadata, parquetSchema(metadata), snappyUncompress);
    const rows = await parquetReadObjects({ file: buffer, metadata });
    return rows.map((row) => fromStored(row) as Row);
  } catch (error) {
    // The reader stumbles over a damaged file in words about its own variables.
    const isInternal = error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError;
    throw new DataError(`${file}: expected a Parquet file (${isInternal ? 'it is damaged' : (error as Error).message})`, { cause: error });
  }
}

/**
 * Writes rows of JSON-like values. A column's type is read off all its values; null and missing values are allowed everywhere.
 * @throws DataError for no rows, and for a column that mixes types, naming it.
 */
export async function writeParquet(file: string, rows: readonly object[]): Promise<void> {
  checkPath('writeParquet', file);
  checkList('writeParquet', 'rows', rows, 'an array of objects', isObject);
  if (rows.length === 0) throw new DataError(`${file}: expected at least one row to write, got none`);
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = names.map((name) => {
    const values = rows.map((row) => (row as Record<string, unknown>)[name]);
    const { schema, store } = columnType(name, values, name);
    return { schema, source: { name, data: values.map(store) } };
  });
  const schema: SchemaElement[] = [{ name: 'schema', num_children: names.length }, ...columns.flatMap((column) => column.schema)];
  const { parquetWriteBuffer } = await import('hyparquet-writer');
  writeWhole(file, new Uint8Array(parquetWriteBuffer({ columnData: columns.map((column) => column.source), schema })));
}

interface ColumnType {
  /** In preorder. */
  schema: SchemaElement[];
  /** A value as the writer wants it: INT64 as bigint. */
  store: (value: unknown) => unknown;
}

/** Reads the type of a column (or of a field or list element) off its values. `path` is the dotted name for errors. */
function columnType(name: string, values: readonly unknown[], path: string): ColumnType {
  const present = values.filter((value) => value !== null && value !== undefined);
  if (path.split(/\.|\[\]/).length > MOST_DEPTH) throw new DataError(`column ${path.slice(0, 40)}…: expected values that are not so deep`);
  const kinds = new Set(present.map((value) => kindOf(value, path)));
  if (kinds.has('number')) kinds.delete('integer');
  if (kinds.size > 1) throw new DataError(`column ${path}: expected values of one type, got ${[...kinds].join(' and ')}`);
  const [kind] = kinds;
  const element = { name, repetition_type: 'OPTIONAL' } as const;
  if (kind === 'boolean') return { schema: [{ ...element, type: 'BOOLEAN' }], store: same };
  if (kind === 'integer') return { schema: [{ ...element, type: 'INT64' }], store: orNull((value) => BigInt(value as number)) };
  if (kind === 'number') return { schema: [{ ...element, type: 'DOUBLE' }], store: same };
  if (kind === 'list') {
    const item = columnType('element', (present as unknown[][]).flat(), `${path}[]`);
    const list: SchemaElement = { ...element, converted_type: 'LIST', logical_type: { type: 'LIST' }, num_children: 1 };
    return {
      schema: [list, { name: 'list', repetition_type: 'REPEATED', num_children: 1 }, ...item.schema],
      store: orNull((value) => (value as unknown[]).map(item.store)),
    };
  }
  if (kind === 'object') {
    const names = [...new Set((present as Record<string, unknown>[]).flatMap((value) => Object.keys(value)))];
    if (names.length === 0) throw new DataError(`column ${path}: expected objects with fields, got {} (Parquet has no empty struct)`);
    const fields = names.map((field) => {
      const fieldValues = (present as Record<string, unknown>[]).map((value) => value[field]);
      return { field, ...columnType(field, fieldValues, `${path}.${field}`) };
    });
    return {
      schema: [{ ...element, num_children: fields.length }, ...fields.flatMap((field) => field.schema)],
      store: orNull((value) => Object.fromEntries(fields.map(({ field, store }) => [field, store((value as Record<string, unknown>)[field])]))),
    };
  }
  // Text; and a column of nulls alone, whose type is free.
  return { schema: [{ ...element, type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } }], store: same };
}

/** Levels of a value: one that holds itself has no end. */
const MOST_DEPTH = 64;

function kindOf(value: unknown, path: string): string {
  if (Array.isArray(value)) {
    checkList(`column ${path}`, 'value', value);
    return 'list';
  }
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'integer' : 'number';
  if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'object') return typeof value;
  throw new DataError(`column ${path}: expected JSON-like values, got ${showValue(value)} (${typeof value})`);
}

function same(value: unknown): unknown {
  return value;
}

function orNull(store: (value: unknown) => unknown): (value: unknown) => unknown {
  return (value) => (value === null || value === undefined ? null : store(value));
}

function fromStored(value: unknown): unknown {
  if (typeof value === 'bigint') return BigInt.asIntN(54, value) === value ? Number(value) : value;
  if (value === undefined) return null;
  if (Array.isArray(value)) return value.map(fromStored);
  const isPlain = typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !(value instanceof Date);
  return isPlain ? Object.fromEntries(Object.entries(value).map(([name, field]) => [name, fromStored(field)])) : value;
}
