// `npm run pack:check`: what `npm publish` would send, looked at and used as its users will, in a temporary folder.
//   --as-is    with the prebuilds that are there (a release: `npm run prebuild` before), instead of the addon that set-up has built
//   --source   also build from source out of the tarball (minutes)
//   --keep     leave the folder, and say where it is
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkInstructions, checkSymbols, FLOOR } from './lib/pack/binaries.mjs';
import { findNode, VERSIONS } from './lib/pack/nodes.mjs';
import { CONFIG, EXPECTED, PROGRAMS, STARTUP, TSCONFIGS, TYPED } from './lib/pack/programs.mjs';
import { makePath, makeProject, must, userEnvironment } from './lib/pack/project.mjs';
import { checkFiles, checkSize } from './lib/pack/tarball.mjs';
import { capture } from './lib/process.mjs';
import { CUDA_LIBRARY, prebuild, prebuilds } from './prebuild.mjs';
import { root, runMain } from './setup.mjs';

/** From `require` to the first result. */
const MOST_STARTUP_MS = 150;
const STARTUP_RUNS = 7;

const { values: options } = parseArgs({ options: { 'as-is': { type: 'boolean', default: false }, source: { type: 'boolean', default: false }, keep: { type: 'boolean', default: false } } });
const tool = (path) => join(root, 'node_modules', path);
const counts = { passed: 0, failed: 0, skipped: 0 };

/** A reason for which a check cannot be made here. */
class Skip extends Error {}

