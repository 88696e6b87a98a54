/** Estimators that are right, of many kinds, as users would have written them: no check may find anything in them. */
import { arange, keep, maskedWhiten, scan, tensor, where, type EstimatorState, type Tensor } from 'vantage-rl';
import { carried, gaeWith, perToken, toGo, type Planted, type WithState } from './mistakes/mistake';

const flag = (x: Tensor | null): Tensor => x!.cast('float32');
const restore = (self: WithState, state: EstimatorState): void => {
  Object.assign(self, state as object);
};

export const right: Planted[] = [
  { what: 'reward-to-go', declares: { scope: 'row' }, reads: ['gamma'], compute: (r, _, m, { gamma }) => toGo(r, m, gamma) },
  { what: 'the total of a row', declares: { scope: 'row' }, reads: [], leavesZeros: true, compute: (r, _, m) => perToken(r.sum(1), m) },
  { what: 'raw inputs behind the mask', declares: { scope: 'row' }, takesRawInputs: true, leavesZeros: true, compute: (r, _, m) => where(m, where(m, r, 0).sum(1, { keepDims: true }), 0) },
  { what: 'a total that is clipped', declares: { scope: 'row' }, compute: (r, _, m) => perToken(r.sum(1).clamp(-1, 1), m) },
  { what: 'a total for each of its tokens', declares: { scope: 'row' }, compute: (r, _, m) => perToken(r.sum(1).div(m.sum(1).maximum(1)), m) },
  {
    what: 'a group baseline',
    requires: ['groupIds'],
    reads: [],
    declares: { scope: 'group', invariantTo: ['shift'], emptyRows: 'count' },
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m),
  },
  {
    what: 'a group baseline that leaves rows without tokens out',
    requires: ['groupIds'],
    declares: { scope: 'group', invariantTo: ['shift'], emptyRows: 'ignore' },
    compute: (r, _, m, { groups }) => perToken(r.sum(1).cast('float64').sub(groups!.moments(r.sum(1), m.sum(1).greater(0)).mean).cast(r.dtype), m),
  },
  {
    what: 'a group baseline over the deviation',
    requires: ['groupIds'],
    declares: { scope: 'group', invariantTo: ['shift', 'scale'], emptyRows: 'count' },
    compute: (r, _, m, { groups }) => {
      const deviation = groups!.std(r.sum(1));
      return perToken(where(deviation.greater(0), groups!.centre(r.sum(1)).div(deviation.add(1e-6)), 0), m);
    },
  },
  {
    what: 'leave-one-out',
    requires: ['groupIds'],
    declares: { scope: 'group', invariantTo: ['shift'], emptyRows: 'count' },
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).mul(groups!.sizes).div(groups!.sizes.sub(1).maximum(1)), m),
  },
  {
    what: 'the best of the others as the baseline, for groups of two and more',
    requires: ['groupIds'],
    declares: { scope: 'group', invariantTo: ['shift'], emptyRows: 'count', smallestGroup: 2 },
    compute: (r, _, m, { groups }) => perToken(r.sum(1).sub(groups!.maxOfOthers(r.sum(1))), m),
  },
  {
    what: 'verifiers: 1 where more than half of the group failed',
    requires: ['groupIds'],
    declares: { scope: 'group', emptyRows: 'count', rewardRange: { low: 0, high: 1, integer: true } },
    compute: (r, _, m, { groups }) => perToken(r.sum(1).mul(groups!.mean(r.sum(1)).less(0.5)), m),
  },
  {
    what: 'whitened over the tokens of the batch',
    declares: { scope: 'batch', emptyRows: 'ignore' },
    compute: (r, _, m, { gamma }) => ({ advantages: maskedWhiten(toGo(r, m, gamma), m), returns: toGo(r, m, gamma) }),
  },
  {
    what: 'a mean of the batch in float64',
    declares: { scope: 'batch', invariantTo: [], emptyRows: 'ignore' },
    compute: (r, _, m) => {
      const [scores, valid] = [r.cast('float64').sum(1), m.sum(1).greater(0)];
      return perToken(scores.sub(scores.mul(valid).sum().div(valid.sum().maximum(1))).cast(r.dtype), m);
    },
  },
  {
    what: 'GAE',
    requires: ['values'],
    reads: ['gamma', 'lambda'],
    declares: { scope: 'row' },
    compute: (r, v, m, { gamma, lambda }) => {
      const advantages = gaeWith(r, v!, carried(v!, m), m, gamma, lambda);
      return { advantages, returns: advantages.add(v!) };
    },
  },
  {
    what: 'GAE, whitened, that ends where episodes do',
    requires: ['values', 'terminated'],
    declares: { scope: 'batch' },
    compute: (r, v, m, { gamma, lambda, terminated }) => {
      const goes = where(m, flag(terminated), 0).neg().add(1);
      const advantages = scan([r.add(carried(v!, m).mul(goes).mul(gamma)).sub(v!), goes], { reverse: true, mask: m }, (a, [d, k]) => d.add(a.mul(k).mul(gamma * lambda)));
      return { advantages: maskedWhiten(advantages, m), returns: advantages.add(v!) };
    },
  },
  {
    what: 'a critic where there is one',
    reads: ['values', 'gamma'],
    declares: { scope: 'row' },
    compute: (r, v, m, { gamma }) => (v ? { advantages: toGo(r, m, gamma).sub(v), returns: toGo(r, m, gamma) } : toGo(r, m, gamma)),
  },
  {
    what: 'a price for the distance to the reference',
    requires: ['oldLogProbs', 'refLogProbs'],
    reads: ['gamma'],
    declares: { scope: 'row' },
    options: { price: 0.25 },
    compute(r, _, m, { gamma, oldLogProbs, refLogProbs }) {
      return toGo(r.sub(oldLogProbs!.sub(refLogProbs!).mul(this.options.price as number)), m, gamma);
    },
  },
  { what: 'a baseline answer', requires: ['baselines'], declares: { scope: 'row' }, compute: (r, _, m, { baselines }) => perToken(r.sum(1).sub(baselines!), m) },
  {
    what: 'components, each from the mean of its group',
    requires: ['groupIds', 'rewardComponents'],
    declares: { scope: 'group', invariantTo: ['shift'], emptyRows: 'count' },
    compute: (_r, _, m, { groups, rewardComponents }) => perToken(groups!.centre(rewardComponents!.select(1, 0)).add(groups!.centre(rewardComponents!.select(1, 1)).mul(0.5)), m),
  },
  {
    what: 'the reward of the turn, for each of its tokens',
    requires: ['turnIds'],
    reads: [],
    declares: { scope: 'row' },
    compute: (r, _, m, { turnIds }) => {
      const same = turnIds!.expandDims(2).equal(turnIds!.expandDims(1));
      return where(m, same.mul(r.expandDims(1)).sum(2), 0);
    },
  },
  {
    what: 'columns, from the left, as declared',
    declares: { scope: 'batch', alignment: 'columns' },
    compute: (r, _, m) => where(m, r.cast('float64').sub(r.cast('float64').sum(0, { keepDims: true }).div(m.sum(0, { keepDims: true }).maximum(1))).cast(r.dtype), 0),
  },
  {
    what: 'a discount by the column, as declared',
    reads: [],
    declares: { scope: 'row', alignment: 'columns' },
    compute: (r, _, m) => where(m, r.mul(arange(0, r.shape[1]!, 1).mul(-0.5).exp()), 0),
  },
  {
    what: 'a running mean that is saved',
    declares: { scope: 'batch', emptyRows: 'count' },
    compute(r, _, m) {
      const self = this as WithState;
      const result = perToken(r.sum(1).sub(self.level), m);
      self.level += (r.sum(1).mean().item() - self.level) / ++self.count;
      return result;
    },
    save: ({ level, count }) => ({ level, count }),
    restore,
  },
  {
    what: 'a running mean on the device, kept and let go',
    declares: { scope: 'batch', emptyRows: 'count' },
    compute(r, _, m) {
      const self = this as WithState;
      const before = self.kept[0] ?? tensor([self.level]);
      const result = perToken(r.sum(1).sub(before), m).realize();
      const next = keep(before.mul(0.5).add(r.sum(1).mean().cast('float32').mul(0.5)).realize());
      self.kept[0]?.dispose();
      self.kept[0] = next;
      return result;
    },
    save: ({ kept }) => ({ level: kept[0]?.item() ?? 0 }),
    restore,
  },
  {
    what: 'ranks in the group',
    requires: ['groupIds'],
    declares: { scope: 'group', invariantTo: ['shift', 'scale'], emptyRows: 'count' },
    compute: (r, _, m, { groups }) => {
      const scores = r.sum(1);
      const peers = groups!.index.expandDims(0).equal(groups!.index.expandDims(1));
      return perToken(scores.expandDims(1).sub(scores.expandDims(0)).sign().mul(peers).sum(1).div(groups!.sizes), m).cast(r.dtype);
    },
  },
];
