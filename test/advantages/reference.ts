/** Plain float64 loops: what the estimators are held against. */
export interface Batch {
  rewards: number[][];
  values: number[][];
  masks: number[][];
  groups: (string | number)[];
}

export interface Result {
  advantages: number[][];
  returns: number[][];
}

/** A small deterministic generator (xorshift), uniform in [0, 1). */
export function generator(seed: number): () => number {
  let state = (seed + 1) * 2654435761;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Ragged rows (padding on either side), groups of several sizes in mixed order, one fully masked row. */
export function randomBatch(seed: number, { holes }: { holes: boolean }): Batch {
  const random = generator(seed);
  const [batch, time] = [5 + Math.floor(random() * 12), 2 + Math.floor(random() * 30)];
  const rows = <T>(f: (b: number) => T) => Array.from({ length: batch }, (_, b) => f(b));
  const masks = rows((b) => {
    const from = Math.floor(random() * time * 0.3);
    const to = time - Math.floor(random() * time * 0.3);
    return Array.from({ length: time }, (_, t) => (b !== 3 && t >= from && t < to && !(holes && random() < 0.25) ? 1 : 0));
  });
  return {
    rewards: rows((b) => masks[b]!.map(() => Math.round((random() * 4 - 2) * 64) / 64)),
    values: rows((b) => masks[b]!.map(() => Math.round((random() * 2 - 1) * 64) / 64)),
    masks,
    groups: rows(() => `p${Math.floor(random() * (batch / 3))}`),
  };
}

/** Every row without its masked positions, padded on the right. */
export function collapsed(batch: Batch): Batch {
  const time = batch.masks[0]!.length;
  const squeeze = (array: number[][]) =>
    array.map((row, b) => {
      const kept = row.filter((_, t) => batch.masks[b]![t]);
      return [...kept, ...new Array<number>(time - kept.length).fill(0)];
    });
  return { rewards: squeeze(batch.rewards), values: squeeze(batch.values), masks: squeeze(batch.masks), groups: batch.groups };
}

function whiten(x: number[][], masks: number[][]): number[][] {
  const valid = x.flatMap((row, b) => row.filter((_, t) => masks[b]![t]));
  const mean = valid.reduce((s, v) => s + v, 0) / valid.length;
  const variance = valid.reduce((s, v) => s + (v - mean) ** 2, 0) / Math.max(1, valid.length - 1);
  return x.map((row, b) => row.map((v, t) => (masks[b]![t] ? (v - mean) / Math.sqrt(variance + 1e-8) : 0)));
}

function backwards(batch: Batch, step: (b: number, t: number) => void, start: () => void): void {
  batch.masks.forEach((row, b) => {
    start();
    for (let t = row.length - 1; t >= 0; t--) if (row[t]) step(b, t);
  });
}

const zeros = (batch: Batch) => batch.masks.map((row) => row.map(() => 0));

export function gae(batch: Batch, gamma: number, lambda: number): Result {
  const [advantages, returns] = [zeros(batch), zeros(batch)];
  let [a, next] = [0, 0];
  backwards(batch, (b, t) => {
    const v = batch.values[b]![t]!;
    a = batch.rewards[b]![t]! + gamma * next - v + gamma * lambda * a;
    next = v;
    advantages[b]![t] = a;
    returns[b]![t] = a + v;
  }, () => ([a, next] = [0, 0]));
  return { advantages: whiten(advantages, batch.masks), returns };
}

export function reinforcePlusPlus(batch: Batch, gamma: number): Result {
  const returns = zeros(batch);
  let g = 0;
  backwards(batch, (b, t) => (returns[b]![t] = g = batch.rewards[b]![t]! + gamma * g), () => (g = 0));
  return { advantages: whiten(returns, batch.masks), returns };
}

function grouped(batch: Batch, advantage: (score: number, group: number[]) => number): Result {
  const scores = batch.rewards.map((row, b) => row.reduce((s, r, t) => s + (batch.masks[b]![t] ? r : 0), 0));
  const advantages = batch.masks.map((row, b) => {
    const group = scores.filter((_, other) => batch.groups[other] === batch.groups[b]);
    return row.map((m) => (m ? advantage(scores[b]!, group) : 0));
  });
  return { advantages, returns: advantages };
}

const meanOf = (x: number[]) => x.reduce((s, v) => s + v, 0) / x.length;

export function grpo(batch: Batch): Result {
  return grouped(batch, (score, group) => {
    if (group.length === 1) return 0;
    const mean = meanOf(group);
    const std = Math.sqrt(group.reduce((s, v) => s + (v - mean) ** 2, 0) / (group.length - 1));
    return (score - mean) / (std + 1e-6);
  });
}

export function rloo(batch: Batch): Result {
  return grouped(batch, (score, group) => (group.length === 1 ? 0 : ((score - meanOf(group)) * group.length) / (group.length - 1)));
}
