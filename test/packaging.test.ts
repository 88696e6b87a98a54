/** What `npm run pack:check` looks for is found; the check itself runs on the packed package. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(__dirname, '..');
const moduleUrl = (name: string) => JSON.stringify(pathToFileURL(join(root, 'scripts/lib/pack', name)).href);
/** What an expression over a module's exports gives, or the message that it throws. */
function evaluate(name: string, expression: string): string {
  const source = `import * as m from ${moduleUrl(name)};\ntry { console.log(await (${expression})); } catch (error) { console.log('error:', error.message); }`;
  return execFileSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' }).trim();
}

const complete = [
  'package.json',
  'README.md',
  'LICENSE',
  'dist/index.js',
  'dist/index.mjs',
  'dist/index.d.ts',
  'dist/index.d.mts',
  'dist/cli/main.js',
  'CMakeLists.txt',
  'native/addon/addon.cpp',
  'prebuilds/linux-x64/vantage.glibc.node',
];

test.each([
  [complete, /^11 files$/],
  [[...complete, 'native/test/plan_test.cpp'], /^error: not meant to be shipped: native\/test\/plan_test\.cpp$/],
  [[...complete, 'build/Release/vantage.node', 'test/a.test.ts'], /^error: not meant to be shipped: build\/Release\/vantage\.node, test\/a\.test\.ts$/],
  [complete.slice(0, -1), /^error: missing: prebuilds/],
])('files of a tarball: %#', (files, expected) => {
  expect(evaluate('tarball.mjs', `m.checkFiles(${JSON.stringify(files)})`)).toMatch(expected);
});

const folder = mkdtempSync(join(tmpdir(), 'vantage-packaging-'));
afterAll(() => rmSync(folder, { recursive: true }));

const compiles = process.platform === 'linux' && process.arch === 'x64' && ['c++', 'objdump', 'readelf'].every((tool) => spawnSync(tool, ['--version']).status === 0);
if (!compiles) console.warn('test/packaging: the checks of binaries are skipped (they need c++, objdump and readelf on Linux x64)');

/** A shared library of that source. */
function library(name: string, source: string, ...flags: string[]): string {
  const [input, file] = [join(folder, `${name}.cpp`), join(folder, `${name}.so`)];
  writeFileSync(input, source);
  execFileSync('c++', ['-shared', '-fPIC', '-O1', input, '-o', file, ...flags]);
  return JSON.stringify(file);
}

(compiles ? describe : describe.skip)('a binary', () => {
  it('that needs the C++ library of the system, or holds a path, is refused', () => {
    const linked = library('linked', '#include <string>\nstd::string twice(const std::string& s) { return s + s; }', '-Wl,-rpath,/somewhere');
    expect(evaluate('binaries.mjs', `m.checkSymbols(${linked})`)).toMatch(/^error: .*GLIBCXX_3.*libstdc\+\+\.so\.6 would have to be there.*it holds a path/);
  });

  it('that asks for a newer glibc than the floor is refused', () => {
    const newer = library('newer', 'extern "C" void* malloc(unsigned long);\nvoid* one() { return malloc(1); }', '-nostdlib', '-lc');
    expect(evaluate('binaries.mjs', `m.checkSymbols(${newer})`)).toMatch(/^GLIBC_2\.2\.5, at most|^GLIBC_2\.2\.5$/);
    expect(evaluate('binaries.mjs', `(m.FLOOR.GLIBC = '2.2', m.checkSymbols(${newer}))`)).toMatch(/^error: malloc needs GLIBC_2\.2\.5$/);
  });

  it('whose ordinary code, or initialisers, use AVX is refused', () => {
    const sum = 'float sum(const float* x) { float s = 0; for (int i = 0; i < 64; i++) s += x[i]; return s; }';
    const own = library('own', `namespace vantage::cpu::avx2 { ${sum} }\nint plain(int x) { return x + 1; }`, '-march=x86-64-v3', '-mno-bmi', '-nostdlib');
    expect(evaluate('binaries.mjs', `m.checkInstructions(${own})`)).toMatch(/^\d+ instructions for every CPU, [1-9]\d* behind the check/);
    const stray = library('stray', sum, '-march=x86-64-v3', '-nostdlib');
    expect(evaluate('binaries.mjs', `m.checkInstructions(${stray})`)).toMatch(/^error: 1 functions outside .*_Z3sumPKf: v/);
    const start = library('start', 'extern float given;\nnamespace vantage::cpu::avx2 { float first = given * 2; }', '-march=x86-64-v3', '-nostdlib');
    expect(evaluate('binaries.mjs', `m.checkInstructions(${start})`)).toMatch(/^error: 1 functions outside .*_GLOBAL__sub_I/);
  });
});

test('the limits stand in docs/packaging.md', () => {
  const [glibc, gcc, megabytes] = evaluate('binaries.mjs', `[m.FLOOR.GLIBC, m.FLOOR.GCC, (await import(${moduleUrl('tarball.mjs')})).MOST_BYTES / 1e6].join(' ')`).split(' ');
  const milliseconds = /MOST_STARTUP_MS = (\d+)/.exec(readFileSync(join(root, 'scripts/pack_check.mjs'), 'utf8'))![1];
  const page = readFileSync(join(root, 'docs/packaging.md'), 'utf8');
  for (const limit of [`${megabytes} MB`, `GLIBC_${glibc}`, `GCC_${Number.parseInt(gcc!, 10)}`, `${milliseconds} ms`]) expect(page).toContain(limit);
  expect(readFileSync(join(root, 'docs/installation.md'), 'utf8')).toContain(`glibc ${glibc} or newer`);
});
