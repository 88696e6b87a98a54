/** Random arrays and comparisons that the tensor tests share. */
import { evaluate, explain, gradients, Tensor, tidy, type DType } from '../../src/tensor';
import { Ref } from './reference';

/** Seeded numbers (mulberry32). */
export class Random {
  constructor(private state: number) {}

  /** Uniform in [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length - 1)]!;
  }

  shuffle<T>(items: readonly T[]): T[] {
    const left = [...items];
    return Array.from(items, () => left.splice(this.integer(0, left.length - 1), 1)[0]!);
  }

  shape(maxDims = 4, extents: readonly number[] = [1, 2, 3, 5]): number[] {
    return Array.from({ length: this.integer(0, maxDims) }, () => this.pick(extents));
  }

  /** A shape that broadcasts to `shape`. */
  broadcastable(shape: readonly number[]): number[] {
    return shape.slice(this.integer(0, shape.length)).map((extent) => (this.next() < 0.3 ? 1 : extent));
  }

  /** Values a dtype holds exactly: small integers, quarters where it is floating. */
  ref(shape: readonly number[], dtype: DType = 'float64', low = -3, high = 3): Ref {
    const values = { bool: () => this.integer(0, 1), uint8: () => this.integer(0, Math.max(high, 1)), int32: () => this.integer(low, high) } as Partial<Record<DType, () => number>>;
    const value = values[dtype] ?? (() => this.integer(4 * low, 4 * high) / 4);
    return Ref.build(shape, value);
  }

  /** Values between quarters, so that no two meet and finite differences cross no kink. */
  smooth(shape: readonly number[], low = -2, high = 2): Ref {
    return Ref.build(shape, () => low + (high - low) * this.next());
  }
}

export const tolerances: Record<DType, number> = { float64: 1e-12, float32: 3e-6, bfloat16: 1e-2, int32: 0, uint8: 0, bool: 0 };

/** Compares values and shape: relative error, absolute below 1; NaN and infinities have to agree. */
export function expectMatches(actual: Tensor, expected: Ref, tolerance = tolerances[actual.dtype], what = ''): void {
  if (actual.shape.join() !== expected.shape.join()) throw new Error(`${what}: expected shape [${expected.shape.join()}], got [${actual.shape.join()}]`);
  const data = actual.dataSync();
  expected.data.forEach((value, i) => {
    const got = data[i]!;
    const equal = Object.is(got, value) || got === value;
    if (!equal && !(Math.abs(got - value) <= tolerance * Math.max(1, Math.abs(value)))) {
      throw new Error(`${what}: element ${i} of [${expected.shape.join()}] ${actual.dtype}: expected ${value}, got ${got}`);
    }
  });
}

/** Like `toEqual` of two long arrays, for which Jest takes seconds: the same number everywhere, told −0 from 0. */
export function expectSameNumbers(got: ArrayLike<number>, wanted: ArrayLike<number>): void {
  const differs = Array.prototype.findIndex.call(wanted, (value: number, i: number) => !Object.is(got[i], value)) as number;
  expect({ length: got.length, differs, got: got[differs] }).toEqual({ length: wanted.length, differs: -1, got: undefined });
}

/** The programs and kernels that an evaluation runs, a line for each. */
export function steps(x: Tensor | readonly Tensor[]): string[] {
  return explain(x instanceof Tensor ? [x] : x).split('\n').filter((line) => !line.startsWith(' '));
}

/** Compares the gradients of Σ w·f(x…), with random weights w, with central differences in float64. */
export function checkGradients(f: (...inputs: Tensor[]) => Tensor, inputs: readonly Ref[], { seed = 1, step = 1e-5, tolerance = 2e-6 } = {}): void {
  const weighted = (refs: readonly Ref[]) => {
    const tensors = refs.map((ref) => ref.tensor());
    const result = f(...tensors);
    const weights = new Random(seed).smooth(result.shape).tensor();
    return { tensors, loss: result.mul(weights).sum() };
  };
  const analytic = tidy(() => {
    const { tensors, loss } = weighted(inputs);
    const found = gradients(loss, tensors);
    evaluate([loss, ...found]);
    found.forEach((gradient, k) => {
      expect(gradient.shape).toEqual(inputs[k]!.shape);
      expect(gradient.dtype).toBe('float64');
    });
    return found.map((gradient) => Array.from(gradient.dataSync()));
  });
  inputs.forEach((input, k) => {
    input.data.forEach((value, i) => {
      const lossAt = (x: number) => tidy(() => weighted(inputs.with(k, new Ref(input.shape, input.data.with(i, x)))).loss.item());
      const numeric = (lossAt(value + step) - lossAt(value - step)) / (2 * step);
      const error = Math.abs(analytic[k]![i]! - numeric);
      if (!(error <= tolerance * Math.max(1, Math.abs(numeric)))) {
        throw new Error(`gradient of input ${k}, element ${i}: expected ${numeric}, got ${analytic[k]![i]}`);
      }
    });
  });
}
