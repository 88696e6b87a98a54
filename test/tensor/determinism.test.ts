/** The same input gives the same bits, run after run: on a GPU nothing may depend on the order in which threads happen to finish. */
import { computeAdvantages, listAdvantageEstimators, type AdvantageOptions } from '../../src/advantages';
import {
  affineScan,
  attention,
  discountedReturn,
  gradients,
  randomKey,
  randomNormal,
  randomUniform,
  rowMoments,
  sampleTokens,
  scan,
  tensor,
  Tensor,
  tidy,
  tokenLogProbs,
  vtrace,
  whiten,
} from '../../src/tensor';

const RUNS = 20;
const key = randomKey(11);
const [rows, time] = [37, 700];

const x = randomNormal([rows, time], { key: key.fold(1) }).realize();
const y = randomNormal([rows, time], { key: key.fold(2) }).realize();
const mask = randomUniform([rows, time], { key: key.fold(3) }).greater(0.1).realize();
const long = randomNormal([1, 200_000], { key: key.fold(4) }).realize();
const longMask = randomUniform([1, 200_000], { key: key.fold(5) }).greater(0.1).realize();
const square = randomNormal([96, 96], { key: key.fold(6) }).realize();
const ids = tensor(Int32Array.from({ length: rows }, (_, i) => (i * 131) % time));
const keyStart = tensor(Int32Array.of(0, 3));
const heads = [7, 8, 9].map((n) => randomNormal([2, 4, 33, 16], { key: key.fold(n) }).realize()) as [Tensor, Tensor, Tensor];
const repeated = tensor(Int32Array.from({ length: rows * time }, (_, i) => (i * 7) % 13), { shape: [rows, time] });

/** What an estimator cannot do without with rewards of this size. */
const optionsOf: Record<string, AdvantageOptions> = { bnpo: { minReward: -1e3, maxReward: 1e3 } };

/** Everything that an estimator may ask for. */
const perToken = { values: y, oldLogProbs: x, refLogProbs: y, rolloutLogProbs: y, teacherLogProbs: y, sumSquaredProbs: x.square(), importanceWeights: y };
const flags = { terminated: repeated.equal(0), truncated: repeated.equal(1), turnIds: repeated, anchorIds: repeated };
const perRow = { groupIds: Array.from({ length: rows }, (_, i) => i % 5), baselines: x.select(1, 0), bootstrapValues: y.select(1, 0), rewardComponents: x.slice([0, 0], [null, 3]) };
const batch = { rewards: x, masks: mask, ...perToken, ...flags, ...perRow };

const work: Record<string, () => Tensor[]> = {
  'sums over all, rows and columns': () => [x.sum(), x.sum(1), x.sum(0), x.max(), x.std(0), long.sum(), long.var()],
  'a scan along long rows': () => [scan([long], { reverse: true, mask: longMask }, (next, [r]) => r.add(next.mul(0.99)))],
  'a recurrence that is not affine': () => [scan([x], {}, (state, [v]) => state.mul(0.5).add(v).tanh())],
  recurrences: () => [
    affineScan(x.tanh(), y),
    discountedReturn(long, longMask, { gamma: 1 }).returns,
    ...Object.values(vtrace({ targetLogProbs: x, behaviourLogProbs: y, rewards: x, values: y, mask }, { gamma: 0.99 })),
  ],
  whitening: () => [whiten(x, mask), whiten(long, longMask), rowMoments(x, mask)],
  'matrix products and their gradients': () => {
    const loss = square.matmul(square).tanh().matmul(x.slice([0, 0], [null, 96]).transpose()).sum();
    return [loss, ...gradients(loss, [square, x])];
  },
  'attention and its gradients': () => {
    const loss = attention(...heads, { scale: 0.25, keyStart }).square().sum();
    return [loss, ...gradients(loss, heads)];
  },
  'log-probs and their gradients': () => {
    const { logProbs, entropy } = tokenLogProbs(x, ids);
    const loss = logProbs.mean().add(entropy.mean());
    return [logProbs, entropy, ...gradients(loss, [x])];
  },
  'gathers with repeated indices and their gradients': () => {
    const taken = x.gather(repeated, 1).square().sum();
    return [taken, ...gradients(taken, [x])];
  },
  sampling: () => Object.values(sampleTokens(x, { key, topP: 0.9, temperature: 0.7 })),
  ...Object.fromEntries(
    listAdvantageEstimators().map((name) => [
      `estimator ${name}`,
      () => {
        const { advantages, returns } = computeAdvantages(name, batch, optionsOf[name]);
        return [advantages, returns];
      },
    ]),
  ),
};

const bitsOf = (tensors: Tensor[]): Buffer => Buffer.concat(tensors.map((t) => Buffer.from((t.dataSync() as Float32Array).buffer)));

test.each(Object.keys(work))(`${RUNS} runs of %s give the same bits`, (name) => {
  const runs = Array.from({ length: RUNS }, () => tidy(() => bitsOf(work[name]!())));
  expect(runs[0]!.length).toBeGreaterThan(0);
  for (const run of runs) expect(run.equals(runs[0]!)).toBe(true);
});
