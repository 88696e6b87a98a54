// What the test suites need to know of CUDA: the device, the compiler, and which tests have a half that runs on a GPU.
import { join } from 'node:path';
import { capture } from './process.mjs';

/** Folders whose tests make tensors: each of these tests runs on every device there is. */
export const DEVICE_TESTS = ['test/tensor', 'test/advantages', 'test/losses', 'test/models', 'test/trainer'];

/** Those of them that also run on the emulated GPU, whose threads take turns on a core: every operation and estimator; what the rest adds is size. */
export const EMULATED_TESTS = [
  'test/tensor/(arithmetic|devices|linear|primitives|random|recurrences|reductions|rows|views)',
  'test/advantages/(builtin|custom)',
  'test/losses/(losses|logits_policy_loss)',
  'test/bench/devices',
];

/** The GPU that the built addon finds: {available, name, …}, or {available: false, reason}. */
export async function findGpu(root, env = process.env) {
  const question = 'process.stdout.write(JSON.stringify(require("./build/Release/vantage.node").deviceInfo("cuda")))';
  const { code, output } = await capture(process.execPath, ['-e', question], { cwd: root, env });
  if (code !== 0) return { available: false, reason: output.trim().split('\n').at(-1) };
  return JSON.parse(output);
}

/** The version of nvcc, or null where there is none. */
export async function nvccVersion() {
  const { code, output } = await capture(process.env.CUDACXX ?? 'nvcc', ['--version']);
  return code === 0 ? (/release ([\d.]+)/.exec(output)?.[1] ?? 'unknown') : null;
}

/** Flags for code that is only compiled, never run: newer compilers have a way that takes a third of the time. */
export async function quickFlags() {
  const { output } = await capture(process.env.CUDACXX ?? 'nvcc', ['--help']);
  return output.includes('--Ofast-compile') ? '--Ofast-compile=max' : '-Xptxas -O0 -Xcicc -O1';
}

/** How many tests of a Jest report lie in the folders. */
export function countTests(report, root, folders) {
  const inside = (path) => folders.some((folder) => path.startsWith(join(root, folder) + '/'));
  return report.testResults.filter(({ name }) => inside(name)).reduce((total, { assertionResults }) => total + assertionResults.length, 0);
}
