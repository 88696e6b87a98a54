/** Mistakes with rows, groups, numbers, state and results. */
import { arange, keep, randomKey, randomNormal, tensor, where, type Tensor } from 'vantage-rl';
import { perToken, type Mistake, type WithState } from './mistake';

const grouped = { requires: ['groupIds'], declares: { scope: 'group', emptyRows: 'count' } } as const;
const of = (x: { requires: readonly string[]; declares: Mistake['declares'] }) => ({ requires: [...x.requires], declares: x.declares });
/** The variance of each row's group, with n − ddof. */
const variance = (scores: Tensor, groups: { moments(x: Tensor): { count: Tensor; spread: Tensor } }, ddof: number): Tensor => {
  const { count, spread } = groups.moments(scores);
  return spread.div(count.sub(ddof).maximum(1));
};
let outside = 0;

export const rowMistakes: Mistake[] = [
  { what: 'the mean of the batch where the group was meant', cause: 'batch-statistics', ...of(grouped), compute: (r, _, m) => perToken(r.sum(1).sub(r.sum(1).mean()), m) },
  {
    what: 'the deviation of the batch where the group was meant',
    cause: 'batch-statistics',
    ...of(grouped),
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).div(r.sum(1).sub(r.sum(1).mean()).square().mean().sqrt().add(1e-6)), m),
  },
  {
    what: 'groups where a row by itself was declared',
    cause: 'other-rows',
    requires: ['groupIds'],
    declares: { scope: 'row' },
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m),
  },
  { what: 'one size of all groups', cause: 'groups-equal-size', ...of(grouped), compute: (r, _, m, { groups }) => perToken(r.sum(1).sub(groups!.sum(r.sum(1)).div(r.shape[0]! / groups!.count)), m) },
  {
    what: 'an integer division of the group size',
    cause: 'groups-equal-size',
    ...of(grouped),
    compute: (r, _, m, { groups }) => perToken(r.sum(1).sub(groups!.sum(r.sum(1)).div(Math.max(1, Math.floor(r.shape[0]! / groups!.count)))), m),
  },
  { what: 'rows of a group taken to be neighbours', cause: 'groups-contiguous', requires: ['groupIds'], compute: (r, _, m, { groups }) => perToken(runs(r.sum(1), groups!.index), m) },
  { what: 'the first row as the baseline', cause: 'row-order', compute: (r, _, m) => perToken(r.sum(1).sub(r.sum(1).select(0, 0)), m) },
  { what: 'a cumulative sum along the rows', cause: 'row-order', compute: (r, _, m) => r.cumsum(0).mul(m), check: { bail: false } },
  { what: 'whitening by micro-batches of two rows', cause: 'row-order', compute: (r, _, m) => perToken(chunks(r.sum(1)), m) },
  { what: 'the index of the row', cause: 'row-order', compute: (r, _, m) => perToken(r.sum(1).mul(arange(1, r.shape[0]! + 1, 1)), m) },
  {
    what: 'ids of groups as numbers',
    cause: 'group-names',
    requires: ['groupIds'],
    compute: (r, _, m, { groups }) => perToken(r.sum(1), m).mul(1 + Math.max(...groups!.ids.map((id) => Number(String(id).replace(/\D/g, ''))))),
  },
  {
    what: 'a mean over rows, column by column (wrong axis)',
    cause: 'columns-compared',
    compute: (r, _, m) => where(m, r.sub(r.sum(0, { keepDims: true }).div(m.sum(0, { keepDims: true }).maximum(1))), 0),
  },
  { what: 'rows without a token in the mean over rows', cause: 'empty-rows-counted', compute: (r, _, m) => perToken(r.sum(1).sub(r.sum(1).mean()), m) },
  {
    what: 'rows without a token in the mean of the group, though they are declared to be ignored',
    cause: 'empty-rows-counted',
    requires: ['groupIds'],
    declares: { scope: 'group', emptyRows: 'ignore' },
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m),
  },
  {
    what: 'a division by a deviation of 0',
    cause: 'zero-deviation',
    ...of(grouped),
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).div(variance(r.sum(1), groups!, 0).sqrt()), m),
    check: { only: ['awkward-batches'], declares: { smallestGroup: 2 } },
  },
  { what: 'a deviation of rounding noise', cause: 'zero-deviation', compute: (r, _, m) => perToken(naive(r.sum(1)), m), check: { only: ['awkward-batches'] } },
  {
    what: 'leave-one-out of a row that is alone',
    cause: 'single-row',
    ...of(grouped),
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).mul(groups!.sizes).div(groups!.sizes.sub(1)), m),
  },
  { what: 'a mean over the tokens of a row without any', cause: 'empty-row', compute: (r, _, m) => r.sub(r.sum(1, { keepDims: true }).div(m.sum(1, { keepDims: true })).mean()).mul(m) },
  { what: 'E[x²] − E[x]² in float32', cause: 'cancellation', compute: (r, _, m) => perToken(byMoments(r.sum(1)), m), check: { only: ['offset'] } },
  {
    what: 'a deviation by group in float32 from squares',
    cause: 'cancellation',
    ...of(grouped),
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).div(groups!.mean(r.sum(1).square()).sub(groups!.mean(r.sum(1)).square()).maximum(0).sqrt().add(1e-3)), m),
    check: { only: ['offset'] },
  },
  {
    what: 'an input that is disposed',
    cause: 'inputs-changed',
    takesRawInputs: true,
    compute: (r, _, m) => {
      const total = where(m, r, 0).sum(1).realize();
      r.dispose();
      return perToken(total, m);
    },
    check: { only: ['inputs-untouched'] },
  },
  {
    what: 'state that is carried from batch to batch',
    cause: 'state-carried',
    compute(r, _, m) {
      return perToken(r.sum(1), m).mul(++(this as WithState).count);
    },
  },
  {
    what: 'state in a field without keep',
    cause: 'state-disposed',
    compute(r, _, m) {
      const self = this as WithState;
      const before = self.kept[0] ?? r.sum().mul(0);
      self.kept[0] = r.sum().mul(0).realize();
      return perToken(r.sum(1), m).add(before);
    },
  },
  { what: 'state outside of the instance', cause: 'randomness', compute: (r, _, m) => perToken(r.sum(1), m).mul(++outside) },
  { what: 'random numbers', cause: 'randomness', compute: (r, _, m) => r.add(randomNormal([...r.shape], { key: randomKey(Math.floor(Math.random() * 1e6)) })).mul(m) },
  {
    what: 'a tensor kept at every call',
    cause: 'tensors-leaked',
    compute(r, _, m) {
      (this as WithState).kept.push(keep(r.sum().realize()));
      return perToken(r.sum(1), m);
    },
  },
  { what: 'one number a row, not one a token', cause: 'wrong-shape', compute: (r) => r.sum(1) },
  { what: 'statistics broadcast along the wrong axis', cause: 'wrong-shape', compute: (r, _, m) => r.sub(r.sum(1)).mul(m) },
  { what: 'returns of another shape', cause: 'wrong-shape', compute: (r, _, m) => ({ advantages: r.mul(m), returns: r.sum(1) }) },
  { what: 'a promise', cause: 'wrong-result', compute: (async (r: Tensor) => r) as never },
  { what: 'nothing', cause: 'wrong-result', compute: (() => undefined) as never },
  { what: 'integers', cause: 'wrong-result', compute: (r) => r.cast('int32') },
  { what: 'the logarithm of a reward', cause: 'not-finite', compute: (r, _, m) => where(m, r.sub(0.5).log(), 0) },
  { what: 'no baseline, though shift is declared', cause: 'not-shift-invariant', declares: { scope: 'row', invariantTo: ['shift'] }, compute: (r, _, m) => perToken(r.sum(1), m) },
  {
    what: 'no division by σ, though scale is declared',
    cause: 'not-scale-invariant',
    requires: ['groupIds'],
    declares: { scope: 'group', emptyRows: 'count', invariantTo: ['scale'] },
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m),
  },
];

