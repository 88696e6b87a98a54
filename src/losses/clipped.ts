/** PPO's clipped surrogate, plain and dual-clipped. */
import { where } from '../tensor';
import { checkNumber } from './check';
import { PolicyLoss, type PolicyLossInputs, type PolicyLossOptions, type PolicyLossResult } from './policy_loss';
import { meanOver } from './reduction';

/** exp of a larger log-ratio overflows what it is multiplied with; no gradient flows beyond. SkyRL, verl and OpenRLHF use the same bound. */
const logRatioLimit = 20;

/**
 * `regular`: with ρ = exp(ℓ − ℓ_old), the sum over the mask of
 *
 *     L = −min(ρ·A, clip(ρ, 1 − ε_low, 1 + ε_high)·A)
 *
 * Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; ε_low ≠ ε_high: Yu et al. 2025, DAPO.
 * Metrics: `clip_ratio` (share of tokens whose clipped side is the smaller one), `clip_ratio_low` and `clip_ratio_high` (the same, by
 * side), `approx_kl` (mean of ρ − 1 − log ρ), `ratio_mean`, `ratio_min`, `ratio_max`.
 */
export class RegularPolicyLoss extends PolicyLoss {
  computeLoss(inputs: PolicyLossInputs, { epsClipLow = 0.2, epsClipHigh = 0.2 }: PolicyLossOptions = {}): PolicyLossResult {
    checkNumber('regular', 'epsClipLow', epsClipLow, 0, 1);
    checkNumber('regular', 'epsClipHigh', epsClipHigh, 0);
    const { mask } = inputs;
    const { loss, metrics } = clippedSurrogate(inputs, epsClipLow, epsClipHigh);
    return { loss: loss.sum(null, { mask }), metrics };
  }
}

/**
 * `dual_clip`: as `regular`, but where A < 0 a token's loss is at most −c·A: min(L, −c·A), c = `clipRatioC` > 1. It bounds what one very
 * likely bad token costs. Ye et al. 2020, "Mastering Complex Control in MOBA Games with Deep Reinforcement Learning", eq. 5.
 */
export class DualClipPolicyLoss extends PolicyLoss {
  computeLoss(inputs: PolicyLossInputs, options: PolicyLossOptions = {}): PolicyLossResult {
    const { epsClipLow = 0.2, epsClipHigh = 0.2, clipRatioC = 3 } = options;
    checkNumber('dual_clip', 'epsClipLow', epsClipLow, 0, 1);
    checkNumber('dual_clip', 'epsClipHigh', epsClipHigh, 0);
    checkNumber('dual_clip', 'clipRatioC', clipRatioC, 1);
    const { advantages, mask } = inputs;
    const { loss, metrics } = clippedSurrogate(inputs, epsClipLow, epsClipHigh);
    const bounded = where(advantages.less(0), loss.minimum(advantages.mul(-clipRatioC)), loss);
    return { loss: bounded.sum(null, { mask }), metrics };
  }
}

/** The tokens' losses, [B,T], and the metrics. */
export function clippedSurrogate({ logProbs, oldLogProbs, advantages, mask }: PolicyLossInputs, low: number, high: number) {
  const valid = mask.notEqual(0);
  // Masked positions get ratio 1, so that neither value nor gradient can come from what they hold.
  const logRatio = where(valid, logProbs.sub(oldLogProbs), 0).clamp(-logRatioLimit, logRatioLimit);
  const ratio = logRatio.exp();
  const unclipped = ratio.mul(advantages);
  const clipped = ratio.clamp(1 - low, 1 + high).mul(advantages);
  const isClipped = clipped.less(unclipped);
  const mean = meanOver(mask);
  const metrics = {
    clip_ratio: mean(isClipped),
    clip_ratio_low: mean(isClipped.logicalAnd(ratio.less(1))),
    clip_ratio_high: mean(isClipped.logicalAnd(ratio.greater(1))),
    approx_kl: mean(logRatio.expm1().sub(logRatio)),
    ratio_mean: mean(ratio),
    ratio_min: ratio.min(null, { mask: valid }),
    ratio_max: ratio.max(null, { mask: valid }),
  };
  return { loss: unclipped.minimum(clipped).neg(), metrics };
}
