import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { centreInGroups, declaredByGroups, singletonChoices, toEveryToken } from '../outcome';

/**
 * Maximum-likelihood reinforcement learning (Tajwar et al., Maximum Likelihood Reinforcement Learning, 2026): every token of a row gets (R − μ)/(μ + ε), μ the mean of the rewards of its group, with its
 * sign. Meant for rewards of at least 0; where μ + ε is 0 nothing is divided. A row alone in its group gets 0 (option singleton).
 */
export class MaximumLikelihood extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = (options) => ({ ...declaredByGroups(options), invariantTo: options.singleton === 'raw' ? [] : ['scale'], rewardRange: { low: 0 } });
  static override readonly options = {
    singleton: 'zero' as 'zero' | 'raw' | 'error',
    skipNaN: false,
    /** Added to the mean. */
    epsilon: 1e-6,
  };
  static override readonly choices = { singleton: singletonChoices };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { singleton, skipNaN, epsilon } = this.options as typeof MaximumLikelihood.options;
    const scores = rewards.sum(1);
    const { centred, mean, alone } = centreInGroups(scores, groups!, { singleton, skipNaN, leaveOneOut: false });
    const divisor = mean.add(epsilon);
    return toEveryToken(centred.div(where(alone.logicalOr(divisor.equal(0)), 1, divisor)).cast(scores.dtype), masks, remask);
  }
}
