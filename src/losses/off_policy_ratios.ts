/** The policy that is trained from beside the one that sampled: log-ratios of tokens and of whole sequences. */
import { checkObject } from '../options';
import { type Tensor, where } from '../tensor';
import { checkSameShape, floating } from './check';

/** The two policies' view of a batch: what the trainer computes, and what the sampler reported. */
export interface OffPolicyInputs {
  /** ℓ_old: log-probs under the policy before the update, as the trainer computes them, [B,T]; constants. */
  oldLogProbs: Tensor;
  /** ℓ_rollout: the same as the sampler reported them, [B,T]; constants. */
  rolloutLogProbs: Tensor;
  /** [B,T]; what the others hold where it is 0 has no effect. */
  mask: Tensor;
}

export interface LogRatios {
  /** bool [B,T] */
  valid: Tensor;
  /** Valid tokens of each row, [B,1]. */
  count: Tensor;
  /** ℓ_old − ℓ_rollout, [B,T], as it stands at masked positions too. */
  raw: Tensor;
  /** The same, 0 at masked positions. */
  token: Tensor;
  /** Its sum over each row, [B,1]: the log of the product of a sequence's ratios. */
  sum: Tensor;
  /** Its mean over each row's valid tokens, [B,1]; 0 where there is none. */
  mean: Tensor;
}

/** @throws EstimatorError for shapes that differ */
export function logRatios(operation: string, inputs: OffPolicyInputs): LogRatios {
  checkObject(operation, 'input', inputs, ['oldLogProbs', 'rolloutLogProbs', 'mask']);
  const { oldLogProbs, rolloutLogProbs, mask } = inputs;
  checkSameShape(operation, { oldLogProbs, rolloutLogProbs, mask });
  const valid = mask.notEqual(0);
  const raw = floating(oldLogProbs).sub(floating(rolloutLogProbs));
  const count = valid.sum(-1, { keepDims: true }).cast(raw.dtype);
  const token = where(valid, raw, 0);
  const sum = token.sum(-1, { keepDims: true });
  return { valid, count, raw, token, sum, mean: sum.div(count.maximum(1)) };
}

/** e^x, x clamped to ±limit: e^20 is as large as a weight needs to be. */
export function ratioOf(logRatio: Tensor, limit: number | null): Tensor {
  return (limit === null ? logRatio : logRatio.clamp(-limit, limit)).exp();
}

/** 1 where low ≤ x ≤ high; null leaves a side open. NaN is outside. */
export function within(x: Tensor, low: number | null, high: number | null): Tensor {
  return x.greaterEqual(low ?? -Infinity).logicalAnd(x.lessEqual(high ?? Infinity));
}
