/** The largest of many numbers, as a mask. */
import { type Tensor, where } from '../tensor';

/**
 * 1 for the `count` largest valid elements of x, 0 for the others; of x's shape, bool. Of elements that are equal the first ones are taken (`first`), or, at the
 * least that is taken, all of them (`all`).
 *
 * The least that is taken is found by bisection between the extremes, one pass over x for each bit, so that nothing is sorted or leaves the device.
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
  for (let bit = 0; bit < (x.dtype === 'float64' ? 64 : 40); bit++) {
    const middle = low.add(high.sub(low).mul(0.5));
    const enough = clean.greater(middle).sum(null, { keepDims: true }).greaterEqual(count);
    [low, high] = [where(enough, middle, low), where(enough, high, middle)];
  }
  const over = clean.greater(low);
  if (ties === 'all') return over;
  const above = clean.greater(high);
  const level = over.logicalAnd(above.logicalNot());
  const rank = level.cast('int32').reshape([1, x.size]).cumsum(-1).reshape([...x.shape]);
  return above.logicalOr(level.logicalAnd(rank.lessEqual(above.sum().neg().add(count))));
}
