/** Mistakes of code in the wild, with time: ends of episodes, discounts, values, the last token. */
import { arange, concat, maskedWhiten, scan, tensor, where, zeros, type Tensor } from 'vantage-rl';
import { carried, gaeWith, leftBy, perToken, toGo, type Mistake } from './mistake';

const critic = { requires: ['values'], declares: { scope: 'row' } } as const;
const ended = { requires: ['values', 'terminated'], declares: { scope: 'row' } } as const;
const flag = (x: Tensor | null): Tensor => x!.cast('float32');
const length = (m: Tensor): Tensor => m.sum(1, { keepDims: true });

export const wildTokenMistakes: Mistake[] = [
  {
    what: 'flags of ends that are required and not looked at',
    cause: 'input-unused',
    ...ended,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, gaeWith(r, v!, carried(v!, m), m, gamma, lambda)),
  },
  {
    what: 'ends that stop the bootstrap and not the trace',
    cause: 'credit-across-ends',
    ...ended,
    compute: (r, v, m, { gamma, lambda, terminated }) => gae(r, v!, m, gaeWith(r, v!, carried(v!, m).mul(flag(terminated).neg().add(1)), m, gamma, lambda)),
  },
  {
    what: "the next token's flag where the token's own was meant",
    cause: 'credit-across-ends',
    ...ended,
    compute: (r, v, m, { gamma, lambda, terminated }) => gae(r, v!, m, gated(r, v!, m, flag(terminated).mul(0).add(leftBy(flag(terminated))).neg().add(1), gamma, lambda)),
  },
  {
    what: 'done in place of 1 − done',
    cause: 'credit-across-ends',
    ...ended,
    compute: (r, v, m, { gamma, lambda, terminated }) => gae(r, v!, m, gated(r, v!, m, flag(terminated), gamma, lambda)),
  },
  {
    what: 'the sum of a row that goes on behind an end',
    cause: 'credit-across-ends',
    requires: ['terminated'],
    declares: { scope: 'row' },
    compute: (r, _, m, { gamma, terminated }) => toGo(r.sub(flag(terminated).mul(0.125)), m, gamma),
  },
  {
    what: 'rows that are cut off, without their bootstrap value',
    cause: 'input-unused',
    requires: ['values', 'truncated', 'bootstrapValues'],
    declares: { scope: 'row' },
    compute: (r, v, m, { gamma, lambda, truncated }) => gae(r, v!, m, gated(r, v!, m, flag(truncated).neg().add(1), gamma, lambda)),
  },
  {
    what: 'λ in the temporal-difference error, where γ was meant',
    cause: 'bootstrap-off-by-one',
    ...critic,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, gaeWith(r, v!, carried(v!, m), m, lambda, gamma)),
  },
  {
    what: 'no λ in the trace, though it is said to be read',
    cause: 'input-unused',
    ...critic,
    reads: ['gamma', 'lambda'],
    compute: (r, v, m, { gamma }) => gae(r, v!, m, gaeWith(r, v!, carried(v!, m), m, gamma, 1)),
  },
  {
    what: 'no λ in the trace, beside GAE',
    cause: 'another-discount',
    ...critic,
    compute: (r, v, m, { gamma }) => gae(r, v!, m, gaeWith(r, v!, carried(v!, m), m, gamma, 1)),
    check: { reference: { name: 'gae', options: { whiten: 'none' } }, only: ['reference'] },
  },
  {
    what: 'γ squared in the trace, beside GAE',
    cause: 'another-discount',
    ...critic,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, scan([r.add(carried(v!, m).mul(gamma)).sub(v!)], { reverse: true, mask: m }, (a, [d]) => d.add(a.mul(lambda)))),
    check: { reference: { name: 'gae', options: { whiten: 'none' } }, only: ['reference'] },
  },
  {
    what: 'a discount that counts from the last column',
    cause: 'discount-over-masked',
    declares: { scope: 'row' },
    compute: (r, _, m, { gamma }) => r.sum(1, { keepDims: true }).mul(arange(0, r.shape[1]!, 1).flip(0).mul(Math.log(gamma)).exp()).mul(m),
  },
  {
    what: "the value of the token before in place of the next one's",
    cause: 'bootstrap-off-by-one',
    ...critic,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, gaeWith(r, v!, scan([v!], { mask: m, init: [0, 0] }, ([, last], [x]) => [last, x])[0], m, gamma, lambda)),
  },
  {
    what: 'values that are rolled, so that the last one is followed by the first',
    cause: 'off-by-one',
    ...critic,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, gaeWith(r, v!, concat([v!.slice([0, 1]), v!.slice([0, 0], [null, 1])], 1), m, gamma, lambda)),
  },
  { what: 'advantages as returns, beside a critic', cause: 'returns-without-values', ...critic, compute: (r, v, m, { gamma, lambda }) => gaeWith(r, v!, carried(v!, m), m, gamma, lambda) },
  {
    what: 'returns from whitened advantages',
    cause: 'returns-whitened',
    requires: ['values'],
    compute: (r, v, m, { gamma, lambda }) => {
      const a = gaeWith(r, v!, carried(v!, m), m, gamma, lambda);
      const white = maskedWhiten(a, m);
      return { advantages: white, returns: white.add(v!) };
    },
  },
  { what: 'the last token by the length of the row', cause: 'first-column', declares: { scope: 'row' }, compute: (r, _, m) => r.gather(length(m).cast('int32').sub(1).maximum(0), 1).mul(m) },
  {
    what: 'the reward of the last token, whatever the others got',
    cause: 'reward-ignored',
    declares: { scope: 'row' },
    compute: (r, _, m) => where(isLast(m), r, 0).sum(1, { keepDims: true }).mul(m),
  },
  { what: 'a mask that ends one token early', cause: 'token-left-out', declares: { scope: 'row' }, compute: (r, _, m, { gamma }) => where(isLast(m), 0, toGo(r, m, gamma)) },
  { what: 'a mask that begins one token late', cause: 'token-left-out', declares: { scope: 'row' }, compute: (r, _, m) => where(m.cast('int32').cumsum(1).equal(1), 0, toGo(r, m, 1)) },
  { what: 'advantages one token late', cause: 'off-by-one', declares: { scope: 'row' }, compute: (r, _, m) => scan([toGo(r, m, 1)], { mask: m, init: [0, 0] }, ([, last], [g]) => [last, g])[0] },
  { what: 'a flip before the cumulative sum, and none behind it', cause: 'time-reversed', declares: { scope: 'row' }, compute: (r, _, m) => r.flip(1).cumsum(1).mul(m) },
  {
    what: 'the value of padding, behind the last token',
    cause: 'reads-masked',
    ...critic,
    takesRawInputs: true,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, gaeWith(r, v!, leftBy(v!), m, gamma, lambda)),
  },
  {
    what: 'an importance ratio times the mask',
    cause: 'mask-times-nan',
    requires: ['oldLogProbs', 'rolloutLogProbs'],
    declares: { scope: 'row' },
    takesRawInputs: true,
    compute: (r, _, m, { oldLogProbs, rolloutLogProbs }) => perToken(where(m, r, 0).sum(1).mul(oldLogProbs!.sub(rolloutLogProbs!).mul(m).sum(1).exp()), m),
  },
  {
    what: 'GAE that is multiplied by the mask of the next token',
    cause: 'credit-lost-at-hole',
    ...critic,
    compute: (r, v, m, { gamma, lambda }) => gae(r, v!, m, scan([r.add(leftBy(v!).mul(gamma)).sub(v!), m], { reverse: true }, (a, [d, k]) => d.add(a.mul(gamma * lambda)).mul(k))),
  },
  { what: 'from the first to the last token as the length', cause: 'hole-counted', declares: { scope: 'row' }, compute: (r, _, m) => perToken(r.sum(1).div(span(m).maximum(1)), m) },
  { what: 'a price for each column', cause: 'first-column', declares: { scope: 'row' }, compute: (r, _, m) => toGo(r, m, 1).sub(arange(0, r.shape[1]!, 1).mul(0.125)).mul(m) },
  { what: 'a penalty beside the width of the batch (overlong)', cause: 'padding-counted', declares: { scope: 'row' }, compute: (r, _, m) => perToken(r.sum(1).sub(m.sum(1).div(r.shape[1]!)), m) },
  {
    what: 'a row that fills the last column taken to be cut off',
    cause: 'last-column',
    declares: { scope: 'row' },
    compute: (r, _, m) => perToken(r.sum(1).mul(m.select(1, m.shape[1]! - 1).logicalNot()), m),
  },
  {
    what: 'a mean with the mask, and a deviation without it',
    cause: 'padding-counted',
    compute: (r, _, m, { gamma }) => {
      const g = toGo(r, m, gamma);
      return g.sub(g.mean(null, { mask: m })).div(g.std().add(1e-8)).mul(m);
    },
  },
  { what: 'a sum over the rows where that over tokens was meant', cause: 'columns-compared', compute: (r, _, m) => r.sum(0).expandDims(0).mul(m) },
  {
    what: "the critic's mean over the rows as the baseline",
    cause: 'columns-compared',
    requires: ['values'],
    compute: (r, v, m) => ({ advantages: toGo(r, m, 1).sub(v!.mean(0, { keepDims: true })).mul(m), returns: toGo(r, m, 1) }),
  },
  {
    what: 'differences of neighbours',
    cause: 'last-column',
    declares: { scope: 'row' },
    compute: (r, _, m) => concat([r.slice([0, 1]).sub(r.slice([0, 0], [null, r.shape[1]! - 1])).reshape(r.shape[0]!, r.shape[1]! - 1), zeros([r.shape[0]!, 1]).cast(r.dtype)], 1).mul(m),
  },
  {
    what: 'turns that are numbered from 0 without a gap',
    cause: 'turn-names',
    requires: ['turnIds'],
    declares: { scope: 'row' },
    compute: (r, _, m, { turnIds }) => perToken(r.sum(1), m).div(turnIds!.cast('float32').add(1)),
  },
  {
    what: 'an index [t][b] in place of [b][t]',
    cause: 'row-order',
    check: { bail: false },
    compute: (r) => {
      const [rows, time] = r.shape as [number, number];
      const x = r.dataSync();
      return tensor(Float64Array.from(x, (_, k) => x[(k % rows) * time + Math.floor(k / rows)]!), { shape: [rows, time] }).cast(r.dtype);
    },
  },
];

/** Advantages with the returns that belong to them. */
const gae = (_r: Tensor, values: Tensor, _m: Tensor, advantages: Tensor) => ({ advantages, returns: advantages.add(values) });

/** GAE whose trace and bootstrap `open` lets through. */
const gated = (r: Tensor, v: Tensor, m: Tensor, open: Tensor, gamma: number, lambda: number): Tensor =>
  scan([r.add(carried(v, m).mul(open).mul(gamma)).sub(v), open], { reverse: true, mask: m }, (a, [d, k]) => d.add(a.mul(k).mul(gamma * lambda)));

const isLast = (m: Tensor): Tensor => m.notEqual(0).logicalAnd(m.cast('int32').cumsum(1, { reverse: true }).equal(1));

function span(m: Tensor): Tensor {
  const seen = m.cast('int32').cumsum(1).greater(0);
  const ahead = m.cast('int32').cumsum(1, { reverse: true }).greater(0);
  return seen.logicalAnd(ahead).sum(1);
}
