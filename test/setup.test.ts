import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(__dirname, '..');
const scripts = pathToFileURL(join(root, 'scripts')).href;
let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-setup-'))));
afterEach(() => rmSync(folder, { recursive: true }));

/** A folder with links to every program of PATH but some, to stand as the whole PATH. */
function pathWithout(absent: RegExp): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const directory of (process.env.PATH ?? '').split(delimiter).filter((name) => existsSync(name))) {
    for (const name of readdirSync(directory)) {
      if (!absent.test(name) && !existsSync(join(bin, name))) symlinkSync(join(directory, name), join(bin, name));
    }
  }
  return bin;
}

const FRESH_CLONE = ['.npmrc', 'package-lock.json', 'package.json', 'scripts'];

/** Set-up in a clone that was never set up. */
function setupFreshClone(environment: NodeJS.ProcessEnv): SpawnSyncReturns<string> & { clone: string } {
  const clone = join(folder, 'clone');
  mkdirSync(clone);
  for (const name of FRESH_CLONE) cpSync(join(root, name), join(clone, name), { recursive: true });
  const env = { ...process.env, CXX: '', ...environment };
  const result = spawnSync(process.execPath, ['scripts/setup.mjs'], { cwd: clone, env, encoding: 'utf8' });
  return { ...result, clone };
}

describe('a machine without the build tools', () => {
  it('without CMake: names the package and stops before it changes anything', () => {
    const { status, stderr, clone } = setupFreshClone({ PATH: pathWithout(/^cmake/) });
    expect(stderr).toMatch(/CMake 3\.20\.0 or newer is missing/);
    expect(stderr).toMatch(/apt-get install cmake$/m);
    expect(stderr).not.toMatch(/compiler/);
    expect(status).toBe(1);
    expect(readdirSync(clone).sort()).toEqual(FRESH_CLONE);
  });

  it('without anything: names all packages in one command', () => {
    const { status, stderr, clone } = setupFreshClone({ PATH: pathWithout(/^(cmake|make|gmake|ninja|c\+\+|g\+\+|clang)/) });
    expect(stderr).toMatch(/apt-get install g\+\+ cmake make$/m);
    expect(status).toBe(1);
    expect(readdirSync(clone).sort()).toEqual(FRESH_CLONE);
  });

  it('honours CXX, and says what is wrong with it', () => {
    const { status, stderr } = setupFreshClone({ CXX: join(folder, 'no-such-compiler') });
    expect(stderr).toMatch(/a C\+\+20 compiler is missing: .*CXX is set; .*no-such-compiler/);
    expect(status).toBe(1);
  });
});

it('says how long the native build takes before it begins', () => {
  const { stdout, stderr } = setupFreshClone({ PATH: pathWithout(/^npm$/), npm_execpath: undefined, VANTAGE_CUDA: 'OFF' });
  expect(stdout).toMatch(/^tools +… [\d.]+ s\nthe native addon is built once, which takes two to four minutes on two cores \(here: \d+ jobs? at a time\)\ndependencies /);
  expect(stderr).toContain('npm');
});

test('VANTAGE_CUDA that is neither ON nor OFF is refused', () => {
  for (const script of ['setup.mjs', 'build_from_source.mjs']) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts', script)], { cwd: root, encoding: 'utf8', env: { ...process.env, VANTAGE_CUDA: '1' } });
    expect([status, stdout, stderr.trim()]).toEqual([1, '', "VANTAGE_CUDA: expected ON or OFF, got '1'"]);
  }
});

const stamps = ['node_modules', 'build/Release', 'dist'].map((name) => join(root, name, '.vantage-stamp'));
const isSetUp = stamps.every((file) => existsSync(file));
if (!isSetUp) console.warn('test/setup: this clone is not set up; the test of a second run is skipped (npm run setup)');

(isSetUp ? it : it.skip)('a second run does nothing', () => {
  const first = spawnSync(process.execPath, ['scripts/setup.mjs'], { cwd: root, encoding: 'utf8' });
  expect(first.stderr).toBe('');
  const before = stamps.map((file) => statSync(file).mtimeMs);
  const second = spawnSync(process.execPath, ['scripts/setup.mjs'], { cwd: root, encoding: 'utf8', env: { ...process.env, PATH: '' } });
  expect(second.stdout.trim().split('\n').map((line) => line.replace(/ {2,}/g, ' '))).toEqual(
    ['dependencies', 'native addon', 'TypeScript'].map((stage) => expect.stringMatching(`^${stage} +up to date$`)),
  );
  expect(second.status).toBe(0);
  expect(stamps.map((file) => statSync(file).mtimeMs)).toEqual(before);
}, 600_000);

