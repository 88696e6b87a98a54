// `npm test`: set-up, then every suite. `npm test -- SUITE [arguments]` runs one; further arguments go to Jest or CTest. The last line sums all suites.
//   native    the C++ tests, those of the CUDA code under emulation    types     TypeScript
//   style     linter and formatter (`npm run format` mends)            jest      everything else, on the CPU
//   emulated  the tests of tensors and estimators on the emulated GPU
//   cuda      the tests that touch a device on the GPU, if there is one
// Not among them, for their time:
//   sanitize  the C++ tests of the CPU under address and undefined-behaviour sanitizers, or the thread sanitizer: `npm run test:sanitize -- thread`
//   compile   the CUDA library for every architecture of a release
//   gpu       all there is to test on a GPU: `npm run test:gpu`
//   alloc     every allocation of the addon fails in its turn       fuzz:native  changed plans under sanitizers, with clang's libFuzzer
//   memory    thousands of training-like iterations, and of steps of a training run, that must leave nothing behind, on the device of VANTAGE_DEVICE
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countCtest, resultLines } from './lib/ctest.mjs';
import { countTests, DEVICE_TESTS, EMULATED_TESTS, findGpu, nvccVersion, quickFlags } from './lib/cuda.mjs';
import { alloc, fuzzNative } from './lib/fuzz.mjs';
import { testGpu } from './lib/gpu.mjs';
import { attach, capture } from './lib/process.mjs';
import { SANITIZERS } from './lib/sanitizers.mjs';
import { timed } from './lib/stage.mjs';
import { generator, jobs, mustRun, oneInstructionSet, prepareBuildFolder, requireToolchain, root, runMain, setup } from './setup.mjs';

const tool = (path) => join(root, 'node_modules', path);

/** The native tests. Without sanitizers they are linked from the objects that the addon's build has left. */
async function native(args, { folder = 'build-cmake', options = [] } = {}) {
  const compiler = await requireToolchain();
  prepareBuildFolder(join(root, folder), compiler);
  const env = { ...process.env, CXX: compiler, CMAKE_GENERATOR: generator() };
  await timed(folder, async () => {
    await mustRun('cmake', ['-S', '.', '-B', folder, '-DVANTAGE_TESTS=ON', '-DCMAKE_BUILD_TYPE=Release', ...options], env);
    await mustRun('cmake', ['--build', folder, '--parallel', String(jobs)], env);
  });
  const ctest = ['--test-dir', folder, '--parallel', String(jobs), '--verbose', '--no-tests=error', '--timeout', '900', ...args];
  const { code, output } = await timed('ctest', () => capture('ctest', ctest, { cwd: root }));
  console.log(code === 0 ? resultLines(output).join('\n') : output);
  return { code, ...countCtest(output) };
}

function sanitize([first, ...others]) {
  const isNamed = Object.hasOwn(SANITIZERS, first ?? '');
  const { folder, flag } = SANITIZERS[isNamed ? first : 'address'];
  const args = isNamed ? others : first === undefined ? [] : [first, ...others];
  return native(args, { folder, options: [`-DVANTAGE_SANITIZE=${flag}`, '-DVANTAGE_TEST_CUDA=none', ...oneInstructionSet()] });
}

/** Each TypeScript project that is only checked: the sources with examples and benchmarks, and the tests. */
async function types() {
  const projects = ['tsconfig.json', 'test/tsconfig.json'];
  // Each keeps one core busy.
  const check = (project) => capture(process.execPath, [tool('typescript/bin/tsc'), '--noEmit', '-p', project], { cwd: root });
  const results = await timed('TypeScript', () => Promise.all(projects.map(check)));
  for (const { output } of results) if (output !== '') console.log(output);
  const failed = results.filter(({ code }) => code !== 0).length;
  return { code: failed, passed: projects.length - failed, failed, skipped: 0 };
}

/** What `npm run lint` says: the linter's rules are in biome.json, the formatter's in dprint.json. */
async function style() {
  const checks = [[tool('@biomejs/biome/bin/biome'), 'lint', '--error-on-warnings', '.'], ['scripts/format.mjs', '--check']];
  const results = await timed('linter, formatter', () => Promise.all(checks.map((command) => capture(process.execPath, command, { cwd: root }))));
  const wrong = results.filter(({ code }) => code !== 0);
  for (const { output } of wrong) console.log(output);
  if (wrong.length > 0) console.log('`npm run format` formats, and mends what the linter can mend safely');
  return { code: wrong.length, passed: results.length - wrong.length, failed: wrong.length, skipped: 0 };
}

/** No change to the environment: on the CPU, unless the caller's says otherwise. */
const CPU = {};

/** The report of the last run of Jest on the CPU. */
let cpuReport = null;

