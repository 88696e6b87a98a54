/** PPO's clipped surrogate, plain and dual-clipped. */
import { type Tensor, where } from '../../tensor';
import { checkNumber } from '../check';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { meanOver } from '../reduction';
import { logRatioOf, meanOfRows, ratioMetrics, rowMean, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * exp of a larger log-ratio overflows what it is multiplied with; no gradient flows beyond. SkyRL and verl use the same bound.
 */
const bounded = { logRatioMin: -20, logRatioMax: 20 } as const;

/**
 * `regular` (`ppo`): with ρ = exp(ℓ − ℓ_old), the tokens' losses are
 *
 *     L = −min(min(ρ, δ)·A, clip(ρ, 1 − ε_low, 1 + ε_high)·A)
 *
 * and, where A < 0, at most −c·A. Without `delta` and `clipRatioC` (the default) there is no δ and no c. Schulman et al. 2017, "Proximal Policy Optimization
 * Algorithms"; ε_low ≠ ε_high: Yu et al. 2025, DAPO; two-sided δ: Prime Intellect 2025, INTELLECT-2.
 *
 * Metrics: `clip_ratio` (share of tokens whose clipped side is the smaller one; with `delta`, of min(ρ, δ)), `clip_ratio_low` and `clip_ratio_high` (the same, by side), `approx_kl` (mean of
 * ρ − 1 − log ρ), `ratio_mean`, `ratio_min`, `ratio_max`; `clip_ratio_dual` (share of tokens that c bounds) where c is set.
 */
export class RegularPolicyLoss extends TokenPolicyLoss {
  static override readonly lossName: string = 'regular';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    ...bounded,
    epsClipLow: 0.2,
    epsClipHigh: 0.2,
    clipRatioC: null,
    delta: null,
    ratioLevel: 'token',
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    checkNumber((this.constructor as typeof TokenPolicyLoss).lossName, 'epsClipLow', options.epsClipLow, 0, 1);
    const logRatio = logRatioOf(tokens, tokens.oldLogProbs, options);
    return surrogate(tokens, logRatio, options);
  }
}

/**
 * `dual_clip` (`vanilla`): as `regular`, with c = `clipRatioC` = 3: where A < 0 a token's loss is at most −c·A. It bounds what one very
 * likely bad token costs. Ye et al. 2020, "Mastering Complex Control in MOBA Games with Deep Reinforcement Learning", eq. 5.
 */
export class DualClipPolicyLoss extends RegularPolicyLoss {
  static override readonly lossName: string = 'dual_clip';
  static override readonly options: PolicyLossOptions = { ...RegularPolicyLoss.options, clipRatioC: 3 };
}

/** The clipped surrogate over a log-ratio, [B,T] or [B,1]. */
export function surrogate(tokens: Tokens, logRatio: Tensor, options: ResolvedOptions): TokenLosses {
  const { epsClipLow, epsClipHigh, clipRatioC, delta } = options;
  const { advantages } = tokens;
  const ratio = logRatio.exp();
  const capped = delta === null ? ratio : ratio.clamp(null, delta);
  const unclipped = capped.mul(advantages);
  const clipped = ratio.clamp(1 - epsClipLow, 1 + epsClipHigh).mul(advantages);
  const single = unclipped.minimum(clipped).neg();
  const bound = clipRatioC === null ? null : advantages.mul(-clipRatioC);
  const metrics = {
    ...clipMetrics(tokens, capped, options),
    ...(bound && { clip_ratio_dual: tokens.mean(single.greater(bound).logicalAnd(advantages.less(0))) }),
    ...ratioMetrics(tokens, ratio, logRatio),
  };
  return { losses: bound ? where(advantages.less(0), single.minimum(bound), single) : single, ratio, metrics };
}

/** Shares of the tokens whose clipped side is the smaller one, by side. With `rowMetrics`: of the rows where the ratio is that of a row, and the extremes of the rows' shares. */
function clipMetrics({ advantages, valid, mean }: Tokens, ratio: Tensor, { epsClipLow, epsClipHigh, rowMetrics }: ResolvedOptions): Record<string, Tensor> {
  const low = ratio.less(1 - epsClipLow).logicalAnd(advantages.less(0));
  const high = ratio.greater(1 + epsClipHigh).logicalAnd(advantages.greater(0));
  const isClipped = low.logicalOr(high);
  if (!rowMetrics) return { clip_ratio: mean(isClipped), clip_ratio_low: mean(low), clip_ratio_high: mean(high) };
  const ofRows = ratio.shape[1] === 1;
  const filled = valid.sum(-1, { keepDims: true }).greater(0);
  // A row's tokens share ratio and advantage: its mean is 0 or 1, but where the advantages differ.
  const share = (x: Tensor) => rowMean(x.cast(ratio.dtype), valid);
  const over = (x: Tensor) => (ofRows ? meanOfRows(share(x)) : mean(x));
  const within = ofRows ? undefined : filled;
  return {
    clip_ratio: over(isClipped),
    clip_ratio_low: over(low),
    clip_ratio_high: over(high),
    clip_ratio_low_min: ofNothing(share(low).min(null, { mask: within })),
    clip_ratio_high_max: ofNothing(share(high).max(null, { mask: within })),
  };
}

/** 0 in place of the extreme of no shares at all, which is infinite. */
const ofNothing = (extreme: Tensor): Tensor => where(extreme.abs().greater(1), 0, extreme);

/** The tokens' losses, [B,T], and the metrics, for log-probs that are at hand beside the loss. */
export function clippedMetrics(logProbs: Tensor, oldLogProbs: Tensor, advantages: Tensor, mask: Tensor, epsClipLow: number, epsClipHigh: number): Record<string, Tensor> {
  const valid = mask.notEqual(0);
  const [ours, old, weighed] = [logProbs, oldLogProbs, advantages].map((x) => where(valid, x, 0)) as [Tensor, Tensor, Tensor];
  const tokens: Tokens = { logProbs: ours, oldLogProbs: old, advantages: weighed, rolloutLogProbs: null, weights: null, valid, mean: meanOver(valid, ours.dtype), reportsDrift: false };
  const options = { ...RegularPolicyLoss.options, epsClipLow, epsClipHigh } as unknown as ResolvedOptions;
  return surrogate(tokens, logRatioOf(tokens, old, options), options).metrics;
}
