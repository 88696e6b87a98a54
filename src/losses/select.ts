/** The largest of many numbers, as a mask. */
import { type Tensor, where } from '../tensor';

/**
 * 1 for the `count` largest valid elements of x, 0 for the others; of x's shape, bool. Of elements that are equal the first ones are taken (`first`), or, at the
 * least that is taken, all of them (`all`).
 *
 * The least that is taken is found between the extremes, whose distance is quartered again and again: one pass over x for two bits, so that nothing is sorted or
 * leaves the device.
 */
export function topTokens(x: Tensor, valid: Tensor, count: number, ties: 'first' | 'all' = 'first'): Tensor {
  if (count <= 0) return valid.logicalAnd(valid.logicalNot());
  // In memory, so that a pass reads one number a token, and under every threshold where it is not valid, so that it reads no mask.
  const clean = where(valid, x, -Infinity).realize();
  let high = clean.max(null, { keepDims: true });
  const least = clean.min(null, { mask: valid, keepDims: true });
  // Under all elements, whatever their size.
  let low = least.sub(high.sub(least)).sub(least.abs()).sub(1);
  // More than `count` − 1 lie over `low`, fewer over `high`.
  for (let bits = 0; bits < (x.dtype === 'float64' ? 64 : 40); bits += 2) {
    const width = high.sub(low);
    const thresholds = [0.25, 0.5, 0.75].map((share) => low.add(width.mul(share)));
    const enough = thresholds.map((threshold) => clean.greater(threshold).sum(null, { keepDims: true }).greaterEqual(count));
    // From the highest threshold that enough lie over to the next one.
    const bounds: [Tensor, Tensor] = [low, high];
    thresholds.forEach((threshold, k) => (bounds[0] = where(enough[k]!, threshold, bounds[0])));
    for (let k = 2; k >= 0; k--) bounds[1] = where(enough[k]!, bounds[1], thresholds[k]!);
    [low, high] = bounds;
  }
  const over = clean.greater(low);
  if (ties === 'all') return over;
  const above = clean.greater(high);
  const level = over.logicalAnd(above.logicalNot());
  const rank = level.cast('int32').reshape([1, x.size]).cumsum(-1).reshape([...x.shape]);
  return above.logicalOr(level.logicalAnd(rank.lessEqual(above.sum().neg().add(count))));
}
