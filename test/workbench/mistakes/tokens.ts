/** Mistakes with masks, padding, holes and time. */
import { maskedWhiten, scan, where, type Tensor } from 'vantage-rl';
import { carried, gaeWith, leftBy, perToken, toGo, type Mistake } from './mistake';

export const tokenMistakes: Mistake[] = [
  { what: 'no mask in a mean and a deviation', cause: 'padding-counted', compute: (r, _, m, { gamma }) => (toGo(r, m, gamma).sub(toGo(r, m, gamma).mean()).div(toGo(r, m, gamma).std().add(1e-8))) },
  { what: 'the sum of valid tokens over all positions', cause: 'padding-counted', compute: (r, _, m, { gamma }) => where(m, toGo(r, m, gamma).sub(where(m, toGo(r, m, gamma), 0).mean()), 0) },
  { what: 'the mean reward of a row instead of its sum', cause: 'padding-counted', declares: { scope: 'row' }, compute: (r, _, m) => perToken(r.mean(1), m) },
  { what: 'the width of the batch as the length', cause: 'padding-counted', compute: (r, _, m) => perToken(r.sum(1), m).div(r.shape[1]!) },
  { what: 'the reward of the last column', cause: 'last-column', compute: (r, _, m) => perToken(r.select(1, r.shape[1]! - 1), m) },
  { what: "the first column's value as the baseline", cause: 'first-column', requires: ['values'], compute: (r, v, m) => perToken(r.sum(1).sub(v!.select(1, 0)), m) },
  { what: 'a discount by the column from the left', cause: 'discount-over-masked', compute: (r, _, m, { gamma }) => discounted(r, gamma).mul(m) },
  { what: 'a discount over holes', cause: 'discount-over-masked', compute: (r, _, m, { gamma }) => scan([r], { reverse: true }, (next, [x]) => x.add(next.mul(gamma))).mul(m) },
  { what: 'the mask as a factor on the running sum', cause: 'credit-lost-at-hole', compute: (r, _, m) => scan([r, m], { reverse: true }, (next, [x, k]) => x.add(next).mul(k)) },
  { what: 'the value in the next column, where that is a hole', cause: 'value-at-hole', requires: ['values'], compute: (r, v, m, { gamma, lambda }) => gaeWith(r, v!, leftBy(v!), m, gamma, lambda) },
  { what: 'a mask that comes after a NaN', cause: 'mask-times-nan', takesRawInputs: true, compute: (r, _, m) => perToken(r.mul(m).sum(1), m) },
  { what: 'raw inputs without a mask', cause: 'reads-masked', takesRawInputs: true, compute: (r, _, m) => perToken(r.sum(1), m) },
  { what: 'advantages at masked positions that are said to be 0', cause: 'masked-results', leavesZeros: true, compute: (r, _, m) => r.sum(1, { keepDims: true }).add(m.mul(0)) },
  {
    what: 'the last token bootstrapped from its own value',
    cause: 'bootstrap-at-end',
    requires: ['values'],
    declares: { scope: 'row' },
    compute: (r, v, m, { gamma, lambda }) => gaeWith(r, v!, where(isLast(m), v!, carried(v!, m)), m, gamma, lambda),
  },
  { what: 'V_t in place of V_{t+1}', cause: 'bootstrap-off-by-one', requires: ['values'], declares: { scope: 'row' }, compute: (r, v, m, { gamma, lambda }) => gaeWith(r, v!, v!, m, gamma, lambda) },
  {
    what: 'GAE without γ before the next value',
    cause: 'bootstrap-off-by-one',
    requires: ['values'],
    declares: { scope: 'row' },
    compute: (r, v, m, { gamma, lambda }) => scan([r, v!, carried(v!, m)], { reverse: true, mask: m }, (a, [x, y, n]) => x.add(n).sub(y).add(a.mul(gamma * lambda))),
  },
  { what: 'time reversed', cause: 'time-reversed', compute: (r, _, m, { gamma }) => scan([r], { mask: m }, (before, [x]) => x.add(before.mul(gamma))) },
  { what: 'time reversed, then whitened', cause: 'time-reversed', compute: (r, _, m, { gamma }) => maskedWhiten(scan([r], { mask: m }, (before, [x]) => x.add(before.mul(gamma))), m) },
  {
    what: 'a cumulative sum without the own reward',
    cause: 'own-reward-missing',
    compute: (r, _, m) => scan([r], { reverse: true, mask: m, init: [0, 0] }, ([sum, last], [x]) => [sum.add(last), x])[0],
  },
  {
    what: 'a cumulative sum that takes the reward before it, too',
    cause: 'off-by-one',
    compute: (r, _, m) => toGo(r, m, 1).add(scan([r], { mask: m, init: [0, 0] }, ([, last], [x]) => [last, x])[0]),
  },
  { what: 'a product of the state with itself', cause: 'sequential-scan', compute: (r, _, m) => scan([r], { reverse: true, mask: m }, (next, [x]) => x.add(next.mul(next).mul(0.01)).minimum(10)) },
];

function isLast(masks: Tensor): Tensor {
  return masks.notEqual(0).logicalAnd(masks.cast('int32').cumsum(1, { reverse: true }).equal(1));
}

/** r_t·γ^t, t the column. */
function discounted(rewards: Tensor, gamma: number): Tensor {
  return scan([rewards], { init: [0, 1] }, ([, power], [r]) => [r.mul(power), power.mul(gamma)])[0];
}
