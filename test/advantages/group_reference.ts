/** Plain float64 loops for the estimators beyond the first four. */
import { generator, randomBatch, type Batch } from './reference';

export interface FullBatch extends Batch {
  oldLogProbs: number[][];
  refLogProbs: number[][];
  teacherLogProbs: number[][];
  sumSquaredProbs: number[][];
  importanceWeights: number[][];
  turnIds: number[][];
  baselines: number[];
  rewardComponents: number[][];
}

/** A random ragged batch with everything that an estimator may ask for; numbers on a coarse grid, so that float32 holds them. */
export function fullBatch(seed: number, { holes }: { holes: boolean }): FullBatch {
  const batch = randomBatch(seed, { holes });
  const random = generator(seed + 1000);
  const tokens = (f: () => number) => batch.masks.map((row) => row.map(() => Math.round(f() * 256) / 256));
  const logs = () => tokens(() => -2 * random());
  return {
    ...batch,
    oldLogProbs: logs(),
    refLogProbs: logs(),
    teacherLogProbs: logs(),
    sumSquaredProbs: tokens(() => 0.25 + random() / 2),
    importanceWeights: tokens(() => 0.5 + random()),
    turnIds: batch.masks.map((row) => {
      let turn = 0;
      return row.map(() => (random() < 0.25 ? ++turn : turn));
    }),
    baselines: batch.masks.map(() => Math.round(random() * 64) / 64),
    rewardComponents: batch.masks.map(() => [0, 1, 2].map(() => Math.round(random() * 64) / 64)),
  };
}

export const mean = (x: number[]): number => x.reduce((s, v) => s + v, 0) / x.length;
export const variance = (x: number[], ddof: number): number => (x.length > ddof ? x.reduce((s, v) => s + (v - mean(x)) ** 2, 0) / (x.length - ddof) : 0);
export const std = (x: number[], ddof = 1): number => Math.sqrt(variance(x, ddof));

export const totals = ({ rewards, masks }: Batch): number[] => rewards.map((row, b) => row.reduce((s, r, t) => s + (masks[b]![t] ? r : 0), 0));

/** The rows of a row's group. */
export const groupOf = ({ groups }: Batch, row: number): number[] => groups.flatMap((id, other) => (id === groups[row] ? [other] : []));

/** A number for each valid token of a row. */
export const onTokens = ({ masks }: Batch, ofRow: (row: number) => number): number[][] => masks.map((row, b) => row.map((m) => (m ? ofRow(b) : 0)));

/** What a row gets from its score and the scores of its group. */
export function outcome(batch: Batch, advantage: (score: number, group: number[], others: number[]) => number): number[][] {
  const scores = totals(batch);
  return onTokens(batch, (row) => {
    const rows = groupOf(batch, row);
    return advantage(scores[row]!, rows.map((other) => scores[other]!), rows.filter((other) => other !== row).map((other) => scores[other]!));
  });
}

export function whitened(x: number[][], masks: number[][], { ddof = 1, scale = (v: number) => Math.sqrt(v + 1e-8), member = (_: number): boolean => true } = {}): number[][] {
  const valid = x.flatMap((row, b) => row.filter((_, t) => masks[b]![t] && member(b)));
  const [centre, divisor] = [mean(valid), scale(variance(valid, ddof))];
  return x.map((row, b) => row.map((v, t) => (masks[b]![t] && member(b) ? (v - centre) / divisor : 0)));
}

/** Σ of the rewards of valid tokens from t on. */
export const toGo = ({ rewards, masks }: Batch, row: number, from: number): number => rewards[row]!.reduce((s, r, t) => s + (t >= from && masks[row]![t] ? r : 0), 0);

/** GAE with holes collapsed, λ of each row. */
export function gaeOf({ rewards, values, masks }: Batch, gamma: number, lambdaOf: (row: number) => number): number[][] {
  return masks.map((mask, b) => {
    const out = mask.map(() => 0);
    let [a, next] = [0, 0];
    for (let t = mask.length - 1; t >= 0; t--) {
      if (!mask[t]) continue;
      a = rewards[b]![t]! + gamma * next - values[b]![t]! + gamma * lambdaOf(b) * a;
      next = values[b]![t]!;
      out[t] = a;
    }
    return out;
  });
}

/** B_t by column, or by the rank of the valid token. */
export function optimalTokenBaseline(batch: FullBatch, { byRank, zeroTail = true, weighted = true }: { byRank: boolean; zeroTail?: boolean; weighted?: boolean }): number[][] {
  const { masks } = batch;
  const rank = (row: number, t: number) => masks[row]!.slice(0, t).filter(Boolean).length;
  const column = (row: number, t: number) => (byRank ? rank(row, t) : t);
  const length = (row: number) => masks[row]!.filter(Boolean).length;
  const energy = (row: number, t: number) => {
    let sum = 0;
    for (let s = 0; s <= t; s++) {
      if (!masks[row]![s]) continue;
      const w = 1 - 2 * Math.exp(batch.oldLogProbs[row]![s]!) + batch.sumSquaredProbs[row]![s]!;
      sum += weighted ? w * batch.importanceWeights[row]![s]! ** 2 : w;
    }
    return sum;
  };
  return masks.map((mask, row) =>
    mask.map((m, t) => {
      if (!m) return 0;
      const own = toGo(batch, row, t);
      const rows = groupOf(batch, row).filter((other) => length(other) > 0);
      if (rows.length === 1) return own;
      const others = Math.max(...rows.filter((other) => other !== row).map(length));
      if (zeroTail && length(row) > others && column(row, t) >= others) return own;
      let [above, below] = [0, 1e-8];
      for (const other of rows) {
        masks[other]!.forEach((valid, s) => {
          if (!valid || column(other, s) !== column(row, t)) return;
          above += toGo(batch, other, s) * energy(other, s);
          below += energy(other, s);
        });
      }
      return own - above / below;
    })
  );
}

/** The return of each token's turn, by the turns of valid tokens in order. */
export function turnReturns({ rewards, masks, turnIds }: FullBatch, discount: number): number[][] {
  return masks.map((mask, b) => {
    const turns: { id: number; places: number[]; reward: number }[] = [];
    mask.forEach((m, t) => {
      if (!m) return;
      const id = turnIds[b]![t]!;
      if (turns.at(-1)?.id !== id) turns.push({ id, places: [], reward: 0 });
      turns.at(-1)!.places.push(t);
      turns.at(-1)!.reward += rewards[b]![t]!;
    });
    const out = mask.map(() => 0);
    let next = 0;
    for (const { places, reward } of turns.reverse()) {
      next = reward + discount * next;
      for (const t of places) out[t] = next;
    }
    return out;
  });
}
