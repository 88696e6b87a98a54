/** What the built-in policy losses have in common: inputs without what masked positions hold, and the way from tokens to the loss. */
import { EstimatorError, showValue } from '../errors';
import { stopGradient, type Tensor, where } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { formatShape, sameShape } from '../tensor/shape';
import { checkObject } from '../options';
import { checkTensor } from './check';
import { topEntropyMask } from './entropy';
import { klDivergence } from './kl';
import { commonOptions, type PolicyLossOptions, type ResolvedOptions, resolveLossOptions } from './options';
import { offPolicySequenceMask } from './off_policy_sequence';
import { type LossCorrection, PolicyLoss, type PolicyLossInputs, type PolicyLossResult } from './policy_loss';
import { meanOver, reduceLoss } from './reduction';

/** The inputs of a loss. At masked positions log-probs and advantages are 0 and weights 1, unless `remask` is off. */
export interface Tokens {
  /** `[B,T]`: under the policy that is trained. */
  logProbs: Tensor;
  /** `[B,T]`: under the policy before the update. */
  oldLogProbs: Tensor;
  /** [B,T]. */
  advantages: Tensor;
  /** `[B,T]`: as the sampler reported them; null where it did not. */
  rolloutLogProbs: Tensor | null;
  /** [B,T] or [B,1]: factors on the policy term; null: none. */
  weights: Tensor | null;
  /** bool [B,T]: 1 where a token counts. */
  valid: Tensor;
  /** Mean over the valid tokens. */
  mean: (x: Tensor) => Tensor;
  /** Whether `driftMetrics` are asked for. */
  reportsDrift: boolean;
}

/** What a subclass of {@link TokenPolicyLoss} gives for its tokens. */
export interface TokenLosses {
  /** [B,T], or [B,1] for all tokens of a row. */
  losses: Tensor;
  /** Of the same shape: the probability ratio that the loss goes by. */
  ratio: Tensor;
  /** Scalars to record. */
  metrics: Record<string, Tensor>;
}

/**
 * A policy loss that is a sum over tokens: a subclass gives the tokens' losses, this class the rest, in this order: the factors of `offPolicyThreshold`,
 * `topEntropyQuantile` and `weights`, the `correction`, the KL term, the `divisors`, the reduction.
 */
export abstract class TokenPolicyLoss extends PolicyLoss {
  /** The name in error messages: the one it is registered under. */
  static readonly lossName: string = 'policy loss';
  /** The options that it takes, with their defaults; any other is refused. */
  static readonly options: PolicyLossOptions = commonOptions;
  /** Options whose value makes the loss what it is: a convention does not change them. */
  static readonly fixed: readonly string[] = [];
  /** `divisors` and `correction` are applied to the losses of its tokens. */
  static readonly perToken = true;
  /** Whether `weights` are factors on the tokens' losses; else the subclass uses them. */
  protected readonly weighsTokens: boolean = true;

  /** The formula of the loss: the policy term of each token, before factors, correction, KL term and reduction. */
  protected abstract tokenLosses(tokens: Tokens, options: ResolvedOptions): TokenLosses;

  /** @throws EstimatorError for options that the loss does not have or whose value is none, and for inputs that are missing */
  computeLoss(inputs: PolicyLossInputs, given: PolicyLossOptions = {}): PolicyLossResult {
    const { lossName, options: own, fixed } = this.constructor as typeof TokenPolicyLoss;
    const options = resolveLossOptions(lossName, own, given, fixed);
    checkInputs(lossName, inputs);
    if (inputs.divisors && options.reduction !== 'token_sum') {
      throw new EstimatorError(`${lossName}: reduction: expected 'token_sum', as divisors are given, got '${options.reduction}'`);
    }
    if (options.reduction === 'seq_mean_token_sum_norm' && options.maxSeqLen === null) {
      throw new EstimatorError(`policy loss '${lossName}': option 'maxSeqLen': expected a number, 1 or more, as the reduction ${options.reduction} divides by it, got null`);
    }
    const tokens = prepare(inputs, options);
    const { losses: first, ratio, metrics } = expectLosses(lossName, this.tokenLosses(tokens, options), inputs.logProbs);
    let [losses, mask] = [first.broadcastTo([...inputs.logProbs.shape]), tokens.valid];
    const factors = [drift(tokens, options), entropic(lossName, inputs, tokens, options), this.weighsTokens ? tokens.weights : null];
    for (const factor of factors) if (factor) losses = losses.mul(factor);
    let reported = metrics;
    if (inputs.correction) {
      const corrected = expectCorrected(lossName, inputs.correction({ losses, mask, oldLogProbs: inputs.oldLogProbs, rolloutLogProbs: inputs.rolloutLogProbs }), losses);
      [losses, mask, reported] = [corrected.losses, corrected.mask, { ...metrics, ...corrected.metrics }];
    }
    if (options.klCoef !== 0) {
      const kl = divergence(lossName, inputs, tokens, ratio, options);
      losses = losses.add(kl.mul(options.klCoef));
      reported = { ...reported, kl: tokens.mean(kl) };
    }
    if (inputs.divisors) losses = losses.div(inputs.divisors);
    return { loss: this.reduce(losses, mask, options), metrics: reported };
  }