const grpo = (ddof: number, scale: (variance: Tensor) => Tensor): Mistake['compute'] => (r, _, m, { groups }) => {
  const spread = variance(r.sum(1), groups!, ddof);
  return perToken(where(spread.greater(0), groups!.centre(r.sum(1)).div(scale(spread)), 0), m);
};
const outer = (v: Tensor): Tensor => v.sqrt().add(1e-6);

/** Beside a reference. */
export const referenceMistakes: Mistake[] = [
  { what: 'ddof 0', cause: 'ddof', ...of(grouped), compute: grpo(0, outer), check: { reference: 'grpo' } },
  { what: 'ε inside of the root', cause: 'epsilon-placement', ...of(grouped), compute: grpo(1, (v) => v.add(1e-6).sqrt()), check: { reference: 'grpo' } },
  { what: 'ε outside of the root', cause: 'epsilon-placement', ...of(grouped), compute: grpo(1, outer), check: { reference: { name: 'grpo', options: { epsilonPlacement: 'inside' } } } },
  { what: 'another ε', cause: 'epsilon', ...of(grouped), compute: grpo(1, (v) => v.sqrt().add(1e-4)), check: { reference: 'grpo' } },
  { what: 'the sign', cause: 'sign', ...of(grouped), compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).neg(), m), check: { reference: 'dr_grpo' } },
  {
    what: 'the mean of all rows where that of the others was meant',
    cause: 'group-size-factor',
    ...of(grouped),
    compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)), m),
    check: { reference: 'rloo' },
  },
  { what: 'twice the advantage', cause: 'factor', ...of(grouped), compute: (r, _, m, { groups }) => perToken(groups!.centre(r.sum(1)).mul(2), m), check: { reference: 'dr_grpo' } },
  {
    what: 'ddof 0, beside a loop',
    cause: 'ddof',
    ...of(grouped),
    compute: grpo(0, (v) => v.sqrt()),
    check: {
      reference: ({ rewards, masks, groupIds }) => {
        const totals = rewards.map((row) => row.reduce((sum, x) => sum + x, 0));
        return masks.map((row, b) => {
          const own = totals.filter((_, i) => groupIds[i] === groupIds[b]);
          const mean = own.reduce((sum, x) => sum + x, 0) / own.length;
          const deviation = Math.sqrt(own.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, own.length - 1));
          return row.map((m) => (m && deviation > 0 ? (totals[b]! - mean) / deviation : 0));
        });
      },
    },
  },
];

