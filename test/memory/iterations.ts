/**
 * `npm run test:memory`: thousands of training-like iterations (forward, estimator, loss, gradients, AdamW) on the default device leave nothing behind,
 * neither on the device nor in the process. Usage: node --expose-gc --import tsx test/memory/iterations.ts [ITERATIONS]
 *
 * After each of the stretches that it is cut into what is alive is counted. From the first stretches on, in which plans, caches and compiled code come to be,
 * what is allocated on the device stays the same, and neither its cache nor the process grows.
 */
import { setImmediate } from 'node:timers/promises';
import {
  AdamW,
  AdvantageEstimator,
  computeAdvantages,
  computePolicyLoss,
  defaultDevice,
  deviceInfo,
  klDivergence,
  memory,
  randomKey,
  registerAdvantageEstimator,
  scan,
  tensor,
  tidy,
  Transformer,
  transformerConfig,
  type MemoryInfo,
  type Tensor,
} from 'vantage-rl';

const STRETCHES = 20;
/** The first ones warm up. */
const WARM = 5;
/**
 * Bytes that they may grow by from the first third of the other stretches to the last, 5,000 iterations on: V8 gives pages back as it likes, its compiled code
 * grows for a while, and the cache of the device holds what the collector was late for.
 */
const MOST_GROWTH = { resident: 4 * 2 ** 20, heap: 2 ** 20, cache: 2 ** 18 };

const ROWS = 8;
const PROMPT = 3;
const VOCABULARY = 16;
/** Lengths of answers, in turn: each is a graph of its own. */
const LENGTHS = [5, 7, 6];

class Custom extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    const advantages = scan([rewards, masks], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.99)));
    return advantages.sub(advantages.mean()).div(advantages.std().add(1e-8));
  }
}
registerAdvantageEstimator('memory_custom', Custom);
const ESTIMATORS = ['memory_custom', 'gae', 'grpo', 'rloo', 'reinforce++'];

const config = transformerConfig({ vocabSize: VOCABULARY, hiddenSize: 16, numLayers: 1, numHeads: 2, intermediateSize: 24, maxPositionEmbeddings: 32 });
const model = Transformer.initialize(config, randomKey(1));
const optimizer = new AdamW(model.parameters, { lr: 1e-3, maxGradNorm: 1 });
const groupIds = Array.from({ length: ROWS }, (_, row) => row >> 1);

/** One step on made-up answers. What it returns to the collector, as a program that disposes of nothing would, is counted, too. */
function step(iteration: number): number {
  const length = LENGTHS[iteration % LENGTHS.length]!;
  const number = (i: number) => (iteration * 7 + i * 13 + ((i * i) % 11)) % 97;
  const made = <T extends number>(columns: number, value: (i: number) => T) => Array.from({ length: ROWS * columns }, (_, i) => value(i));
  const forgotten = tensor(made(length, number), { shape: [ROWS, length] }).mul(2).realize();
  return tidy(() => {
    const ids = tensor(made(PROMPT + length, (i) => number(i) % VOCABULARY), { shape: [ROWS, PROMPT + length], dtype: 'int32' });
    const start = tensor(made(1, (i) => i % 2), { shape: [ROWS], dtype: 'int32' });
    const masks = tensor(made(length, (i) => (i % length < length - (Math.floor(i / length) % 3) ? 1 : 0)), { shape: [ROWS, length], dtype: 'uint8' });
    const rewards = forgotten.sub(97).div(97).mul(masks);
    const { logProbs, entropy } = model.logProbs(ids, start, { from: PROMPT });
    const oldLogProbs = tensor(made(length, (i) => -1 - number(i) / 50), { shape: [ROWS, length] });
    const name = ESTIMATORS[iteration % ESTIMATORS.length]!;
    const { advantages } = computeAdvantages(name, { rewards, values: oldLogProbs, masks, groupIds }, {});
    const { loss, metrics } = computePolicyLoss('regular', { logProbs, oldLogProbs, advantages, mask: masks });
    const kl = klDivergence(logProbs, oldLogProbs, 'k3', masks).mean(null, { mask: masks });
    optimizer.accumulate(loss.add(kl.mul(0.01)).sub(entropy.mean(null, { mask: masks }).mul(0.01)), Object.values(metrics));
    const { gradNorm } = optimizer.step();
    return gradNorm + Object.values(metrics).reduce((sum, metric) => sum + metric.item(), 0);
  });
}

/** What is alive once all garbage is gone: collected tensors are released by finalizers, which run between turns of the event loop. */
async function alive(): Promise<{ device: MemoryInfo; resident: number; heap: number; cache: number }> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!();
    await setImmediate();
  }
  const { rss, heapUsed } = process.memoryUsage();
  const device = memory();
  return { device, resident: rss, heap: heapUsed, cache: device.cachedBytes };
}

async function main(): Promise<number> {
  const iterations = Number(process.argv[2] ?? 10_000);
  const stretch = Math.ceil(iterations / STRETCHES);
  if (!globalThis.gc) throw new Error('expected node --expose-gc');
  console.log(`${stretch * STRETCHES} iterations on ${defaultDevice()} (${deviceInfo(defaultDevice()).name ?? 'CPU'})`);
  const seen: Awaited<ReturnType<typeof alive>>[] = [];
  const failures: string[] = [];
  const began = performance.now();
  for (let i = 0; i < STRETCHES; i++) {
    for (let k = 0; k < stretch; k++) {
      const value = step(i * stretch + k);
      if (!Number.isFinite(value)) throw new Error(`iteration ${i * stretch + k}: expected finite metrics, got ${value}`);
      // The turns that finalizers need.
      if (k % 50 === 49) await setImmediate();
    }
    seen.push(await alive());
    const { device, resident, heap } = seen[i]!;
    const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
    const { bytes, cachedBytes, ...counts } = device;
    const told = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
    console.log(`${String((i + 1) * stretch).padStart(7)}: device ${mib(bytes)}, cache ${mib(cachedBytes)}, ${told.join(', ')}; process ${mib(resident)}, heap ${mib(heap)}`);
  }
  const flat = seen.slice(WARM);
  for (const name of ['tensors', 'buffers', 'bytes', 'plans'] as const) {
    const values = [...new Set(flat.map(({ device }) => device[name]))];
    if (values.length > 1) failures.push(`memory().${name}: expected the same after each stretch, got ${values.join(', ')}`);
  }
  // The lowest of some stretches: single ones hold pages that are about to be given back.
  const third = Math.floor(flat.length / 3);
  for (const name of ['resident', 'heap', 'cache'] as const) {
    const lowest = (part: typeof flat) => Math.min(...part.map((one) => one[name]));
    const growth = lowest(flat.slice(-third)) - lowest(flat.slice(0, third));
    if (growth > MOST_GROWTH[name]) failures.push(`${name}: expected to grow by at most ${MOST_GROWTH[name]} bytes, got ${growth}`);
  }
  for (const failure of failures) console.error(failure);
  console.log(`${failures.length === 0 ? 'flat' : 'not flat'}, ${((performance.now() - began) / 1000).toFixed(0)} s`);
  return failures.length === 0 ? 0 : 1;
}

main().then(
  (code) => (process.exitCode = code),
  (error: Error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
