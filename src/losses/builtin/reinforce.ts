/** Losses without a clip. */
import { type Tensor } from '../../tensor';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions } from '../options';
import { logRatioOf, ratioMetrics, type TokenLosses, TokenPolicyLoss, type Tokens } from '../token_loss';

/** Ratio and its metrics, for losses that do not go by it. */
function observed(tokens: Tokens, anchor: Tensor): Pick<TokenLosses, 'ratio' | 'metrics'> {
  const logRatio = logRatioOf(tokens, anchor, {});
  const ratio = logRatio.exp();
  return { ratio, metrics: ratioMetrics(tokens, ratio, logRatio) };
}

/**
 * `gpg`: L = −A·ℓ. Chu et al. 2025, "GPG: A Simple and Strong Reinforcement Learning Baseline for Model Reasoning". Metrics: those of the ratio.
 */
export class PolicyGradientLoss extends TokenPolicyLoss {
  static override readonly lossName: string = 'gpg';

  protected tokenLosses(tokens: Tokens, _: ResolvedOptions): TokenLosses {
    return { losses: tokens.advantages.mul(tokens.logProbs).neg(), ...observed(tokens, tokens.oldLogProbs) };
  }
}

/**
 * `reinforce`: L = −w·A·ℓ with w the `weights` of tokens that another policy drew (1 without them); its metrics speak of the ratio to the sampler, where
 * `rolloutLogProbs` are given. Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
 */
export class ReinforceLoss extends PolicyGradientLoss {
  static override readonly lossName = 'reinforce';

  protected override tokenLosses(tokens: Tokens, _: ResolvedOptions): TokenLosses {
    return { losses: tokens.advantages.mul(tokens.logProbs).neg(), ...observed(tokens, tokens.rolloutLogProbs ?? tokens.oldLogProbs) };
  }
}

/**
 * `importance_sampling`: L = −ρ·A with ρ = exp(ℓ − ℓ_old), neither clipped nor clamped unless `logRatioMin` or `logRatioMax` say so. Metrics: those of the ratio.
 */
export class ImportanceSamplingLoss extends TokenPolicyLoss {
  static override readonly lossName = 'importance_sampling';
  static override readonly options: PolicyLossOptions = {
    ...commonOptions,
    logRatioMin: null,
    logRatioMax: null,
    ratioLevel: 'token',
  };

  protected tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses {
    const logRatio = logRatioOf(tokens, tokens.oldLogProbs, options);
    const ratio = logRatio.exp();
    return { losses: ratio.mul(tokens.advantages).neg(), ratio, metrics: ratioMetrics(tokens, ratio, logRatio) };
  }
}

/** `cross_entropy`: L = −ℓ, the loss of supervised fine-tuning; advantages and old log-probs have no effect on it. Metrics: those of the ratio. */
export class CrossEntropyLoss extends TokenPolicyLoss {
  static override readonly lossName = 'cross_entropy';

  protected tokenLosses(tokens: Tokens, _: ResolvedOptions): TokenLosses {
    return { losses: tokens.logProbs.neg(), ...observed(tokens, tokens.oldLogProbs) };
  }
}
