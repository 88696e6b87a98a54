/** n-dimensional arrays of doubles, computed eagerly and one element at a time: what the engine is compared with. */
import { tensor, type DType, type Tensor } from '../../src/tensor';

const sizeOf = (shape: readonly number[]) => shape.reduce((size, extent) => size * extent, 1);

export class Ref {
  constructor(
    readonly shape: readonly number[],
    readonly data: readonly number[],
  ) {}

  static build(shape: readonly number[], at: (index: number[]) => number): Ref {
    const data: number[] = [];
    const index = shape.map(() => 0);
    for (let left = sizeOf(shape); left > 0; left--) {
      data.push(at([...index]));
      for (let d = shape.length - 1; d >= 0; d--) {
        if (++index[d]! < shape[d]!) break;
        index[d] = 0;
      }
    }
    return new Ref(shape, data);
  }

  static scalar(value: number): Ref {
    return new Ref([], [value]);
  }

  /** Reads broadcast: leading indices are left out and extents of 1 repeat. */
  at(index: readonly number[]): number {
    const skip = index.length - this.shape.length;
    let position = 0;
    this.shape.forEach((extent, d) => (position = position * extent + (extent === 1 ? 0 : index[d + skip]!)));
    return this.data[position]!;
  }

  map(f: (value: number) => number): Ref {
    return new Ref(this.shape, this.data.map(f));
  }

  expand(shape: readonly number[]): Ref {
    return Ref.build(shape, (index) => this.at(index));
  }

  zip(other: Ref, f: (a: number, b: number) => number): Ref {
    return Ref.build(broadcast(this.shape, other.shape), (index) => f(this.at(index), other.at(index)));
  }

  where(a: Ref, b: Ref): Ref {
    const shape = broadcast(this.shape, broadcast(a.shape, b.shape));
    return Ref.build(shape, (index) => (this.at(index) !== 0 ? a.at(index) : b.at(index)));
  }

  /** Folds the values along axes, in order; `mask` says which take part. */
  fold(axes: readonly number[], f: (values: number[]) => number, { keepDims = false, mask }: { keepDims?: boolean; mask?: Ref } = {}): Ref {
    const kept = this.shape.map((extent, d) => (axes.includes(d) ? 1 : extent));
    const inner = this.shape.map((extent, d) => (axes.includes(d) ? extent : 1));
    const folded = Ref.build(kept, (outer) => {
      const values: number[] = [];
      Ref.build(inner, (index) => {
        const at = index.map((i, d) => i + outer[d]!);
        return (mask === undefined || mask.at(at) !== 0) && values.push(this.at(at)), 0;
      });
      return f(values);
    });
    return keepDims ? folded : new Ref(this.shape.filter((_, d) => !axes.includes(d)), folded.data);
  }

  /** Replaces each row along an axis by another of the same length. */
  rows(axis: number, f: (row: number[]) => number[]): Ref {
    const results = new Map<string, number[]>();
    return Ref.build(this.shape, (index) => {
      const key = index.with(axis, 0).join();
      let row = results.get(key);
      if (!row) results.set(key, row = f(Array.from({ length: this.shape[axis]! }, (_, i) => this.at(index.with(axis, i)))));
      return row[index[axis]!]!;
    });
  }

  reshape(shape: readonly number[]): Ref {
    return new Ref(shape, this.data);
  }

  permute(order: readonly number[]): Ref {
    return Ref.build(order.map((d) => this.shape[d]!), (index) => {
      const from: number[] = [];
      order.forEach((d, at) => (from[d] = index[at]!));
      return this.at(from);
    });
  }

  slice(starts: readonly number[], shape: readonly number[]): Ref {
    return Ref.build(shape, (index) => this.at(index.map((i, d) => i + starts[d]!)));
  }

  select(axis: number, at: number): Ref {
    return Ref.build(this.shape.toSpliced(axis, 1), (index) => this.at(index.toSpliced(axis, 0, at)));
  }

  flip(axis: number): Ref {
    return Ref.build(this.shape, (index) => this.at(index.with(axis, this.shape[axis]! - 1 - index[axis]!)));
  }

  /** [..,M,K] · [..,K,N]. */
  matmul(other: Ref): Ref {
    const [m, k] = this.shape.slice(-2) as [number, number];
    const n = other.shape.at(-1)!;
    const batch = broadcast(this.shape.slice(0, -2), other.shape.slice(0, -2));
    return Ref.build([...batch, m, n], (index) => {
      const [i, j] = index.slice(-2) as [number, number];
      let sum = 0;
      for (let p = 0; p < k; p++) sum += this.at([...index.slice(0, -2), i, p]) * other.at([...index.slice(0, -2), p, j]);
      return sum;
    });
  }

  tensor(dtype: DType = 'float64'): Tensor {
    return tensor(Float64Array.from(this.data), { shape: this.shape, dtype });
  }
}

export function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const ndim = Math.max(a.length, b.length);
  return Array.from({ length: ndim }, (_, d) => {
    const x = a[a.length - ndim + d] ?? 1;
    const y = b[b.length - ndim + d] ?? 1;
    return x === 1 ? y : x;
  });
}

export function concatenate(parts: readonly Ref[], axis: number): Ref {
  const shape = parts[0]!.shape.with(axis, parts.reduce((sum, part) => sum + part.shape[axis]!, 0));
  return Ref.build(shape, (index) => {
    let at = index[axis]!;
    const part = parts.find((p) => at < p.shape[axis]! || ((at -= p.shape[axis]!), false))!;
    return part.at(index.with(axis, at));
  });
}

export const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
export const mean = (values: readonly number[]) => sum(values) / values.length;
export function variance(values: readonly number[], ddof = 1): number {
  const centre = mean(values);
  return sum(values.map((value) => (value - centre) ** 2)) / (values.length - ddof);
}
export const maximum = (values: readonly number[]) => values.reduce((a, b) => (Number.isNaN(a) || Number.isNaN(b) ? NaN : Math.max(a, b)), -Infinity);
export const minimum = (values: readonly number[]) => -maximum(values.map((value) => -value));
export function softmax(row: readonly number[]): number[] {
  const largest = Math.max(...row);
  const total = sum(row.map((x) => Math.exp(x - largest)));
  return row.map((x) => Math.exp(x - largest) / total);
}
