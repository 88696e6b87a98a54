/** A run has its output folder to itself: two at once would write through each other's files. */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError } from '../errors';
import { makeFolder } from '../folders';

const LOCK = '.vantage-run';

/**
 * Runs `body` while this run holds the folder. What a process that has ended left behind is taken over.
 * @param key of the configuration that names the folder
 * @throws ConfigError where another run holds it, of this process or another one that is running, and where nothing can be written there
 */
export async function ownFolder<T>(folder: string, key: string, body: () => Promise<T>): Promise<T> {
  const lock = join(folder, LOCK);
  try {
    makeFolder(folder);
    take(lock, folder, key);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${key}: expected a folder that can be written to, got '${folder}': ${reasonOf(error as NodeJS.ErrnoException)}`, { cause: error });
  }
  try {
    return await body();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** `ownFolder` of several, each once. */
export function ownFolders<T>([first, ...rest]: readonly { key: string; folder: string }[], body: () => Promise<T>): Promise<T> {
  const others = rest.filter(({ folder }) => resolve(folder) !== resolve(first.folder));
  return ownFolder(first.folder, first.key, () => (others.length === 0 ? body() : ownFolders(others, body)));
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'EEXIST' || code === 'ENOTDIR') return `there, or above it, is a file (${message})`;
  if (code === 'EROFS') return `the disk is read-only (${message})`;
  return code === 'EACCES' || code === 'EPERM' ? `it is not permitted (${message})` : message;
}

function take(lock: string, folder: string, key: string): void {
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = holderOf(lock);
    if (holder !== null && isRunning(holder, lock)) {
      throw new ConfigError(
        `${folder}: another run (process ${holder}${holder === process.pid ? ', this one' : ''}) writes there; give this one a folder of its own: ${key}=OTHER${
          key === 'trainer.ckpt_path' ? '/checkpoints' : ''
        }`,
      );
    }
    rmSync(lock, { force: true });
  }
}

function holderOf(lock: string): number | null {
  try {
    const holder = Number(readFileSync(lock, 'utf8'));
    return Number.isInteger(holder) && holder > 0 ? holder : null;
  } catch {
    return null;
  }
}

function isRunning(process_: number, lock: string): boolean {
  // Threads have one process between them, and a process may have the number of one that ended, which in a container is the rule: what is older than the process is not its own.
  if (process_ === process.pid) return (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? 0) >= performance.timeOrigin;
  try {
    process.kill(process_, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
