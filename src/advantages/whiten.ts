/** Masked whitening, shared by the estimators that normalise over all tokens of a batch. */
import { whiten, type RowMoments, type Tensor } from '../tensor';

/**
 * (x − μ) / √(σ² + ε) over the valid positions, σ² with ddof 1; 0 elsewhere. With a single valid position the result is 0. Values around 1e4 lose nothing.
 *
 * @param moments of x, where a kernel has taken them already
 */
export function maskedWhiten(x: Tensor, mask: Tensor, epsilon = 1e-8, moments: RowMoments | null = null): Tensor {
  return whiten(x, mask, { epsilon, moments });
}
