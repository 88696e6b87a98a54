import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { centreInGroups, declaredByGroups, singletonChoices, toEveryToken } from '../outcome';

/**
 * Group policy gradient (Chu et al., GPG: A Simple and Strong Reinforcement Learning Baseline for Model Reasoning, 2025): every token of a row gets α(R − μ)/f_norm, with
 * α = B / #{R ≠ 0}, B the rows of the batch that have a reward (α = B where every reward is 0). A row alone in its group gets 0 (option singleton).
 */
export class GroupPolicyGradient extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = (options) => ({ ...declaredByGroups(options), scope: 'batch', invariantTo: [] });
  static override readonly options = {
    singleton: 'zero' as 'zero' | 'raw' | 'error',
    skipNaN: false,
    /** Divides all advantages. */
    fNorm: 1,
  };
  static override readonly choices = { singleton: singletonChoices };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { singleton, skipNaN, fNorm } = this.options as typeof GroupPolicyGradient.options;
    const scores = rewards.sum(1);
    const { centred, scored } = centreInGroups(scores, groups!, { singleton, skipNaN, leaveOneOut: false });
    const rewarded = scored ? scores.notEqual(0).logicalAnd(scored) : scores.notEqual(0);
    const rows = scored ? scored.sum().cast('float64') : scores.size;
    const alpha = rewarded.sum().cast('float64').maximum(1).pow(-1).mul(rows);
    return toEveryToken(centred.mul(alpha).div(fNorm).cast(scores.dtype), masks, remask);
  }
}
