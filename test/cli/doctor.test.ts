/** `vantage doctor` as a process, on this machine and on broken ones: a library that crashes or hangs, an addon that is missing or damaged. */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REASONS, readGpus } from '../../src/cli/doctor/cuda';
import { isAtLeast } from '../../src/cli/doctor/examine';
import type { Findings } from '../../src/cli/doctor/findings';
import { render } from '../../src/cli/doctor/render';
import { affinity, cgroupLimit, threadsFrom } from '../../src/cli/doctor/system';

const root = join(__dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'vantage-doctor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Run {
  code: number;
  out: string;
  err: string;
}

// What a developer's shell sets must not decide.
const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VANTAGE_') && name !== 'PREBUILDS_ONLY'));

function vantage(args: string[], { env = {}, cwd = root }: { env?: NodeJS.ProcessEnv; cwd?: string } = {}): Promise<Run> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(cwd, 'dist/cli/main.js'), ...args], { env: { ...clean, ...env } }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

async function examine(options: Parameters<typeof vantage>[1] = {}, ...args: string[]): Promise<Findings & { code: number }> {
  const { code, out, err } = await vantage(['doctor', '--json', ...args], options);
  expect(err).toBe('');
  return { code, ...(JSON.parse(out) as Findings) };
}

const hasCompiler = ((): boolean => {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
if (!hasCompiler) console.warn('no C compiler (cc): the tests of libraries that crash are skipped');
const withCompiler = hasCompiler ? describe : describe.skip;

/** A shared library whose constructor runs `body` as soon as it is opened. */
function compile(name: string, body: string): string {
  const [source, file] = [join(folder, `${name}.c`), join(folder, name)];
  writeFileSync(source, `#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n__attribute__((constructor)) static void start(void) { ${body} }\n`);
  execFileSync('cc', ['-shared', '-fPIC', '-o', file, source]);
  return file;
}

/** The dotted names of all fields; those of a list's entries behind `[]`. */
function fields(value: unknown, prefix = ''): string[] {
  if (Array.isArray(value)) return typeof value[0] === 'object' ? value.flatMap((entry) => fields(entry, `${prefix}[]`)) : [prefix];
  if (typeof value !== 'object' || value === null) return [prefix];
  return Object.entries(value).flatMap(([name, child]) => fields(child, prefix === '' ? name : `${prefix}.${name}`));
}

describe('on this machine', () => {
  let found: Findings & { code: number };
  let text: Run;
  beforeAll(async () => {
    [found, text] = await Promise.all([examine(), vantage(['doctor'])]);
  });

  test('the CPU works, by its tests with each instruction set', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(found).toMatchObject({ code: 0, ok: true, vantage: { version }, node: { version: process.versions.node, supported: true }, binary: { loads: true, error: null } });
    const { isa, usableIsas, isaFrom, threads, selfTest } = found.cpu;
    expect([isa, isaFrom]).toEqual([usableIsas.at(-1), 'best']);
    expect(threads).toBeGreaterThanOrEqual(1);
    expect(selfTest!.checks.map(({ name }) => name)).toEqual(usableIsas.flatMap((name) => ['gae', 'dr_grpo', 'scan', 'matmul'].map((check) => `${check} (${name})`)));
    expect(selfTest!.checks.filter(({ passed }) => !passed)).toEqual([]);
    expect(found.binary.lookedIn.map(({ place }) => place).slice(0, 3)).toEqual(['build/Release', 'build/Debug', `prebuilds/${process.platform}-${process.arch}`]);
  });

  test('the text has it all, in columns and without colours for a pipe', () => {
    expect([text.code, text.err]).toEqual([0, '']);
    expect(text.out).not.toContain('\x1b');
    for (const title of ['Vantage', 'Native addon', 'CPU', 'CUDA']) expect(text.out).toMatch(new RegExp(`^${title}$`, 'm'));
    expect(text.out).toContain(`  instruction set   ${found.cpu.isa}, the best that CPU and addon have: `);
    expect(text.out).toContain(`  file              ${found.binary.path} (${found.binary.kind})`);
    expect(render(found, { coloured: false })).toBe(text.out.trimEnd());
    const escapes = /\x1b\[\d+m/g;
    const coloured = render(found, { coloured: true });
    expect(coloured).toMatch(escapes);
    expect(coloured.replace(escapes, '')).toBe(text.out.trimEnd());
  });

  test('docs/doctor.md describes each field, and no other', () => {
    const documented = [...readFileSync(join(root, 'docs/doctor.md'), 'utf8').matchAll(/^\| `([\w.[\]]+)` \|/gm)].map(([, name]) => name!);
    const parents = (name: string): string[] => name.split('.').map((_, i, parts) => parts.slice(0, i + 1).join('.'));
    // What is null or empty here has its fields on another machine.
    const present = new Set(fields({ ...found, code: undefined, problems: [{ severity: '', text: '', command: '' }] }).filter((name) => name !== 'code'));
    const isDescribed = (name: string): boolean => documented.some((row) => row === name || row.startsWith(`${name}.`) || row.startsWith(`${name}[]`));
    expect([...present].filter((name) => !isDescribed(name))).toEqual([]);
    const isPresent = (row: string): boolean => [row, ...parents(row), ...parents(row).map((name) => name.replace(/\[\]$/, ''))].some((name) => present.has(name));
    expect(documented.filter((row) => !isPresent(row))).toEqual([]);
    expect(new Set(documented).size).toBe(documented.length);
  });
});

describe('settings of the environment', () => {
  test.each([
    [{ VANTAGE_ISA: 'baseline' }, { code: 0, cpu: { isa: 'baseline', isaFrom: 'VANTAGE_ISA' } }, null],
    [{ VANTAGE_ISA: 'sse' }, { code: 1, ok: false, binary: { loads: false, error: expect.stringMatching(/^VANTAGE_ISA: expected .*baseline\], got "sse"$/) } }, 'unset VANTAGE_ISA'],
    [{ VANTAGE_CPU_PROGRAMS: 'interpret' }, { code: 0, cpu: { scans: 'interpreted' } }, null],
    [{ VANTAGE_CPU_PROGRAMS: 'jit' }, { code: 1, binary: { loads: false, error: 'VANTAGE_CPU_PROGRAMS: expected interpret or compile, got "jit"' } }, 'unset VANTAGE_CPU_PROGRAMS'],
    [{ VANTAGE_NUM_THREADS: '3' }, { code: 0, cpu: { threads: 3, threadsFrom: 'VANTAGE_NUM_THREADS' } }, null],
    [
      { VANTAGE_NUM_THREADS: '2.5' },
      { code: 1, ok: false, binary: { loads: false, error: 'VANTAGE_NUM_THREADS: expected a whole number from 1 to 256, got "2.5"' } },
      'unset VANTAGE_NUM_THREADS',
    ],
    [{ VANTAGE_DEVICE: 'gpu' }, { code: 0, defaultDevice: { device: 'gpu', usable: false } }, 'unset VANTAGE_DEVICE'],
    [
      { VANTAGE_DEVICE: 'cuda', VANTAGE_CUDA_LIBRARY: '/nowhere/cuda.so' },
      { code: 0, cuda: { status: 'no library', libraryExists: false }, defaultDevice: { usable: false } },
      'unset VANTAGE_CUDA_LIBRARY',
    ],
    [{ VANTAGE_CUDA_LIBRARY: '' }, { code: 0, cuda: { libraryFrom: 'beside the addon' } }, null],
    [{ VANTAGE_RL_PREBUILD: '/nowhere' }, { code: 1, binary: { path: null, loads: false }, cuda: { status: 'not tried' } }, 'unset VANTAGE_RL_PREBUILD'],
  ])('%j', async (env, expected, command) => {
    const found = await examine({ env });
    expect(found).toMatchObject(expected);
    const commands = found.problems.map((problem) => problem.command);
    if (command === null) expect(commands).toEqual([]);
    else expect(commands).toContain(command);
  });

  test('a wrong command line', async () => {
    for (const args of [['--timeout', '0'], ['--timeout', 'x'], ['--jsn'], ['more']]) expect(await vantage(['doctor', ...args])).toMatchObject({ code: 2, out: '' });
  });
});

withCompiler('a CUDA library that', () => {
  const found: Record<string, Findings & { code: number }> = {};
  const bodies = {
    'aborts.so': 'fputs("the driver has lost its mind\\n", stderr); abort();',
    'crashes.so': 'raise(SIGSEGV);',
    'exits.so': '_exit(0);',
    'hangs.so': 'for (;;) pause();',
    'talks.so': 'puts("{\\"done\\": true}"); fflush(stdout);',
  };
  beforeAll(async () => {
    // At once, as most of the time is waiting for the one that hangs.
    const one = async (name: string): Promise<void> => {
      found[name] = await examine({ env: { VANTAGE_CUDA_LIBRARY: join(folder, name) } }, ...(name === 'hangs.so' ? ['--timeout', '10'] : []));
    };
    for (const [name, body] of Object.entries(bodies)) compile(name, body);
    writeFileSync(join(folder, 'text.so'), 'no library');
    await Promise.all([...Object.keys(bodies), 'text.so'].map(one));
  }, 60_000);

  test.each([
    ['aborts.so', 'crashed', /^its process ended with SIGABRT \(the driver has lost its mind\) while opening the CUDA library$/],
    ['crashes.so', 'crashed', /^its process ended with SIGSEGV while opening the CUDA library$/],
    ['exits.so', 'crashed', /^its process ended with exit code 0 while opening the CUDA library$/],
    ['hangs.so', 'timed out', /^no answer within 10 s while opening the CUDA library$/],
    ['talks.so', 'other sources', /was built from other sources than the addon$/],
    ['text.so', 'not loadable', /^VANTAGE_CUDA_LIBRARY: expected the file of a CUDA library, got one that does not load \(.*text\.so: /],
  ])('%s is told as %s, and the CPU works', (name, status, reason) => {
    const { code, ok, cpu, cuda, problems } = found[name]!;
    expect([code, ok, cpu.selfTest!.passed]).toEqual([0, true, true]);
    expect(cuda).toMatchObject({ status, reason: expect.stringMatching(reason), library: join(folder, name), libraryFrom: 'VANTAGE_CUDA_LIBRARY', libraryExists: true });
    expect(problems).toEqual([{ severity: 'warning', text: expect.stringContaining(cuda.reason!), command: 'unset VANTAGE_CUDA_LIBRARY' }]);
  });
});

const emulated = join(root, 'build-cmake/Release/libvantage_cuda_emulated.so');
const withEmulation = existsSync(emulated) ? test : test.skip;
withEmulation('a GPU that works, an emulated one', async () => {
  const { cuda, code } = await examine({ env: { VANTAGE_CUDA_LIBRARY: emulated, VANTAGE_CUDA_PROGRAMS: 'interpret' } });
  expect(code).toBe(0);
  expect(cuda).toMatchObject({ status: 'ok', reason: null, matmul: 'built-in', programs: 'interpreted', device: { computeCapability: '9.0' } });
  expect(cuda.selfTest!.checks.map(({ name, passed }) => [name, passed])).toEqual([['gae', true], ['dr_grpo', true], ['scan', true], ['matmul', true]]);
});

withEmulation.each([
  [{ VANTAGE_CUDA_DEVICE: '1' }, /^VANTAGE_CUDA_DEVICE: expected a number in \[0, 1\), got "1"$/],
  [{ VANTAGE_CUDA_PROGRAMS: 'fast' }, /^VANTAGE_CUDA_PROGRAMS: expected interpret, compile or auto, got "fast"$/],
  [{ VANTAGE_TF32: 'yes' }, /^VANTAGE_TF32: expected 0 or 1, got "yes"$/],
  [{ VANTAGE_NVRTC: '/nowhere.so' }, /^VANTAGE_NVRTC: expected the file of an NVRTC of CUDA 12 or later, up to the driver's CUDA 13, got "\/nowhere\.so" \(\/nowhere\.so: .+\)$/],
  [{ VANTAGE_NVRTC: emulated }, /^VANTAGE_NVRTC: expected .+, got ".+" \(it lacks functions of NVRTC\)$/],
])('a GPU that is refused for %j', async (env, reason) => {
  const { cuda, problems, code } = await examine({ env: { VANTAGE_CUDA_LIBRARY: emulated, ...env } });
  expect([code, cuda.status, cuda.reason]).toEqual([0, 'failed', expect.stringMatching(reason)]);
  expect(problems).toEqual([{ severity: 'warning', text: `CUDA cannot be used: ${cuda.reason}`, command: `unset ${Object.keys(env)[0]}` }]);
});

withEmulation('a GPU with settings that say nothing', async () => {
  const env = { VANTAGE_CUDA_LIBRARY: emulated, VANTAGE_CUDA_PROGRAMS: 'interpret', VANTAGE_TF32: '0', VANTAGE_NVRTC: '', VANTAGE_CUDA_DEVICE: '' };
  expect((await examine({ env })).cuda).toMatchObject({ status: 'ok', reason: null });
});

describe('an addon that', () => {
  /** The package without its addon, with what `write` puts there. */
  function installed(name: string, write: (release: string) => void): string {
    const place = join(folder, name);
    mkdirSync(join(place, 'build/Release'), { recursive: true });
    cpSync(join(root, 'dist'), join(place, 'dist'), { recursive: true });
    cpSync(join(root, 'package.json'), join(place, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'));
    write(join(place, 'build/Release/vantage.node'));
    return place;
  }

  test('is missing: doctor says where it looked, other commands send there', async () => {
    const cwd = installed('missing', () => undefined);
    const [found, text, train] = await Promise.all([
      examine({ cwd }),
      vantage(['doctor'], { cwd }),
      vantage(['train', '-c', join(root, 'examples/max4/config.yaml'), 'trainer.device=cpu'], { cwd }),
    ]);
    expect(found).toMatchObject({
      code: 1,
      ok: false,
      binary: { path: null, kind: null, loads: false, error: expect.stringMatching(/^No native build was found/) },
      cpu: { selfTest: null },
      cuda: { status: 'not tried' },
    });
    expect(found.binary.lookedIn.flatMap(({ found }) => found)).toEqual([]);
    expect(found.problems).toEqual([{ severity: 'error', text: expect.stringContaining('No native build'), command: 'npx vantage build' }]);
    expect(text.code).toBe(1);
    expect(text.out).toContain('  looked in         build/Release: nothing\n                    build/Debug: nothing\n');
    expect([train.code, train.err]).toEqual([1, expect.stringContaining('npx vantage doctor')]);
  });

  test('is no addon', async () => {
    const cwd = installed('damaged', (file) => writeFileSync(file, 'no addon'));
    const found = await examine({ cwd });
    expect(found).toMatchObject({ code: 1, binary: { path: 'build/Release/vantage.node', kind: 'release build', loads: false, error: expect.stringContaining('vantage.node') } });
  });

  (hasCompiler ? test : test.skip)('ends its process', async () => {
    const cwd = installed('aborting', (file) => cpSync(compile('aborting.node', 'abort();'), file));
    expect(await examine({ cwd })).toMatchObject({ code: 1, ok: false, binary: { loads: false, error: 'its process ended with SIGABRT while loading the addon' } });
  });
});

test('the GPUs that nvidia-smi lists', async () => {
  const tools = join(folder, 'tools');
  mkdirSync(tools);
  writeFileSync(join(tools, 'nvidia-smi'), '#!/bin/sh\nprintf "0, NVIDIA L4, 580.65.06, 8.9, 23034\\n"\n', { mode: 0o755 });
  const { cuda, problems } = await examine({ env: { PATH: `${tools}:${process.env.PATH}`, VANTAGE_CUDA_LIBRARY: '/nowhere/cuda.so' } });
  expect(cuda).toMatchObject({ status: 'no library', driverVersion: '580.65.06', gpus: [{ name: 'NVIDIA L4', memoryBytes: 23034 * 2 ** 20 }] });
  expect(problems).toEqual([{ severity: 'warning', text: 'VANTAGE_CUDA_LIBRARY: /nowhere/cuda.so: no such file', command: 'unset VANTAGE_CUDA_LIBRARY' }]);
  expect(readGpus('0, NVIDIA H100 80GB HBM3, 580.65.06, 9.0, 81559\n1, NVIDIA L4, 580.65.06, 8.9, 23034\n')).toEqual([
    { index: 0, name: 'NVIDIA H100 80GB HBM3', driver: '580.65.06', computeCapability: '9.0', memoryBytes: 81559 * 2 ** 20 },
    { index: 1, name: 'NVIDIA L4', driver: '580.65.06', computeCapability: '8.9', memoryBytes: 23034 * 2 ** 20 },
  ]);
  expect(readGpus('No devices were found\n')).toEqual([]);
});

test('reasons are told by the words that the native code uses', () => {
  const sources = ['native/cuda/runtime.cpp', 'native/addon/cuda_library.cpp'].map((file) => readFileSync(join(root, file), 'utf8')).join('\n');
  for (const [text] of REASONS) expect(sources).toContain(text);
});

test('threads: what the kernel, the container and the environment say', () => {
  expect([affinity('Cpus_allowed_list:\t0-3,8\n'), affinity('Cpus_allowed_list:\t5\n'), affinity('')]).toEqual([5, 1, null]);
  expect(['150000 100000\n', 'max 100000\n', ''].map(cgroupLimit)).toEqual([1.5, null, null]);
  const machine = { model: null, features: [], cores: 8, affinity: 4, cgroupLimit: 1.5 };
  expect([threadsFrom(machine, undefined), threadsFrom(machine, '2'), threadsFrom(machine, '')]).toEqual(['cgroup', 'VANTAGE_NUM_THREADS', 'cgroup']);
  expect(threadsFrom({ ...machine, cgroupLimit: 3.5 }, undefined)).toBe('affinity');
  expect(threadsFrom({ ...machine, affinity: 8, cgroupLimit: null }, undefined)).toBe('cores');
});

test('versions of Node', () => {
  expect(['20.19.0', '20.20.2', '24.1.0', '20.18.9', '18.20.0'].map((version) => isAtLeast(version, '>=20.19'))).toEqual([true, true, true, false, false]);
});
