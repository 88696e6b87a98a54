/** Estimators of groups, turns and critics under several options, in plain float64 loops. */
import type { AdvantageOptions } from 'vantage-rl';
import { gaeOf, groupOf, mean, onTokens, optimalTokenBaseline, outcome, std, toGo, totals, turnReturns, variance, whitened, type FullBatch } from './group_reference';

const singleton = (group: number[], other: number, alone = 0) => (group.length === 1 ? alone : other);

/** Σ_k w_k of normalised components, then over the rows. */
function decoupledRows(batch: FullBatch, weights: number[], scale: (x: number[]) => number): number[] {
  return batch.groups.map((_, row) =>
    weights.reduce((sum, w, k) => {
      const group = groupOf(batch, row).map((other) => batch.rewardComponents[other]![k]!);
      const own = batch.rewardComponents[row]![k]!;
      return sum + w * singleton(group, (own - mean(group)) / (scale(group) || 1));
    }, 0)
  );
}

function decoupled(batch: FullBatch, weights: number[], scale: (x: number[]) => number): number[][] {
  const rows = decoupledRows(batch, weights, scale);
  return onTokens(batch, (row) => (rows[row]! - mean(rows)) / std(rows));
}

function turnLevel(batch: FullBatch, discount: number, trajectoryWeight: number): number[][] {
  const returns = turnReturns(batch, discount);
  const placeOf = (row: number, id: number) => batch.masks[row]!.findIndex((m, t) => m === 1 && batch.turnIds[row]![t] === id);
  const whole = outcome(batch, (r, group) => singleton(group, (r - mean(group)) / (std(group) + 1e-6)));
  return batch.masks.map((mask, row) =>
    mask.map((m, t) => {
      if (!m) return 0;
      const id = batch.turnIds[row]![t]!;
      const group = groupOf(batch, row).flatMap((other) => (placeOf(other, id) >= 0 ? [returns[other]![placeOf(other, id)]!] : []));
      return singleton(group, (returns[row]![t]! - mean(group)) / (std(group) + 1e-6)) + trajectoryWeight * whole[row]![t]!;
    })
  );
}

const kl3 = (batch: FullBatch, row: number, t: number) => {
  const x = batch.refLogProbs[row]![t]! - batch.oldLogProbs[row]![t]!;
  return Math.exp(x) - x - 1;
};
const centred = (batch: FullBatch) => outcome(batch, (r, group) => singleton(group, r - mean(group)));

export type Reference = (batch: FullBatch) => number[][];