  /** How the tokens' losses become one number, by `options.reduction`. */
  protected reduce(losses: Tensor, mask: Tensor, options: ResolvedOptions): Tensor {
    return reduceLoss(losses, mask, options.reduction, options);
  }
}

/** @throws EstimatorError for inputs that are missing or no tensors: a loss may be called by itself, past `computePolicyLoss` */
function checkInputs(name: string, inputs: PolicyLossInputs): void {
  checkObject(name, 'input', inputs);
  const { logProbs, oldLogProbs, advantages, mask, rolloutLogProbs, refLogProbs, weights, entropy, divisors, correction } = inputs;
  for (const [key, value] of Object.entries({ logProbs, oldLogProbs, advantages, mask })) checkTensor(name, key, value);
  for (const [key, value] of Object.entries({ rolloutLogProbs, refLogProbs, weights, entropy, divisors })) if (value) checkTensor(name, key, value);
  if (correction && typeof correction !== 'function') throw new EstimatorError(`${name}: correction: expected a function, got ${showValue(correction)}`);
}

/** @throws EstimatorError unless a subclass gave its tokens' losses, one a token or one a row */
function expectLosses(name: string, result: unknown, { shape }: Tensor): TokenLosses {
  if (typeof result !== 'object' || result === null) throw new EstimatorError(`${name}: tokenLosses: expected { losses, ratio, metrics }, got ${showValue(result)}`);
  const { losses } = result as TokenLosses;
  checkTensor(name, 'tokenLosses: losses', losses);
  const [batch, time] = shape as [number, number];
  if (losses.ndim !== 2 || losses.shape[0] !== batch || (losses.shape[1] !== time && losses.shape[1] !== 1) || !isFloating(losses.dtype)) {
    throw new EstimatorError(
      `${name}: tokenLosses: expected losses of shape ${formatShape(shape)}, or [${batch},1] for one a row, of floating-point numbers, got ${losses.dtype} ${formatShape(losses.shape)}`,
    );
  }
  return result as TokenLosses;
}

function prepare(inputs: PolicyLossInputs, { remask, metricEpsilon, driftMetrics }: ResolvedOptions): Tokens {
  const valid = inputs.mask.notEqual(0);
  const clean = (x: Tensor, otherwise = 0) => (remask ? where(valid, x, otherwise) : x);
  return {
    logProbs: clean(inputs.logProbs),
    oldLogProbs: clean(inputs.oldLogProbs),
    advantages: clean(inputs.advantages),
    rolloutLogProbs: inputs.rolloutLogProbs ? clean(inputs.rolloutLogProbs) : null,
    weights: inputs.weights ? (inputs.weights.shape[1] === inputs.mask.shape[1] ? clean(inputs.weights, 1) : inputs.weights) : null,
    valid,
    mean: meanOver(valid, inputs.logProbs.dtype, metricEpsilon),
    reportsDrift: driftMetrics,
  };
}

/** @throws EstimatorError unless a correction gave losses and a mask of the tokens' shape */
function expectCorrected(name: string, result: unknown, like: Tensor): ReturnType<LossCorrection> {
  if (typeof result !== 'object' || result === null) throw new EstimatorError(`${name}: correction: expected { losses, mask, metrics? }, got ${showValue(result)}`);
  const corrected = result as ReturnType<LossCorrection>;
  for (const key of ['losses', 'mask'] as const) {
    checkTensor(name, `correction: ${key}`, corrected[key]);
    const { shape } = corrected[key];
    if (!sameShape(shape, like.shape)) throw new EstimatorError(`${name}: correction: ${key}: expected shape ${formatShape(like.shape)}, got ${formatShape(shape)}`);
  }
  return corrected;
}

