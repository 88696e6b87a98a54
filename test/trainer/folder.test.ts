/** One run at a time in a folder. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../../src/errors';
import { ownFolder } from '../../src/trainer/folder';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-folder-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const lock = () => join(folder, '.vantage-run');

test('the folder is held while the run goes on, and free afterwards, also after an error', async () => {
  expect(await ownFolder(folder, async () => existsSync(lock()))).toBe(true);
  expect(existsSync(lock())).toBe(false);
  await expect(ownFolder(folder, () => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
  expect(existsSync(lock())).toBe(false);
});

test('a running process keeps others out; one that has ended does not', async () => {
  const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
  try {
    writeFileSync(lock(), String(other.pid));
    await expect(ownFolder(folder, async () => 1)).rejects.toThrow(ConfigError);
    await expect(ownFolder(folder, async () => 1)).rejects.toThrow(/another run \(process \d+\) writes there; give this one a folder of its own/);
  } finally {
    other.kill();
    await new Promise((resolve) => other.once('exit', resolve));
  }
  expect(await ownFolder(folder, async () => 1)).toBe(1);
  writeFileSync(lock(), 'rubbish');
  expect(await ownFolder(folder, async () => 2)).toBe(2);
});
