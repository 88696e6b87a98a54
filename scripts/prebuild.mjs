// `npm run prebuild`: what a release ships of native code, in prebuilds/PLATFORM-ARCH, from the build that set-up keeps up to date. The CUDA library for every architecture
// comes with it where nvcc is; `-- --no-cuda` leaves it out. (npm would run this before a script named `build`: there is none.)
import prebuildify from 'prebuildify';
import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { nvccVersion } from './lib/cuda.mjs';
import { timed } from './lib/stage.mjs';
import { jobs, mustRun, prepareBuildFolder, requireToolchain, root, runMain, setup } from './setup.mjs';

export const CUDA_LIBRARY = 'libvantage_cuda.so';
const CUDA_FOLDER = 'build-cuda-release';

/** Where the prebuilt files of this machine's kind are. */
export const prebuilds = join(root, 'prebuilds', `${process.platform}-${process.arch}`);

async function buildCuda() {
  const compiler = await requireToolchain();
  prepareBuildFolder(join(root, CUDA_FOLDER), compiler);
  const env = { ...process.env, CXX: compiler };
  await timed('CUDA library', async () => {
    await mustRun('cmake', ['-S', '.', '-B', CUDA_FOLDER, '-DCMAKE_BUILD_TYPE=Release', '-DVANTAGE_CUDA=ON', '-DVANTAGE_CUDA_ARCHITECTURES=release'], env);
    await mustRun('cmake', ['--build', CUDA_FOLDER, '--target', 'vantage_cuda', '--parallel', String(jobs)], env);
  });
  return join(root, CUDA_FOLDER, CUDA_LIBRARY);
}

export async function prebuild({ cuda }) {
  await setup();
  const files = [join(root, 'build/Release/vantage.node'), ...(cuda ? [await buildCuda()] : [])];
  const stage = join(root, 'build-prebuild');
  const release = join(stage, 'build/Release');
  rmSync(stage, { recursive: true, force: true });
  rmSync(prebuilds, { recursive: true, force: true });
  mkdirSync(release, { recursive: true });
  for (const file of files) copyFileSync(file, join(release, file.slice(file.lastIndexOf('/') + 1)));
  await timed('prebuilds', () =>
    // Named, stripped and placed as node-gyp-build looks for it. There is nothing left to build: `true` stands for node-gyp.
    promisify(prebuildify)({ cwd: stage, out: root, name: 'vantage', napi: true, tagLibc: true, strip: true, quiet: true, nodeGyp: 'true', targets: [process.versions.node] }));
  rmSync(stage, { recursive: true });
  if (cuda && !existsSync(join(prebuilds, CUDA_LIBRARY))) throw new Error(`prebuild: ${CUDA_LIBRARY} was not placed`);
}

async function main() {
  await prebuild({ cuda: !process.argv.includes('--no-cuda') && (await nvccVersion()) !== null });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await runMain(main);
