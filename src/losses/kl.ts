/** Estimates of the KL divergence between the policy and a reference, from sampled tokens. */
import { EstimatorError, showValue } from '../errors';
import { type Tensor, where } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { checkSameShape } from './check';

/** The names of `trainer.algorithm.kl_estimator_type`. */
export const klEstimators = ['k1', 'abs', 'k2', 'k3'] as const;
export type KlEstimator = (typeof klEstimators)[number];

const logRatioLimit = 20;
const k3Limit = 10;

/**
 * The divergence of each token, [B,T], with d = ℓ − ℓ_ref:
 *
 * - `k1` = d: unbiased, of high variance, its gradient is not that of the divergence;
 * - `abs` = |d|;
 * - `k2` = d²/2: biased, its gradient is that of the divergence;
 * - `k3` = e^x − x − 1 with x = −d: unbiased and never negative; x is clamped to ±20 and the result to ±10, without gradient beyond.
 *
 * Where the mask is 0 the result and its gradient are 0, even if a log-prob is NaN or infinite there. Schulman 2020, "Approximating KL
 * divergence".
 *
 * @throws EstimatorError for shapes that differ and another estimator
 */
export function klDivergence(logProbs: Tensor, refLogProbs: Tensor, type: KlEstimator, mask?: Tensor): Tensor {
  checkSameShape('klDivergence', { logProbs, refLogProbs, ...(mask && { mask }) });
  if (!klEstimators.includes(type)) {
    throw new EstimatorError(`klDivergence: type: expected one of ${klEstimators.join(', ')}, got ${showValue(type)}`);
  }
  const difference = logProbs.sub(refLogProbs);
  // Each estimate of 0 is 0.
  const kl = estimate(mask ? where(mask.notEqual(0), difference, 0) : difference, type);
  return mask && isFloating(mask.dtype) ? kl.mul(mask) : kl;
}

function estimate(difference: Tensor, type: KlEstimator): Tensor {
  switch (type) {
    case 'k1':
      return difference;
    case 'abs':
      return difference.abs();
    case 'k2':
      return difference.square().mul(0.5);
    case 'k3': {
      const x = difference.neg().clamp(-logRatioLimit, logRatioLimit);
      return x.expm1().sub(x).clamp(-k3Limit, k3Limit);
    }
  }
}