/** Starts a module of the scripts' kind in a process of its own. */
function start(source: string) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = once(child, 'close').then(([code, signal]) => ({ code: code as number | null, signal: signal as string | null, output }));
  const printed = async (text: string) => {
    while (!output.includes(text)) {
      if (child.exitCode !== null) throw new Error(`ended without printing ${text}: ${output}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  return { child, ended, printed };
}

describe('the lock', () => {
  const holder = (file: string, milliseconds: number, name: string) => `
    import { appendFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { withLock } from '${scripts}/lib/lock.mjs';
    const log = (text) => appendFileSync(${JSON.stringify(join(folder, 'log'))}, text + '\\n');
    await withLock(${JSON.stringify(file)}, async () => {
      log('${name} in');
      console.log('inside');
      await sleep(${milliseconds});
      log('${name} out');
    });`;

  it('lets one process in at a time', async () => {
    const file = join(folder, 'lock');
    const all = ['a', 'b', 'c'].map((name) => start(holder(file, 150, name)));
    for (const { ended } of all) expect(await ended).toMatchObject({ code: 0 });
    const lines = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');
    expect(lines).toHaveLength(6);
    for (let i = 0; i < 6; i += 2) expect(lines[i + 1]).toBe(lines[i].replace('in', 'out'));
    expect(readdirSync(folder)).toEqual(['log']);
  });

  it('is taken over from a process that was killed', async () => {
    const file = join(folder, 'lock');
    const first = start(holder(file, 60_000, 'killed'));
    await first.printed('inside');
    first.child.kill('SIGKILL');
    await first.ended;
    expect(existsSync(file)).toBe(true);
    expect(await start(holder(file, 0, 'next')).ended).toMatchObject({ code: 0 });
    expect(readdirSync(folder)).toEqual(['log']);
  });

  it('is not believed where a later process has the number', async () => {
    const file = join(folder, 'lock');
    writeFileSync(file, `${process.pid} 1`);
    const { code } = await start(holder(file, 0, 'next')).ended;
    expect(code).toBe(0);
  });
});

describe('a stage', () => {
  const stage = (build: string) => `
    import { writeFileSync } from 'node:fs';
    import { capture, interruptible } from '${scripts}/lib/process.mjs';
    import { runStage } from '${scripts}/lib/stage.mjs';
    const product = ${JSON.stringify(join(folder, 'product'))};
    await interruptible(() => runStage({
      title: 'stage', stamp: ${JSON.stringify(join(folder, 'stamp'))}, inputs: 'hash', products: [product],
      build: async () => { writeFileSync(product, ''); ${build} },
    }));`;

  it('is built once, and again when its product is gone', async () => {
    expect((await start(stage('')).ended).output).toMatch(/^stage +… [\d.]+ s\n$/);
    expect((await start(stage('')).ended).output).toMatch(/^stage +up to date\n$/);
    rmSync(join(folder, 'product'));
    expect((await start(stage('')).ended).output).toMatch(/^stage +… [\d.]+ s\n$/);
  });

  it('that failed is not taken for complete, though its product exists', async () => {
    expect((await start(stage(`throw new Error('no luck')`)).ended).output).toMatch(/failed after [\s\S]*no luck/);
    expect(readdirSync(folder)).toEqual(['product']);
    expect((await start(stage('')).ended).output).toMatch(/^stage +… [\d.]+ s\n$/);
  });

  it('that is interrupted ends what it started, exits with 130 and is not taken for complete', async () => {
    const { child, ended, printed } = start(stage(`
      const pending = capture('sh', ['-c', 'sleep 61 & echo $! > ${join(folder, 'pid')}; wait']);
      setTimeout(() => console.log('running'), 300);
      await pending;`));
    await printed('running');
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 130 });
    expect(existsSync(join(folder, 'stamp'))).toBe(false);
    const grandchild = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    expect(grandchild).toBeGreaterThan(1);
    // A zombie whose parent has not looked yet is dead too.
    const state = spawnSync('ps', ['-o', 'stat=', '-p', String(grandchild)], { encoding: 'utf8' }).stdout.trim();
    expect(state).toMatch(/^(Z.*)?$/);
  });
});

it('what takes long gives a line now and then, with how far it is, where nobody watches', async () => {
  const script = `
    import { capture } from '${scripts}/lib/process.mjs';
    import { buildProgress, timed } from '${scripts}/lib/stage.mjs';
    console.log(JSON.stringify([buildProgress('[ 15%] Building\\n[ 20%] Built'), buildProgress('[3/80] a.o\\n[12/80] b.o\\n'), buildProgress('ready [1/2]')]));
    const ninja = 'echo "[1/2] a.o"; sleep 0.5; echo "[2/2] b.o"; sleep 0.3';
    await timed('addon', (report) => capture('sh', ['-c', ninja], { onOutput: (text) => report(buildProgress(text)) }), { lineEvery: 200 });`;
  const { output } = await start(script).ended;
  expect(output).toMatch(/^\["20 %","12 of 80 files",null\]\naddon +… [\d.]+ s, 1 of 2 files\n(addon +… [\d.]+ s(, \d of 2 files)?\n)*addon +… [\d.]+ s\n$/);
  expect(output).toContain('2 of 2 files');
});

it('counts what CTest prints', async () => {
  const output = `
1: ok     elementwise_add
1: ok     row_reduction
1: 2 tests, 310 checks, 0 failures
1/6 Test #1: program ..........   Passed    1.03 sec
2: ok     reads_a_plan
2: FAILED mutations
2:   plan_test.cpp:3: FAILED to read
 2/6 Test #2: plan .............***Failed    0.50 sec
3/6 Test #3: avx512 ...........***Skipped   0.01 sec
4: ok     before_the_crash
4/6 Test #4: crash ............***Exception: SegFault  0.20 sec
5/6 Test #5: absent ...........***Not Run   0.00 sec
6: no weak symbols outside the namespace
6/6 Test #6: symbols ..........   Passed    0.02 sec
Total Test time (real) =   1.76 sec`;
  const source = `
    import { countCtest } from '${scripts}/lib/ctest.mjs';
    console.log(JSON.stringify(countCtest(${JSON.stringify(output)})));`;
  expect(JSON.parse((await start(source).ended).output)).toEqual({ passed: 5, failed: 3, skipped: 1 });
});
