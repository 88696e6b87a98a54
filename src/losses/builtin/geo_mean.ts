import { type Tensor, where } from '../../tensor';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { ratioMetrics, rowMean, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * `geo_mean` (`gmpo`): a row's loss is
 *
 *     L = −Ā · exp(mean over the row of x_t),   x_t = sgn(A_t)·min(sgn(A_t)·Δ_t, sgn(A_t)·clip(Δ_t, −ε_low, ε_high)),   Δ = ℓ − ℓ_old
 *
 * with Ā the mean of the row's advantages: the geometric mean of the tokens' ratios, each clipped in log space. Every token stands for its row, so the reduction
 * is one that averages rows (`sequence_mean`); rows without a token are 0. `weights` enter by their geometric mean. Zhao et al. 2025, "Geometric-Mean Policy Optimization".
 *
 * Metrics: `clip_ratio_high` and `clip_ratio_low` (shares of tokens out of bounds, with positive and negative advantage), `clip_ratio` (both), and those of the ratio.
 */
export class GeometricMeanPolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'geo_mean';
  static override readonly options: PolicyLossOptions = { ...commonOptions, epsClipLow: 0.4, epsClipHigh: 0.4 };
  static override readonly fixed = ['emptyRows'];
  protected override readonly weighsTokens = false;

  protected override reduce(losses: Tensor, mask: Tensor, options: ResolvedOptions): Tensor {
    // Tokens that all hold their row's loss: their mean is taken as it is.
    return super.reduce(losses, mask, { ...options, countEpsilon: 0 });
  }

  protected tokenLosses(tokens: Tokens, { epsClipLow, epsClipHigh, countEpsilon }: ResolvedOptions): TokenLosses {
    const { logProbs, oldLogProbs, advantages, weights, valid, mean } = tokens;
    const logRatio = logProbs.sub(oldLogProbs);
    const clipped = logRatio.clamp(-epsClipLow, epsClipHigh);
    const sign = advantages.sign();
    const kept = sign.mul(sign.mul(logRatio).minimum(sign.mul(clipped)));
    const average = (x: Tensor) => rowMean(x, valid, countEpsilon);
    const ratio = average(kept).exp();
    const loss = average(advantages).mul(ratio).neg();
    const outside = logRatio.notEqual(clipped);
    const above = outside.logicalAnd(advantages.greater(0));
    const below = outside.logicalAnd(advantages.less(0));
    const metrics = {
      clip_ratio: mean(above.logicalOr(below)),
      clip_ratio_high: mean(above),
      clip_ratio_low: mean(below),
      ...ratioMetrics(tokens, where(valid, logRatio, 0).exp(), logRatio),
    };
    return { losses: weights ? loss.mul(average(weights.add(1e-10).log().broadcastTo([...valid.shape])).exp()) : loss, ratio, metrics };
  }
}
