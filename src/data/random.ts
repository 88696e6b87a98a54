/** A small generator for the order of data: the same seed gives the same order on every machine. (Sampling uses the tensors' generator.) */
import { DataError } from '../errors';

/** sfc32, the "small fast counting" generator of PractRand (Doty-Humphrey 2010), seeded by two 32-bit integers. */
export class SmallRandom {
  private state: [number, number, number, number];

  constructor(seed: number, stream = 0) {
    this.state = [seed | 0, Math.floor(seed / 2 ** 32) | 0, stream | 0, 1];
    // The first outputs still resemble the seed.
    for (let i = 0; i < 15; i++) this.next();
  }

  /** An integer in [0, 2³²). */
  next(): number {
    let [a, b, c, counter] = this.state;
    const result = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + result;
    this.state = [a, b, c | 0, counter];
    return result >>> 0;
  }

  /** An integer in [0, bound), each with the same probability. */
  below(bound: number): number {
    const valid = Number.isInteger(bound) && bound >= 1 && bound <= 2 ** 32;
    if (!valid) throw new DataError(`below: expected a bound from 1 to 2^32, got ${bound}`);
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let value = this.next();
    while (value >= limit) value = this.next();
    return value % bound;
  }

  /** The numbers 0 … n−1 in random order (Fisher and Yates). */
  permutation(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
