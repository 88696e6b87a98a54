/** Masked whitening, shared by the estimators that normalise over all tokens of a batch. */
import { where, Tensor } from '../tensor';
import * as ops from '../tensor/operations';

/**
 * (x − μ) / √(σ² + ε) over the valid positions, σ² with ddof 1; 0 elsewhere. With a single valid position the result is 0.
 *
 * The mean is taken in two passes (ops.centre), so that values around 1e4 lose nothing.
 */
export function maskedWhiten(x: Tensor, mask: Tensor, epsilon = 1e-8): Tensor {
  const axes = [...x.shape.keys()];
  const valid = mask.cast('bool').broadcastTo(x.shape);
  const centred = new Tensor(ops.centre(x.node, axes, valid.node));
  const count = valid.sum().cast(x.dtype);
  const variance = centred.square().sum().div(count.sub(1).maximum(1));
  return where(valid, centred.mul(variance.add(epsilon).rsqrt()), 0);
}
