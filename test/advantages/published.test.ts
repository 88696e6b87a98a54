/** Published estimators: against their references, and what their papers say of them. */
import { computeAdvantages, createAdvantageEstimator, EstimatorError, getAdvantageEstimator, tensor, type AdvantageInputs, type AdvantageOptions } from 'vantage-rl';
import { fullBatch, mean, onTokens, std, totals } from './group_reference';
import { type Anchored, BetaTracker, betaNormalized, groupInGroup, ofGroups, passAtK } from './published_reference';
import { generator } from './reference';

/** A batch of `rows` rows with groups of `size`, a reward from `reward` at each row's last valid token, and anchors by turn. */
function batchOf(seed: number, { size = 6, groups = 3, reward }: { size?: number; groups?: number; reward: (random: () => number, group: number) => number }): Anchored {
  const base = fullBatch(seed, { holes: seed % 2 === 0 });
  const random = generator(seed + 77);
  const rows = size * groups;
  const pick = <T>(list: readonly T[]): T[] => Array.from({ length: rows }, (_, row) => list[row % list.length]!);
  const masks = pick(base.masks).map((row) => (row.some(Boolean) ? row : row.map((_, t) => (t === 0 ? 1 : 0))));
  const ids = Array.from({ length: rows }, (_, row) => (row * 7) % groups);
  const turnIds = pick(base.turnIds);
  const states = turnIds.map(() => Array.from({ length: 40 }, () => Math.floor(random() * 5) - 1));
  return {
    ...base,
    masks,
    turnIds,
    groups: ids,
    rewards: masks.map((mask, row) => {
      const score = reward(random, ids[row]!);
      return mask.map((_, t) => (t === mask.lastIndexOf(1) ? score : 0));
    }),
    anchorIds: turnIds.map((row, b) => row.map((id) => states[b]![id]!)),
  } as Anchored;
}

function inputsOf(batch: Anchored, dtype: 'float32' | 'float64' = 'float32'): AdvantageInputs {
  const ids = { dtype: 'int32' } as const;
  return {
    rewards: tensor(batch.rewards, { dtype }),
    masks: tensor(batch.masks, { dtype: 'uint8' }),
    groupIds: batch.groups,
    turnIds: tensor(batch.turnIds, ids),
    anchorIds: tensor(batch.anchorIds, ids),
  };
}

const own: Record<string, (inputs: AdvantageInputs) => AdvantageInputs> = {
  gigpo: (inputs) => inputs,
  other: ({ rewards, masks, groupIds }) => ({ rewards, masks, groupIds }),
};
const take = (name: string, batch: Anchored, dtype?: 'float32' | 'float64') => (own[name] ?? own.other!)(inputsOf(batch, dtype));
const run = (name: string, batch: Anchored, options: AdvantageOptions = {}, dtype?: 'float32' | 'float64') =>
  computeAdvantages(name, take(name, batch, dtype), options).advantages.toArray() as number[][];

function expectClose(got: number[][], wanted: number[][], tolerance: number): void {
  const differences = wanted.flatMap((row, b) => row.map((x, t) => Math.abs(got[b]![t]! - x) / Math.max(1, Math.abs(x))));
  expect(Math.max(0, ...differences)).toBeLessThanOrEqual(tolerance);
}

const graded = (random: () => number) => Math.round(random() * 64) / 64;
const binary = (random: () => number, group: number) => (random() < 0.3 + 0.2 * group ? 1 : 0);
const tokenRewards = (batch: Anchored, seed: number): Anchored => {
  const random = generator(seed);
  return { ...batch, rewards: batch.rewards.map((row) => row.map(() => Math.round(random() * 64) / 64 - 0.5)) };
};
const anyBatch = (seed: number) => tokenRewards(batchOf(seed, { reward: graded }), seed);
const gradedBatch = (seed: number) => batchOf(seed, { reward: graded });
const binaryBatch = (seed: number) => batchOf(seed, { reward: binary });