/** Estimators with options, and what plain float64 loops make of a batch. */
export const references: [string, AdvantageOptions, Reference][] = [
  ['dr_grpo', {}, (b) => outcome(b, (r, g) => r - mean(g))],
  ['dr_grpo', { singleton: 'raw' }, (b) => outcome(b, (r, g) => singleton(g, r - mean(g), r))],
  ['dr_grpo', { leaveOneOut: true }, (b) => outcome(b, (r, g, others) => singleton(g, r - mean(others)))],
  ['grpo', { leaveOneOut: true }, (b) => outcome(b, (r, g, others) => singleton(g, (r - mean(others)) / (std(others) > 0 ? std(others) + 1e-6 : 1)))],
  ['grpo', { ddof: 0, epsilon: 1e-3, epsilonPlacement: 'inside' }, (b) => outcome(b, (r, g) => singleton(g, (r - mean(g)) / Math.sqrt(variance(g, 0) + 1e-3)))],
  ['grpo', { minVariance: 0.5, singleton: 'raw' }, (b) => outcome(b, (r, g) => singleton(g, (r - mean(g)) / (Math.sqrt(Math.max(variance(g, 1), 0.5)) + 1e-6), r / (1 + 1e-6)))],
  ['grpo', { scale: 'batch' }, (b) => outcome(b, (r, g) => (r - mean(g)) / (std(totals(b)) + 1e-6))],
  ['grpo_batch_std', {}, (b) => outcome(b, (r, g) => (r - mean(g)) / (std(totals(b)) + 1e-4))],
  ['rloo', { singleton: 'raw' }, (b) => outcome(b, (r, g, others) => singleton(g, r - mean(others), r))],
  ['maxrl', { epsilon: 0.25 }, (b) => outcome(b, (r, g) => singleton(g, (r - mean(g)) / (mean(g) + 0.25)))],
  ['opo', {}, (b) => {
    const lengths = b.masks.map((row) => row.filter(Boolean).length);
    const scores = totals(b);
    return onTokens(b, (row) => {
      const rows = groupOf(b, row);
      const all = rows.reduce((s, other) => s + lengths[other]!, 0);
      return singleton(rows, scores[row]! - rows.reduce((s, other) => s + lengths[other]! * scores[other]!, 0) / all);
    });
  }],
  ['gpg', { fNorm: 2 }, (b) => outcome(b, (r, g) => ((b.groups.length / totals(b).filter((x) => x !== 0).length) * (r - mean(g))) / 2)],
  ['grpo_passk', {}, (b) => outcome(b, (r, g, others) => singleton(g, Math.max(0, r - Math.max(...others)) / (std(g) + 1e-6)))],
  ['grpo_passk', { normByStd: false }, (b) => outcome(b, (r, g, others) => singleton(g, Math.max(0, r - Math.max(...others))))],
  ['reinforce++_baseline', {}, (b) => whitened(centred(b), b.masks)],
  ['reinforce++_baseline', { klCoef: 0.25, klEstimator: 'k3' }, (b) => whitened(centred(b).map((row, i) => row.map((a, t) => a - 0.25 * kl3(b, i, t))), b.masks)],
  ['reinforce++_baseline', { ddof: 0, epsilon: 0, minVariance: 4 }, (b) => whitened(centred(b), b.masks, { ddof: 0, scale: (v) => Math.sqrt(Math.max(v, 4)) })],
  ['raw_reward', {}, (b) => outcome(b, (r) => r)],
  ['raw_reward', { whiten: 'batch', epsilon: 0.5, epsilonPlacement: 'outside' }, (b) => whitened(outcome(b, (r) => r), b.masks, { scale: (v) => Math.sqrt(v) + 0.5 })],
  ['raw_reward', { whiten: 'batch', whitenByStd: false }, (b) => whitened(outcome(b, (r) => r), b.masks, { scale: () => 1 })],
  ['raw_reward', { whiten: 'group' }, (b) => b.masks.map((_, row) => whitened(outcome(b, (r) => r), b.masks, { member: (other) => b.groups[other] === b.groups[row] })[row]!)],
  ['remax', {}, (b) => b.masks.map((row, i) => row.map((m, t) => (m ? toGo(b, i, t) - b.baselines[i]! : 0)))],
  ['optimal_token_baseline', {}, (b) => optimalTokenBaseline(b, { byRank: false })],
  ['optimal_token_baseline', { zeroTail: false }, (b) => optimalTokenBaseline(b, { byRank: false, zeroTail: false })],
  ['tir_optimal_token_baseline', {}, (b) => optimalTokenBaseline(b, { byRank: true })],
  ['tir_optimal_token_baseline', { zeroTail: false }, (b) => optimalTokenBaseline(b, { byRank: true, zeroTail: false })],
  ['gdpo', {}, (b) => decoupled(b, [1, 1, 1], (x) => (std(x) > 0 ? std(x) + 1e-6 : 1))],
  ['gdpo', { weights: [1, 0.5, 2], normByStd: false }, (b) => decoupled(b, [1, 0.5, 2], () => 1)],
  ['gdpo', { whiten: 'tokens', whitenEpsilon: 1e-8, whitenEpsilonPlacement: 'inside', normByStd: false }, (b) => {
    const ofRows = decoupledRows(b, [1, 1, 1], () => 1);
    return whitened(onTokens(b, (row) => ofRows[row]!), b.masks);
  }],
  ['vapo_gae', { gamma: 0.95, lambda: 0.9, lambdaPolicy: 0.5, whiten: false }, (b) => gaeOf(b, 0.95, () => 0.5)],
  ['vapo_gae', { gamma: 0.95, lengthAdaptiveAlpha: 0.25 }, (b) => whitened(gaeOf(b, 0.95, (row) => 1 - 1 / Math.max(0.25 * b.masks[row]!.filter(Boolean).length, 1)), b.masks)],
  ['distillation', {}, (b) => b.masks.map((row, i) => row.map((m, t) => (m ? b.teacherLogProbs[i]![t]! - b.oldLogProbs[i]![t]! : 0)))],
  ['turn_discount', { turnDiscount: 0.5 }, (b) => turnReturns(b, 0.5)],
  ['turn_level', { gamma: 0.5 }, (b) => turnLevel(b, 0.5, 0)],
  ['turn_level', { turnDiscount: 1, trajectoryWeight: 0.5 }, (b) => turnLevel(b, 1, 0.5)],
];
