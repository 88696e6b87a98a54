import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Makes a folder, and those above it that are missing; one by one, as Node's recursive `mkdir` never returns where a system refuses one below a folder that is there (`/proc`). */
export function makeFolder(folder: string): void {
  if (isFolder(folder)) return;
  const above = dirname(folder);
  if (above !== folder) makeFolder(above);
  try {
    mkdirSync(folder);
  } catch (error) {
    // Somebody else was faster.
    if (!isFolder(folder)) throw error;
  }
}

/** Why a file cannot be read, in words in place of the system's codes; `expected` is what it should be. */
export function whyUnreadable(error: unknown, expected = 'a file'): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EISDIR') return `is a folder, expected ${expected}`;
  if (code === 'ENOTDIR') return 'no such file: what stands before the last / is no folder';
  return code === 'EACCES' || code === 'EPERM' ? 'this user may not read it' : message;
}

/** Why a file cannot be read; null where it can. Nothing is read, as a pipe gives its text once. */
export function readProblem(file: string, expected: string): string | null {
  try {
    accessSync(file, constants.R_OK);
    return isFolder(file) ? whyUnreadable({ code: 'EISDIR' }, expected) : null;
  } catch (error) {
    return whyUnreadable(error, expected);
  }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
