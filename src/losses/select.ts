/** The largest of many numbers, as a mask. */
import { evaluate, type Tensor, where } from '../tensor';

/**
 * 1 for the `count` largest valid elements of x, 0 for the others; of x's shape, bool. Of elements that are equal the first ones are taken (`first`), or, at the
 * least that is taken, all of them (`all`). Neither −∞ nor NaN is ever taken.
 *
 * The least that is taken is found among all numbers between the extremes: of those in question, in their order, a pass over x leaves a quarter, until as many as are
 * wanted lie over one of them. Nothing is sorted or leaves the device but three counts a pass.
 */
export function topTokens(x: Tensor, valid: Tensor, count: number, ties: 'first' | 'all' = 'first'): Tensor {
  if (count <= 0) return valid.logicalAnd(valid.logicalNot());
  // In memory, so that a pass reads one number a token, and under every threshold where it is not valid, so that it reads no mask.
  const clean = where(valid, x, -Infinity).realize();
  const countsOver = (thresholds: readonly number[]): number[] => {
    const counts = thresholds.map((threshold) => clean.greater(threshold).sum());
    evaluate(counts);
    return counts.map((tensor) => tensor.item());
  };
  const numbers = x.dtype === 'float64' ? inFloat64 : inFloat32;
  // At least `count` lie over `low`, fewer over `high`.
  let low = { rank: numbers.rankOf(-Infinity), over: countsOver([-Infinity])[0]! };
  let high = { rank: numbers.rankOf(Infinity), over: 0 };
  if (low.over > count) {
    const [most, least] = [clean.max(), clean.min(null, { mask: valid })];
    evaluate([most, least]);
    if (Number.isFinite(most.item())) high.rank = numbers.rankOf(most.item());
    if (Number.isFinite(least.item())) low.rank = numbers.rankOf(least.item()) - 1n;
  }
  while (low.over > count && high.rank - low.rank > 1n) {
    const width = high.rank - low.rank;
    const ranks = [1n, 2n, 3n].map((share) => low.rank + (width * share) / 4n).filter((rank) => rank > low.rank);
    const counts = countsOver(ranks.map(numbers.at));
    const bounds = [low, ...ranks.map((rank, k) => ({ rank, over: counts[k]! })), high];
    const next = bounds.findIndex(({ over }) => over < count);
    [low, high] = [bounds[next - 1]!, bounds[next]!];
  }
  const over = clean.greater(numbers.at(low.rank));
  if (ties === 'all' || low.over <= count) return over;
  const above = clean.greater(numbers.at(high.rank));
  const level = over.logicalAnd(above.logicalNot());
  const place = level.cast('int32').reshape([1, x.size]).cumsum(-1).reshape([...x.shape]);
  return above.logicalOr(level.logicalAnd(place.lessEqual(count - high.over)));
}

/** The numbers of a dtype in their order: integers that grow with them. */
interface Numbers {
  rankOf(number: number): bigint;
  at(rank: bigint): number;
}

const word = new DataView(new ArrayBuffer(8));

const inFloat64: Numbers = {
  rankOf(number) {
    word.setFloat64(0, number);
    const bits = word.getBigInt64(0);
    return bits < 0n ? -(bits & 0x7fff_ffff_ffff_ffffn) : bits;
  },
  at(rank) {
    word.setBigInt64(0, rank < 0n ? -rank : rank);
    return rank < 0n ? -word.getFloat64(0) : word.getFloat64(0);
  },
};

const inFloat32: Numbers = {
  rankOf(number) {
    word.setFloat32(0, number);
    const bits = word.getInt32(0);
    return BigInt(bits < 0 ? -(bits & 0x7fff_ffff) : bits);
  },
  at(rank) {
    word.setInt32(0, Number(rank < 0n ? -rank : rank));
    return rank < 0n ? -word.getFloat32(0) : word.getFloat32(0);
  },
};
