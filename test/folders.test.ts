import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { makeFolder, readProblem, whyUnreadable } from '../src/folders';

const folder = mkdtempSync(join(tmpdir(), 'vantage-folders-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('folders above are made, and what is there stays', () => {
  const deep = join(folder, 'a/b/c');
  makeFolder(deep);
  writeFileSync(join(deep, 'file'), 'kept');
  makeFolder(deep);
  makeFolder(relative(process.cwd(), join(deep, 'd/../e')));
  makeFolder('.');
  expect(existsSync(join(deep, 'file'))).toBe(true);
  expect(statSync(join(deep, 'e')).isDirectory()).toBe(true);
});

test.each([['a file', 'file', 'EEXIST'], ['below a file', 'file/x/y', 'ENOTDIR']])('%s is refused', (_, name, code) => {
  writeFileSync(join(folder, 'file'), '');
  expect(() => makeFolder(join(folder, name))).toThrow(code);
});

(existsSync('/proc/self') ? test : test.skip)('a system that makes none below a folder that is there is no hang', () => {
  expect(() => makeFolder('/proc/vantage/x')).toThrow('ENOENT');
});

test('why a file cannot be read', () => {
  const file = join(folder, 'readable');
  writeFileSync(file, '');
  expect(readProblem(file, 'a list')).toBeNull();
  expect(readProblem(folder, 'a list')).toBe('is a folder, expected a list');
  expect(readProblem(join(folder, 'none'), 'a list')).toBe('no such file');
  expect(readProblem(join(file, 'x'), 'a list')).toBe('no such file: what stands before the last / is no folder');
  expect(whyUnreadable({ code: 'EACCES' })).toBe('this user may not read it');
  // Root may read everything.
  if (process.getuid?.() === 0) return;
  chmodSync(file, 0);
  expect(readProblem(file, 'a list')).toBe('this user may not read it');
});
