// `npm run setup`: dependencies, the native addon and the TypeScript build, each only where something it depends on has changed.
// Plain Node without dependencies, because it runs before there are any.
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { withLock } from './lib/lock.mjs';
import { capture, interruptible } from './lib/process.mjs';
import { buildProgress, filesUnder, fingerprint, isCurrent, runStage, timed } from './lib/stage.mjs';
import { checkToolchain, compareVersions, describeMissing, MINIMUM_NODE, wantedCuda } from './lib/toolchain.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);

/** A compiler takes about a gigabyte on the largest sources: no more jobs than the memory holds. */
export const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30)));

/** Runs a command in the repository; on failure throws an error that holds everything it printed. */
export async function mustRun(command, args, env, onOutput) {
  const { code, output } = await capture(command, args, { cwd: root, env, onOutput });
  if (code !== 0) throw new Error(`${output.trimEnd()}\n\n\`${[basename(command), ...args].join(' ')}\` failed with exit code ${code}`);
  return output;
}

function npm() {
  const script = process.env.npm_execpath;
  return script && basename(script) === 'npm-cli.js' ? [process.execPath, script] : ['npm'];
}

async function installDependencies() {
  const [command, ...script] = npm();
  await mustRun(command, [...script, 'ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
}

const onPath = (program) => (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, program)));

/** The generator that cmake-js takes: CMake that is called without it must take the same, as they share folders. */
export const generator = () => (onPath('ninja') ? 'Ninja' : 'Unix Makefiles');

