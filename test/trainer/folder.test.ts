/** One run at a time in a folder. */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../../src/errors';
import { ownFolder } from '../../src/trainer/folder';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-folder-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const lock = () => join(folder, '.vantage-run');

test('the folder is held while the run goes on, and free afterwards, also after an error', async () => {
  expect(await ownFolder(folder, 'trainer.ckpt_path', async () => existsSync(lock()))).toBe(true);
  expect(existsSync(lock())).toBe(false);
  await expect(ownFolder(folder, 'trainer.ckpt_path', () => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
  expect(existsSync(lock())).toBe(false);
});

test('a running process keeps others out; one that has ended does not', async () => {
  const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)']);
  try {
    writeFileSync(lock(), String(other.pid));
    await expect(ownFolder(folder, 'trainer.ckpt_path', async () => 1)).rejects.toThrow(ConfigError);
    await expect(ownFolder(folder, 'trainer.ckpt_path', async () => 1)).rejects.toThrow(/another run \(process \d+\) writes there; give this one a folder of its own/);
  } finally {
    other.kill();
    await new Promise((resolve) => other.once('exit', resolve));
  }
  expect(await ownFolder(folder, 'trainer.ckpt_path', async () => 1)).toBe(1);
  writeFileSync(lock(), 'rubbish');
  expect(await ownFolder(folder, 'trainer.ckpt_path', async () => 2)).toBe(2);
});

test('another run of this process keeps others out until it ends; what a process of its number left before it began does not', async () => {
  const run = (body: () => Promise<unknown>) => ownFolder(folder, 'trainer.ckpt_path', body);
  await run(async () => {
    await expect(run(async () => 1)).rejects.toThrow(`${folder}: another run (process ${process.pid}, this one) writes there; give this one a folder of its own`);
    await expect(run(async () => 1)).rejects.toThrow(ConfigError);
    expect(existsSync(lock())).toBe(true);
  });
  expect(await run(async () => 2)).toBe(2);
  writeFileSync(lock(), String(process.pid));
  const before = performance.timeOrigin / 1000 - 1;
  utimesSync(lock(), before, before);
  expect(await run(async () => 3)).toBe(3);
});

test('a folder that cannot be is refused by its key', async () => {
  writeFileSync(join(folder, 'file'), '');
  for (const path of [join(folder, 'file'), join(folder, 'file/below')]) {
    const owning = ownFolder(path, 'trainer.export_path', async () => 1);
    await expect(owning).rejects.toThrow(ConfigError);
    await expect(owning).rejects.toThrow(`trainer.export_path: expected a folder that can be written to, got '${path}': there, or above it, is a file (`);
  }
  // Everything is permitted to root.
  if (process.getuid?.() === 0) return;
  chmodSync(folder, 0o500);
  const owning = ownFolder(folder, 'trainer.ckpt_path', async () => 1);
  await expect(owning).rejects.toThrow(`trainer.ckpt_path: expected a folder that can be written to, got '${folder}': it is not permitted (`);
  chmodSync(folder, 0o700);
});
