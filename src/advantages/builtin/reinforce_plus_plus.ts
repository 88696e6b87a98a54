import { discountedReturn, scan, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { maskedWhiten } from '../whiten';

/**
 * REINFORCE++ (Hu, 2025): G_t = r_t + γG_{t+1}, then whitened over the valid tokens of the batch; returns = G.
 * It is meant to be run with a k2 KL loss against a frozen reference.
 *
 * Masked positions are passed through: credit reaches the tokens before a hole.
 */
export class ReinforcePlusPlus extends AdvantageEstimator {
  static override readonly options = {
    /** Start anew behind every masked token, so that no credit crosses it. */
    resetOnMask: false,
  };

  override readonly takesRawInputs = !this.options.resetOnMask;
  override readonly leavesZeros = !this.options.resetOnMask;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { gamma }: AdvantageContext): AdvantageResult {
    if (this.options.resetOnMask) {
      const [returns] = scan([rewards, masks], { reverse: true, init: [0, 0] }, ([, next], [r, m]) => [r.add(next.mul(gamma)), r.add(next.mul(gamma)).mul(m)]);
      return { advantages: maskedWhiten(returns, masks), returns };
    }
    const { returns, moments } = discountedReturn(rewards, masks, { gamma, moments: true });
    return { advantages: maskedWhiten(returns, masks, 1e-8, moments), returns, finiteIf: moments! };
  }
}
