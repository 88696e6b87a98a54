import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { gammaWeights } from '../off_policy_sequence';
import { logRatioOf, meanOfRows, ratioMetrics, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/**
 * `vespo`: REINFORCE with a weight of the whole sequence, which is a constant for the gradient:
 *
 *     L = −φ(w)·A·ℓ,   φ(w) = w^k·e^{λ(1 − w)},   log w = Σ over the row of (ℓ − ℓ_old + log of the token's `weights`)
 *
 * k and λ depend on the sign of A; φ(1) = 1. Each token's log-ratio is within ±20, log w and the logs of weights are within log 1e-8 and 20. Shen et al. 2026,
 * "VESPO: Variational Sequence-Level Soft Policy Optimization for Stable Off-Policy LLM Training".
 *
 * Metrics: `phi_mean` (mean of φ over the valid tokens; with `rowMetrics` over all), and those of the ratio, which is a token's or a row's as `ratioLevel` says, as is that of `klRatioWeighted`.
 */
export class VariationalSequencePolicyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'vespo';
  static override readonly options: PolicyLossOptions = { ...commonOptions, kPos: 2, lambdaPos: 3, kNeg: 3, lambdaNeg: 2, ratioLevel: 'token' };
  protected override readonly weighsTokens = false;

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    const { advantages, logProbs, oldLogProbs, valid: mask, weights: importanceRatio } = tokens;
    const { kPos, lambdaPos, kNeg, lambdaNeg, remask: maskRatio } = options;
    const logRatio = logRatioOf(tokens, oldLogProbs, {});
    const phi = gammaWeights({ logRatio, advantages, mask, importanceRatio }, { kPos, lambdaPos, kNeg, lambdaNeg, maskRatio });
    const reported = options.ratioLevel === 'token' ? logRatio : logRatioOf(tokens, oldLogProbs, options);
    const ratio = reported.exp();
    // A row shares its advantage, hence its φ; where it does not, each token goes by its own.
    const metrics = { phi_mean: options.rowMetrics ? meanOfRows(phi) : tokens.mean(phi), ...ratioMetrics(tokens, ratio, reported) };
    return { losses: phi.mul(advantages).mul(logProbs).neg(), ratio, metrics };
  }
}
