/** Inputs of cases, drawn from a seed. All numbers lie on coarse binary grids, so that float32 holds them exactly. */
export type Table = number[][];

const maskKinds = ['full', 'trail', 'lead', 'both', 'holes', 'emptyRow', 'sparse'] as const;
const rewardKinds = ['outcome', 'dense', 'everywhere', 'constant', 'zero', 'binary', 'offset', 'negative'] as const;
const groupKinds = ['sizes', 'one', 'alone', 'pairs', 'sizes'] as const;

export class Random {
  private state: number;
  readonly batch: number;
  readonly time: number;

  /** @param index of the case: the first ones are the smallest shapes */
  constructor(
    seed: string,
    readonly index: number,
  ) {
    this.state = 2166136261;
    for (const letter of seed) this.state = Math.imul(this.state ^ letter.charCodeAt(0), 16777619);
    for (let i = 0; i < 8; i++) this.next();
    this.batch = index === 1 || index === 2 ? 1 : 1 + this.below(11);
    this.time = index === 0 || index === 2 ? 1 : 1 + this.below(13);
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  chance(p: number): boolean {
    return this.next() < p;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** On a grid of 1/256. */
  number(low: number, high: number): number {
    return Math.round((low + this.next() * (high - low)) * 256) / 256;
  }

  list(length: number, draw: () => number): number[] {
    return Array.from({ length }, draw);
  }

  table(draw: () => number, rows = this.batch, columns = this.time): Table {
    return Array.from({ length: rows }, () => this.list(columns, draw));
  }

  numbers(low: number, high: number): Table {
    return this.table(() => this.number(low, high));
  }

  shuffled<T>(items: readonly T[]): T[] {
    const left = [...items];
    return items.map(() => left.splice(this.below(left.length), 1)[0]!);
  }

  /** γ or λ, the ends included. */
  discount(): number {
    return this.pick([0, 0.5, 0.9, 0.99, 1, 1]);
  }

  mask(rows = this.batch): Table {
    const kind = this.pick(maskKinds);
    const empty = kind === 'emptyRow' ? this.below(rows) : -1;
    return Array.from({ length: rows }, (_, b) => {
      const cut = () => this.below(Math.ceil(this.time / 2) + 1);
      const from = kind === 'lead' || kind === 'both' ? cut() : 0;
      const to = kind === 'trail' || kind === 'both' || kind === 'holes' || kind === 'emptyRow' ? this.time - cut() : this.time;
      const hole = kind === 'holes' ? 0.3 : kind === 'sparse' ? 0.7 : 0;
      return Array.from({ length: this.time }, (_, t) => (b !== empty && t >= from && t < to && !this.chance(hole) ? 1 : 0));
    });
  }

  /** Ids of rows, text or integers: groups of 1 to 8 rows in any order. */
  groups(rows = this.batch): (string | number)[] {
    const kind = this.pick(groupKinds);
    const ids: number[] = [];
    for (let id = 0; ids.length < rows; id++) {
      const size = kind === 'one' ? rows : kind === 'alone' ? 1 : kind === 'pairs' ? 2 : 1 + this.below(8);
      for (let i = 0; i < size && ids.length < rows; i++) ids.push(id);
    }
    const ordered = this.chance(0.7) ? this.shuffled(ids) : ids;
    const asText = this.chance(0.5);
    return ordered.map((id) => (asText ? `prompt ${id}` : id * 7 - 3));
  }

  /** Rewards of tokens. */
  rewards(mask: Table): Table {
    const kind = this.pick(rewardKinds);
    if (kind === 'everywhere') return mask.map((row) => row.map(() => this.number(-2, 2)));
    if (kind === 'dense') return mask.map((row) => row.map((m) => (m ? this.number(-2, 2) : 0)));
    const scores = this.scores(mask.length, kind === 'outcome' ? undefined : kind);
    return mask.map((row, b) => {
      const last = row.lastIndexOf(1);
      return row.map((_, t) => (t === (last < 0 ? row.length - 1 : last) ? scores[b]! : 0));
    });
  }

  /** A reward a row. */
  scores(rows: number = this.batch, kind: string = this.pick(rewardKinds)): number[] {
    const same = this.number(-2, 2);
    return this.list(rows, () => {
      if (kind === 'constant') return same;
      if (kind === 'zero') return 0;
      if (kind === 'binary') return this.below(2);
      if (kind === 'offset') return 1e4 + this.number(-2, 2);
      return kind === 'negative' ? this.number(-3, -1) : this.number(-2, 2);
    });
  }

  /** Log-probs, at most 0. */
  logProbs(): Table {
    return this.table(() => Math.min(0, this.number(-4, 0)));
  }

  /** Log-probs near others: close, or further off than ratios are clamped. */
  near(logProbs: Table, spread: number = this.pick([0, 0.05, 0.5, 2])): Table {
    const far = this.chance(0.2);
    return logProbs.map((row) => row.map((l) => (far && this.chance(0.15) ? l + this.pick([-30, -20, 20, 25, -10, 10]) : l + this.number(-spread, spread))));
  }
}
