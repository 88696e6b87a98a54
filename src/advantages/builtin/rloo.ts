import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { advantagesInGroups, centreInGroups, declaredByGroups, singletonChoices, toEveryToken } from '../outcome';
import { whitenRows, rowWhiteningChoices, type RowWhitening } from '../whiten';

/**
 * REINFORCE leave-one-out (Kool, van Hoof, Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free!, 2019; Ahmadian et al., Back to Basics, 2024): every token of a row gets R minus the mean
 * of the other rows of its group, which is (R − μ)·n/(n−1). A row alone in its group gets 0 (option singleton).
 */
export class LeaveOneOut extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = (options) => ({ ...declaredByGroups(options), ...(options.whiten === 'rows' && { scope: 'batch' }) });
  static override readonly options = {
    singleton: 'zero' as 'zero' | 'raw' | 'error',
    skipNaN: false,
    /** `rows`: whiten what the rows get, (A − μ)/(σ + ε) over all rows that are not alone; one that is keeps what `singleton` gives it. */
    whiten: 'none',
    whitenDdof: 1,
    whitenEpsilon: 1e-4,
    whitenEpsilonPlacement: 'outside',
  };
  static override readonly choices = { ...rowWhiteningChoices, singleton: singletonChoices, whiten: ['none', 'rows'] };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { singleton, skipNaN, whiten } = this.options as typeof LeaveOneOut.options;
    // Of the baseline the others alone make up the mean; no σ is taken, of the others or of all.
    const tuned = whiten === 'none' ? advantagesInGroups({ rewards, masks, groups: groups!, remask }, { singleton, skipNaN, leaveOneOut: false }, { byDeviation: false, leaveOneOut: true }) : null;
    if (tuned) return tuned;
    const scores = rewards.sum(1);
    const { centred, count, alone, scored } = centreInGroups(scores, groups!, { singleton, skipNaN, leaveOneOut: false });
    const apart = centred.mul(count).div(count.sub(1).maximum(1));
    const advantages = singleton === 'raw' ? where(alone, centred, apart) : apart;
    if (whiten === 'none') return toEveryToken(advantages.cast(scores.dtype), masks, remask);
    const counted = scored ? scored.logicalAnd(alone.logicalNot()) : alone.logicalNot();
    const { whitened } = whitenRows(advantages, counted, this.options as unknown as RowWhitening);
    return toEveryToken(where(counted, whitened, advantages).cast(scores.dtype), masks, remask);
  }
}
