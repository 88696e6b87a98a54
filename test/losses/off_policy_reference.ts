/** Off-policy corrections in plain loops, float64: what the tests hold the tensor expressions against. */
export interface OffPolicyBatch {
  oldLogProbs: number[][];
  rolloutLogProbs: number[][];
  masks: number[][];
}

/** A generator of numbers in [0, 1) that is the same everywhere. */
export function uniform(seed: number): () => number {
  let state = seed * 2654435761 + 12345;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9) | 0;
    return ((state >>> 8) & 0xffffff) / 0x1000000;
  };
}

/** Ragged rows with holes, padding on both sides and, at times, an empty row. */
export function offPolicyBatch(seed: number, mismatch = 0.5): OffPolicyBatch {
  const random = uniform(seed);
  const [rows, time] = [2 + Math.floor(random() * 5), 1 + Math.floor(random() * 12)];
  const table = (make: () => number) => Array.from({ length: rows }, () => Array.from({ length: time }, make));
  const oldLogProbs = table(() => -3 * random() - 0.01);
  const rolloutLogProbs = oldLogProbs.map((row) => row.map((x) => Math.min(-0.001, x + mismatch * (random() - 0.5))));
  const masks = oldLogProbs.map((row, b) => row.map(() => (b === 1 && seed % 4 === 0 ? 0 : Number(random() < 0.75))));
  return { oldLogProbs, rolloutLogProbs, masks };
}

/** Numbers of the valid tokens of each row: log π_old/π_rollout. */
export function validLogRatios({ oldLogProbs, rolloutLogProbs, masks }: OffPolicyBatch): number[][] {
  return masks.map((row, b) => row.flatMap((m, t) => (m ? [oldLogProbs[b]![t]! - rolloutLogProbs[b]![t]!] : [])));
}

export const sumOf = (x: number[]) => x.reduce((a, b) => a + b, 0);
export const meanOf = (x: number[]) => (x.length === 0 ? 0 : sumOf(x) / x.length);

export type Level = 'token' | 'sequence' | 'geometric';

/** Ratios [B][T] before any bound; 1 for rows without a token. */
export function ratios(batch: OffPolicyBatch, level: Level): number[][] {
  const rows = validLogRatios(batch);
  return batch.masks.map((row, b) => {
    const whole = level === 'sequence' ? sumOf(rows[b]!) : meanOf(rows[b]!);
    return row.map((_, t) => Math.exp(Math.max(-20, Math.min(20, level === 'token' ? batch.oldLogProbs[b]![t]! - batch.rolloutLogProbs[b]![t]! : whole))));
  });
}

export function weights(batch: OffPolicyBatch, level: Level, low: number | null, high: number | null, outside: 'truncate' | 'mask'): number[][] {
  const [least, most] = [low ?? -Infinity, high ?? Infinity];
  return ratios(batch, level).map((row, b) =>
    row.map((r, t) => {
      if (!batch.masks[b]![t]) return 0;
      if (outside === 'truncate') return Math.min(most, Math.max(least, r));
      return r >= least && r <= most ? r : 0;
    })
  );
}

export type Metric = 'ratio' | 'k1' | 'k2' | 'k3' | 'binary_kl';

/** A token's number under a metric, from its log-ratio x (and the two log-probs). */
function tokenNumber(metric: Metric, x: number, oldLogProb: number, rolloutLogProb: number): number {
  switch (metric) {
    case 'ratio':
      return x;
    case 'k1':
      return -x;
    case 'k2':
      return (x * x) / 2;
    case 'k3':
      return Math.exp(x) - 1 - x;
    case 'binary_kl': {
      const coin = (l: number) => Math.min(1 - 1e-6, Math.max(1e-6, Math.exp(l)));
      const kl = (p: number, q: number) => p * Math.log(p / q) + (1 - p) * Math.log((1 - p) / (1 - q));
      const [p, q] = [coin(oldLogProb), coin(rolloutLogProb)];
      return Math.max(kl(p, q), kl(q, p));
    }
  }
}

/** The mask that is left of one rule. */
export function kept(batch: OffPolicyBatch, metric: Metric, aggregate: 'token' | 'sum' | 'mean' | 'max' | 'any', low: number | null, high: number | null): number[][] {
  const inside = (x: number) => {
    const value = metric === 'ratio' ? Math.exp(Math.max(-20, Math.min(20, x))) : x;
    return value >= (low ?? -Infinity) && value <= (high ?? Infinity);
  };
  return batch.masks.map((row, b) => {
    const number = (t: number) => {
      const [o, r] = [batch.oldLogProbs[b]![t]!, batch.rolloutLogProbs[b]![t]!];
      return tokenNumber(metric, o - r, o, r);
    };
    if (aggregate === 'token') return row.map((m, t) => (m && inside(number(t)) ? m : 0));
    const numbers = row.flatMap((m, t) => (m ? [number(t)] : []));
    if (numbers.length === 0) return row;
    const whole = { sum: sumOf, mean: meanOf, max: (x: number[]) => Math.max(...x), any: (x: number[]) => x.find((each) => !inside(each)) ?? x[0]! }[aggregate](numbers);
    return inside(whole) ? row : row.map(() => 0);
  });
}
