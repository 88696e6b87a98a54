/** The formulas in float64: what every contender's results are held against before it is timed. */
import type { Data } from './workload';

type Numbers = ArrayLike<number>;

/** Calls `step` at each valid position, from the end of each row; `start` at the end of a row. */
function backwards(mask: Numbers, rows: number, time: number, start: (row: number) => void, step: (i: number) => void): void {
  for (let b = 0; b < rows; b++) {
    start(b);
    for (let i = (b + 1) * time - 1; i >= b * time; i--) if (mask[i]) step(i);
  }
}

/** Schulman et al. 2016: A = r + γV' − V + γλA', returns = A + V; with `ends` an episode ends behind the tokens where it is 1. */
export function gae({ rewards, values, mask, ends }: Data, [rows, time]: number[], gamma: number, lambda: number): { advantages: Float64Array; returns: Float64Array } {
  const [advantages, returns] = [new Float64Array(mask.length), new Float64Array(mask.length)];
  let [a, next] = [0, 0];
  backwards(mask, rows!, time!, () => ([a, next] = [0, 0]), (i) => {
    const live = ends?.[i] ? 0 : 1;
    a = rewards[i] + live * gamma * next - values[i] + live * gamma * lambda * a;
    next = values[i];
    advantages[i] = a;
    returns[i] = a + next;
  });
  return { advantages, returns };
}

/** G = r + γG'. */
export function discountedReturn({ rewards, mask }: Data, [rows, time]: number[], gamma: number): Float64Array {
  const returns = new Float64Array(mask.length);
  let g = 0;
  backwards(mask, rows!, time!, () => (g = 0), (i) => (returns[i] = g = rewards[i] + gamma * g));
  return returns;
}

/** (x − μ)/√(σ² + 1e-8) over the valid positions, ddof 1. */
export function whiten(x: Numbers, mask: Numbers): Float64Array {
  let [count, sum, squares] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) if (mask[i]) [count, sum] = [count + 1, sum + x[i]!];
  const mean = sum / count;
  for (let i = 0; i < x.length; i++) if (mask[i]) squares += (x[i]! - mean) ** 2;
  const scale = 1 / Math.sqrt(squares / Math.max(1, count - 1) + 1e-8);
  const whitened = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) if (mask[i]) whitened[i] = (x[i]! - mean) * scale;
  return whitened;
}

export interface VTraceParameters {
  gamma: number;
  lambda: number;
  clipRho: number;
  clipC: number;
  clipPgRho: number;
}

/**
 * Espeholt et al. 2018 (IMPALA): with ρ = π/μ, δ = min(ρ̄, ρ)(r + γV' − V), v − V = δ + γλ·min(c̄, ρ)(v' − V'); advantage = min(ρ̄_pg, ρ)(r + γv' − V).
 * Behind the last token V' = v' = bootstrap.
 */
export function vtrace(inputs: Data, [rows, time]: number[], parameters: VTraceParameters): { targets: Float64Array; advantages: Float64Array } {
  const { targetLogProbs, behaviourLogProbs, rewards, values, mask, bootstrap } = inputs;
  const { gamma, lambda, clipRho, clipC, clipPgRho } = parameters;
  const [targets, advantages] = [new Float64Array(mask.length), new Float64Array(mask.length)];
  let [difference, next, target] = [0, 0, 0];
  backwards(mask, rows!, time!, (b) => ([difference, next, target] = [0, bootstrap[b], bootstrap[b]]), (i) => {
    const rho = Math.exp(targetLogProbs[i] - behaviourLogProbs[i]);
    advantages[i] = Math.min(clipPgRho, rho) * (rewards[i] + gamma * target - values[i]);
    difference = Math.min(clipRho, rho) * (rewards[i] + gamma * next - values[i]) + gamma * lambda * Math.min(clipC, rho) * difference;
    next = values[i];
    targets[i] = target = next + difference;
  });
  return { targets, advantages };
}

/** Shao et al. 2024: (R − μ)/(σ + 1e-6) of the row's group, σ with ddof 1. */
export function grpo(inputs: Data, shape: number[]): Float64Array {
  return grouped(inputs, shape, (score, mean, squares, count) => (score - mean) / (Math.sqrt(squares / Math.max(1, count - 1)) + 1e-6));
}

/** Ahmadian et al. 2024: R minus the mean of the other rows of the group. */
export function rloo(inputs: Data, shape: number[]): Float64Array {
  return grouped(inputs, shape, (score, mean, _, count) => ((score - mean) * count) / Math.max(1, count - 1));
}

