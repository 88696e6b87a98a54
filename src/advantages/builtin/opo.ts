import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { centreInGroups, declaredByGroups, singletonChoices, toEveryToken } from '../outcome';

/**
 * On-policy optimisation with the optimal baseline (Hao et al., On-Policy RL with Optimal Reward Baseline, 2025): every token of a row gets R − ΣL_iR_i/ΣL_i over its
 * group, L the number of valid tokens. In a group without a valid token the baseline is the mean. A row alone in its group gets 0 (option singleton).
 */
export class OptimalBaseline extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = declaredByGroups;
  static override readonly options = { singleton: 'zero' as 'zero' | 'raw' | 'error', skipNaN: false };
  static override readonly choices = { singleton: singletonChoices };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { singleton, skipNaN } = this.options as typeof OptimalBaseline.options;
    const scores = rewards.sum(1);
    const { centred, alone, scored } = centreInGroups(scores, groups!, { singleton, skipNaN, leaveOneOut: false });
    const all = masks.sum(1).cast('float64');
    const lengths = scored ? where(scored, all, 0) : all;
    const shift = groups!.sum(lengths.mul(centred)).div(groups!.sum(lengths).maximum(1));
    const advantages = where(alone, centred, centred.sub(shift));
    return toEveryToken((scored ? where(scored, advantages, 0) : advantages).cast(scores.dtype), masks, remask);
  }
}
