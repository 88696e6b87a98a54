/**
 * `npm run test:alloc`: with an addon built with VANTAGE_INJECT every allocation that an operation makes (of memory, of threads, of JavaScript values) fails in its turn, alone and
 * with all that follow it. Each time the operation throws an error that names a function of the addon, nothing is left behind, and asked again it gives the bits that one thread
 * gives. Also while the addon is loaded, each time in a process of its own. Usage: node --import tsx test/fuzz/alloc/main.ts [--only NAME]
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  AdamW,
  computeAdvantages,
  computePolicyLoss,
  generate,
  gradients,
  memory,
  randomKey,
  randomNormal,
  sampleTokens,
  scan,
  tensor,
  type Tensor,
  tidy,
  tokenLogProbs,
  Transformer,
  transformerConfig,
  VantageError,
} from '../../../src';
import { deviceInfo, native, type NativeAddon } from '../../../src/native';

type Injecting = NativeAddon & { inject(nth: number, onwards: number): void; injected(): number };
type Numbers = ArrayLike<number>;

const rows = (n: number, columns: number, dtype: 'float32' | 'int32' | 'uint8' = 'float32'): Tensor =>
  tensor(Array.from({ length: n * columns }, (_, i) => (dtype === 'float32' ? ((i * 7) % 11) / 8 - 0.5 : dtype === 'int32' ? i % 3 : Number(i % 5 !== 0))), { shape: [n, columns], dtype });

/** Each of a size that no operation had before: its plan is new. Sizes are large enough for several threads. */
const operations: Record<string, (n: number) => Numbers> = {
  'arithmetic and a sum': (n) => rows(n, 150).mul(1.5).exp().sum(1).dataSync(),
  'a column maximum of bfloat16': (n) => rows(n, 150).cast('bfloat16').max(0).dataSync(),
  matmul: (n) => rows(n, 40).matmul(rows(40, 50)).dataSync(),
  softmax: (n) => rows(n, 200).softmax().dataSync(),
  'a scan that is affine': (n) => scan([rows(n, 60), rows(n, 60, 'uint8')], { reverse: true }, (s, [r, m]) => r!.add(s.mul(m!).mul(0.9))).dataSync(),
  'a scan that is not': (n) => scan([rows(n, 60)], {}, (s, [r]) => s.mul(r!).tanh().add(r!)).dataSync(),
  'random numbers': (n) => randomNormal([n, 100], { key: randomKey(3) }).dataSync(),
  gae: (n) => computeAdvantages('gae', { rewards: rows(n, 30), values: rows(n, 30), masks: rows(n, 30, 'uint8') }, {}).advantages.dataSync(),
  grpo: (n) => computeAdvantages('grpo', { rewards: rows(n, 30), masks: rows(n, 30, 'uint8'), groupIds: Array.from({ length: n }, (_, i) => i >> 2) }, {}).advantages.dataSync(),
  'a policy loss and its gradient': (n) => {
    const logProbs = rows(n, 20);
    const { loss } = computePolicyLoss('regular', { logProbs, oldLogProbs: rows(n, 20), advantages: rows(n, 20), mask: rows(n, 20, 'uint8') });
    return gradients(loss, [logProbs])[0]!.dataSync();
  },
  'log-probabilities and sampling': (n) => {
    const logits = rows(n, 60);
    const { ids } = sampleTokens(logits, { key: randomKey(5), temperature: 0.7, topP: 0.9 });
    return tokenLogProbs(logits, ids).logProbs.dataSync();
  },
  'generation by a transformer': (n) => {
    const config = transformerConfig({ vocabSize: 5, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 1, intermediateSize: n, maxPositionEmbeddings: 16 });
    const model = Transformer.initialize(config, randomKey(1));
    try {
      return generate(model, [[1, 2], [3]], { maxLength: 3, eosId: 4, padId: 0, key: randomKey(2) }).logProbs.flat();
    } finally {
      model.dispose();
    }
  },
  'an optimizer step of a transformer': (n) => {
    const config = transformerConfig({ vocabSize: 5, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 1, intermediateSize: n, maxPositionEmbeddings: 16 });
    const model = Transformer.initialize(config, randomKey(1));
    let optimizer: AdamW | null = null;
    try {
      optimizer = new AdamW(model.parameters, { lr: 1e-2, maxGradNorm: 1 });
      const { logProbs } = model.logProbs(tensor([[1, 2, 3, 4], [0, 1, 2, 3]], { dtype: 'int32' }), tensor([0, 1], { dtype: 'int32' }), { from: 2 });
      optimizer.accumulate(logProbs.sum(), []);
      optimizer.step();
      return model.parameters.get('model.embed_tokens.weight')!.dataSync();
    } finally {
      optimizer?.dispose();
      model.dispose();
    }
  },
};

