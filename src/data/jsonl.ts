/** JSON Lines: one JSON value a line, UTF-8; blank lines are skipped. */
import { TextDecoder } from 'node:util';
import { DataError, showValue } from '../errors';
import { checkList, checkPath } from './check';
import { readBytes, writeWhole } from './files';

/** A line of a JSONL file. */
export interface JsonLine {
  /** What the line holds. */
  value: unknown;
  /** From 1. */
  line: number;
}

const newline = 0x0a;

/** The values of a JSONL file; empty lines are passed over. @throws DataError with `FILE:LINE` for a line that is not UTF-8 or not JSON, and for a file without a value. */
export function readJsonl(file: string): JsonLine[] {
  const bytes = readBytes(file);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const values: JsonLine[] = [];
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const found = bytes.indexOf(newline, start);
    const end = found < 0 ? bytes.length : found;
    const text = decodeLine(decoder, bytes.subarray(start, end), `${file}:${line}`);
    if (text.trim() !== '') values.push({ value: parseLine(text, `${file}:${line}`), line });
    start = end + 1;
  }
  if (values.length === 0) throw new DataError(`${file}: expected one JSON value a line, got an empty file`);
  return values;
}

/** Writes a value a line; the file is there whole, or not at all. @throws DataError where it cannot be written */
export function writeJsonl(file: string, values: readonly unknown[]): void {
  checkPath('writeJsonl', file);
  checkList('writeJsonl', 'values', values);
  writeWhole(file, values.map((value, i) => `${jsonOf('writeJsonl', value, i)}\n`).join(''));
}

/** @throws DataError for what JSON has no form for: bigints, cycles, functions */
export function jsonOf(who: string, value: unknown, i: number): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    throw new DataError(`${who}: value ${i}: expected JSON-like values, got ${showValue(value)}, which JSON cannot hold`, { cause: error });
  }
  if (text === undefined) throw new DataError(`${who}: value ${i}: expected JSON-like values, got ${showValue(value)}`);
  return text;
}

function decodeLine(decoder: TextDecoder, bytes: Uint8Array, place: string): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new DataError(`${place}: expected UTF-8 text, got other bytes`, { cause: error });
  }
}

function parseLine(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError(`${place}: malformed JSON (${(error as Error).message})`, { cause: error });
  }
}
