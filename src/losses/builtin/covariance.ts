/** Losses that treat tokens by the covariance of their advantage and log-prob, which is what lowers the entropy of a policy. */
import { randomKey, randomUniform, stopGradient, type Tensor, where } from '../../tensor';
import { checkNumber } from '../check';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { logRatioOf, ratioMetrics, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';
import { topTokens } from '../select';

/** (A − mean A)·(ℓ − mean ℓ) of each token, the means over the valid ones; a constant. */
function covariances({ advantages, logProbs, mean }: Tokens): Tensor {
  const constant = stopGradient(logProbs);
  return advantages.sub(mean(advantages)).mul(constant.sub(mean(constant)));
}

/**
 * `clip_cov`: as `regular`, but some of the tokens that the clip leaves alone and whose covariance of advantage and log-prob lies within (`clipCovLow`, `clipCovHigh`)
 * give no gradient: `clipCovRatio` of the number of valid tokens, one at least, drawn by chance from `seed` and the log-probs. Cui et al. 2025, "The Entropy Mechanism of Reinforcement
 * Learning for Reasoning Language Models". The bounds speak of advantages around 1: with divisors folded in (see `reductionDivisors`) scale them alike.
 *
 * Metrics: `clip_ratio` (share of tokens taken out), and those of the ratio.
 */
export class ClipCovariancePolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'clip_cov';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    epsClipLow: 0.2,
    epsClipHigh: 0.2,
    clipCovRatio: 0.0002,
    clipCovLow: 1,
    clipCovHigh: 5,
    seed: 0,
    logRatioMin: null,
    logRatioMax: null,
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    checkNumber('clip_cov', 'epsClipLow', options.epsClipLow, 0, 1);
    const { epsClipLow, epsClipHigh, clipCovRatio, clipCovLow, clipCovHigh, seed } = options;
    const { advantages, oldLogProbs, valid, mean } = tokens;
    const logRatio = logRatioOf(tokens, oldLogProbs, options);
    const ratio = logRatio.exp();
    const unclipped = ratio.mul(advantages);
    const clipped = ratio.clamp(1 - epsClipLow, 1 + epsClipHigh).mul(advantages);
    const covariance = covariances(tokens);
    const within = covariance.greater(clipCovLow).logicalAnd(covariance.less(clipCovHigh));
    const candidates = within.logicalAnd(valid).logicalAnd(clipped.less(unclipped).logicalNot());
    const count = Math.max(Math.trunc(clipCovRatio * valid.sum().item()), 1);
    // The digits of the log-probs make it another choice at every step, from one seed, and the same one in the same step of another run.
    const drawn = randomUniform(valid.shape, { key: randomKey(seed), device: advantages.device });
    // Of each its fraction before they are added: the digits of a large log-prob are coarse, and a sum with it would be.
    const digits = stopGradient(tokens.logProbs).mul(1e4);
    const moved = drawn.add(digits.sub(digits.floor()));
    const order = moved.sub(moved.floor());
    const taken = topTokens(order, candidates, count);
    const metrics = { clip_ratio: mean(taken), ...ratioMetrics(tokens, ratio, logRatio) };
    return { losses: where(taken, 0, unclipped.minimum(clipped).neg()), ratio, metrics };
  }
}

/**
 * `kl_cov`: L = −ρ·A, and for the tokens of the highest covariance of advantage and log-prob, `klCovRatio` of the valid ones, one at least,
 *
 *     L = −ρ·A + ppoKlCoef·|ℓ − ℓ_old|
 *
 * Of equal covariances the first ones are taken. Cui et al. 2025, as `clip_cov`. Metrics: `penalized_ratio` (share of tokens with the penalty), `abs_kl` (mean of |ℓ − ℓ_old|),
 * and those of the ratio.
 */
export class KlCovariancePolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'kl_cov';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    klCovRatio: 0.0002,
    ppoKlCoef: 1,
    logRatioMin: null,
    logRatioMax: null,
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    const { klCovRatio, ppoKlCoef } = options;
    const { advantages, oldLogProbs, valid, mean } = tokens;
    const logRatio = logRatioOf(tokens, oldLogProbs, options);
    const ratio = logRatio.exp();
    const valids = valid.sum().item();
    const count = Math.min(Math.max(Math.trunc(valids * klCovRatio), 1), valids);
    const chosen = topTokens(covariances(tokens), valid, count);
    const plain = ratio.mul(advantages).neg();
    const distance = logRatio.abs();
    const metrics = { penalized_ratio: mean(chosen), abs_kl: mean(distance), ...ratioMetrics(tokens, ratio, logRatio) };
    return { losses: plain.add(where(chosen, distance.mul(ppoKlCoef), 0)), ratio, metrics };
  }
}
