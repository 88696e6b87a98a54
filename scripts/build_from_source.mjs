// `npx vantage build` and binding.gyp: the addon from the sources of this package, for a machine that no prebuilt one fits. Needs a C++20 compiler, CMake and make (or
// ninja); no Python, no network, and of the packages in node_modules only the two with headers that an installed vantage-rl has.
//   --cuda         the CUDA library too, for the GPU in this machine (needs nvcc)
//   --out FOLDER   where to leave them (build/Release, where they are found)
import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { capture, interruptible } from './lib/process.mjs';
import { timed } from './lib/stage.mjs';
import { checkToolchain, describeMissing, wantedCuda } from './lib/toolchain.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const WORK = join(root, 'build-source');

/** A compiler takes about a gigabyte on the largest sources: no more jobs than the memory holds. */
const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30)));

async function cmake(args, compiler) {
  const { code, output } = await capture('cmake', args, { cwd: root, env: { ...process.env, CXX: compiler } });
  if (code !== 0) throw new Error(`${output.trimEnd()}\n\n\`cmake ${args.join(' ')}\` failed with exit code ${code}`);
}

/** Renamed into place: a process that has the old addon mapped keeps it, where overwriting the file would crash it. */
function place(file, out) {
  const draft = join(out, `${file}.${process.pid}.draft`);
  copyFileSync(join(WORK, 'Release', file), draft);
  renameSync(draft, join(out, file));
}

async function main() {
  const { values } = parseArgs({ options: { cuda: { type: 'boolean', default: wantedCuda() ?? false }, out: { type: 'string', default: join(root, 'build/Release') } } });
  const out = resolve(values.out);
  const { compiler, missing } = await checkToolchain();
  if (missing.length > 0) throw new Error(`This machine lacks what the build needs; nothing was changed.\n${describeMissing(missing)}`);
  const require = createRequire(import.meta.url);
  const headers = [require('node-api-headers').include_dir, dirname(require.resolve('node-addon-api/package.json'))];
  const options = { CMAKE_BUILD_TYPE: 'Release', CMAKE_JS_INC: headers.join(';'), CMAKE_LIBRARY_OUTPUT_DIRECTORY: join(WORK, 'Release') };
  rmSync(WORK, { recursive: true, force: true });
  try {
    await timed('native addon', async () => {
      await cmake(['-S', root, '-B', WORK, ...Object.entries(options).map(([name, value]) => `-D${name}=${value}`), `-DVANTAGE_CUDA=${values.cuda ? 'ON' : 'OFF'}`], compiler);
      await cmake(['--build', WORK, '--target', 'vantage', ...(values.cuda ? ['vantage_cuda'] : []), '--parallel', String(jobs)], compiler);
    });
    mkdirSync(out, { recursive: true });
    place('vantage.node', out);
    if (values.cuda) place('libvantage_cuda.so', out);
  } finally {
    rmSync(WORK, { recursive: true, force: true });
  }
  const { code, output } = await capture(process.execPath, ['-e', `require(${JSON.stringify(join(out, 'vantage.node'))}).describe()`]);
  if (code !== 0) throw new Error(`The addon was built and does not load:\n${output.trimEnd()}`);
  console.log(`built ${join(out, 'vantage.node')}`);
}

try {
  process.exitCode = await interruptible(main);
} catch (error) {
  console.error(`\n${error.message}`);
  process.exitCode = 1;
}
