/** TensorFlow.js on its WebAssembly backend, written as its users write it: recurrences as a loop over columns, all else on whole tensors. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Skipped, type Contender } from '../contender';
import type { HostArrays, Results, Workload } from '../workload';

type Tf = typeof import('@tensorflow/tfjs-core');
type T = import('@tensorflow/tfjs-core').Tensor;
type Parameters = Record<string, number | boolean>;
type Compute = (tf: Tf, inputs: Record<string, T>, parameters: Parameters) => Record<string, T>;

/** Each step of a loop is some ten calls; beyond this many the loop takes seconds. */
const LONGEST_LOOP = 4096;

/** Runs `step` on the columns, last first, and puts what it returns together again. */
function backwards(tf: Tf, inputs: T[], step: (columns: T[]) => T[]): T[] {
  const time = inputs[0]!.shape[1]!;
  if (time > LONGEST_LOOP) throw new Skipped(`a loop of ${time} steps`);
  const columns = inputs.map((input) => tf.unstack(input, 1));
  const results: T[][] = [];
  for (let t = time - 1; t >= 0; t--) step(columns.map((list) => list[t]!)).forEach((value, k) => (results[k] ??= []).unshift(value));
  return results.map((list) => tf.stack(list, 1));
}

function maskedWhiten(tf: Tf, x: T, mask: T): T {
  const count = tf.sum(mask);
  const centred = tf.mul(tf.sub(x, tf.div(tf.sum(tf.mul(x, mask)), count)), mask);
  const variance = tf.div(tf.sum(tf.square(centred)), tf.maximum(tf.sub(count, 1), 1));
  return tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-8)));
}

const functions: Record<string, Compute> = {
  gae(tf, { rewards, values, mask, ends }, { gamma, lambda, whiten }) {
    const rows = rewards!.shape[0]!;
    const valid = tf.cast(mask!, 'bool');
    const live = ends ? tf.sub(1, ends) : tf.onesLike(rewards!);
    let advantage: T = tf.zeros([rows]);
    let next: T = tf.zeros([rows]);
    const [raw] = backwards(tf, [rewards!, values!, valid, live], ([r, v, m, l]) => {
      const difference = tf.sub(tf.add(r!, tf.mul(tf.mul(next, l!), gamma as number)), v!);
      advantage = tf.where(m!, tf.add(difference, tf.mul(tf.mul(advantage, l!), (gamma as number) * (lambda as number))), advantage);
      next = tf.where(m!, v!, next);
      return [advantage];
    });
    const advantages = tf.mul(raw!, mask!);
    return { advantages: whiten ? maskedWhiten(tf, advantages, mask!) : advantages, returns: tf.mul(tf.add(raw!, values!), mask!) };
  },
  discounted_return(tf, { rewards, mask }, { gamma }) {
    let running: T = tf.zeros([rewards!.shape[0]!]);
    const [returns] = backwards(tf, [rewards!, tf.cast(mask!, 'bool')], ([r, m]) => [(running = tf.where(m!, tf.add(r!, tf.mul(running, gamma as number)), running))]);
    return { returns: tf.mul(returns!, mask!) };
  },
  grouped(tf, { rewards, mask, groups }, { leaveOneOut }) {
    const scores = tf.sum(tf.mul(rewards!, mask!), 1) as import('@tensorflow/tfjs-core').Tensor1D;
    const index = groups as import('@tensorflow/tfjs-core').Tensor1D;
    const count = (tf.max(index).dataSync()[0] as number) + 1;
    const total = (x: T) => tf.gather(tf.unsortedSegmentSum(x as typeof scores, index, count), index);
    const sizes = total(tf.onesLike(scores));
    const centred = tf.sub(scores, tf.div(total(scores), sizes));
    const others = tf.maximum(tf.sub(sizes, 1), 1);
    const value = leaveOneOut ? tf.div(tf.mul(centred, sizes), others) : tf.div(centred, tf.add(tf.sqrt(tf.div(total(tf.square(centred)), others)), 1e-6));
    return { advantages: tf.mul(tf.expandDims(value, 1), mask!) };
  },
  affine_scan(tf, { a, b }) {
    let running: T = tf.zeros([a!.shape[0]!]);
    const [out] = backwards(tf, [a!, b!], ([factor, addend]) => [(running = tf.add(tf.mul(factor!, running), addend!))]);
    return { out: out! };
  },
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
  if (compute === undefined) return undefined;
  const load = () => {
    const load = ([name, { data, shape, dtype }]: [string, HostArrays[string]]) => [name, tf.tensor(data as Float32Array, shape, dtype === 'int32' ? 'int32' : 'float32')] as const;
    return Object.fromEntries(Object.entries(arrays).map(load));
  };
  const inputs = Array.from({ length: sets }, load);
  const outputs: Record<string, T>[] = [];
  const call = (set: number) => {
    tf.dispose(outputs[set] ?? []);
    outputs[set] = tf.tidy(() => compute(tf, inputs[set]!, peer!.parameters));
  };
  return {
    check: async () => {
      call(0);
      const results: Results = {};
      for (const name of Object.keys(workload.outputs)) results[name] = outputs[0]![name]!.dataSync();
      return results;
    },
    time: async (calls, rotate) => {
      const start = performance.now();
      for (let i = 0; i < calls; i++) call(rotate ? i % sets : 0);
      return (performance.now() - start) / 1000 / calls;
    },
    dispose: () => tf.dispose([inputs, outputs] as never),
  };
}
