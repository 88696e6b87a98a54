/** Mistakes of code in the wild, with rows, groups and numbers. */
import { arange, tensor, where, type Tensor } from 'vantage-rl';
import { perToken, toGo, type Mistake } from './mistake';

const grouped = { requires: ['groupIds'], declares: { scope: 'group', emptyRows: 'count' } } as const;
const shifted = { requires: ['groupIds'], declares: { scope: 'group', emptyRows: 'count', invariantTo: ['shift'] } } as const;
const scaled = { requires: ['groupIds'], declares: { scope: 'group', emptyRows: 'count', invariantTo: ['shift', 'scale'] } } as const;

export const wildRowMistakes: Mistake[] = [
  {
    what: 'a group by group deviation over the tokens of the batch',
    cause: 'batch-statistics',
    ...grouped,
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m).div(perToken(r.sum(1), m).std(null, { mask: m, ddof: 0 }).add(1e-6)),
  },
  {
    what: 'rewards divided by the largest of the batch',
    cause: 'batch-statistics',
    ...grouped,
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1).div(r.sum(1).abs().max().add(1))), m),
  },
  { what: 'a softmax over all rows', cause: 'batch-statistics', ...grouped, compute: (r, _, m) => perToken(r.sum(1).softmax(0), m) },
  { what: 'rewards brought to 0 … 1 by the batch', cause: 'other-rows', declares: { scope: 'row' }, compute: (r, _, m) => perToken(r.sum(1).sub(r.sum(1).min()), m) },
  {
    what: 'the sum of squares over n − 1, for one row',
    cause: 'single-row',
    compute: (r, _, m) => perToken(r.sum(1).div(r.sum(1).sub(r.sum(1).mean()).square().sum().div(r.shape[0]! - 1).sqrt().add(1e-6)), m),
  },
  { what: 'leave-one-out over the batch, for one row', cause: 'single-row', compute: (r, _, m) => perToken(r.sum(1).sub(r.sum().sub(r.sum(1)).div(r.shape[0]! - 1)), m) },
  {
    what: 'scores of shape [groups, answers], by the size of the first group',
    cause: 'groups-equal-size',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      const table = r.sum(1).reshape(-1, groups!.sizes.dataSync()[0]!);
      return perToken(table.sub(table.mean(1, { keepDims: true })).reshape(r.shape[0]!), m);
    },
  },
  {
    what: 'scores of shape [groups, answers], where groups may lie in each other',
    cause: 'groups-equal-size',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      const n = Math.ceil(r.shape[0]! / groups!.count);
      const scores = r.sum(1).dataSync();
      const mean = (b: number) => {
        const own = Array.from(scores.slice(b - (b % n), b - (b % n) + n)) as number[];
        return own.reduce((sum, x) => sum + x, 0) / own.length;
      };
      return perToken(tensor(Float64Array.from(scores, (x, b) => x - mean(b))).cast(r.dtype), m);
    },
  },
  {
    what: 'groups by the index of the row, modulo their number',
    cause: 'row-order',
    ...grouped,
    compute: (r, _, m, { groups }) => perToken(modulo(r.sum(1), groups!.count), m),
  },
  {
    what: 'ids that must be numbers',
    cause: 'group-names',
    ...grouped,
    compute: (r, _, m, { groups }) => perToken(r.sum(1), m).add(perToken(groups!.index.cast('float32').mul(0), m)).mul(Number(groups!.ids[0]) * 0 + 1),
  },
  {
    what: 'a baseline from the group before, in the order of the ids',
    cause: 'group-names',
    requires: ['groupIds'],
    compute: (r, _, m, { groups }) => {
      const sorted = [...groups!.ids].map(String).sort();
      const first = groups!.ids.findIndex((id) => String(id) === sorted[0]);
      const baseline = where(groups!.index.equal(first), groups!.mean(r.sum(1)), 0).max();
      return perToken(r.sum(1).sub(baseline), m);
    },
  },
  {
    what: 'an error where the rows of a group do not stand together',
    cause: 'groups-contiguous',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      const index = Array.from(groups!.index.dataSync());
      if (index.some((group, b) => b > 0 && group < index[b - 1]!)) throw new Error('rows of a group must stand together');
      return perToken(groups!.centre(r.sum(1)), m);
    },
  },
  {
    what: 'an error where groups differ in size',
    cause: 'groups-equal-size',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      if (r.shape[0]! % groups!.count !== 0 || groups!.smallest * groups!.count !== r.shape[0]) throw new Error('batch size must be a multiple of the number of answers');
      return perToken(groups!.centre(r.sum(1)), m);
    },
  },
  {
    what: 'an error for groups of one row',
    cause: 'throws',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      if (groups!.smallest < 2) throw new Error('at least two answers a prompt');
      return perToken(groups!.centre(r.sum(1)), m);
    },
  },
  {
    what: 'groups of four, as in the configuration of its author',
    cause: 'groups-equal-size',
    ...shifted,
    compute: (r, _, m, { groups }) => perToken(r.sum(1).sub(groups!.sum(r.sum(1)).sub(r.sum(1)).div(3)), m),
  },
  { what: 'the first of equal best rows', cause: 'row-order', compute: (r, _, m) => perToken(best(r.sum(1)), m) },
  { what: 'rewards that are clipped, though scale is declared', cause: 'not-scale-invariant', ...scaled, compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).clamp(-1, 1), m) },
  {
    what: 'an ε of 0.1 beside σ, though scale is declared',
    cause: 'not-scale-invariant',
    ...scaled,
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).div(groups!.std(r.sum(1)).add(0.1)), m),
  },
  {
    what: 'a baseline of half the mean, though shift is declared',
    cause: 'not-shift-invariant',
    ...shifted,
    compute: (r, _, m, { groups }) => perToken(r.sum(1).sub(groups!.mean(r.sum(1)).mul(0.5)), m),
  },
  {
    what: 'a group deviation of rounding noise',
    cause: 'zero-deviation',
    ...grouped,
    compute: (r, _, m, { groups }) => {
      const [mean, square] = [groups!.sum(r.sum(1)).div(groups!.sizes), groups!.sum(r.sum(1).square()).div(groups!.sizes)];
      return perToken(r.sum(1).sub(mean).div(square.sub(mean.square()).maximum(0).sqrt().add(1e-18)), m);
    },
  },
  { what: 'a division by the mean reward', cause: 'not-finite', declares: { scope: 'batch' }, compute: (r, _, m) => perToken(r.sum(1).div(r.sum(1).mean()), m) },
  { what: 'rewards in bfloat16', cause: 'half-precision', declares: { scope: 'row' }, compute: (r, _, m) => toGo(r.cast('bfloat16').realize().cast(r.dtype), m, 1) },
  { what: 'a baseline in bfloat16', cause: 'half-precision', ...grouped, compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1).cast('bfloat16').realize().cast(r.dtype)), m) },
  { what: 'rewards as integers', cause: 'half-precision', declares: { scope: 'row' }, compute: (r, _, m) => toGo(r.cast('int32').cast(r.dtype), m, 1) },
  { what: 'a variance around 0 that is brought to μ in float32', cause: 'cancellation', compute: (r, _, m) => perToken(welford(r.sum(1)), m), check: { only: ['float32', 'offset'] } },
  {
    what: 'whitening by row where that by batch was meant',
    cause: 'another-normalisation',
    compute: (r, _, m, { gamma }) => byRow(toGo(r, m, gamma), m),
    check: { reference: 'reinforce++', only: ['reference'] },
  },
  {
    what: 'a mean over tokens where that over rows was meant',
    cause: 'another-baseline',
    compute: (r, _, m) => perToken(r.sum(1).sub(perToken(r.sum(1), m).mean(null, { mask: m })), m),
    check: { reference: ({ rewards, masks }) => beside(rewards, masks), only: ['reference'] },
  },
  { what: 'the baseline minus the reward', cause: 'sign', ...grouped, compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).neg(), m) },
  { what: 'costs where rewards were meant', cause: 'sign', declares: { scope: 'row' }, compute: (r, _, m, { gamma }) => toGo(r, m, gamma).neg() },
  { what: 'a squeeze without an axis', cause: 'wrong-shape', compute: (r, _, m) => r.sum(1, { keepDims: true }).squeeze().expandDims(1).mul(m) },
  {
    what: 'rows without a token as the smallest reward',
    cause: 'empty-rows-counted',
    requires: ['groupIds'],
    declares: { scope: 'group', emptyRows: 'ignore' },
    compute: (r, _, m, { groups }) => perToken(r.sum(1).sub(groups!.sum(r.sum(1)).div(groups!.sizes)), m),
  },
  {
    what: 'a length over all rows, of which some have none',
    cause: 'empty-row',
    declares: { scope: 'row' },
    compute: (r, _, m) => where(m, perToken(r.sum(1), m), 0).add(r.sum(1).div(m.sum(1)).mean().mul(0)),
  },
];

