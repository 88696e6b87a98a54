/** The largest of many numbers, as a mask. */
import { evaluate, type Tensor, where } from '../tensor';

/**
 * 1 for the `count` largest valid elements of x, 0 for the others; of x's shape, bool. Of elements that are equal the first ones are taken (`first`), or, at the
 * least that is taken, all of them (`all`). Neither −∞ nor NaN is ever taken.
 *
 * The least that is taken lies between two numbers. A sample says which two, and a pass over x counts what lies over them and over one in between; then three numbers are set where
 * interpolation puts it, until as many as are wanted lie over one of them. Nothing is sorted but the sample, and nothing else leaves the device but three counts a pass.
 */
export function topTokens(x: Tensor, valid: Tensor, count: number, ties: 'first' | 'all' = 'first'): Tensor {
  if (count <= 0) return valid.logicalAnd(valid.logicalNot());
  // In memory, so that a pass reads one number a token, and under every threshold where it is not valid, so that it reads no mask.
  const clean = where(valid, x, -Infinity).realize();
  const numbers = x.dtype === 'float64' ? inFloat64 : inFloat32;
  const { low, high } = bracket(clean, count, numbers);
  const over = clean.greater(numbers.at(low.rank));
  if (ties === 'all' || low.over <= count) return over;
  const above = clean.greater(numbers.at(high.rank));
  const level = over.logicalAnd(above.logicalNot());
  const place = level.cast('int32').reshape([1, x.size]).cumsum(-1).reshape([...x.shape]);
  return above.logicalOr(level.logicalAnd(place.lessEqual(count - high.over)));
}

/** A number by its place among all, and how many elements lie over it. */
interface Bound {
  rank: bigint;
  over: number;
}

/** At least `count` elements lie over `low` (all that are over −∞, if they are fewer), fewer over `high`: exactly `count` over `low`, or no number is between the two. */
function bracket(x: Tensor, count: number, numbers: Numbers): { low: Bound; high: Bound } {
  const first: Bound = { rank: numbers.rankOf(-Infinity), over: Infinity };
  let low = first;
  let high: Bound = { rank: numbers.rankOf(Infinity), over: 0 };
  const narrow = (thresholds: readonly bigint[], more: readonly Tensor[] = []): void => {
    const within = thresholds.filter((rank) => rank > low.rank && rank < high.rank);
    const counts = within.map((rank) => x.greater(numbers.at(rank)).sum());
    evaluate([...counts, ...more]);
    const bounds = [low, ...within.map((rank, k) => ({ rank, over: counts[k]!.item() })), high];
    const next = bounds.findIndex(({ over }) => over < count);
    [low, high] = [bounds[next - 1]!, bounds[next]!];
  };
  const all = x.greater(-Infinity).sum();
  narrow(sampled(x, count, numbers), [all]);
  if (low === first) low = { rank: first.rank, over: all.item() };
  while (low.over > count && high.rank - low.rank > 1n) {
    const before = low.over - high.over;
    narrow(interpolated(low, high, count));
    if (low.over === count || 4 * (low.over - high.over) < before || high.rank - low.rank <= 1n) continue;
    // They are spread otherwise, or many are equal: quarters end it at last.
    const { rank } = low;
    const quarter = (high.rank - rank + 3n) / 4n;
    narrow([rank + quarter, rank + 2n * quarter, rank + 3n * quarter]);
  }
  return { low, high };
}

/** Elements of a sample of x that the `count`-th largest of x should lie between, and one where it should be. */
function sampled(x: Tensor, count: number, numbers: Numbers): bigint[] {
  // Four times the root of all is sorted in less than a pass takes, and leaves few of some millions. An odd step visits all columns of rows whose length is a power of 2.
  const step = Math.ceil(Math.sqrt(x.size) / 4) | 1;
  const size = Math.floor(x.size / step);
  const sorted = x.reshape(-1).slice([0], [size * step]).reshape([size, step]).select(1, 0).dataSync().slice().sort();
  const place = (count / x.size) * size;
  const margin = 2 * Math.sqrt(place) + 2;
  const at = (over: number) => numbers.rankOf(sorted[Math.min(Math.max(size - 1 - Math.round(over), 0), size - 1)]!);
  // The first one lies under its element: where all that were sampled are equal, they are between the two.
  return [at(place + margin) - 1n, at(place), at(place - margin)];
}

/** Where the `count`-th largest would be if the numbers over each bound fell exponentially, as they do in a tail (and, between close bounds, evenly), and as far on either side as chance would move it. */
function interpolated(low: Bound, high: Bound, count: number): bigint[] {
  const [width, inside] = [high.rank - low.rank, low.over - high.over];
  const logs = [low.over, count, high.over].map((over) => Math.log(over + 0.5)) as [number, number, number];
  const share = (logs[0] - logs[1]) / (logs[0] - logs[2]);
  const margin = 2 * Math.sqrt((share * (1 - share)) / inside) + 1 / inside;
  const last = width - 1n;
  return [share - margin, share, share + margin].map((at) => {
    const steps = BigInt(Math.round(Number(width) * at));
    return low.rank + (steps < 1n ? 1n : steps > last ? last : steps);
  });
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
