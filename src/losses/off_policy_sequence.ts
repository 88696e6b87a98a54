/** What a sequence's distance from the sampler does to its loss: a mask and a smooth weight. */
import { EstimatorError } from '../errors';
import { checkObject, type Given, required, resolveOptions } from '../options';
import { stopGradient, type Tensor, where } from '../tensor';
import { checkNumber, checkSameShape, checkTensor, floating } from './check';

/** Inputs of {@link offPolicySequenceMask}. */
export interface OffPolicySequenceInputs {
  /** ℓ under the policy that is trained, [B,T]; taken as constants. */
  logProbs: Tensor;
  /** ℓ as the sampler reported them, [B,T]. */
  rolloutLogProbs: Tensor;
  /** [B], [B,1] or [B,T]. */
  advantages: Tensor;
  /** [B,T] */
  mask: Tensor;
}

/**
 * Off-policy sequence masking: 1 for sequences of advantage ≥ 0, and for others whose mean of ℓ_rollout − ℓ over valid tokens is at most `threshold`; else 0.
 * [B,1], or [B,T] for advantages of that shape. DeepSeek-AI 2025, "DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models".
 * A sequence without a valid token is kept where `threshold` ≥ 0.
 *
 * @throws EstimatorError for shapes that do not belong together, a threshold that is no number, unknown options
 */
export function offPolicySequenceMask(inputs: OffPolicySequenceInputs, options: Given<{ threshold: number }>): Tensor {
  const who = 'offPolicySequenceMask';
  const { threshold } = resolveOptions(who, { threshold: required }, options);
  checkNumber(who, "option 'threshold'", threshold, -Number.MAX_VALUE);
  checkObject(who, 'input', inputs, ['logProbs', 'rolloutLogProbs', 'advantages', 'mask']);
  const { logProbs, rolloutLogProbs, mask } = inputs;
  checkSameShape(who, { logProbs, rolloutLogProbs, mask });
  const advantages = perRow(who, inputs.advantages, mask);
  const valid = mask.notEqual(0);
  const drift = where(valid, floating(rolloutLogProbs).sub(floating(logProbs)), 0).sum(-1, { keepDims: true }).div(valid.sum(-1, { keepDims: true }).maximum(1));
  return stopGradient(advantages.greaterEqual(0).logicalOr(drift.lessEqual(threshold)).cast(drift.dtype));
}

/** Inputs of {@link gammaWeights}. */
export interface GammaWeightInputs {
  /** log(π_θ/π_old) of the tokens, [B,T]; taken as constants. */
  logRatio: Tensor;
  /** [B] or [B,1] */
  advantages: Tensor;
  /** [B,T] */
  mask: Tensor;
  /** π_old/π_rollout, [B,T] or [B,1], where the sampler was another policy. */
  importanceRatio?: Tensor | null;
}

/** What {@link GammaWeightOptions} may set. */
export interface GammaSettings {
  /** k and λ for sequences of advantage ≥ 0 and < 0. Defaults 2, 3, 3, 2. */
  kPos: number;
  /** λ for sequences of advantage 0 or more. */
  lambdaPos: number;
  /** k for the others. */
  kNeg: number;
  /** λ for the others. */
  lambdaNeg: number;
  /** Token importance ratios count at valid positions only. Default true. */
  maskRatio: boolean;
}

/** Options of {@link gammaWeights}. */
export type GammaWeightOptions = Given<GammaSettings>;

/**
 * VESPO's weight of each sequence, [B,1]: φ(w) = w^k · e^(λ(1 − w)) with w = Π_t π_θ/π_rollout, so that φ(1) = 1; the tokens' loss is −φ·A·ℓ. Shen et al. 2026,
 * "VESPO: Variational Sequence-Level Soft Policy Optimization for Stable Off-Policy LLM Training".
 * log w: tokens' log-ratios are clamped to ±20, importance ratios and the sum to [log 1e-8, 20]. Constant for the gradient.
 *
 * @throws EstimatorError for shapes that do not belong together and unknown options
 */
export function gammaWeights(inputs: GammaWeightInputs, options: GammaWeightOptions = {}): Tensor {
  const who = 'gammaWeights';
  checkObject(who, 'input', inputs, ['logRatio', 'advantages', 'mask', 'importanceRatio']);
  const { logRatio, advantages, mask, importanceRatio } = inputs;
  const defaults: GammaSettings = { kPos: 2, lambdaPos: 3, kNeg: 3, lambdaNeg: 2, maskRatio: true };
  const settings = resolveOptions(who, defaults, options, { presets: { trl: { maskRatio: false } } });
  for (const name of ['kPos', 'lambdaPos', 'kNeg', 'lambdaNeg'] as const) checkNumber(who, name, settings[name], -Number.MAX_VALUE);
  checkSameShape(who, { logRatio, mask });
  const valid = mask.notEqual(0);
  const least = Math.log(1e-8);
  let sum = where(valid, floating(logRatio).clamp(-20, 20), 0).sum(-1, { keepDims: true });
  if (importanceRatio) {
    const isRow = importanceRatio.ndim === 2 && importanceRatio.shape[0] === mask.shape[0] && importanceRatio.shape[1] === 1 && mask.shape[1] !== 1;
    if (!isRow) checkSameShape(who, { logRatio, importanceRatio });
    const log = floating(importanceRatio).log().clamp(least, 20);
    sum = sum.add(isRow ? log : (settings.maskRatio ? where(valid, log, 0) : log).sum(-1, { keepDims: true }));
  }
  const logWeight = sum.clamp(least, 20);
  const isGood = perRow(who, advantages, mask).greaterEqual(0);
  const side = (good: number, bad: number) => where(isGood, onRows(logWeight, good), onRows(logWeight, bad));
  const lambda = side(Math.max(settings.lambdaPos, 1e-4), Math.max(settings.lambdaNeg, 1e-4));
  const weight = lambda.add(side(settings.kPos, settings.kNeg).mul(logWeight)).sub(lambda.mul(logWeight.exp())).exp();
  return stopGradient(where(weight.isFinite(), weight, 0));
}

/** A number for each row, in the rows' dtype. */
function onRows(like: Tensor, value: number): Tensor {
  return like.mul(0).add(value);
}

/** Advantages as [B,1] or [B,T]. */
function perRow(who: string, advantages: Tensor, mask: Tensor): Tensor {
  const [batch, time] = mask.shape as [number, number];
  checkTensor(who, 'advantages', advantages);
  const { shape, ndim } = advantages;
  if (ndim === 1 && shape[0] === batch) return advantages.expandDims(1);
  if (ndim === 2 && shape[0] === batch && (shape[1] === 1 || shape[1] === time)) return advantages;
  throw new EstimatorError(`${who}: advantages: expected shape [${batch}], [${batch},1] or [${batch},${time}], got [${shape.join(',')}]`);
}