const table: [string, AdvantageOptions, (seed: number) => Anchored, (batch: Anchored) => number[][]][] = [
  ['gigpo', { gamma: 0.9 }, anyBatch, (b) => groupInGroup(b, { gamma: 0.9 })],
  ['gigpo', { gamma: 0.9, normByStd: false, stepWeight: 0.5 }, anyBatch, (b) => groupInGroup(b, { gamma: 0.9, byStd: false, stepWeight: 0.5 })],
  ['gigpo', { turnDiscount: 0.5, stepWeight: 0 }, anyBatch, (b) => groupInGroup(b, { gamma: 0.5, stepWeight: 0 })],
  ['bnpo', {}, binaryBatch, (b) => betaNormalized(b)],
  ['bnpo', {}, gradedBatch, (b) => betaNormalized(b)],
  ['bnpo', { alpha: 2.5, beta: 1.25 }, binaryBatch, (b) => betaNormalized(b, { alpha: 2.5, beta: 1.25 })],
  ...(['s', 'sloo', 'sloo_minus_one'] as const).flatMap((method) =>
    [2, 3, 5].map((k): (typeof table)[number] => ['pass_at_k', { method, k }, anyBatch, (b) => ofGroups(b, (rewards) => passAtK[method]!(rewards, k))])
  ),
  ['pass_at_k', { method: 'sloo', k: 1 }, anyBatch, (b) => ofGroups(b, (rewards) => passAtK.sloo!(rewards, 1))],
  ['pass_at_k', {}, binaryBatch, (b) => ofGroups(b, (rewards) => passAtK.sloo_minus_one!(rewards, 4))],
  ...[1, 2, 4, 6].map((k): (typeof table)[number] => ['pass_at_k', { method: 'analytic', k }, binaryBatch, (b) => ofGroups(b, (rewards) => passAtK.analytic!(rewards, k))]),
  ['spo', { whiten: 'none' }, binaryBatch, (b) => {
    const a = new BetaTracker().step(b.groups, totals(b), () => 0.9);
    return onTokens(b, (row) => a[row]!);
  }],
  ['spo', {}, binaryBatch, (b) => {
    const a = new BetaTracker().step(b.groups, totals(b), () => 0.9);
    return onTokens(b, (row) => (a[row]! - mean(a)) / (std(a) + 1e-8));
  }],
];

test.each(table)('%s %j agrees with its reference', (name, options, make, reference) => {
  for (let seed = 0; seed < 6; seed++) {
    const batch = make(seed);
    const wanted = reference(batch);
    expectClose(run(name, batch, options, 'float64'), wanted, 1e-9);
    expectClose(run(name, batch, options), wanted, 1e-5);
  }
});

const typical: [string, AdvantageOptions, (seed: number) => Anchored][] = [
  ['gigpo', {}, anyBatch],
  ['bnpo', {}, binaryBatch],
  ['spo', {}, binaryBatch],
  ...(['s', 'sloo', 'sloo_minus_one', 'analytic'] as const).map((method): [string, AdvantageOptions, (seed: number) => Anchored] => ['pass_at_k', { method, k: 2, smallGroups: 'zero' }, binaryBatch]),
];

