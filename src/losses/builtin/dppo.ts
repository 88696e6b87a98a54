import { type Tensor, where } from '../../tensor';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { logRatioOf, ratioMetrics, rolloutOf, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * `dppo`: a trust region of the divergence in place of the ratio's clip:
 *
 *     L = −ρ·A·M,   M = 0 where A > 0, ρ > 1 and D > δ_high, and where A < 0, ρ < 1 and D > δ_low; else 1
 *
 * With p = exp(ℓ) and q = exp(ℓ_anchor), D is, of the token against all others, the total variation |p − q| (`binary_tv`), or the divergence
 * q·log(q/p) + (1 − q)·log((1 − q)/(1 − p)) (`binary_kl`). The anchor is the sampler where `rolloutLogProbs` are given, else the old policy, unless `anchor` says which.
 * Qi et al. 2026, "Rethinking the Trust Region in LLM Reinforcement Learning".
 *
 * Metrics: `clip_ratio` (share of tokens with M = 0), and those of the ratio.
 */
export class DivergencePolicyLoss extends TokenPolicyLoss {
  static override readonly lossName: string = 'dppo';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    divergence: 'binary_tv',
    deltaLow: 0.2,
    deltaHigh: 0.2,
    anchor: null,
    logRatioMin: -20,
    logRatioMax: 20,
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    const { divergence, deltaLow, deltaHigh, anchor: which } = options;
    const { logProbs, oldLogProbs, rolloutLogProbs, advantages, valid, mean } = tokens;
    const anchor = which === 'rollout' ? rolloutOf('dppo', tokens) : which === 'old' ? oldLogProbs : (rolloutLogProbs ?? oldLogProbs);
    const logRatio = logRatioOf(tokens, anchor, options);
    const ratio = logRatio.exp();
    const distance = divergence === 'binary_tv' ? logProbs.exp().sub(anchor.exp()).abs() : binaryKl(anchor, logProbs);
    const up = advantages.greater(0).logicalAnd(ratio.greater(1)).logicalAnd(distance.greater(deltaHigh));
    const down = advantages.less(0).logicalAnd(ratio.less(1)).logicalAnd(distance.greater(deltaLow));
    const out = up.logicalOr(down).logicalAnd(valid);
    const metrics = { clip_ratio: mean(out), ...ratioMetrics(tokens, ratio, logRatio) };
    return { losses: where(out, 0, ratio.mul(advantages).neg()), ratio, metrics };
  }
}

function binaryKl(logQ: Tensor, logP: Tensor): Tensor {
  const q = logQ.exp();
  const rest = (log: Tensor) => log.expm1().neg();
  const others = rest(logQ);
  // 0·log 0 is 0: where q is 1 nothing is left for the others.
  return q.mul(logQ.sub(logP)).add(where(others.equal(0), 0, others.mul(others.div(rest(logP)).log())));
}
