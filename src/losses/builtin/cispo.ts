import { stopGradient } from '../../tensor';
import { checkChoice } from '../check';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { logRatioOf, meanOfRows, ratioMetrics, rolloutOf, rowMean, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * `cispo`: REINFORCE with a clipped importance weight, which is a constant for the gradient:
 *
 *     L = −sg[clip(ρ, 1 − ε_low, 1 + ε_high)]·A·ℓ
 *
 * so that no token loses its gradient. ρ is taken to the old policy, or, with `anchor: 'rollout'`, to the sampler. The defaults 1 and 4 leave the lower side open.
 * MiniMax 2025, "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention".
 *
 * Metrics: `clip_ratio` (share of tokens out of bounds), `clip_ratio_gained` (share of tokens over the upper bound with positive advantage),
 * `ratio_clamped_mean`, and those of the ratio.
 */
export class ClippedWeightPolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'cispo';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    cispoEpsClipLow: 1,
    cispoEpsClipHigh: 4,
    anchor: 'old',
    logRatioMin: -20,
    logRatioMax: 20,
    ratioLevel: 'token',
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    checkChoice('cispo', 'anchor', options.anchor, ['old', 'rollout']);
    const { cispoEpsClipLow: low, cispoEpsClipHigh: high, anchor, rowMetrics } = options;
    const { logProbs, oldLogProbs, advantages, valid, mean } = tokens;
    const logRatio = logRatioOf(tokens, anchor === 'rollout' ? rolloutOf('cispo', tokens) : oldLogProbs, options);
    const ratio = logRatio.exp();
    const clamped = ratio.clamp(low === null ? null : 1 - low, 1 + high);
    const everywhere = (x: typeof ratio) => x.broadcastTo([...valid.shape]);
    const gained = ratio.greater(1 + high).logicalAnd(advantages.greater(0));
    const metrics = {
      clip_ratio: mean(everywhere(ratio.notEqual(clamped))),
      clip_ratio_gained: rowMetrics && ratio.shape[1] === 1 ? meanOfRows(rowMean(gained.cast(ratio.dtype), valid)) : mean(gained),
      ratio_clamped_mean: mean(everywhere(clamped)),
      ...ratioMetrics(tokens, ratio, logRatio),
    };
    return { losses: stopGradient(clamped).mul(advantages).mul(logProbs).neg(), ratio, metrics };
  }
}
