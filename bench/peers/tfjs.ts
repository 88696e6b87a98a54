/** TensorFlow.js on its WebAssembly backend, on whole tensors. Its threads need a browser: in Node it runs on one. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkedPart, Skipped, type Contender } from '../contender';
import { rowsOf, type HostArrays, type Workload } from '../workload';

type Tf = typeof import('@tensorflow/tfjs-core');
type T = import('@tensorflow/tfjs-core').Tensor;
type Parameters = Record<string, number | boolean>;
type Compute = (tf: Tf, inputs: Record<string, T>, parameters: Parameters) => Record<string, T>;

/** Elements times passes that take some seconds. */
const MOST_WORK = 1.5e8;

/**
 * y_t = a_t·y_{t+1} + b_t along the rows by doubling (Hillis and Steele, 1986): log₂ T passes over whole tensors. A loop over columns, the other way to
 * write it here, takes ten times as long: slicing a column costs more than computing with it.
 */
function affineScan(tf: Tf, a: T, b: T): T {
  const [rows, time] = a.shape as [number, number];
  if (rows * time * Math.log2(time) > MOST_WORK) throw new Skipped(`${Math.ceil(Math.log2(time))} passes over ${rows * time} elements`);
  const shifted = (x: T, by: number, fill: number) => tf.pad(tf.slice(x, [0, by], [rows, time - by]), [[0, 0], [0, by]], fill);
  for (let by = 1; by < time; by *= 2) [a, b] = tf.tidy(() => [tf.mul(a, shifted(a, by, 1)), tf.add(b, tf.mul(a, shifted(b, by, 0)))]);
  return b;
}

/** Rows first: its sums run in float32 from the first element to the last, and lose digits over millions. */
const sum = (tf: Tf, x: T) => tf.sum(tf.sum(x, 1));

function maskedWhiten(tf: Tf, x: T, mask: T): T {
  const count = sum(tf, mask);
  const centred = tf.mul(tf.sub(x, tf.div(sum(tf, tf.mul(x, mask)), count)), mask);
  const variance = tf.div(sum(tf, tf.square(centred)), tf.maximum(tf.sub(count, 1), 1));
  return tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-8)));
}

const functions: Record<string, Compute> = {
  /** For rows whose padding is on the right, as those of the suite: the next value is that of the next column. */
  gae(tf, { rewards, values, mask, ends }, { gamma, lambda, whiten }) {
    const [rows, time] = rewards!.shape as [number, number];
    const live = ends ? tf.sub(1, ends) : tf.onesLike(rewards!);
    const next = tf.pad(tf.slice(tf.mul(values!, mask!), [0, 1], [rows, time - 1]), [[0, 0], [0, 1]]);
    const difference = tf.mul(tf.sub(tf.add(rewards!, tf.mul(tf.mul(next, live), gamma as number)), values!), mask!);
    const advantages = affineScan(tf, tf.mul(tf.mul(live, mask!), (gamma as number) * (lambda as number)), difference);
    return { advantages: whiten ? maskedWhiten(tf, advantages, mask!) : advantages, returns: tf.mul(tf.add(advantages, values!), mask!) };
  },
  discounted_return: (tf, { rewards, mask }, { gamma }) => ({ returns: affineScan(tf, tf.mul(mask!, gamma as number), tf.mul(rewards!, mask!)) }),
  affine_scan: (tf, { a, b }) => ({ out: affineScan(tf, a!, b!) }),
  whiten: (tf, { x, mask }) => ({ out: maskedWhiten(tf, x!, mask!) }),
};

/** The backend, ready. @throws Skipped where its packages are missing */
export async function startTfjs(): Promise<Tf> {
  let tf: Tf;
  try {
    tf = require('@tensorflow/tfjs-core') as Tf;
    const wasm = require('@tensorflow/tfjs-backend-wasm') as typeof import('@tensorflow/tfjs-backend-wasm');
    const folder = join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')), '.');
    if (existsSync(join(folder, 'tfjs-backend-wasm-simd.wasm'))) wasm.setWasmPaths(`${folder}/`);
  } catch (error) {
    throw new Skipped(`tfjs: ${(error as Error).message.split('\n')[0]}`);
  }
  if (!(await tf.setBackend('wasm'))) throw new Skipped('tfjs: the WebAssembly backend does not start here');
  await tf.ready();
  return tf;
}

/** The workload in TensorFlow.js, if it is written for it. */
export function tfjsContender(tf: Tf, workload: Workload, arrays: HostArrays, sets: number): Contender | undefined {
  const { peer } = workload;
  const compute = peer && functions[peer.name];
  // It has no bfloat16.
  if (compute === undefined || workload.dtype === 'bfloat16') return undefined;
  const load = () => {
    const load = ([name, array]: [string, HostArrays[string]]) => [name, tf.tensor(rowsOf(array) as Float32Array, array.shape, array.dtype === 'int32' ? 'int32' : 'float32')] as const;
    return Object.fromEntries(Object.entries(arrays).map(load));
  };
  const inputs = Array.from({ length: sets }, load);
  const outputs: Record<string, T>[] = [];
  const call = (set: number) => {
    tf.dispose(outputs[set] ?? []);
    outputs[set] = tf.tidy(() => compute(tf, inputs[set]!, peer!.parameters));
  };
  return {
    check: async (rows) => {
      call(0);
      return checkedPart(Object.fromEntries(Object.keys(workload.outputs).map((name) => [name, outputs[0]![name]!.dataSync()])), workload, rows);
    },
    time: async (calls, rotate) => {
      const start = performance.now();
      for (let i = 0; i < calls; i++) call(rotate ? i % sets : 0);
      return (performance.now() - start) / 1000 / calls;
    },
    dispose: () => tf.dispose([inputs, outputs] as never),
  };
}