/** x minus the mean of the rows k, k + n, k + 2n, … */
function modulo(scores: Tensor, n: number): Tensor {
  const x = Array.from(scores.dataSync());
  const mean = (k: number) => {
    const own = x.filter((_, b) => b % n === k);
    return own.reduce((sum, y) => sum + y, 0) / own.length;
  };
  return tensor(Float64Array.from(x, (y, b) => y - mean(b % n))).cast(scores.dtype);
}

/** 1 for the first of the best. */
function best(scores: Tensor): Tensor {
  const x = Array.from(scores.dataSync());
  const at = x.indexOf(Math.max(...x));
  return arange(0, x.length, 1).equal(at).cast(scores.dtype);
}

/** (x − μ)/σ, σ² = (Σx² − nμ²)/n. */
function welford(scores: Tensor): Tensor {
  const n = scores.shape[0]!;
  const mean = scores.mean();
  return scores.sub(mean).div(scores.square().sum().sub(mean.square().mul(n)).div(n).abs().sqrt().add(1e-2));
}

function byRow(x: Tensor, m: Tensor): Tensor {
  const centred = x.sub(x.mean(1, { mask: m, keepDims: true }));
  return where(m, centred.div(centred.square().mean(1, { mask: m, keepDims: true }).add(1e-8).sqrt()), 0);
}

/** Totals from the mean over rows. */
function beside(rewards: number[][], masks: number[][]): number[][] {
  const totals = rewards.map((row) => row.reduce((sum, x) => sum + x, 0));
  const mean = totals.reduce((sum, x) => sum + x, 0) / totals.length;
  return masks.map((row, b) => row.map((m) => (m ? totals[b]! - mean : 0)));
}