/** 1 where a row's tokens keep their policy term, [B,T]: advantages of 0 or more, and rows that the policy has not left (DeepSeek-AI 2025, DeepSeek-V3.2). */
function drift(tokens: Tokens, { offPolicyThreshold }: ResolvedOptions): Tensor | null {
  if (offPolicyThreshold === null) return null;
  const sampled = tokens.rolloutLogProbs ?? tokens.oldLogProbs;
  const { logProbs, advantages, valid: mask } = tokens;
  return offPolicySequenceMask({ logProbs, rolloutLogProbs: sampled, advantages, mask }, { threshold: offPolicyThreshold });
}

/** 1 for the valid tokens of the highest entropy, [B,T]; null where all count. */
function entropic(name: string, { entropy }: PolicyLossInputs, { valid, logProbs }: Tokens, { topEntropyQuantile }: ResolvedOptions): Tensor | null {
  if (topEntropyQuantile === 1) return null;
  if (!entropy) throw new EstimatorError(`${name}: entropy: expected a Tensor, as topEntropyQuantile is ${topEntropyQuantile}`);
  return topEntropyMask(entropy, valid, { rho: topEntropyQuantile }).cast(logProbs.dtype);
}

function divergence(name: string, { refLogProbs }: PolicyLossInputs, tokens: Tokens, ratio: Tensor, options: ResolvedOptions): Tensor {
  const { klCoef, klEstimator, klInputClamp, klOutputClamp, klRatioWeighted, remask } = options;
  if (!refLogProbs) throw new EstimatorError(`${name}: refLogProbs: expected a Tensor, as klCoef is ${klCoef}`);
  const reference = remask ? where(tokens.valid, refLogProbs, 0) : refLogProbs;
  const kl = klDivergence(tokens.logProbs, reference, klEstimator, undefined, { inputClamp: klInputClamp, outputClamp: klOutputClamp });
  return klRatioWeighted ? kl.mul(ratio) : kl;
}

/** The mean over the valid tokens of each row, [B,1]; 0 where there is none. With `epsilon` the divisor is their number + ε. */
export function rowMean(x: Tensor, valid: Tensor, epsilon = 0): Tensor {
  const count = valid.sum(-1, { keepDims: true });
  const divisor = epsilon > 0 ? count.cast(x.dtype).add(epsilon) : count.maximum(1);
  return x.sum(-1, { mask: valid, keepDims: true }).div(divisor);
}

/** The mean of a number a row, or a token, over all of them; 0 of none. */
export const meanOfRows = (x: Tensor): Tensor => x.sum().div(Math.max(1, x.size));

/** ℓ − ℓ_anchor, within the bounds of the options, at the level of the options. */
export function logRatioOf({ logProbs, valid }: Tokens, anchor: Tensor, { logRatioMin = null, logRatioMax = null, ratioLevel = 'token' }: Partial<ResolvedOptions>): Tensor {
  let logRatio = logProbs.sub(anchor);
  if (ratioLevel !== 'token') {
    const mean = rowMean(logRatio, valid);
    // Value of the sequence, gradient of the token: the mean is added last, as it is what precision is lost on.
    logRatio = ratioLevel === 'sequence' ? mean : logProbs.sub(stopGradient(logProbs)).add(stopGradient(mean));
  }
  return logRatio.clamp(logRatioMin, logRatioMax);
}

/** @throws EstimatorError where the loss needs what the sampler reported, and the run does not have it */
export function rolloutOf(name: string, { rolloutLogProbs }: Tokens): Tensor {
  if (!rolloutLogProbs) throw new EstimatorError(`${name}: rolloutLogProbs: expected a Tensor, got null`);
  return rolloutLogProbs;
}

/** Mean, least and largest ratio, and estimates of the divergence: `approx_kl` goes by the ratio, of `driftMetrics` `ppo_kl` too, and `old_kl` by ℓ_old − ℓ as it is. All are 0 where nothing is valid. */
export function ratioMetrics({ logProbs, oldLogProbs, valid, mean, reportsDrift }: Tokens, ratio: Tensor, logRatio: Tensor): Record<string, Tensor> {
  const everywhere = ratio.broadcastTo([...valid.shape]);
  const log = logRatio.broadcastTo([...valid.shape]);
  const [least, most] = [everywhere.min(null, { mask: valid }), everywhere.max(null, { mask: valid })];
  // Of nothing the largest is the smaller one.
  const none = most.less(least);
  return {
    approx_kl: mean(log.expm1().sub(log)),
    ...(reportsDrift && { ppo_kl: mean(log.neg()), old_kl: mean(oldLogProbs.sub(logProbs)) }),
    ratio_mean: mean(everywhere),
    ratio_min: where(none, 0, least),
    ratio_max: where(none, 0, most),
  };
}