describe.each(typical)('%s %j', (name, options, make) => {
  test('what masked positions hold changes nothing, and they get 0', () => {
    const batch = make(2);
    const clean = run(name, batch, options);
    for (const garbage of [NaN, Infinity, -1e30]) {
      const dirty = { ...batch, rewards: batch.rewards.map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x : garbage))) };
      const anchorIds = batch.anchorIds.map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x : 12345)));
      expect(run(name, { ...dirty, anchorIds }, options)).toEqual(clean);
    }
    expect(clean.flatMap((row, b) => row.filter((x, t) => !batch.masks[b]![t] && x !== 0))).toEqual([]);
    expect(run(name, batch, options)).toEqual(clean);
  });

  test('equal rewards, singletons, one valid token and none: finite', () => {
    const batch = make(3);
    const shapes: Anchored[] = [
      { ...batch, rewards: batch.rewards.map((row) => row.map(() => 0)) },
      { ...batch, rewards: batch.masks.map((mask) => mask.map((_, t) => (t === mask.lastIndexOf(1) ? 1 : 0))) },
      { ...batch, groups: batch.groups.map((_, b) => b) },
      { ...batch, groups: batch.groups.map(() => 0) },
      { ...batch, masks: batch.masks.map((row, b) => row.map((_, t) => (b === 0 && t === 1 ? 1 : 0))) },
      { ...batch, masks: batch.masks.map((row) => row.map(() => 0)) },
    ];
    for (const each of shapes) expect(run(name, each, options).flat().every(Number.isFinite)).toBe(true);
  });

  test('rows in another order get the same', () => {
    const batch = make(4);
    const order = batch.masks.map((_, row) => (row * 5) % batch.masks.length);
    expect(new Set(order).size).toBe(order.length);
    const shuffled = { ...batch };
    for (const key of ['rewards', 'masks', 'groups', 'turnIds', 'anchorIds'] as const) (shuffled as Record<string, unknown>)[key] = order.map((row) => batch[key][row]);
    const clean = run(name, batch, options, 'float64');
    expectClose(run(name, shuffled, options, 'float64'), order.map((row) => clean[row]!), 1e-12);
  });

  test('an empty batch', () => {
    const empty = tensor([], { shape: [0, 4] });
    const ids = tensor([], { shape: [0, 4], dtype: 'int32' });
    const inputs = { rewards: empty, masks: empty, groupIds: [], turnIds: ids, anchorIds: ids };
    expect(computeAdvantages(name, (own[name] ?? own.other!)(inputs), options).advantages.shape).toEqual([0, 4]);
  });
});

describe('gigpo', () => {
  test('with the turn itself as the state it is turn_level and grpo together', () => {
    const batch = anyBatch(1);
    // A turn id comes once in a row.
    const same = { ...batch, anchorIds: batch.turnIds };
    const wanted = computeAdvantages('turn_level', { ...own.other!(inputsOf(same, 'float64')), turnIds: same.turnIds }, { gamma: 0.9, trajectoryWeight: 1 });
    expectClose(run('gigpo', same, { gamma: 0.9 }, 'float64'), wanted.advantages.toArray() as number[][], 1e-12);
  });

  test('two rows that part in one state: the step is told from the episode', () => {
    const inputs = {
      rewards: [[0, 0, 1], [0, 0, 0]],
      masks: [[1, 1, 1], [1, 1, 1]],
      groupIds: ['a', 'a'],
      turnIds: [[0, 1, 2], [0, 1, 2]],
      anchorIds: [[7, 8, 9], [7, 8, 5]],
    };
    const { advantages, returns } = computeAdvantages('gigpo', inputs, { gamma: 0.5, normByStd: false });
    expect(advantages.toArray()).toEqual([[0.625, 0.75, 0.5], [-0.625, -0.75, -0.5]]);
    expect(returns.toArray()).toEqual([[0.25, 0.5, 1], [0, 0, 0]]);
  });

  test('a library that gives rows alone their reward does not give it to states met once', () => {
    const inputs = { rewards: [[1]], masks: [[1]], groupIds: [0], turnIds: [[0]], anchorIds: [[3]] };
    expect(computeAdvantages('gigpo', inputs, { singleton: 'raw', normByStd: false }).advantages.toArray()).toEqual([[1]]);
  });

  test('anchors that cannot be', () => {
    const inputs = { rewards: [[0, 1]], masks: [[1, 1]], groupIds: [0], turnIds: [[0, 0]] };
    expect(() => computeAdvantages('gigpo', { ...inputs, anchorIds: [[1, 2]] })).toThrow("advantage estimator 'gigpo': anchorIds: expected one id a turn, got 1 and 2 in turn 0 at row 0, position 1");
    expect(() => computeAdvantages('gigpo', { ...inputs, anchorIds: [[0.5, 0.5]] })).toThrow('anchorIds: expected integers (as int32 beyond 2^24), got 0.5 at row 0, position 0');
    expect(() => computeAdvantages('gigpo', { ...inputs, anchorIds: [[2 ** 25, 2 ** 25]] })).toThrow('as int32 beyond 2^24');
    const large = computeAdvantages('gigpo', { ...inputs, anchorIds: tensor([[2 ** 25 + 1, 2 ** 25 + 1]], { dtype: 'int32' }) });
    expect(large.advantages.toArray()).toEqual([[0, 0]]);
    expect(() => computeAdvantages('gigpo', inputs)).toThrow("requires 'anchorIds'");
  });

  test.each(['turn_discount', 'turn_level'])('turn ids that cannot be: %s', (name) => {
    const inputs = { rewards: [[1, 2, 4, 8]], masks: [[1, 1, 1, 1]], groupIds: [0] };
    for (const id of [NaN, Infinity, 0.5, 2 ** 25]) {
      expect(() => computeAdvantages(name, { ...inputs, turnIds: [[0, id, 1, 1]] })).toThrow(`turnIds: expected integers (as int32 beyond 2^24), got ${id} at row 0, position 1`);
    }
    const hole = computeAdvantages('turn_discount', { ...inputs, masks: [[1, 0, 1, 1]], turnIds: [[0, NaN, 1, 1]] }, { turnDiscount: 0.5 });
    expect(hole.advantages.toArray()).toEqual([[7, 0, 12, 12]]);
    const large = tensor([[2 ** 24, 2 ** 24 + 1, -(2 ** 31), 2 ** 31 - 1]], { dtype: 'int32' });
    expect(computeAdvantages('turn_discount', { ...inputs, turnIds: large }, { turnDiscount: 0.5 }).advantages.toArray()).toEqual([[4, 6, 8, 8]]);
  });
});

