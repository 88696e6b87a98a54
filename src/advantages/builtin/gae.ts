import { scan, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { maskedWhiten } from '../whiten';

/**
 * Generalised advantage estimation (Schulman, Moritz, Levine, Jordan, Abbeel, 2016):
 * δ_t = r_t + γV_{t+1} − V_t, A_t = δ_t + γλA_{t+1}, returns = A + V; the advantages are then whitened over the valid tokens.
 *
 * Masked positions are passed through: the recurrence runs as if they were not there.
 */
export class GeneralizedAdvantageEstimation extends AdvantageEstimator {
  static override readonly requires = ['values'] as const;
  static override readonly options = {
    /** Whiten the advantages over the valid tokens of the batch: (A−μ)/√(σ²+1e-8). */
    whiten: true,
    /** `carry` passes masked positions through; `ignore` runs the recurrence over them, whatever they hold. */
    holes: 'carry',
  };

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { gamma, lambda }: AdvantageContext): AdvantageResult {
    const mask = this.options.holes === 'ignore' ? undefined : masks;
    const [advantages] = scan([rewards, values!], { reverse: true, mask, init: [0, 0] }, ([next, nextValue], [r, v]) => [
      r.add(nextValue.mul(gamma)).sub(v).add(next.mul(gamma * lambda)),
      v,
    ]);
    const returns = advantages.add(values!);
    return { advantages: this.options.whiten ? maskedWhiten(advantages, masks) : advantages, returns };
  }
}
