import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { centreInGroups, declaredByGroups, singletonChoices, toEveryToken } from '../outcome';
import { deviation, deviationChoices, type DeviationOptions } from '../whiten';

/**
 * Pass@k policy optimisation in the form of GRPO (Tang, Zheng, Synnaeve, Munos, Optimizing Language Models for Inference Time Objectives using Reinforcement Learning, 2025): the best
 * row of a group gets (r₁ − r₂)/(σ + ε), r₁ and r₂ the two largest rewards, the others 0; where two are best, all get 0. A row alone in its group gets 0 (option singleton).
 */
export class PassAtK extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = declaredByGroups;
  static override readonly options = {
    singleton: 'zero' as 'zero' | 'raw' | 'error',
    skipNaN: false,
    /** Divide by the standard deviation of the group. */
    normByStd: true,
    ddof: 1 as 0 | 1,
    epsilon: 1e-6,
    epsilonPlacement: 'outside' as 'inside' | 'outside',
    minVariance: 0,
  };
  static override readonly choices = { ...deviationChoices, singleton: singletonChoices };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { singleton, skipNaN, normByStd, ...options } = this.options as typeof PassAtK.options;
    const scores = rewards.sum(1);
    const { centred, count, spread, alone, scored } = centreInGroups(scores, groups!, { singleton, skipNaN, leaveOneOut: false });
    const known = (scored ? where(scored, scores, -Infinity) : scores).cast('float64');
    const lead = known.sub(where(alone, known, groups!.maxOfOthers(known)));
    const advantages = where(alone, centred, lead.maximum(0));
    if (!normByStd) return toEveryToken(advantages.cast(scores.dtype), masks, remask);
    const variance = spread.div(count.sub(options.ddof).maximum(1));
    const std = where(alone.logicalOr(variance.equal(0)), 1, deviation(variance, options as DeviationOptions));
    return toEveryToken(advantages.div(std).cast(scores.dtype), masks, remask);
  }
}