describe('bnpo', () => {
  test('α = β = 1 is dr_grpo, α = β = 3/2 is grpo with ddof 0, times π/8', () => {
    const batch = binaryBatch(1);
    expectClose(run('bnpo', batch, { alpha: 1, beta: 1 }, 'float64'), run('dr_grpo', batch, {}, 'float64'), 1e-12);
    const grpo = run('grpo', batch, { ddof: 0, epsilon: 0 }, 'float64').map((row) => row.map((x) => (x * Math.PI) / 8));
    expectClose(run('bnpo', batch, { alpha: 1.5, beta: 1.5 }, 'float64'), grpo, 1e-12);
  });

  test('moments that say nothing: one prompt, equal means, means of 0 and 1 alone', () => {
    const mask = (rows: number) => Array.from({ length: rows }, () => [1]);
    const of = (rewards: number[], groupIds: number[], options = {}) => computeAdvantages('bnpo', { rewards: rewards.map((r) => [r]), masks: mask(rewards.length), groupIds }, options);
    const one = of([1, 0, 0, 0], [0, 0, 0, 0]);
    expect(one.advantages.toArray()).toEqual([[0.75], [-0.25], [-0.25], [-0.25]]);
    expect(one.metrics).toEqual({ alpha: 1, beta: 1 });
    expect(of([1, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1]).metrics).toEqual({ alpha: 1, beta: 1 });
    const sure = of([1, 1, 0, 0], [0, 0, 1, 1]);
    expect(sure.advantages.toArray()).toEqual([[0], [0], [0], [0]]);
    expect(sure.metrics).toEqual({ alpha: 1, beta: 1 });
    // Hundred prompts of one mean and one that lies apart: its density is next to nothing.
    const ids = Array.from({ length: 808 }, (_, row) => Math.floor(row / 8));
    const apart = of(ids.map((id, row) => (id < 100 ? row % 2 : row % 8 === 0 ? 1 : 0)), ids, { maxWeight: 50 });
    expect((apart.advantages.toArray() as number[][])[800]).toEqual([0.875 * 50]);
  });

  test('rewards in another range, and out of range', () => {
    const batch = binaryBatch(3);
    const signed = { ...batch, rewards: batch.rewards.map((row, b) => row.map((r, t) => (t === batch.masks[b]!.lastIndexOf(1) ? 2 * r - 1 : 0))) };
    expectClose(run('bnpo', signed, { minReward: -1 }, 'float64'), run('bnpo', batch, {}, 'float64'), 1e-12);
    expect(() => run('bnpo', signed)).toThrow(/expected rewards from 0 to 1 \(minReward, maxReward\), got -1 in row \d+/);
    expect(() => run('bnpo', batch, { alpha: 0.5 })).toThrow("option 'alpha': expected a number, 1 or more, or null, got 0.5");
  });
});

