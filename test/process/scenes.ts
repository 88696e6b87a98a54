/** What workers.test.ts starts, in a process of its own: workers that compute at once, that are ended while they compute, and exits from odd places. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { computeAdvantages, listAdvantageEstimators, memory, ones, randomKey, randomNormal, scan, tensor, tidy, type AdvantageOptions } from '../../src';
import { native } from '../../src/native';

const [rows, time] = [8, 96];

function inputs() {
  const noise = (seed: number) => randomNormal([rows, time], { key: randomKey(seed) });
  const groupIds = Array.from({ length: rows }, (_, row) => row >> 1);
  return { rewards: noise(1), values: noise(2), masks: ones([rows, time], { dtype: 'bool' }), groupIds, oldLogProbs: noise(3), refLogProbs: noise(4), rolloutLogProbs: noise(5) };
}

const estimators: readonly [string, AdvantageOptions][] = [['gae', { gamma: 0.99, lambda: 0.9 }], ['grpo', {}], ['rloo', {}], ['reinforce++', {}], ['vtrace', {}], ['td_lambda', {}], ['opo', {}], [
  'n_step',
  {},
]];

/** One hash over the bits of all estimators' results, and of a program on all cores. */
function bits(rounds: number): string {
  const hash = createHash('sha256');
  for (let round = 0; round < rounds; round++) {
    tidy(() => {
      for (const [name, options] of estimators) {
        if (!listAdvantageEstimators().includes(name)) throw new Error(`${name} is not registered`);
        const { advantages, returns } = computeAdvantages(name, inputs(), options);
        hash.update(advantages.dataSync()).update(returns.dataSync());
      }
      const x = randomNormal([64, 4096], { key: randomKey(9) });
      hash.update(scan([x], { reverse: true }, (state, [y]) => state.mul(0.97).add(y.tanh())).exp().sum(1).dataSync());
    });
  }
  return hash.digest('hex');
}

function worker(task: string): Worker {
  return new Worker(`require(${JSON.stringify(join(__dirname, '../typescript.cjs'))}); require(${JSON.stringify(__filename)});`, { eval: true, workerData: task });
}

const answer = (from: Worker) => new Promise<string>((resolve, reject) => from.once('message', resolve).once('error', reject));
const isOver = (of: Worker) => new Promise<number>((resolve) => of.once('exit', resolve));

const scenes: Record<string, () => unknown> = {
  /** Four workers at once, and the main thread beside them, give the same bits. */
  async concurrent() {
    const workers = Array.from({ length: 4 }, () => worker('bits'));
    const ends = workers.map(isOver);
    const answers = workers.map(answer);
    const own = bits(2);
    return { own, others: await Promise.all(answers), codes: await Promise.all(ends) };
  },
  /** Workers that are ended while they compute leave the pool and the memory as they were. */
  async terminated() {
    const own = bits(1);
    for (let i = 0; i < 3; i++) {
      const victim = worker('forever');
      await answer(victim);
      await new Promise((resolve) => setTimeout(resolve, 5 * i));
      await victim.terminate();
    }
    const { buffers, bytes } = memory();
    return { same: bits(1) === own, buffers, bytes };
  },
  exitInStep: () => scan([tensor([[1, 2]])], {}, () => process.exit(7)),
  exitInEstimator: () => tidy(() => process.exit(7)),
  exitWithWork() {
    tensor(new Float32Array(1 << 20)).exp().realize();
    process.exit(7);
  },
  exitInFinalizer() {
    for (let i = 0; i < 1000; i++) tensor([i]).add(1).realize();
    setImmediate(() => process.exit(7));
  },
  natural: () => bits(1).length,
  async exitBesideWorker() {
    await answer(worker('forever'));
    process.exit(7);
  },
  /** An exit from within a worker ends it alone. */
  async exitInWorker() {
    const code = await isOver(worker('exitInStep'));
    return { code, sum: tensor([1, 2, 3]).sum().item() };
  },
};

const tasks: Record<string, () => unknown> = {
  bits: () => parentPort!.postMessage(bits(2)),
  forever() {
    bits(1);
    parentPort!.postMessage('computing');
    for (;;) bits(1);
  },
  exitInStep: () => scan([tensor([[1, 2]])], {}, () => process.exit(3)),
};

if (isMainThread) {
  native().setThreads(3);
  void Promise.resolve(scenes[process.argv[2]!]!()).then((result) => console.log(JSON.stringify(result)));
} else tasks[workerData as string]!();
