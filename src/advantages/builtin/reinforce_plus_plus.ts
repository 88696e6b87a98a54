import { scan, type Tensor } from '../../tensor';
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

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { gamma }: AdvantageContext): AdvantageResult {
    const returns = this.options.resetOnMask
      ? scan([rewards, masks], { reverse: true, init: [0, 0] }, ([, next], [r, m]) => [r.add(next.mul(gamma)), r.add(next.mul(gamma)).mul(m)])[0]
      : scan([rewards], { reverse: true, mask: masks }, (next, [r]) => r.add(next.mul(gamma)));
    return { advantages: maskedWhiten(returns, masks), returns };
  }
}
