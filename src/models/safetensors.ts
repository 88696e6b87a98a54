/**
 * The safetensors format (huggingface/safetensors): eight bytes with the length of a JSON header, the header
 * `{name: {dtype, shape, data_offsets: [begin, end]}, __metadata__: {string: string}}`, then the tensors, little-endian, back to back.
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkFields } from '../data/check';
import { syncFolder } from '../data/files';
import { DataError } from '../errors';
import type { DType, Tensor } from '../tensor';
import { defaultDevice } from '../tensor/memory';
import { storedTensor } from '../tensor/tensor';
import { bfloat16Words, dtypes, fromFloat16, isDType, type NumericArray } from '../tensor/dtype';
import { describe, formatShape, sizeOf } from '../tensor/shape';
import { checkTensors } from './check';

const formatNames: Record<DType, string> = { float32: 'F32', float64: 'F64', bfloat16: 'BF16', int32: 'I32', uint8: 'U8', bool: 'BOOL' };
/** What a stored dtype becomes in memory: itself, but for float16, which no kernel computes with and float32 holds exactly. */
const dtypeOfName = new Map<string, DType>([...Object.entries(formatNames).map(([dtype, name]): [string, DType] => [name, dtype as DType]), ['F16', 'float32']]);

/** The limit of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;

/** One tensor of a file. */
export interface StoredTensor {
  /** The dtype's name in the file: F32, BF16, F16, … */
  format: string;
  /** As it is read. */
  dtype: DType;
  shape: readonly number[];
}

/** Where its bytes lie after the header. */
interface Entry extends StoredTensor {
  name: string;
  begin: number;
  end: number;
}

/** What a safetensors file holds. */
export interface SafetensorsFile {
  /** The tensors by name, in the file's order. */
  tensors: Map<string, Tensor>;
  /** Texts by name (`__metadata__`). */
  metadata: Record<string, string>;
}

/**
 * Writes tensors to a file that appears whole or not at all: it is written beside its place, synced, and renamed.
 * Evaluates the tensors one at a time.
 *
 * @param dtype what they are converted to. Default: each as it is
 */
export function writeSafetensors(file: string, tensors: ReadonlyMap<string, Tensor>, metadata: Record<string, string> = {}, dtype?: DType): void {
  if (typeof file !== 'string' || file === '') throw new DataError(`writeSafetensors: expected the name of a file, got ${describe(file)}`);
  checkTensors('writeSafetensors', 'tensors', tensors);
  checkFields('writeSafetensors', 'metadata', metadata, 'an object of texts');
  for (const [name, text] of Object.entries(metadata)) if (typeof text !== 'string') throw new DataError(`writeSafetensors: metadata '${name}': expected text, got ${describe(text)}`);
  if (dtype !== undefined && !isDType(dtype)) throw new DataError(`writeSafetensors: expected a dtype (${Object.keys(dtypes).join(', ')}), got ${describe(dtype)}`);
  const temporary = `${file}.${process.pid}.tmp`;
  const descriptor = openSync(temporary, 'w');
  try {
    try {
      writeAll(descriptor, headerBytes(tensors, metadata, dtype));
      for (const x of tensors.values()) {
        const converted = x.cast(dtype ?? x.dtype);
        const values = converted.dataSync();
        if (converted !== x) converted.dispose();
        const stored = values instanceof Float32Array && (dtype ?? x.dtype) === 'bfloat16' ? bfloat16Words(values) : values;
        writeAll(descriptor, new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength));
      }
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(dirname(file));
}

/**
 * Reads a file written by {@link writeSafetensors} or any other writer of the format.
 *
 * @throws DataError naming the file and what is wrong with it: a header that is too long, no JSON or incomplete; an unknown dtype; lengths
 *   that do not fit shapes; tensors that overlap, leave gaps or do not fill the file
 */
export function readSafetensors(file: string): SafetensorsFile {
  return withSafetensors(file, ({ stored, metadata, read }) => {
    const tensors = new Map<string, Tensor>();
    try {
      for (const name of stored.keys()) tensors.set(name, read(name));
    } catch (error) {
      for (const x of tensors.values()) x.dispose();
      throw error;
    }
    return { tensors, metadata };
  });
}

/** An open file: what stands in its header, and its tensors one at a time. */
export interface OpenSafetensors {
  /** By name, in the order of the header. */
  stored: ReadonlyMap<string, StoredTensor>;
  metadata: Record<string, string>;
  /** A tensor of the file; float16 comes as float32. */
  read(name: string): Tensor;
}

/**
 * Opens a file for `use`, which picks the tensors that it wants: nothing else is read.
 * @throws DataError as {@link readSafetensors}
 */
export function withSafetensors<Result>(file: string, use: (opened: OpenSafetensors) => Result): Result {
  if (typeof file !== 'string') throw new DataError(`readSafetensors: expected the name of a file, got ${describe(file)}`);
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    throw new DataError(`${file}: cannot be opened: ${(error as Error).message}`);
  }
  try {
    const bytes = fstatSync(descriptor).size;
    const { header, dataStart } = readHeader(file, descriptor, bytes);
    const { entries, metadata } = parseHeader(file, header, bytes - dataStart);
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    return use({
      stored: byName,
      metadata,
      read: (name) => readTensor(file, descriptor, dataStart, byName.get(name)!),
    });
  } finally {
    closeSync(descriptor);
  }
}