const addon = native() as Injecting;
if (typeof addon.inject !== 'function') throw new Error('expected an addon that was built with VANTAGE_INJECT: npm run test:alloc');
const EXPECTED = /\b(allocate|upload|download|createPlan|execute|describe|deviceInfo|memory|synchronize): (execute: )?(out of memory|Node-API failed)/;
const problems: string[] = [];
let size = 40;

/** The transformer's is a size that shapes its weights, and much slower: one allocation in some is failed. */
const strideOf = (name: string): number => (name.includes('transformer') ? 7 : 1);

function failEach(name: string, operation: (n: number) => Numbers, onwards: number): { failed: number; errors: number } {
  let [failed, errors] = [0, 0];
  for (let nth = 1;; nth += strideOf(name)) {
    const n = ++size;
    const place = `${name}, allocation ${nth}${onwards ? ' and all that follow' : ''}`;
    addon.trim();
    addon.setThreads(3);
    const before = memory();
    let error: unknown = null;
    addon.inject(nth, onwards);
    try {
      tidy(() => operation(n));
    } catch (thrown) {
      error = thrown;
    }
    const made = addon.injected();
    if (error !== null) {
      errors++;
      if (!(error instanceof VantageError) || !EXPECTED.test(error.message)) problems.push(`${place}: expected an error of the addon that says what is missing, got ${String(error)}`);
    }
    const after = memory();
    for (const key of ['tensors', 'buffers', 'bytes'] as const) if (after[key] !== before[key]) problems.push(`${place}: ${after[key] - before[key]} ${key} are left after ${String(error)}`);
    const again = tidy(() => operation(n));
    addon.setThreads(1);
    const alone = tidy(() => operation(n));
    if (again.length !== alone.length || !Array.from({ length: again.length }, (_, i) => Object.is(again[i], alone[i])).every(Boolean)) problems.push(`${place}: other numbers afterwards`);
    if (made < nth) return { failed, errors };
    failed++;
  }
}

/** What a process says that loads the addon while an allocation fails: null where it is loaded. */
function loading(nth: number): string | null {
  const path = join(process.env.VANTAGE_RL_PREBUILD!, 'build/Release/vantage.node');
  const script = `try { require(${JSON.stringify(path)}); } catch (error) { console.log(error.message); process.exit(7); }`;
  const { status, signal, stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env: { ...process.env, VANTAGE_INJECT_AT: String(nth) } });
  if (status === 0) return null;
  if (status !== 7) problems.push(`loading, allocation ${nth}: the process ended with ${signal ?? status}`);
  return stdout.trim();
}

function main(): number {
  const { values } = parseArgs({ options: { only: { type: 'string' } } });
  for (const [name, operation] of Object.entries(operations)) {
    if (values.only !== undefined && !name.includes(values.only)) continue;
    for (const onwards of [0, 1]) {
      const { failed, errors } = failEach(name, operation, onwards);
      console.log(`${name}${onwards ? ', and all that follow' : ''}: ${failed} allocations failed, ${errors} errors`);
      if (errors === 0) problems.push(`${name}: expected errors, got none`);
    }
  }
  for (const [name, call] of [['describe', () => addon.describe()], ['memory', () => addon.memory()], ['deviceInfo', () => addon.deviceInfo('cpu')]] as const) {
    for (let nth = 1;; nth++) {
      addon.inject(nth, 0);
      let error: Error | null = null;
      try {
        call();
      } catch (thrown) {
        error = thrown as Error;
      }
      if (addon.injected() < nth) break;
      if (error === null || !EXPECTED.test(error.message)) problems.push(`${name}, value ${nth}: expected an error of the addon, got ${String(error)}`);
    }
    call();
  }
  if (deviceInfo('cpu').available !== true) problems.push('deviceInfo: the CPU is gone');
  if (values.only === undefined) {
    let [refused, nth] = [0, 1];
    for (; nth < 200; nth++) {
      const said = loading(nth);
      if (said === null && nth > 40) break;
      if (said !== null) refused++;
      if (said === '') problems.push(`loading, allocation ${nth}: the error says nothing`);
    }
    console.log(`loading: ${nth - 1} allocations failed, ${refused} errors`);
  }
  for (const problem of problems.slice(0, 40)) console.log(`  ${problem}`);
  console.log(`${problems.length} problems`);
  return problems.length === 0 ? 0 : 1;
}

process.exitCode = main();