describe('pass_at_k', () => {
  test('k = n with one success: it alone gets what the set gets', () => {
    const inputs = { rewards: [[1], [0], [0]], masks: [[1], [1], [1]], groupIds: [0, 0, 0] };
    const of = (method: 's' | 'sloo_minus_one') => computeAdvantages('pass_at_k', inputs, { k: 3, method });
    expect(of('s').advantages.toArray()).toEqual([[1], [1], [1]]);
    expect(of('sloo_minus_one').advantages.toArray()).toEqual([[1], [0], [0]]);
    expect(of('s').metrics.max_at_k).toBe(1);
  });

  test('the metric is the unbiased pass@k; analytic k = 1 is grpo with ddof 0', () => {
    const batch = binaryBatch(5);
    const choose = (n: number, k: number): number => (k === 0 ? 1 : (choose(n - 1, k - 1) * n) / k);
    const groups = [0, 1, 2].map((id) => totals(batch).filter((_, row) => batch.groups[row] === id));
    const wanted = mean(groups.map((rewards) => 1 - choose(rewards.filter((r) => r === 0).length, 3) / choose(rewards.length, 3)));
    for (const method of ['s', 'sloo', 'sloo_minus_one', 'analytic'] as const) {
      expect(computeAdvantages('pass_at_k', take('pass_at_k', batch), { k: 3, method }).metrics.max_at_k).toBeCloseTo(wanted, 12);
    }
    expectClose(run('pass_at_k', batch, { method: 'analytic', k: 1 }, 'float64'), run('grpo', batch, { ddof: 0, epsilon: 0 }, 'float64'), 1e-12);
  });

  test('large groups, and rewards around 1e4', () => {
    const random = generator(3);
    const rewards = Float64Array.from({ length: 2048 }, () => random() + 1e4);
    const inputs = { rewards: tensor(rewards, { shape: [2048, 1] }), masks: tensor(new Uint8Array(2048).fill(1), { shape: [2048, 1] }), groupIds: Array.from({ length: 2048 }, () => 0) };
    const at = (data: Float64Array) => computeAdvantages('pass_at_k', { ...inputs, rewards: tensor(data, { shape: [2048, 1] }) }, { k: 1024 }).advantages.dataSync();
    const [offset, plain] = [at(rewards), at(rewards.map((r) => r - 1e4))];
    expect(Math.max(...Array.from(offset, (a, i) => Math.abs(a - plain[i]!)))).toBeLessThan(1e-9);
    expect(plain.some((a) => a > 0)).toBe(true);
  });

  test('the alias, and what is refused', () => {
    expect(getAdvantageEstimator('pkpo')).toBe(getAdvantageEstimator('pass_at_k'));
    const batch = gradedBatch(0);
    expect(() => run('pass_at_k', batch, { k: 1 })).toThrow("option 'k': expected a whole number, 2 or more with method 'sloo_minus_one', got 1");
    expect(() => run('pass_at_k', batch, { k: 2.5 })).toThrow("option 'k': expected a whole number");
    expect(() => run('pass_at_k', batch, { k: 6, method: 'sloo' })).toThrow("expected at least 7 rows in every group (k is 6), got 6 in 0 (smallGroups is 'error')");
    expect(() => run('pass_at_k', batch, { method: 'analytic' })).toThrow(/expected rewards of 0 and 1 with method 'analytic', got 0\.\d+ in row/);
    expect(() => run('pass_at_k', batch, { method: 'pkpo' as never })).toThrow('expected one of sloo_minus_one, sloo, s, analytic');
  });
});

