import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 200;
const LIMIT_MS = 20 * 60_000;

/** What tells a process from a later one with the same number: its start time where /proc has it, else nothing. */
function startTime(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command name (field 2) may hold spaces; after its closing parenthesis field 22 is the twentieth.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return '';
  }
}

function isHeld(content) {
  const [pid, started] = content.split(' ');
  if (!/^[1-9]\d*$/.test(pid)) return false;
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if (error.code === 'ESRCH') return false;
  }
  return startTime(pid) === (started ?? '');
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Creates `file` with its whole content in one step (a hard link), so that no reader ever sees it empty. */
function create(file, content) {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, content);
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft);
  }
}

/** Moves a dead process's lock away. The rename is atomic: if it caught a lock that someone took meanwhile, that one is put back. */
function breakStale(file, content) {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch (error) {
    if (error.code === 'ENOENT') return;
    throw error;
  }
  if (read(aside) !== content) linkSync(aside, file);
  rmSync(aside);
}

/**
 * Runs `action` while no other process on this machine does so under the same lock file. A lock whose process has ended is taken over.
 * @throws Error when another process has held the lock for `limit` milliseconds
 */
export async function withLock(file, action, { onWait = () => {}, limit = LIMIT_MS } = {}) {
  const mine = `${process.pid} ${startTime(process.pid)}`;
  const deadline = Date.now() + limit;
  let told = false;
  while (!create(file, mine)) {
    const holder = read(file);
    if (holder !== null && !isHeld(holder)) {
      breakStale(file, holder);
    } else if (holder !== null) {
      const pid = holder.split(' ')[0];
      if (Date.now() > deadline) throw new Error(`setup: process ${pid} still holds ${file}; end it or delete the file`);
      if (!told) onWait(pid);
      told = true;
      await sleep(POLL_MS);
    }
  }
  const release = () => {
    if (read(file) === mine) rmSync(file);
  };
  process.once('exit', release);
  try {
    return await action();
  } finally {
    process.off('exit', release);
    release();
  }
}