function grouped({ rewards, mask, groups }: Data, [rows, time]: number[], advantage: (score: number, mean: number, squares: number, count: number) => number): Float64Array {
  const scores = new Float64Array(rows!);
  const members = new Map<number, number[]>();
  for (let b = 0; b < rows!; b++) {
    for (let i = b * time!; i < (b + 1) * time!; i++) if (mask[i]) scores[b]! += rewards[i];
    members.set(groups[b], [...(members.get(groups[b]) ?? []), b]);
  }
  const result = new Float64Array(mask.length);
  for (const list of members.values()) {
    const mean = list.reduce((sum, b) => sum + scores[b]!, 0) / list.length;
    const squares = list.reduce((sum, b) => sum + (scores[b]! - mean) ** 2, 0);
    for (const b of list) {
      const value = advantage(scores[b]!, mean, squares, list.length);
      for (let i = b * time!; i < (b + 1) * time!; i++) result[i] = mask[i] ? value : 0;
    }
  }
  return result;
}

/** y_t = a_t·y_{t+1} + b_t from the last element, y behind it 0. */
export function affineScan({ a, b }: Data, [rows, time]: number[]): Float64Array {
  const out = new Float64Array(a.length);
  for (let row = 0; row < rows!; row++) {
    let y = 0;
    for (let i = (row + 1) * time! - 1; i >= row * time!; i--) out[i] = y = a[i] * y + b[i];
  }
  return out;
}

/** The softmax of a row of bfloat16 logits (as their bits): its numbers, log Σ exp and entropy. */
function distribution(logits: Numbers, row: number, vocabulary: number): { x: Float32Array; logSum: number; entropy: number } {
  const words = new Uint32Array(vocabulary);
  const x = new Float32Array(words.buffer);
  let [largest, sum, weighted] = [-Infinity, 0, 0];
  for (let j = 0; j < vocabulary; j++) {
    words[j] = logits[row * vocabulary + j]! << 16;
    largest = Math.max(largest, x[j]!);
  }
  for (let j = 0; j < vocabulary; j++) {
    const weight = Math.exp(x[j]! - largest);
    sum += weight;
    weighted += weight * (x[j]! - largest);
  }
  return { x, logSum: largest + Math.log(sum), entropy: Math.log(sum) - weighted / sum };
}

/** log softmax(logits)[id] and the entropy. */
export function tokenLogProbs({ logits, ids }: Data, vocabulary: number, rows: number): { logProbs: Float64Array; entropy: Float64Array } {
  const [logProbs, entropies] = [new Float64Array(rows), new Float64Array(rows)];
  for (let n = 0; n < rows; n++) {
    const { x, logSum, entropy } = distribution(logits, n, vocabulary);
    logProbs[n] = x[ids[n]]! - logSum;
    entropies[n] = entropy;
  }
  return { logProbs, entropy: entropies };
}

/** Of the sum over rows of −min(ρA, clip(ρ)A), ρ = exp(log softmax(logits)[id] − old): the gradient in the logits. */
export function logitsLoss({ logits, ids, oldLogProbs, advantages }: Data, vocabulary: number, rows: number, clip: number): { gradient: Float64Array } {
  const gradient = new Float64Array(rows * vocabulary);
  for (let n = 0; n < rows; n++) {
    const { x, logSum } = distribution(logits, n, vocabulary);
    const ratio = Math.exp(x[ids[n]]! - logSum - oldLogProbs[n]);
    const isClipped = Math.min(Math.max(ratio, 1 - clip), 1 + clip) * advantages[n] < ratio * advantages[n];
    const slope = isClipped ? 0 : -ratio * advantages[n];
    for (let j = 0; j < vocabulary; j++) gradient[n * vocabulary + j] = slope * ((j === ids[n] ? 1 : 0) - Math.exp(x[j]! - logSum));
  }
  return { gradient };
}

export interface LossParameters {
  clip: number;
  klCoefficient: number;
}

/**
 * Schulman et al. 2017 with the k3 estimate of the KL divergence (Schulman 2020): the masked sum of −min(ρA, clip(ρ)A) + c(e^x − x − 1), x = ℓ_ref − ℓ,
 * its gradient in ℓ, and the share of tokens that are clipped.
 */
export function clippedLoss(inputs: Data, { clip, klCoefficient }: LossParameters): { loss: Float64Array; clipRatio: Float64Array; gradient: Float64Array } {
  const { logProbs, oldLogProbs, refLogProbs, advantages, mask } = inputs;
  const gradient = new Float64Array(mask.length);
  let [loss, clipped, count] = [0, 0, 0];
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const ratio = Math.exp(logProbs[i] - oldLogProbs[i]);
    const x = refLogProbs[i] - logProbs[i];
    const bounded = Math.min(Math.max(ratio, 1 - clip), 1 + clip) * advantages[i];
    const isClipped = bounded < ratio * advantages[i];
    loss += klCoefficient * (Math.expm1(x) - x) - (isClipped ? bounded : ratio * advantages[i]);
    gradient[i] = -klCoefficient * Math.expm1(x) - (isClipped ? 0 : ratio * advantages[i]);
    clipped += isClipped ? 1 : 0;
    count++;
  }
  return { loss: Float64Array.of(loss), clipRatio: Float64Array.of(clipped / Math.max(1, count)), gradient };
}
