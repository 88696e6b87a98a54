import { discountedReturn, scan, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';

/**
 * ReMax (Li et al., ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method for Aligning Large Language Models, 2024): G_t = Σ_{s≥t} r_s over the valid tokens, undiscounted;
 * advantages = G_t − b, b the reward of a greedy answer to the same prompt (`baselines`, [batch]); returns = G.
 */
export class ReMax extends AdvantageEstimator {
  static override readonly requires = ['baselines'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = { scope: 'row' };

  override readonly takesRawInputs = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { baselines, remask }: AdvantageContext): AdvantageResult {
    const returns = remask === true
      ? discountedReturn(rewards, masks, { gamma: 1 }).returns
      : scan([rewards], { reverse: true, mask: masks }, (next, [r]) => r.add(next));
    return { advantages: returns.sub(baselines!.cast(returns.dtype).expandDims(1).mul(masks)), returns };
  }
}