/** x minus the mean of the run of neighbours that have its group. */
function runs(scores: Tensor, index: Tensor): Tensor {
  const [x, ids] = [scores.dataSync(), index.dataSync()];
  const out = Float64Array.from(x);
  for (let from = 0; from < x.length;) {
    let to = from;
    while (to < x.length && ids[to] === ids[from]) to++;
    const own = Array.from(x.slice(from, to)) as number[];
    for (let k = from; k < to; k++) out[k] = x[k]! - own.reduce((sum, y) => sum + y, 0) / own.length;
    from = to;
  }
  return tensor(out).cast(scores.dtype);
}

/** x minus the mean of its pair of neighbours. */
function chunks(scores: Tensor): Tensor {
  const x = scores.dataSync();
  return tensor(Float64Array.from(x, (y, k) => y - (x[k - (k % 2)]! + (x[k - (k % 2) + 1] ?? 0)) / 2)).cast(scores.dtype);
}

/** (x − μ)/σ, μ a sum of rounded parts. */
function naive(scores: Tensor): Tensor {
  const n = scores.shape[0]!;
  const centred = scores.sub(scores.div(n).sum());
  return centred.div(centred.square().mean().sqrt().add(1e-30));
}

function byMoments(scores: Tensor): Tensor {
  const mean = scores.mean();
  const spread = scores.square().mean().sub(mean.square()).maximum(0);
  return scores.sub(mean).div(spread.sqrt().add(1e-3));
}
