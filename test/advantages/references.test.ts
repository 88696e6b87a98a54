/** Every registered estimator has a float64 reference, in one of the modules beside this file, and agrees with it on a batch that suits all. */
import { computeAdvantages, listAdvantageEstimators, tensor, type AdvantageInputs, type AdvantageOptions } from 'vantage-rl';
import * as classical from './classical_reference';
import { references } from './estimator_references';
import { fullBatch, mean, onTokens, std, totals } from './group_reference';
import { type Anchored, BetaTracker, betaNormalized, groupInGroup, ofGroups, passAtK } from './published_reference';
import { gae, generator, grpo, reinforcePlusPlus, rloo } from './reference';

const [gamma, lambda] = [0.875, 0.75];

/** Three prompts of four rows; a reward of 0 or 1 at each row's last valid token. */
function batchOf(seed: number): Anchored {
  const base = fullBatch(seed, { holes: true });
  const random = generator(seed + 5);
  const filled = base.masks.flatMap((row, b) => (row.some(Boolean) ? [b] : []));
  const pick = <T>(list: readonly T[]): T[] => Array.from({ length: 12 }, (_, row) => list[filled[row % filled.length]!]!);
  const batch = Object.fromEntries(Object.entries(base).map(([name, list]) => [name, pick(list as unknown[])])) as unknown as Anchored;
  return {
    ...batch,
    groups: batch.masks.map((_, row) => row % 3),
    rewards: batch.masks.map((mask) => mask.map((_, t) => (t === mask.lastIndexOf(1) && random() < 0.5 ? 1 : 0))),
    anchorIds: batch.turnIds.map((row, b) => row.map((id) => (id * 7 + b) % 4 - 1)),
  };
}

function inputsOf(batch: Anchored, dtype: 'float32' | 'float64'): AdvantageInputs {
  const floats = ['rewards', 'values', 'oldLogProbs', 'refLogProbs', 'teacherLogProbs', 'sumSquaredProbs', 'importanceWeights', 'baselines', 'rewardComponents'] as const;
  return {
    ...Object.fromEntries(floats.map((name) => [name, tensor(batch[name] as number[][], { dtype })])),
    rolloutLogProbs: tensor(batch.refLogProbs, { dtype }),
    masks: tensor(batch.masks, { dtype: 'uint8' }),
    groupIds: batch.groups,
    turnIds: tensor(batch.turnIds, { dtype: 'int32' }),
    anchorIds: tensor(batch.anchorIds, { dtype: 'int32' }),
  } as unknown as AdvantageInputs;
}

/** The batch as rows of steps: no flags, γ and λ the same for all. */
function stepsOf(batch: Anchored): classical.Steps {
  const all = (f: (b: number, t: number) => number) => batch.masks.map((row, b) => row.map((_, t) => f(b, t)));
  const zeros = all(() => 0);
  return {
    rewards: batch.rewards,
    values: batch.values,
    masks: batch.masks,
    bootstrap: zeros,
    terminated: zeros,
    truncated: zeros,
    actionValues: zeros,
    traces: zeros,
    gammas: all(() => gamma),
    lambdas: all(() => lambda),
    ratios: all((b, t) => Math.exp(batch.oldLogProbs[b]![t]! - batch.refLogProbs[b]![t]!)),
  };
}
const lessValues = (returns: (steps: classical.Steps) => number[][]) => (batch: Anchored) =>
  returns(stepsOf(batch)).map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x - batch.values[b]![t]! : 0)));

/** Those whose references stand by themselves, with the options that these are written for. */
const others: Record<string, [AdvantageOptions, (batch: Anchored) => number[][]]> = {
  gae: [{}, (b) => gae(b, gamma, lambda).advantages],
  grpo: [{}, (b) => grpo(b).advantages],
  rloo: [{}, (b) => rloo(b).advantages],
  'reinforce++': [{}, (b) => reinforcePlusPlus(b, gamma).advantages],
  td0: [{}, lessValues(classical.td0)],
  td1: [{}, lessValues(classical.td1)],
  td_lambda: [{}, lessValues(classical.lambdaReturn)],
  n_step: [{ lambda: 1 }, lessValues((steps) => classical.nStep(steps, 5))],
  discounted_return: [{}, (b) => classical.td1(stepsOf(b))],
  truncated_gae: [{}, (b) => classical.gae(stepsOf(b))],
  vtrace: [{}, (b) => classical.vtrace(stepsOf(b), { clipRho: 1, clipC: 1, clipPgRho: 1, alpha: 1 }).advantages],
  gigpo: [{}, (b) => groupInGroup(b, { gamma })],
  bnpo: [{}, (b) => betaNormalized(b)],
  pass_at_k: [{}, (b) => ofGroups(b, (rewards) => passAtK.sloo_minus_one!(rewards, 4))],
  spo: [{}, (b) => {
    const a = new BetaTracker().step(b.groups, totals(b), () => 0.9);
    return onTokens(b, (row) => (a[row]! - mean(a)) / (std(a) + 1e-8));
  }],
};

test('every registered estimator has one', () => {
  const known = new Set([...references.map(([name]) => name), ...Object.keys(others)]);
  expect(listAdvantageEstimators().filter((name) => !known.has(name))).toEqual([]);
});

test.each(listAdvantageEstimators())('%s agrees with it', (name) => {
  const listed = references.find(([each]) => each === name);
  const [options, reference] = others[name] ?? [listed![1], listed![2]];
  for (let seed = 0; seed < 4; seed++) {
    const batch = batchOf(seed);
    const wanted = reference(batch);
    for (const [dtype, tolerance] of [['float64', 1e-9], ['float32', 1e-5]] as const) {
      const got = computeAdvantages(name, inputsOf(batch, dtype), { gamma, lambda, ...options }).advantages.toArray() as number[][];
      const differences = wanted.flatMap((row, b) => row.map((x, t) => Math.abs(got[b]![t]! - x) / Math.max(1, Math.abs(x))));
      expect(Math.max(...differences)).toBeLessThanOrEqual(tolerance);
    }
  }
});
