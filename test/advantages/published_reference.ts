/** Plain float64 loops for published estimators: sums over sets where the code has closed forms, densities from an integral where it has logarithms of Γ. */
import { groupOf, mean, onTokens, outcome, std, totals, turnReturns, variance, type FullBatch } from './group_reference';

export interface Anchored extends FullBatch {
  anchorIds: number[][];
}

const divided = (x: number, spread: number, byStd: boolean): number => (byStd && spread > 0 ? x / (spread + 1e-6) : x);

/** A_E + ω·A_S, turn by turn; null stands for a turn without an anchor. */
export function groupInGroup(batch: Anchored, { gamma, stepWeight = 1, byStd = true }: { gamma: number; stepWeight?: number; byStd?: boolean }): number[][] {
  const returns = turnReturns(batch, gamma);
  const episodes = outcome(batch, (r, group) => (group.length === 1 ? 0 : divided(r - mean(group), std(group), byStd)));
  const turns: { row: number; places: number[]; anchor: number; id: number }[] = [];
  batch.masks.forEach((mask, row) => {
    let last: (typeof turns)[number] | null = null;
    mask.forEach((m, t) => {
      if (!m) return;
      const id = batch.turnIds[row]![t]!;
      if (last === null || last.id !== id) turns.push(last = { row, places: [], anchor: batch.anchorIds[row]![t]!, id });
      last.places.push(t);
    });
  });
  const result = episodes.map((row) => [...row]);
  for (const turn of turns) {
    const own = returns[turn.row]![turn.places[0]!]!;
    const group = turns
      .filter((other) => other === turn || (turn.anchor >= 0 && other.anchor === turn.anchor && batch.groups[other.row] === batch.groups[turn.row]))
      .map((other) => returns[other.row]![other.places[0]!]!);
    const step = group.length === 1 ? 0 : divided(own - mean(group), std(group), byStd);
    for (const t of turn.places) result[turn.row]![t]! += stepWeight * step;
  }
  return result;
}

/** The density of Beta(α,β), α, β ≥ 1, divided by its area. */
function betaDensity(alpha: number, beta: number): (p: number) => number {
  const f = (x: number) => x ** (alpha - 1) * (1 - x) ** (beta - 1);
  // Simpson's rule; x = sin²(u) takes the corners of the density away.
  const steps = 40_000;
  const h = Math.PI / 2 / steps;
  let area = 0;
  for (let i = 0; i <= steps; i++) {
    const x = Math.sin(i * h) ** 2;
    const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2;
    area += (weight * f(x) * 2 * Math.sin(i * h) * Math.cos(i * h) * h) / 3;
  }
  return (p) => f(p) / area;
}

/** Rewards in [0, 1]; groups of at least two rows, or 0. */
export function betaNormalized(batch: FullBatch, given?: { alpha: number; beta: number }): number[][] {
  const scores = totals(batch);
  const means = [...new Set(batch.groups)]
    .map((id) => batch.groups.flatMap((other, row) => (other === id ? [row] : [])))
    .filter((rows) => rows.length > 1 && rows.some((row) => batch.masks[row]!.some(Boolean)))
    .map((rows) => mean(rows.map((row) => scores[row]!)));
  const [m, v] = means.length === 0 ? [0, 0] : [mean(means), variance(means, 1)];
  const excess = v < 1e-20 ? 0 : Math.max(0, (m * (1 - m)) / v - 1);
  const { alpha, beta } = given ?? { alpha: 1 + (excess * m) / 3, beta: 1 + (excess * (1 - m)) / 3 };
  const density = betaDensity(alpha, beta);
  return outcome(batch, (r, group) => {
    const p = mean(group);
    if (group.length === 1 || p === 0 || p === 1) return 0;
    return (r - p) * Math.min(1e6, 1 / density(p));
  });
}

/** All sets of k of the numbers from 0 to n − 1. */
function sets(n: number, k: number, from = 0): number[][] {
  if (k === 0) return [[]];
  return Array.from({ length: Math.max(0, n - from) }, (_, i) => from + i).flatMap((first) => sets(n, k - 1, first + 1).map((rest) => [first, ...rest]));
}

const best = (rewards: readonly number[], set: readonly number[]): number => Math.max(...set.map((i) => rewards[i]!));
const without = (rewards: readonly number[], i: number): number[] => rewards.filter((_, j) => j !== i);

/** s_i, set by set. */
function ofSets(rewards: readonly number[], k: number): number[] {
  const all = sets(rewards.length, k);
  return rewards.map((_, i) => all.filter((set) => set.includes(i)).reduce((sum, set) => sum + best(rewards, set), 0) / all.length);
}

export const passAtK: Record<string, (rewards: number[], k: number) => number[]> = {
  s: ofSets,
  sloo: (rewards, k) => ofSets(rewards, k).map((s, i) => s - mean(ofSets(without(rewards, i), k))),
  sloo_minus_one: (rewards, k) => {
    const all = sets(rewards.length, k);
    return rewards.map((_, i) => all.filter((set) => set.includes(i)).reduce((sum, set) => sum + best(rewards, set) - best(rewards, set.filter((j) => j !== i)), 0) / all.length);
  },
  analytic: (rewards, k) => {
    const all = sets(rewards.length, k);
    const ofSet = all.map((set) => best(rewards, set));
    const deviation = Math.sqrt(variance(ofSet, 0));
    if (deviation === 0) return rewards.map(() => 0);
    return rewards.map((_, i) => mean(all.flatMap((set, at) => (set.includes(i) ? [(ofSet[at]! - mean(ofSet)) / deviation] : []))));
  },
};

/** What each group's rows get from its rewards. */
export function ofGroups(batch: FullBatch, f: (rewards: number[]) => number[]): number[][] {
  const scores = totals(batch);
  return onTokens(batch, (row) => {
    const rows = groupOf(batch, row);
    return f(rows.map((other) => scores[other]!))[rows.indexOf(row)]!;
  });
}

/** SPO as the paper writes it, with a Beta distribution for each prompt. */
export class BetaTracker {
  readonly prompts = new Map<string | number, { alpha: number; beta: number }>();

  constructor(private readonly prior = { alpha: 0.5, beta: 0.5 }) {}

  /** A of each row, before normalisation; then the update. */
  step(groups: readonly (string | number)[], scores: readonly number[], rho: (row: number) => number): number[] {
    const of = (id: string | number) => this.prompts.get(id) ?? this.prior;
    const advantages = scores.map((r, row) => r - of(groups[row]!).alpha / (of(groups[row]!).alpha + of(groups[row]!).beta));
    for (const id of new Set(groups)) {
      let { alpha, beta } = of(id);
      const rows = groups.flatMap((other, row) => (other === id ? [row] : []));
      alpha *= rho(rows[0]!);
      beta *= rho(rows[0]!);
      for (const row of rows) [alpha, beta] = [alpha + scores[row]!, beta + 1 - scores[row]!];
      this.prompts.set(id, { alpha, beta });
    }
    return advantages;
  }
}
