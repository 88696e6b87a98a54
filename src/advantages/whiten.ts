/** Masked whitening, shared by the estimators that normalise over all tokens of a batch. */
import { where, type Tensor } from '../tensor';

/**
 * (x − μ) / √(σ² + ε) over the valid positions, σ² with ddof 1; 0 elsewhere. With a single valid position the result is 0.
 *
 * The deviations are taken from the rounded mean and then corrected for its rounding, so that values around 1e4 lose nothing. Written so that x is read
 * three times: for the mean, for the moments around it, for the result.
 */
export function maskedWhiten(x: Tensor, mask: Tensor, epsilon = 1e-8): Tensor {
  const count = mask.cast('bool').sum().cast(x.dtype);
  const mean = where(mask, x, 0).sum().div(count);
  const deviation = where(mask, x.sub(mean), 0);
  const shift = deviation.sum().div(count);
  const spread = deviation.square().sum().sub(shift.square().mul(count)).maximum(0);
  const scale = spread.div(count.sub(1).maximum(1)).add(epsilon).rsqrt();
  return where(mask, x.sub(mean).sub(shift).mul(scale), 0);
}
