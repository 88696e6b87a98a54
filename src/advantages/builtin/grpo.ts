import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { toEveryToken } from '../groups';

/**
 * Group-relative policy optimisation (Shao et al., DeepSeekMath, 2024): every token of a row gets (R − μ)/(σ + ε), with R the row's
 * total reward, μ and σ (ddof 1) over the rows of its group. A row alone in its group gets 0 (option singleton).
 *
 * With `normByStd: false` it is R − μ: Dr. GRPO (Liu et al., Understanding R1-Zero-Like Training, 2025).
 */
export class GroupRelative extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly options = {
    /** Divide by the group's standard deviation. */
    normByStd: true,
    /** Added to the standard deviation. */
    epsilon: 1e-6,
    /** What a row alone in its group gets: `zero`, or `raw`, its reward (μ = 0, σ = 1). */
    singleton: 'zero',
  };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups }: AdvantageContext): AdvantageResult {
    const scores = rewards.sum(1);
    const alone = groups!.sizes.equal(1);
    const raw = this.options.singleton === 'raw';
    const centred = raw ? where(alone, scores, groups!.centre(scores)) : groups!.centre(scores);
    if (!this.options.normByStd) return toEveryToken(centred, masks);
    const std = raw ? where(alone, 1, groups!.std(scores)) : groups!.std(scores);
    return toEveryToken(centred.div(std.add(this.options.epsilon as number)), masks);
  }
}
