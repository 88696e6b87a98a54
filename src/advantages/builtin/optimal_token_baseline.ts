import { arange, scan, tensor, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import type { Groups } from '../groups';

/**
 * The optimal token baseline (Li et al., The Optimal Token Baseline: Variance Reduction for Long-Horizon LLM-RL, 2026). With w_t = 1 − 2π_t + Σ_aπ(a)² (the squared norm of the score in the
 * logits, times the squared importance weight where one is given) and W_t = Σ_{s≤t} w_s, the baseline at t is B_t = ΣG_tW_t/(ΣW_t + ε) over the rows of the group that have a
 * token there; advantages = G_t − B_t, G_t = Σ_{s≥t} r_s undiscounted; returns = G.
 *
 * Rows are compared column by column; `tir_optimal_token_baseline` compares their n-th valid tokens, wherever they stand. A row alone in its group has B = 0.
 */
export class OptimalTokenBaseline extends AdvantageEstimator {
  static override readonly requires = ['groupIds', 'oldLogProbs', 'sumSquaredProbs'] as const;
  static override readonly reads: EstimatorReads = ['importanceWeights'];
  static override readonly declares: EstimatorDeclares = ({ countEmptyRows }) => ({ scope: 'group', alignment: 'columns', emptyRows: countEmptyRows ? 'count' : 'ignore' });
  static override readonly options = {
    /** Added to ΣW. */
    epsilon: 1e-8,
    /** B = 0 for the tokens that the longest row of a group has beyond the second longest: there B would be the row's own return, and nothing would be learned. */
    zeroTail: true,
    /** Rows without a valid token count as rows of their group. */
    countEmptyRows: false,
  };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const counted = where(masks, rewards, 0);
    const carried = scan([counted], { reverse: true }, (next, [r]) => r.add(next));
    const returns = context.remask === true ? where(masks, carried, 0) : carried;
    const energy = scoreNorms(context, masks).cast(rewards.dtype);
    return { ...this.aligned(returns, energy, counted.sum(1), masks, context.groups!), returns };
  }

  /** The advantages from returns and w, both [B,T], of which masked positions do not count, and the rows' totals [B]. They are not finite where a return is not. */
  protected aligned(returns: Tensor, energy: Tensor, totals: Tensor, masks: Tensor, groups: Groups): AdvantageResult {
    const { epsilon, zeroTail, countEmptyRows } = this.options as typeof OptimalTokenBaseline.options;
    const { split, sum, join } = groups.columns();
    const weights = split(where(masks, energy.cumsum(1), 0));
    // Returns are taken from the mean of the group's totals, so that an offset of the rewards costs no digits: A = d − ΣdW/(ΣW+ε) + cε/(ΣW+ε) with d = G − c.
    const centre = split(groups.mean(totals).expandDims(1));
    const distance = split(returns).sub(centre);
    const divisor = sum(weights).add(epsilon);
    const known = divisor.notEqual(0);
    const baseline = where(known, sum(weights.mul(distance)).sub(centre.mul(epsilon)).div(where(known, divisor, 1)), centre.neg());
    const lengths = masks.sum(1);
    const rows = countEmptyRows ? groups.sizes : groups.sum(lengths.greater(0).cast('float64'));
    let none = split(rows.lessEqual(1).expandDims(1));
    if (zeroTail) {
      const others = groups.maxOfOthers(lengths.cast('float64'));
      const time = masks.shape[1]!;
      const tail = where(lengths.greater(others), others.maximum(0), time).cast('int32');
      none = none.logicalOr(arange(0, time, 1, { device: masks.device }).greaterEqual(split(tail.expandDims(1))));
    }
    const advantages = where(split(masks), where(none, split(returns), distance.sub(baseline)), 0);
    return { advantages: join(advantages), finiteIf: advantages.mul(0).sum() };
  }
}

/** The same, with the n-th valid token of a row beside the n-th ones of the others: for rows with tool tokens in between, or padding on the left. */
export class AlignedOptimalTokenBaseline extends OptimalTokenBaseline {
  static override readonly reads: EstimatorReads = ['importanceWeights'];
  static override readonly declares: EstimatorDeclares = ({ countEmptyRows }) => ({ scope: 'group', emptyRows: countEmptyRows ? 'count' : 'ignore' });

  protected override aligned(returns: Tensor, energy: Tensor, totals: Tensor, masks: Tensor, groups: Groups): AdvantageResult {
    const packed = arange(0, masks.shape[1]!, 1, { device: masks.device }).less(masks.sum(1, { keepDims: true }));
    // Rows without a hole, each from its first position on, are aligned as they are.
    if (packed.notEqual(masks.notEqual(0)).sum().item() === 0) return super.aligned(returns, energy, totals, masks, groups);
    const places = tensor(placesOfValid(masks), { shape: masks.shape, device: masks.device });
    const ranks = masks.cast('int32').cumsum(1).sub(1).maximum(0);
    const { advantages, finiteIf } = super.aligned(returns.gather(places, 1), where(packed, energy.gather(places, 1), 0), totals, packed, groups);
    return { advantages: where(masks, advantages.gather(ranks, 1), 0), finiteIf };
  }
}

function scoreNorms({ oldLogProbs, sumSquaredProbs, importanceWeights }: AdvantageContext, masks: Tensor): Tensor {
  const norms = sumSquaredProbs!.add(1).sub(oldLogProbs!.exp().mul(2));
  return where(masks, importanceWeights ? norms.mul(importanceWeights.square()) : norms, 0);
}

/** For each row the columns of its valid tokens, then 0. An ordering, which no tensor operation makes. */
function placesOfValid(masks: Tensor): Int32Array {
  const [batch, time] = masks.shape as [number, number];
  const valid = masks.dataSync();
  const places = new Int32Array(batch * time);
  for (let row = 0; row < batch; row++) {
    let next = row * time;
    for (let t = 0; t < time; t++) if (valid[row * time + t]) places[next++] = t;
  }
  return places;
}
