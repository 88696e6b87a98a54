import { where } from '../../tensor';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { logRatioOf, ratioMetrics, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * `sapo`: a soft gate in place of the clip,
 *
 *     L = −(4/τ)·σ(τ·(ρ − 1))·A,   τ = τ⁺ where A > 0, else τ⁻
 *
 * whose slope at ρ = 1 is 1 and fades on both sides. Gao et al. 2025, "Soft Adaptive Policy Optimization". Metrics: those of the ratio.
 */
export class SoftAdaptivePolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'sapo';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    tauPos: 1,
    tauNeg: 1.05,
    logRatioMin: -20,
    logRatioMax: 20,
    ratioLevel: 'token',
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    const { tauPos, tauNeg } = options;
    const { advantages } = tokens;
    const logRatio = logRatioOf(tokens, tokens.oldLogProbs, options);
    const ratio = logRatio.exp();
    const gate = (tau: number) => ratio.sub(1).mul(tau).sigmoid().mul(4 / tau);
    const losses = where(advantages.greater(0), gate(tauPos), gate(tauNeg)).mul(advantages).neg();
    return { losses, ratio, metrics: ratioMetrics(tokens, ratio, logRatio) };
  }
}