describe('spo', () => {
  const inputs = (groupIds: (string | number)[], rewards: number[], divergences?: number[]) => ({
    rewards: rewards.map((r) => [0, r]),
    masks: rewards.map(() => [1, 1]),
    groupIds,
    ...(divergences && { policyDivergences: divergences }),
  });

  test('values are kept from batch to batch, and D sets how fast they are forgotten', () => {
    const estimator = createAdvantageEstimator('spo', { whiten: 'none', initialWeight: 8 });
    const tracker = new BetaTracker({ alpha: 4, beta: 4 });
    const random = generator(9);
    for (let step = 0; step < 30; step++) {
      const groups = Array.from({ length: 12 }, () => Math.floor(random() * 8)).map((id) => (id % 2 === 0 ? id : `prompt ${id}`));
      const scores = groups.map(() => (random() < 0.4 ? 1 : 0));
      const ofPrompt = new Map(groups.map((id) => [id, step % 5 === 0 ? NaN : random() * 0.04]));
      const divergences = groups.map((id) => ofPrompt.get(id)!);
      const float = (x: number) => Math.fround(x);
      const rho = (row: number) => (Number.isNaN(divergences[row]!) ? 0.9 : Math.min(0.96, Math.max(0.875, 2 ** (-float(divergences[row]!) / 0.06))));
      const wanted = tracker.step(groups, scores, rho);
      const { advantages, metrics } = computeAdvantages(estimator, inputs(groups, scores, step % 5 === 0 ? undefined : divergences));
      expectClose(advantages.toArray() as number[][], wanted.map((a) => [a, a]), 1e-6);
      expect(metrics.prompts).toBe(tracker.prompts.size);
    }
  });

  test('a state that is saved and restored goes on with the same bits', () => {
    const [whole, first, second] = [0, 1, 2].map(() => createAdvantageEstimator('spo'));
    const random = generator(4);
    const batches = Array.from({ length: 10 }, () => inputs(['a', 'b', 5, 'a', '5'], Array.from({ length: 5 }, () => random())));
    const bits = (estimator: typeof whole, list: typeof batches) => list.map((each) => Array.from(computeAdvantages(estimator!, each).advantages.dataSync()));
    const wanted = bits(whole, batches);
    bits(first, batches.slice(0, 6));
    second!.restoreState(JSON.parse(JSON.stringify(first!.saveState())) as never);
    expect(bits(second, batches.slice(6))).toEqual(wanted.slice(6));
    expect(Object.keys((second!.saveState() as { prompts: object }).prompts).sort()).toEqual(['"5"', '"a"', '"b"', '5']);
  });

  test('rows without a token neither count nor teach; what is refused', () => {
    const estimator = createAdvantageEstimator('spo', { whiten: 'rows' });
    const { advantages } = computeAdvantages(estimator, { rewards: [[1], [0], [1]], masks: [[1], [1], [0]], groupIds: ['a', 'b', 'c'] });
    expectClose(advantages.toArray() as number[][], [[Math.SQRT1_2], [-Math.SQRT1_2], [0]], 1e-6);
    expect(Object.keys((estimator.saveState() as { prompts: object }).prompts)).toEqual(['"a"', '"b"']);
    const before = JSON.stringify(estimator.saveState());
    expect(() => computeAdvantages(estimator, { rewards: [[1], [NaN]], masks: [[1], [1]], groupIds: ['a', 'b'] })).toThrow('expected finite rewards, got NaN in row 1');
    expect(() => computeAdvantages(estimator, inputs(['a', 'a'], [1, 0], [0.1, 0.2]))).toThrow(/policyDivergences: expected one number a prompt, got 0\.1\d* and 0\.2\d* for "a"/);
    expect(JSON.stringify(estimator.saveState())).toBe(before);
    expect(() => createAdvantageEstimator('spo', { maxForgetting: 0.5 })).toThrow("'spo': option 'maxForgetting': expected a number from minForgetting, 0.875, to 1, got 0.5");
    for (const broken of [5, null, [], {}, { prompts: 3 }, { prompts: { a: 1 } }, { prompts: { a: [1] } }, { prompts: { a: ['1', 2] } }, { prompts: { a: [0.5, -1] } }]) {
      expect(() => estimator.restoreState(broken as never)).toThrow(EstimatorError);
    }
    expect(JSON.stringify(estimator.saveState())).toBe(before);
  });
});