/** A CMake folder made by another compiler, by another generator or for another place cannot be reused: CMake keeps what it found first. */
export function prepareBuildFolder(folder, compiler) {
  const origin = join(folder, 'origin.txt');
  const expected = `${root}\n${compiler}\n${generator()}\n`;
  if (existsSync(folder) && (!existsSync(origin) || readFileSync(origin, 'utf8') !== expected)) rmSync(folder, { recursive: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(origin, expected);
}

/** The CPU's code once, with AVX2 where this machine has it: instrumented code takes long to compile, and the instruction sets share their sources. */
export function oneInstructionSet() {
  const avx2 = existsSync('/proc/cpuinfo') && /\bavx2\b.*\bbmi2\b|\bbmi2\b.*\bavx2\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
  return ['-DVANTAGE_ISAS=baseline', ...(avx2 ? ['-DVANTAGE_BASELINE=x86-64-v3'] : [])];
}

const CUDA_LIBRARY = 'libvantage_cuda.so';

/** Whether the CUDA library is built: where it was asked for, or nvcc and a GPU are here. VANTAGE_CUDA=ON or OFF decides. */
function wantsCuda() {
  const wanted = wantedCuda();
  if (wanted !== null) return wanted;
  if (process.argv.includes('--cuda') || existsSync(at('build/Release', CUDA_LIBRARY))) return true;
  return existsSync('/dev/nvidia0') && (onPath('nvcc') || existsSync('/usr/local/cuda/bin/nvcc'));
}

async function buildNative(compiler, cuda, report) {
  const folder = at('build-cmake');
  prepareBuildFolder(folder, compiler);
  // Not `compile`, which answers a compile error by removing everything and failing a second time. Only the addon: the tests share the folder.
  const cmakeJs = [at('node_modules/cmake-js/bin/cmake-js'), '--out', 'build-cmake', '--config', 'Release'];
  const env = { ...process.env, CXX: compiler };
  await mustRun(process.execPath, [...cmakeJs, `--CDVANTAGE_CUDA=${cuda ? 'ON' : 'OFF'}`, 'configure'], env);
  const told = (text) => {
    const done = buildProgress(text);
    if (done !== null) report(done);
  };
  const targets = cuda ? ['vantage', 'vantage_cuda'] : ['vantage'];
  for (const target of targets) await mustRun(process.execPath, [...cmakeJs, 'build', '--target', target, '--parallel', String(jobs)], env, told);
  // Renamed into place: a process that has the old addon mapped keeps it, where overwriting the file would crash it.
  mkdirSync(at('build/Release'), { recursive: true });
  const place = (file) => {
    const draft = at('build/Release', `${file}.${process.pid}.draft`);
    copyFileSync(join(folder, 'Release', file), draft);
    renameSync(draft, at('build/Release', file));
  };
  place('vantage.node');
  if (cuda) place(CUDA_LIBRARY);
  else rmSync(at('build/Release', CUDA_LIBRARY), { force: true });
  await mustRun(process.execPath, ['-e', 'require("./build/Release/vantage.node").describe()']);
}

/** Builds beside the old build and swaps it in whole, so that files of removed sources do not stay behind. */
async function buildTypeScript() {
  const draft = at('build-dist');
  rmSync(draft, { recursive: true, force: true });
  await mustRun(process.execPath, [at('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', 'build-dist']);
  // Loaded only here: it needs a package, and this script installs them.
  const { bundle } = await import('./bundle.mjs');
  await bundle(root, draft);
  rmSync(at('dist'), { recursive: true, force: true });
  renameSync(draft, at('dist'));
}

/** `npx vantage` finds a package's command in node_modules/.bin, where npm does not put a package's own. */
function linkCommand() {
  const link = at('node_modules/.bin/vantage');
  mkdirSync(dirname(link), { recursive: true });
  if (!existsSync(link)) {
    rmSync(link, { force: true });
    symlinkSync('../../dist/cli/main.js', link);
  }
}

/** The three stages in order: what each depends on, what it leaves, and how it is built. */
export function stages() {
  const packageFiles = [at('package.json'), at('package-lock.json'), at('.npmrc')];
  const nativeFiles = filesUnder([at('CMakeLists.txt'), at('native')], { except: [at('native/test')] });
  const sourceFiles = filesUnder([at('src'), at('tsconfig.json'), at('tsconfig.build.json'), at('scripts/bundle.mjs')]);
  const abi = `${process.platform} ${process.arch}`;
  const cuda = wantsCuda();
  return {
    dependencies: {
      title: 'dependencies',
      stamp: at('node_modules/.vantage-stamp'),
      inputs: fingerprint(root, packageFiles.slice(1), abi),
      products: [at('node_modules/.package-lock.json')],
      build: installDependencies,
    },
    native: {
      title: 'native addon',
      stamp: at('build/Release/.vantage-stamp'),
      inputs: fingerprint(root, [...packageFiles.slice(1), ...nativeFiles], `${abi} ${root} ${process.env.CXX ?? ''} ${cuda ? 'cuda' : ''}`),
      products: [at('build/Release/vantage.node'), ...(cuda ? [at('build/Release', CUDA_LIBRARY)] : [])],
    },
    typescript: {
      title: 'TypeScript',
      stamp: at('dist/.vantage-stamp'),
      inputs: fingerprint(root, [...packageFiles, ...sourceFiles]),
      products: [at('dist/index.js'), at('dist/index.mjs'), at('dist/cli/main.js')],
      build: buildTypeScript,
    },
  };
}

/** Throws where Node is too old, or something the native build needs is missing; returns the compiler. */
export async function requireToolchain() {
  const { compiler, missing } = await timed('tools', checkToolchain);
  if (missing.length > 0) throw new Error(`This machine lacks what the build needs; nothing was changed.\n${describeMissing(missing)}`);
  return compiler;
}

/** Brings the clone up to date, as far as it is not; without `build` its dependencies alone. Throws an error whose message is meant for the reader. */
export async function setup({ build = true } = {}) {
  if (compareVersions(process.versions.node, MINIMUM_NODE) < 0)
    throw new Error(`Node ${MINIMUM_NODE} or newer is needed, found ${process.versions.node}. See https://nodejs.org`);
  const onWait = (pid) => console.log(`another setup is running (process ${pid}); waiting for it`);
  await withLock(
    at('.setup.lock'),
    async () => {
      const { dependencies, native, typescript } = stages();
      if (!build) return await runStage(dependencies);
      const compiler = isCurrent(native) ? null : await requireToolchain();
      if (compiler !== null && !existsSync(at('build-cmake')))
        console.log(`the native addon is built once, which takes two to four minutes on two cores (here: ${jobs} ${jobs === 1 ? 'job' : 'jobs'} at a time)`);
      await runStage(dependencies);
      await runStage({ ...native, build: (report) => buildNative(compiler, wantsCuda(), report) });
      await runStage(typescript);
      linkCommand();
    },
    { onWait },
  );
}

/** Runs a script's main function: errors become a message and exit code 1, an interruption ends what is running. */
export async function runMain(action) {
  try {
    process.exitCode = await interruptible(action);
  } catch (error) {
    console.error(`\n${error.message}`);
    process.exitCode = 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await runMain(setup);
