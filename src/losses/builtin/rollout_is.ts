import { stopGradient, where } from '../../tensor';
import { checkNumber } from '../check';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { logRatioOf, ratioMetrics, rolloutOf, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * `rollout_is`: REINFORCE with the importance weight to the sampler, which is a constant for the gradient, and 0 outside of its range:
 *
 *     L = −sg[ρ·1(1 − ε_low < ρ < 1 + ε_high)]·A·ℓ,   ρ = exp(ℓ − ℓ_rollout)
 *
 * GLM-5 Team 2026, "GLM-5: from Vibe Coding to Agentic Engineering". Needs `rolloutLogProbs`. Metrics: `clip_ratio` (share of tokens out of range), and those of the ratio.
 */
export class RolloutWeightPolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'rollout_is';
  static override readonly options: PolicyLossOptions = { ...commonOptions, epsClipLow: 0.2, epsClipHigh: 0.2, logRatioMin: -20, logRatioMax: 20 };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    checkNumber('rollout_is', 'epsClipLow', options.epsClipLow, 0, 1);
    const { epsClipLow, epsClipHigh } = options;
    const logRatio = logRatioOf(tokens, rolloutOf('rollout_is', tokens), options);
    const ratio = logRatio.exp();
    const inRange = ratio.greater(1 - epsClipLow).logicalAnd(ratio.less(1 + epsClipHigh));
    const metrics = { clip_ratio: tokens.mean(inRange.logicalNot()), ...ratioMetrics(tokens, ratio, logRatio) };
    return { losses: stopGradient(where(inRange, ratio, 0)).mul(tokens.advantages).mul(tokens.logProbs).neg(), ratio, metrics };
  }
}