async function check(name, action) {
  const start = performance.now();
  let [word, detail] = ['ok', ''];
  try {
    detail = (await action()) ?? '';
    counts.passed += 1;
  } catch (error) {
    [word, detail] = [error instanceof Skip ? 'skipped' : 'FAILED', error.message];
    counts[error instanceof Skip ? 'skipped' : 'failed'] += 1;
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${word.padEnd(8)}${name}${detail === '' ? '' : `: ${detail}`} (${seconds} s)`);
}

function expectEqual(got, expected, what) {
  const close = (a, b) => (Array.isArray(b) ? Array.isArray(a) && a.length === b.length && b.every((each, i) => close(a[i], each)) : Math.abs(a - b) < 1e-5);
  if (!close(got, expected)) throw new Error(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
}

/** The lines that programs of PROGRAMS and TYPED print: right numbers, from the prebuilt addon of the installed package. */
function checkPrinted(output, project, isa) {
  const lines = output.trim().split('\n');
  const installed = join(realpathSync(project), 'node_modules/vantage-rl/prebuilds/');
  for (const line of lines) {
    const printed = JSON.parse(line);
    expectEqual(printed.advantages, EXPECTED, 'advantages');
    if (!printed.addon?.startsWith(installed)) throw new Error(`expected the addon of ${installed}, got ${printed.addon}`);
    if (isa !== undefined && printed.isa !== isa) throw new Error(`expected code for ${isa}, got ${printed.isa}`);
  }
  return lines.length;
}

/** The instruction sets that this CPU has, of those that the addon has code for. */
function instructionSets() {
  const flags = existsSync('/proc/cpuinfo') ? (/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].split(' ') ?? []) : [];
  return {
    baseline: true,
    avx2: ['avx2', 'bmi2', 'fma'].every((flag) => flags.includes(flag)),
    avx512: ['avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512cd'].every((flag) => flags.includes(flag)),
  };
}

async function checkTarball(tarball) {
  await check('files', () => checkFiles(tarball.files));
  const cuda = join(prebuilds, CUDA_LIBRARY);
  await check('size', () => checkSize(tarball, existsSync(cuda) ? cuda : null));
  await check('publint', async () => must(process.execPath, [tool('publint/src/cli.js'), 'run', tarball.path, '--strict'], {}).then(() => 'strict'));
  await check('are the types wrong', () => must(process.execPath, [tool('@arethetypeswrong/cli/dist/index.js'), tarball.path, '--no-emoji', '--format', 'ascii'], {}).then(() => 'no'));
  for (const name of readdirSync(prebuilds)) {
    await check(`symbols of ${name}`, async () => {
      if (process.platform !== 'linux') throw new Skip('glibc is Linux’s');
      return `${await checkSymbols(join(prebuilds, name))}, at most GLIBC_${FLOOR.GLIBC}`;
    });
  }
  await check('instructions', async () => {
    if (process.arch !== 'x64' || process.platform !== 'linux') throw new Skip('one instruction set');
    return checkInstructions(join(root, 'build/Release/vantage.node'));
  });
}

async function checkInstalled({ folder, project, env }) {
  const node = join(env.PATH, 'node');
  for (const [name, text] of Object.entries({ ...PROGRAMS, ...TYPED })) writeFileSync(join(project, name), text);
  for (const name of Object.keys(PROGRAMS)) await check(name, async () => `${checkPrinted(await must(node, [name], { cwd: project, env }), project)} results`);

  // The compiler and the types of Node are the repository's; what is compiled resolves vantage-rl as a project of users does.
  symlinkSync(join(root, 'node_modules/@types'), join(project, 'node_modules/@types'));
  for (const [name, tsconfig] of Object.entries(TSCONFIGS)) {
    await check(`TypeScript, moduleResolution ${name}`, async () => {
      writeFileSync(join(project, `tsconfig.${name}.json`), JSON.stringify(tsconfig));
      await must(node, [tool('typescript/bin/tsc'), '-p', `tsconfig.${name}.json`], { cwd: project, env });
      let results = 0;
      for (const file of tsconfig.files.map((source) => source.replace('ts', 'js'))) {
        results += checkPrinted(await must(node, [join(tsconfig.compilerOptions.outDir, file)], { cwd: project, env }), project);
      }
      return `compiles, ${results} results`;
    });
  }
  await check('a bundle that leaves vantage-rl outside', async () => {
    if (!existsSync(tool('esbuild'))) throw new Skip('esbuild is not there');
    await must(process.execPath, [tool('esbuild/bin/esbuild'), 'example.mjs', '--bundle', '--platform=node', '--format=esm', '--external:vantage-rl', '--outfile=bundle.mjs'], { cwd: project, env });
    checkPrinted(await must(node, ['bundle.mjs'], { cwd: project, env }), project);
  });
  for (const [isa, present] of Object.entries(instructionSets())) {
    await check(`code for ${isa}`, async () => {
      if (!present) throw new Skip('this CPU does not have it');
      checkPrinted(await must(node, ['example.cjs'], { cwd: project, env: { ...env, VANTAGE_ISA: isa } }), project, isa);
    });
  }
  await check('a CPU without AVX, emulated', async () => {
    if ((await capture('qemu-x86_64', ['--version'])).code !== 0) throw new Skip('qemu-x86_64 is not there');
    checkPrinted(await must('qemu-x86_64', ['-cpu', 'Nehalem', realpathSync(node), 'example.cjs'], { cwd: project, env: { ...env, PATH: process.env.PATH } }), project, 'baseline');
  });
  for (const version of VERSIONS) {
    await check(`Node ${version.split('.')[0]}`, async () => {
      const executable = await findNode(root, version);
      if (executable === null) throw new Skip(`${version} is not to be had here`);
      const other = { ...env, PATH: makePath(join(folder, `path-${version}`), executable) };
      let results = 0;
      for (const name of Object.keys(PROGRAMS)) results += checkPrinted(await must(join(other.PATH, 'node'), [name], { cwd: project, env: other }), project);
      return `${results} results with ${(await must(join(other.PATH, 'node'), ['--version'], { env: other })).trim()}`;
    });
  }
  await check('from import to the first result', () => checkStartup(node, project, env));
  await check('npx vantage', async () => {
    writeFileSync(join(project, 'config.yaml'), CONFIG);
    const vantage = (...args) => must('npx', ['--no-install', 'vantage', ...args], { cwd: project, env });
    await vantage('prepare', 'gmax', '--output_dir', 'data');
    await vantage('train', '-c', 'config.yaml');
    const steps = readFileSync(join(project, 'run/metrics.jsonl'), 'utf8').trim().split('\n').length;
    if (steps < 2) throw new Error(`expected the metrics of two steps, got ${steps}`);
    await vantage('new', 'estimator', 'my_estimator', '--js', '--dir', 'new');
    await must(node, ['--test', 'my_estimator.test.mjs'], { cwd: join(project, 'new'), env });
    await must(node, ['train.mjs', 'trainer.max_training_steps=1'], { cwd: join(project, 'new'), env });
    return 'prepare and train, two steps; new, its test and a step';
  });
}

/** The least of processes of their own, and that none of them has loaded a package that estimators and losses do without. */
async function checkStartup(node, project, env) {
  writeFileSync(join(project, 'startup.cjs'), STARTUP);
  const runs = [];
  for (let i = 0; i < STARTUP_RUNS; i++) runs.push(JSON.parse(await must(node, ['startup.cjs'], { cwd: project, env })));
  const needless = runs[0].packages.filter((name) => !['vantage-rl', 'node-gyp-build'].includes(name));
  if (needless.length > 0) throw new Error(`${needless.join(', ')} should be loaded only where they are used`);
  // What others do on the machine only adds: the least says what the package takes.
  const times = runs.map((run) => run.time).sort((a, b) => a - b);
  const time = times[0];
  const detail = `${time.toFixed(0)} ms, the least of ${STARTUP_RUNS} (median ${times[STARTUP_RUNS >> 1].toFixed(0)})`;
  if (time <= MOST_STARTUP_MS) return detail;
  if (loadavg()[0] > availableParallelism() + 1) throw new Skip(`${detail}, on a machine that is busy with other work (load ${loadavg()[0].toFixed(0)}); at most ${MOST_STARTUP_MS} ms without`);
  throw new Error(`${detail}; at most ${MOST_STARTUP_MS} ms`);
}

/** The same package without a prebuilt addon, as on a system that none is made for. */
async function checkWithoutPrebuild({ folder, project, env }) {
  const bare = join(folder, 'bare');
  cpSync(project, bare, { recursive: true, verbatimSymlinks: true });
  rmSync(join(bare, 'node_modules/vantage-rl/prebuilds'), { recursive: true });
  const node = join(env.PATH, 'node');
  const fails = async (command, args, pattern) => {
    const { code, output } = await capture(command, args, { cwd: bare, env });
    if (code === 0 || !pattern.test(output)) throw new Error(`expected a failure that says ${pattern}, got exit code ${code}: ${output}`);
  };
  await check(
    'no prebuild, no compiler: the error says what to run',
    () => fails(node, ['example.cjs'], /NativeError: vantage-rl .*: no native addon for .*Build it, with a C\+\+20 compiler, CMake and make, by: npx vantage build/),
  );
  await check(
    'no prebuild, no compiler: `vantage build` says what to install',
    () => fails('npx', ['--no-install', 'vantage', 'build'], /lacks what the build needs[\s\S]*apt-get install g\+\+ cmake make/),
  );
  await check('no prebuild, other libc: the prebuilt addon of glibc is not taken', async () => {
    const { code, output } = await capture(node, ['example.cjs'], { cwd: project, env: { ...env, LIBC: 'musl' } });
    if (code === 0 || !/libc=musl/.test(output)) throw new Error(`expected an error, got exit code ${code}: ${output}`);
  });
  await check('no prebuild, with a compiler: `vantage build` builds', async () => {
    if (!options.source) throw new Skip('asked for by `-- --source`, as it takes minutes');
    const machine = { ...process.env, HOME: env.HOME };
    await must('npx', ['--no-install', 'vantage', 'build'], { cwd: bare, env: machine });
    const printed = JSON.parse(await must(process.execPath, ['example.cjs'], { cwd: bare, env: machine }));
    expectEqual(printed.advantages, EXPECTED, 'advantages');
    if (!printed.addon.endsWith('vantage-rl/build/Release/vantage.node')) throw new Error(`expected the addon that was built, got ${printed.addon}`);
    if (existsSync(join(bare, 'node_modules/vantage-rl/build-source'))) throw new Error('the build left its folder');
    return printed.isa;
  });
}

async function main() {
  if (!options['as-is']) await prebuild({ cuda: false });
  else if (!existsSync(prebuilds)) throw new Error('pack:check --as-is: there are no prebuilds for this machine; `npm run prebuild` makes them');
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'vantage-pack-')));
  try {
    const env = userEnvironment(makePath(join(folder, 'path')), join(folder, 'home'));
    const [packed] = JSON.parse(
      await must('npm', ['pack', '--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder], { cwd: root, env: { ...process.env, ...env, PATH: process.env.PATH } }),
    );
    const tarball = { path: join(folder, packed.filename), size: packed.size, unpackedSize: packed.unpackedSize, files: packed.files.map(({ path }) => path) };
    await checkTarball(tarball);
    let project;
    await check('npm install --ignore-scripts', async () => {
      project = await makeProject({ root, folder, tarball: tarball.path, env });
      return 'without network, compiler, CMake';
    });
    if (project !== undefined) {
      await checkInstalled({ folder, project, env });
      await checkWithoutPrebuild({ folder, project, env });
    }
  } finally {
    if (options.keep) console.log(`left in ${folder}`);
    else rmSync(folder, { recursive: true, force: true });
  }
  console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 ? 0 : 1;
}

await runMain(main);
