// `npm run test:gpu`: what can only be tested where a GPU is.
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DEVICE_TESTS, findGpu, nvccVersion } from './cuda.mjs';
import { capture } from './process.mjs';
import { timed } from './stage.mjs';

/** The native tests whose kernels compute-sanitizer watches: each under both of its tools. */
const WATCHED = ['kernels', 'program'];
const TOOLS = ['memcheck', 'racecheck'];

const counts = ({ code, passed, failed, skipped }) => ({ code, passed, failed, skipped });

/** Native tests on the GPU, the CUDA half of Jest's (which holds the check of determinism), and compute-sanitizer over the kernels. */
export async function testGpu({ root, native, jest }) {
  if ((await nvccVersion()) === null) throw new Error('test:gpu: nvcc was not found; the native tests of the GPU are built here. Install the CUDA toolkit, or put nvcc on the PATH.');
  const results = [];
  console.log('\nnative tests on the GPU');
  results.push(counts(await native([], { folder: 'build-gpu', options: ['-DVANTAGE_CUDA=ON', '-DVANTAGE_TEST_CUDA=real'] })));
  const built = join(root, 'build-gpu/libvantage_cuda.so');
  if (!existsSync(built)) throw new Error(`test:gpu: ${built} was not built`);
  mkdirSync(join(root, 'build/Release'), { recursive: true });
  copyFileSync(built, join(root, 'build/Release/libvantage_cuda.so'));

  const gpu = await findGpu(root);
  if (!gpu.available) throw new Error(`test:gpu: no GPU can be used here: ${gpu.reason}`);
  console.log(`\n${gpu.name}, compute capability ${gpu.computeCapability}, driver for CUDA ${gpu.driver}: the CUDA half of the tests`);
  results.push(await jest(DEVICE_TESTS, { VANTAGE_DEVICE: 'cuda' }));
  results.push(await watch(root));
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  return { code: results.some(({ code }) => code !== 0) ? 1 : 0, passed: sum('passed'), failed: sum('failed'), skipped: sum('skipped') };
}

async function watch(root) {
  const total = { code: 0, passed: 0, failed: 0, skipped: 0 };
  const { code: present } = await capture('compute-sanitizer', ['--version']);
  if (present !== 0) {
    console.log(`compute-sanitizer was not found: ${WATCHED.length * TOOLS.length} runs are skipped`);
    return { ...total, skipped: WATCHED.length * TOOLS.length };
  }
  for (const tool of TOOLS) {
    for (const test of WATCHED) {
      const command = ['--tool', tool, '--error-exitcode', '1', join(root, `build-gpu/${test}_test`)];
      const { code, output } = await timed(`${tool} ${test}`, () => capture('compute-sanitizer', command, { cwd: root, env: { ...process.env, VANTAGE_TEST_DEVICES: 'cuda' } }));
      if (code === 0) total.passed += 1;
      else {
        total.failed += 1;
        total.code = 1;
        console.log(output.split('\n').slice(-60).join('\n'));
      }
    }
  }
  return total;
}