function headerBytes(tensors: ReadonlyMap<string, Tensor>, metadata: Record<string, string>, as?: DType): Uint8Array {
  let offset = 0;
  const rows: [string, unknown][] = [['__metadata__', metadata]];
  for (const [name, { dtype: own, shape, size }] of tensors) {
    const dtype = as ?? own;
    if (name === '__metadata__') {
      throw new DataError('writeSafetensors: expected a name other than __metadata__, which the format reserves');
    }
    const end = offset + size * dtypes[dtype].bytes;
    rows.push([name, { dtype: formatNames[dtype], shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  // Written row by row: an object would put names that look like numbers first.
  const text = `{${rows.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const json = Buffer.from(text, 'utf8');
  // Spaces bring the data to a multiple of eight bytes, as the format asks.
  const length = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length), 0);
  json.copy(header, 8);
  return header;
}

function readHeader(file: string, descriptor: number, bytes: number): { header: string; dataStart: number } {
  if (bytes < 8) throw new DataError(`${file}: expected a safetensors file of at least 8 bytes, got ${bytes}`);
  const length = Buffer.from(readBytes(file, descriptor, 0, 8)).readBigUInt64LE(0);
  if (length > MAX_HEADER_BYTES) throw new DataError(`${file}: expected a header of at most ${MAX_HEADER_BYTES} bytes, got ${length}`);
  const dataStart = 8 + Number(length);
  if (dataStart > bytes) throw new DataError(`${file}: expected a header of ${length} bytes, got a file of ${bytes}: it is cut off`);
  try {
    const header = new TextDecoder('utf-8', { fatal: true }).decode(readBytes(file, descriptor, 8, Number(length)));
    return { header, dataStart };
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(`${file}: expected a header in UTF-8, got other bytes`);
  }
}

function parseHeader(file: string, text: string, dataBytes: number): { entries: Entry[]; metadata: Record<string, string> } {
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (error) {
    throw new DataError(`${file}: expected a JSON header: ${(error as Error).message}`);
  }
  if (!text.startsWith('{') || !isObject(header)) {
    throw new DataError(`${file}: expected a header that is a JSON object, got ${describe(header)}`);
  }
  const metadata: Record<string, string> = {};
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name !== '__metadata__') {
      entries.push(parseEntry(file, name, value));
    } else {
      if (!isObject(value) || !Object.values(value).every((item) => typeof item === 'string')) {
        throw new DataError(`${file}: expected __metadata__ of strings`);
      }
      Object.assign(metadata, value);
    }
  }
  let expected = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== expected) {
      throw new DataError(`${file}: tensor '${name}': expected data from byte ${expected}, got ${begin}: tensors overlap or leave a gap`);
    }
    expected = end;
  }
  if (expected !== dataBytes) throw new DataError(`${file}: expected ${expected} bytes of data, got ${dataBytes}`);
  return { entries, metadata };
}

function parseEntry(file: string, name: string, value: unknown): Entry {
  const fail = (what: string, got: unknown): never => {
    throw new DataError(`${file}: tensor '${name}': expected ${what}, got ${describe(got)}`);
  };
  if (!isObject(value)) return fail('an object with dtype, shape and data_offsets', value);
  const format = value.dtype as string;
  const dtype = dtypeOfName.get(format);
  if (!dtype) return fail(`dtype ${[...dtypeOfName.keys()].join(', ')}`, value.dtype);
  const shape = value.shape;
  if (!isCounts(shape) || !Number.isSafeInteger(sizeOf(shape))) return fail('shape, an array of non-negative integers', shape);
  const offsets = value.data_offsets;
  if (!isCounts(offsets) || offsets.length !== 2) return fail('data_offsets, two non-negative integers', offsets);
  const [begin, end] = offsets as [number, number];
  const wanted = sizeOf(shape) * (format === 'F16' ? 2 : dtypes[dtype].bytes);
  if (end - begin !== wanted) {
    throw new DataError(`${file}: tensor '${name}': expected ${wanted} bytes for ${format} ${formatShape(shape)}, got ${end - begin}`);
  }
  return { name, format, dtype, shape, begin, end };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function readTensor(file: string, descriptor: number, dataStart: number, { name, format, dtype, shape, begin, end }: Entry): Tensor {
  const bytes = readBytes(file, descriptor, dataStart + begin, end - begin);
  if (format === 'F16') return storedTensor(fromFloat16(new Uint16Array(bytes.buffer)), dtype, shape, defaultDevice());
  const Stored = dtypes[dtype].stored as unknown as new (buffer: ArrayBuffer) => NumericArray;
  const stored = new Stored(bytes.buffer as ArrayBuffer);
  if (dtype === 'bool' && stored.some((value) => value > 1)) {
    throw new DataError(`${file}: tensor '${name}': expected bytes 0 and 1 for BOOL, got another`);
  }
  return storedTensor(stored, dtype, shape, defaultDevice());
}

function readBytes(file: string, descriptor: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const read = readSync(descriptor, bytes, done, Math.min(length - done, 1 << 30), position + done);
    if (read === 0) throw new DataError(`${file}: expected ${length} bytes at ${position}, got ${done}: the file is cut off`);
    done += read;
  }
  return bytes;
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += writeSync(descriptor, bytes, done, Math.min(bytes.length - done, 1 << 30));
}