async function jest(args, environment = CPU) {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-jest-'));
  const report = join(folder, 'report.json');
  try {
    const command = [tool('jest/bin/jest.js'), '--json', `--outputFile=${report}`, ...args];
    const code = await attach(process.execPath, command, { cwd: root, env: { ...process.env, ...environment } });
    const result = JSON.parse(readFileSync(report, 'utf8'));
    if (environment === CPU) cpuReport = result;
    // A file that does not load has no tests to count: it counts as one that failed.
    const failed = result.numFailedTests + result.numRuntimeErrorTestSuites;
    return { code, passed: result.numPassedTests, failed, skipped: result.numPendingTests + result.numTodoTests };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The tests of tensors and estimators on the GPU that native/test/cuda_emulator emulates. */
async function emulated(args) {
  const library = join(root, 'build-cmake/Release/libvantage_cuda_emulated.so');
  if (!existsSync(library)) {
    const compiler = await requireToolchain();
    prepareBuildFolder(join(root, 'build-cmake'), compiler);
    const env = { ...process.env, CXX: compiler };
    await timed('emulated GPU', async () => {
      await mustRun('cmake', ['-S', '.', '-B', 'build-cmake', '-DVANTAGE_TESTS=ON', '-DCMAKE_BUILD_TYPE=Release'], env);
      await mustRun('cmake', ['--build', 'build-cmake', '--target', 'vantage_cuda_emulated', '--parallel', String(jobs)], env);
    });
  }
  return jest([...EMULATED_TESTS, ...args], { VANTAGE_DEVICE: 'cuda', VANTAGE_CUDA_LIBRARY: library, VANTAGE_CUDA_PROGRAMS: 'interpret' });
}

/** The half of the tests that a GPU has: skipped, and counted, where there is none. */
async function cuda(args) {
  const { available, reason, name } = await findGpu(root);
  if (available) {
    console.log(`on ${name}`);
    return jest([...DEVICE_TESTS, ...args], { VANTAGE_DEVICE: 'cuda' });
  }
  const skipped = cpuReport ? countTests(cpuReport, root, DEVICE_TESTS) : 1;
  console.log(`the CUDA half of ${skipped} tests is skipped: ${reason}`);
  return { code: 0, passed: 0, failed: 0, skipped };
}

/** The CUDA library for every architecture of a release, in a folder of its own; that it compiles is asked, not that it is fast. */
async function compile() {
  const version = await nvccVersion();
  if (version === null) {
    console.log('skipped: nvcc was not found');
    return { code: 0, passed: 0, failed: 0, skipped: 1 };
  }
  const compiler = await requireToolchain();
  prepareBuildFolder(join(root, 'build-cuda'), compiler);
  const env = { ...process.env, CXX: compiler };
  const options = ['-DVANTAGE_CUDA=ON', '-DVANTAGE_CUDA_ARCHITECTURES=check', `-DCMAKE_CUDA_FLAGS=${await quickFlags()}`, '-DCMAKE_CUDA_FLAGS_RELEASE=-O0', '-DCMAKE_CXX_FLAGS_RELEASE=-O0'];
  await timed(`nvcc ${version}`, async () => {
    await mustRun('cmake', ['-S', '.', '-B', 'build-cuda', ...options], env);
    await mustRun('cmake', ['--build', 'build-cuda', '--target', 'vantage_cuda', '--parallel', String(jobs)], env);
  });
  return { code: 0, passed: 1, failed: 0, skipped: 0 };
}

/** The long version of the tests that nothing keeps memory; an argument is the number of iterations. The training run has 2,000 steps. */
async function memory(args) {
  const run = (script, given) => timed(script, () => attach(process.execPath, ['--expose-gc', '--import', 'tsx', `test/memory/${script}.ts`, ...given], { cwd: root }));
  const codes = [await run('iterations', args), await run('training', [])];
  const failed = codes.filter((code) => code !== 0).length;
  return { code: failed, passed: codes.length - failed, failed, skipped: 0 };
}

const SUITES = { native, types, style, jest, emulated, cuda, sanitize, compile, memory, alloc, 'fuzz:native': fuzzNative, gpu: () => testGpu({ root, native, jest }) };
/** `npm run check`: what needs no build. */
const SOURCES = ['types', 'style'];
const EVERYTHING = ['native', 'types', 'style', 'jest', 'emulated', 'cuda'];

async function run(name, args) {
  console.log(`\n— ${name} —`);
  try {
    const result = await SUITES[name](args);
    // A suite that ends badly without a failed test (a crash, no tests at all) has failed all the same.
    return result.code !== 0 && result.failed === 0 ? { ...result, failed: 1 } : result;
  } catch (error) {
    console.error(`\n${error.message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

const line = ({ passed, failed, skipped }) => `${passed} passed, ${failed} failed, ${skipped} skipped`;

async function main() {
  const [name, ...args] = process.argv.slice(2);
  if (name !== undefined && name !== 'check' && !(name in SUITES)) {
    throw new Error(`Unknown suite '${name}'. Suites: ${Object.keys(SUITES).join(', ')}. A part of one: npm test -- jest ${existsSync(name) ? name : 'test/tensor'}`);
  }
  await setup({ build: name !== 'check' });
  const results = [];
  for (const suite of name === undefined ? EVERYTHING : name === 'check' ? SOURCES : [name]) results.push([suite, await run(suite, args)]);
  console.log();
  for (const [suite, result] of results) console.log(`${suite.padEnd(10)}${line(result)}`);
  const sum = (key) => results.reduce((total, [, result]) => total + result[key], 0);
  const total = { passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
  console.log(line(total));
  return total.failed === 0 ? 0 : 1;
}

await runMain(main);
