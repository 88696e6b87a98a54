/** Reading and writing whole files, with errors that name them. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DataError, showValue } from '../errors';
import { makeFolder, whyUnreadable } from '../folders';
import { checkPath } from './check';

/** The bytes of a file. @throws DataError that names the file. */
export function readBytes(file: string): Buffer {
  checkPath('reading', file);
  try {
    return readFileSync(file);
  } catch (error) {
    throw new DataError(`${file}: ${whyUnreadable(error)}`, { cause: error });
  }
}

/** The object of a JSON file. @throws DataError that names the file. */
export function readJsonObject(file: string): Record<string, unknown> {
  const text = readBytes(file).toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new DataError(`${file}: malformed JSON (${(error as Error).message})`, { cause: error });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new DataError(`${file}: expected a JSON object, got ${showValue(value)}`);
}

/** Writes a file beside its place, synced, and renames it, so that a file of that name is always a whole one. Makes its folder. */
export function writeWhole(file: string, content: string | Uint8Array): void {
  checkPath('writing', file);
  const unfinished = `${file}.${process.pid}.tmp`;
  try {
    makeFolder(dirname(file));
    writeFileSync(unfinished, content, { flush: true });
    renameSync(unfinished, file);
  } catch (error) {
    if (existsSync(unfinished)) rmSync(unfinished);
    throw new DataError(`${file}: cannot be written (${(error as Error).message})`, { cause: error });
  }
}

/** Writes a file and waits until the disk has it. Makes its folder. The file is not whole until this returns. */
export function writeSynced(file: string, text: string): void {
  makeFolder(dirname(file));
  const bytes = Buffer.from(text);
  const descriptor = openSync(file, 'w');
  try {
    // A disk that fills up takes a part, and refuses the next one.
    for (let written = 0; written < bytes.length;) written += writeSync(descriptor, bytes, written);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes renamings in a folder last through a power failure. */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
