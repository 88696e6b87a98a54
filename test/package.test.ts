import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '..');
const run = (...args: string[]) => execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' });

describe('the built package, by its own name', () => {
  it('gives ES modules every name that it gives to CommonJS, and the same objects', () => {
    const source = `
      import { createRequire } from 'node:module';
      import * as esm from 'vantage-rl';
      const cjs = createRequire(import.meta.url)('vantage-rl');
      const names = Object.keys(cjs);
      console.log(JSON.stringify({ count: names.length, different: names.filter((name) => esm[name] !== cjs[name]) }));`;
    const { count, different } = JSON.parse(run('--input-type=module', '-e', source));
    expect(count).toBeGreaterThan(0);
    expect(different).toEqual([]);
  });

  it('loads without a native build of the packages that it depends on', () => {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    for (const name of Object.keys(manifest.dependencies)) expect(lock.packages[`node_modules/${name}`].hasInstallScript).toBeUndefined();
  });
});

describe('a variable of the environment that says what it cannot', () => {
  const sum = "const { tensor } = require('vantage-rl'); try { tensor([1, 2]).sum().item(); } catch (error) { console.log(error.name + ': ' + error.message); }";
  it.each([
    ...['abc', '0', '-3', '1e9', '2.5', '257', ' '].map((value) => ({
      env: { VANTAGE_NUM_THREADS: value },
      message: `NativeError: VANTAGE_NUM_THREADS: expected a whole number from 1 to 256, got "${value}"\n`,
    })),
    { env: { VANTAGE_ISA: 'sse9' }, message: /^NativeError: VANTAGE_ISA: expected an instruction set that this CPU and this build have, of \[.*baseline\], got "sse9"\n$/ },
    { env: { VANTAGE_CPU_PROGRAMS: 'jit' }, message: 'NativeError: VANTAGE_CPU_PROGRAMS: expected interpret or compile, got "jit"\n' },
    { env: { VANTAGE_RL_PREBUILD: '/nowhere' }, message: /VANTAGE_RL_PREBUILD: expected a folder with an addon that loads in build\/Release\/ or prebuilds\/, got "\/nowhere"; unset it/ },
    {
      env: { VANTAGE_DEVICE: 'cuda', VANTAGE_CUDA_LIBRARY: '/nowhere.so' },
      message: /^TensorError: VANTAGE_DEVICE: device 'cuda' cannot be used: VANTAGE_CUDA_LIBRARY: expected the file of a CUDA library, got one that does not load \(\/nowhere\.so: /,
    },
    { env: { VANTAGE_NUM_THREADS: '', VANTAGE_ISA: '', VANTAGE_CPU_PROGRAMS: '', VANTAGE_RL_PREBUILD: '', VANTAGE_CUDA_LIBRARY: '' }, message: '' },
  ])('$env', ({ env, message }) => {
    expect(execFileSync(process.execPath, ['-e', sum], { cwd: root, encoding: 'utf8', env: { ...process.env, VANTAGE_DEVICE: 'cpu', ...env } })).toEqual(
      typeof message === 'string' ? message : expect.stringMatching(message),
    );
  });
});

it('the lock file pins versions and contents, and names no registry host', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const entries = Object.entries<{ version?: string; integrity?: string; resolved?: string }>(packages).filter(([path]) => path !== '');
  expect(entries.length).toBeGreaterThan(100);
  for (const [path, { version, integrity, resolved }] of entries) {
    expect([path, version, integrity, resolved]).toEqual([path, expect.any(String), expect.stringMatching(/^sha512-/), undefined]);
  }
});

it('package.json names exact versions only', () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const version of Object.values({ ...dependencies, ...devDependencies })) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
});
