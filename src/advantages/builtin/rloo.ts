import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { toEveryToken } from '../groups';

/**
 * REINFORCE leave-one-out (Kool, van Hoof, Welling, 2019; Ahmadian et al., Back to Basics, 2024): every token of a row gets R minus the mean
 * of the other rows of its group, which is (R − μ)·n/(n−1). A row alone in its group gets 0.
 */
export class LeaveOneOut extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups }: AdvantageContext): AdvantageResult {
    const { sizes } = groups!;
    const centred = groups!.centre(rewards.sum(1));
    return toEveryToken(centred.mul(sizes).div(sizes.sub(1).maximum(1)), masks);
  }
}
