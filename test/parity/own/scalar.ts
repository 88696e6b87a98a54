/** Numbers that know how they came about: the slopes of a reference, one number at a time. Ties and bounds as in PyTorch. */
export class Scalar {
  constructor(
    readonly value: number,
    /** What it was made of, and the slopes in it. */
    readonly parts: readonly (readonly [part: Scalar, slope: number])[] = [],
  ) {}

  private of(value: number, slope: number): Scalar {
    return new Scalar(value, [[this, slope]]);
  }
  add(other: Scalar | number): Scalar {
    return typeof other === 'number' ? this.of(this.value + other, 1) : new Scalar(this.value + other.value, [[this, 1], [other, 1]]);
  }
  mul(other: Scalar | number): Scalar {
    return typeof other === 'number' ? this.of(this.value * other, other) : new Scalar(this.value * other.value, [[this, other.value], [other, this.value]]);
  }
  sub(other: Scalar | number): Scalar {
    return this.add(typeof other === 'number' ? -other : other.neg());
  }
  div(other: number): Scalar {
    return this.of(this.value / other, 1 / other);
  }
  neg(): Scalar {
    return this.mul(-1);
  }
  exp(): Scalar {
    return this.of(Math.exp(this.value), Math.exp(this.value));
  }
  abs(): Scalar {
    return this.of(Math.abs(this.value), Math.sign(this.value));
  }
  square(): Scalar {
    return this.of(this.value ** 2, 2 * this.value);
  }
  sigmoid(): Scalar {
    const s = 1 / (1 + Math.exp(-this.value));
    return this.of(s, s * (1 - s));
  }
  /** A bound that is exactly hit passes the slope on. */
  clamp(low: number | null, high: number | null): Scalar {
    const value = Math.min(Math.max(this.value, low ?? -Infinity), high ?? Infinity);
    return this.of(value, this.value >= (low ?? -Infinity) && this.value <= (high ?? Infinity) ? 1 : 0);
  }
  /** Of two equal numbers each has half the slope. */
  min(other: Scalar): Scalar {
    const share = this.value === other.value ? 0.5 : this.value < other.value ? 1 : 0;
    return new Scalar(Math.min(this.value, other.value), [[this, share], [other, 1 - share]]);
  }
  max(other: Scalar): Scalar {
    return this.neg().min(other.neg()).neg();
  }
  /** A constant. */
  detach(): Scalar {
    return new Scalar(this.value);
  }
}

export const total = (x: readonly Scalar[]): Scalar => new Scalar(x.reduce((sum, each) => sum + each.value, 0), x.map((each) => [each, 1] as const));

/** d of / d each of the table. */
export function slopes(of: Scalar, table: readonly (readonly Scalar[])[]): number[][] {
  const order: Scalar[] = [];
  const seen = new Set<Scalar>();
  const stack: [Scalar, boolean][] = [[of, false]];
  while (stack.length > 0) {
    const [each, done] = stack.pop()!;
    if (done) order.push(each);
    else if (!seen.has(each)) {
      seen.add(each);
      stack.push([each, true], ...each.parts.map(([part]): [Scalar, boolean] => [part, false]));
    }
  }
  const found = new Map<Scalar, number>([[of, 1]]);
  for (const each of order.reverse()) {
    const slope = found.get(each) ?? 0;
    // 0 times a slope that is infinite is nothing.
    if (slope !== 0) { for (const [part, inner] of each.parts) found.set(part, (found.get(part) ?? 0) + slope * inner); }
  }
  return table.map((row) => row.map((each) => found.get(each) ?? 0));
}
