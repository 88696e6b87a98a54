/** What every registered estimator answers to awkward batches: docs/numerics.md says it, this holds it to that. */
import {
  computeAdvantages,
  EstimatorError,
  getAdvantageEstimator,
  Groups,
  listAdvantageEstimators,
  maskedWhiten,
  tensor,
  whiten,
  type AdvantageInputs,
  type AdvantageOptions,
  type DType,
} from 'vantage-rl';

type Batch = Record<string, any>;
const [ROWS, TIME] = [6, 4];
const integers = ['turnIds', 'anchorIds'];

/** A batch with everything that an estimator may ask for; rewards and values on a grid that float32 holds even beside 1e4. */
function batchOf(rows = ROWS, time = TIME): Batch {
  const tokens = (f: (b: number, t: number) => number) => Array.from({ length: rows }, (_, b) => Array.from({ length: time }, (_, t) => f(b, t)));
  const perRow = (f: (b: number) => number) => Array.from({ length: rows }, (_, b) => f(b));
  const scores = [1, 0, 0.5, 0.25, 2, 0];
  return {
    rewards: tokens((b, t) => (t === time - 1 ? scores[b % 6]! : 0)),
    masks: tokens(() => 1),
    values: tokens((b, t) => b / 8 - t / 16),
    groupIds: perRow((b) => b % 2),
    oldLogProbs: tokens((b, t) => -0.5 - b / 8 - t / 4),
    refLogProbs: tokens((b, t) => -0.75 - t / 8 - b / 16),
    rolloutLogProbs: tokens((b, t) => -0.5 - b / 8 - t / 8),
    teacherLogProbs: tokens((_, t) => -0.25 - t / 8),
    sumSquaredProbs: tokens(() => 0.5),
    importanceWeights: tokens(() => 1),
    turnIds: tokens((_, t) => (t > 1 ? 1 : 0)),
    anchorIds: tokens((b, t) => (t > 1 ? b % 3 : -1)),
    policyDivergences: perRow((b) => (b % 2) / 32),
    baselines: perRow(() => 0.25),
    bootstrapValues: perRow(() => 0.125),
    rewardComponents: perRow(() => 0).map((_, b) => [scores[b % 6]!, b / 4]),
  };
}

/** Tensors, as nested lists do not say what shape an empty array has. */
function shaped(batch: Batch, rows: number, time: number, dtype: DType = 'float32'): Batch {
  const widths: Record<string, number[]> = { baselines: [rows], bootstrapValues: [rows], policyDivergences: [rows], rewardComponents: [rows, 2] };
  return Object.fromEntries(
    Object.entries(batch).map(([key, value]) => {
      if (key === 'groupIds') return [key, value];
      const as = key === 'masks' ? 'bool' : integers.includes(key) ? 'int32' : dtype;
      return [key, tensor(Float64Array.from(value.flat()), { shape: widths[key] ?? [rows, time] }).cast(as)];
    }),
  );
}

/** What an estimator has to be told of these batches. */
const told: Record<string, AdvantageOptions> = { bnpo: { minReward: -2e4, maxReward: 2e4 }, pass_at_k: { k: 2, smallGroups: 'zero' } };

/** Only what the estimator asks for, so that nothing else decides. */
function run(name: string, batch: Batch, options: AdvantageOptions = {}) {
  const wanted = ['rewards', 'masks', ...(getAdvantageEstimator(name).requires ?? [])];
  const inputs = Object.fromEntries(Object.entries(batch).filter(([key]) => wanted.includes(key))) as unknown as AdvantageInputs;
  const { advantages, returns, metrics } = computeAdvantages(name, inputs, { ...told[name], ...options });
  return { advantages: advantages.toArray() as number[][], returns: returns.toArray() as number[][], metrics, dtype: advantages.dtype, shape: advantages.shape };
}

const flat = ({ advantages, returns, metrics }: ReturnType<typeof run>) => [...advantages.flat(), ...returns.flat(), ...Object.values(metrics)];
const allFinite = (result: ReturnType<typeof run>) => flat(result).every(Number.isFinite);

function close(got: number[][], wanted: number[][], tolerance = 1e-5) {
  const size = Math.max(1, ...wanted.flat().map(Math.abs));
  const farthest = Math.max(0, ...got.flatMap((row, b) => row.map((x, t) => Math.abs(x - wanted[b]![t]!))));
  expect(farthest).toBeLessThanOrEqual(tolerance * size);
}

const withRewards = (batch: Batch, f: (score: number, b: number) => number): Batch => ({
  ...batch,
  rewards: batch.rewards.map((row: number[], b: number) => row.map((r, t) => (t === row.length - 1 ? f(r, b) : r))),
  rewardComponents: batch.rewardComponents.map((row: number[], b: number) => row.map((r) => f(r, b))),
});

const names = listAdvantageEstimators();
const has = (name: string, option: string) => Object.hasOwn(getAdvantageEstimator(name).options ?? {}, option);
/** Rewards do not count in it. */
const rewardFree = ['distillation'];
/** Equal rewards have no advantage over one another, and an offset of all rewards changes nothing. */
const comparing = [
  'dr_grpo',
  'gdpo',
  'grpo',
  'grpo_batch_std',
  'grpo_passk',
  'opo',
  'reinforce++',
  'reinforce++_baseline',
  'rloo',
  'turn_level',
];
/** The same, but for ε in the divisor of the baseline: the advantage of equal rewards c is c·ε/(ΣW + ε). */
const nearlyComparing = ['optimal_token_baseline', 'tir_optimal_token_baseline'];

test('the lists speak of registered estimators', () => {
  expect(names.length).toBeGreaterThanOrEqual(25);
  expect([...rewardFree, ...comparing, ...nearlyComparing].filter((name) => !names.includes(name))).toEqual([]);
});

describe.each(names)('%s', (name) => {
  const plain = batchOf();

  test('rewards offset by 1e4 lose nothing', () => {
    const offset = withRewards(plain, (r) => r + 1e4);
    const single = run(name, shaped(offset, ROWS, TIME));
    close(single.advantages, run(name, shaped(offset, ROWS, TIME, 'float64')).advantages);
    if (comparing.includes(name)) close(single.advantages, run(name, plain).advantages);
  });

  test.each(['bfloat16', 'int32', 'bool'] as const)('%s rewards are taken for the numbers they are, and computed in float32', (dtype) => {
    const whole = withRewards(plain, (r) => (dtype === 'bool' ? Number(r > 0.3) : Math.round(4 * r)));
    const inputs = shaped(whole, ROWS, TIME);
    const result = run(name, { ...inputs, rewards: inputs.rewards.cast(dtype), rewardComponents: inputs.rewardComponents.cast(dtype) });
    expect(result.dtype).toBe('float32');
    expect(flat(result)).toEqual(flat(run(name, inputs)));
  });

  test('equal rewards: finite, and 0 where rewards are compared', () => {
    for (const same of [0, 0.1, -3, 1e4 + 0.1]) {
      const result = run(name, withRewards(plain, () => same));
      expect(allFinite(result)).toBe(true);
      if (comparing.includes(name)) expect(result.advantages.flat().every((a) => a === 0)).toBe(true);
      if (nearlyComparing.includes(name)) expect(Math.max(...result.advantages.flat().map(Math.abs))).toBeLessThan(1e-7 * Math.max(1, Math.abs(same)));
    }
  });

  test('rows alone in their group: 0, or what the option says', () => {
    const alone = { ...plain, groupIds: plain.rewards.map((_: unknown, b: number) => b) };
    const result = run(name, alone);
    expect(allFinite(result)).toBe(true);
    if (!has(name, 'singleton')) return;
    expect(result.advantages.flat().every((a) => a === 0)).toBe(true);
    expect(allFinite(run(name, alone, { singleton: 'raw' }))).toBe(true);
    expect(() => run(name, alone, { singleton: 'error' })).toThrow(EstimatorError);
  });

  test('a single valid token; nothing valid; a row without a valid token', () => {
    const masks = (f: (b: number, t: number) => boolean) => ({ ...plain, masks: plain.masks.map((row: number[], b: number) => row.map((_, t) => Number(f(b, t)))) });
    const one = run(name, masks((b, t) => b === 1 && t === 2));
    expect(allFinite(one)).toBe(true);
    if (has(name, 'whitenByStd') && name !== 'raw_reward') expect(one.advantages.flat().every((a) => a === 0)).toBe(true);
    const none = run(name, masks(() => false));
    expect(none.advantages.flat().concat(none.returns.flat()).every((x) => x === 0)).toBe(true);
    expect(allFinite(none)).toBe(true);
    const some = run(name, masks((b) => b !== 2));
    expect(allFinite(some)).toBe(true);
    expect([...some.advantages[2]!, ...some.returns[2]!].every((x) => x === 0)).toBe(true);
  });

  test('NaN and infinities at masked positions reach nothing', () => {
    const masks = [[1, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]];
    const perToken = Object.keys(plain).filter((key) => Array.isArray(plain[key][0]) && !['masks', ...integers, 'rewardComponents'].includes(key));
    const holding = (what: (i: number) => number): Batch => ({
      ...plain,
      masks,
      ...Object.fromEntries(perToken.map((key) => [key, plain[key].map((row: number[], b: number) => row.map((x, t) => (masks[b]![t] ? x : what(b + t))))])),
    });
    const result = run(name, holding((i) => [NaN, Infinity, -Infinity][i % 3]!));
    expect(allFinite(result)).toBe(true);
    expect(flat(result)).toEqual(flat(run(name, holding(() => 0))));
  });

  test('a NaN reward on a valid token: an error, or a row that is left out', () => {
    const unscored = withRewards(plain, (r, b) => (b === 2 ? NaN : r));
    if (rewardFree.includes(name)) return expect(allFinite(run(name, unscored))).toBe(true);
    const without = (key: string) => plain[key].filter((_: unknown, b: number) => b !== 2);
    const rest = run(name, Object.fromEntries(Object.keys(plain).map((key) => [key, without(key)])));
    if (['bnpo', 'pass_at_k', 'spo'].includes(name)) expect(() => run(name, unscored)).toThrow(/got NaN in row 2/);
    else if (name !== 'gdpo') expect(() => run(name, unscored)).toThrow(/rewards: expected finite numbers on valid tokens, got NaN at row 2, position 3.*skipNaN/);
    if (!has(name, 'skipNaN')) return expect(() => run(name, unscored, { skipNaN: true })).toThrow("unknown option 'skipNaN'");
    const { advantages, returns } = run(name, unscored, { skipNaN: true });
    expect([...advantages[2]!, ...returns[2]!].every((x) => x === 0)).toBe(true);
    close(advantages.filter((_, b) => b !== 2), rest.advantages, 1e-6);
    close(returns.filter((_, b) => b !== 2), rest.returns, 1e-6);
  });

  test('no row has a reward: 0 with skipNaN', () => {
    if (!has(name, 'skipNaN')) return;
    const { advantages } = run(name, withRewards(plain, () => NaN), { skipNaN: true });
    expect(advantages.flat().every((a) => a === 0)).toBe(true);
  });

  test('an infinite reward on a valid token is an error', () => {
    const infinite = withRewards(plain, (r, b) => (b === 2 ? Infinity : r));
    if (rewardFree.includes(name)) expect(allFinite(run(name, infinite))).toBe(true);
    else expect(() => run(name, infinite)).toThrow(EstimatorError);
  });

  test.each([[0, 3], [2, 0], [1, 1]])('%i rows of %i tokens', (rows, time) => {
    const result = run(name, shaped(batchOf(rows, time), rows, time));
    expect(result.shape).toEqual([rows, time]);
    expect(allFinite(result)).toBe(true);
  });
});

describe('rows beside the others of their group', () => {
  const sizes: [string, number[]][] = [['singletons', [1, 1, 1]], ['few', [2, 3, 8, 5]], ['large and small', [300, 1, 2, 40, 257]], ['one', [1000]]];
  const kinds: [string, (i: number, j: number) => number][] = [
    ['numbers', (i) => Math.sin(i)],
    ['equal numbers', () => 0.1],
    ['an outlier beside small differences', (i, j) => (j === 1 ? 1e8 : (i % 2) / 100)],
    ['an offset', (i) => 1e4 + Math.cos(i)],
  ];
  test.each(sizes.flatMap(([size, groups]) => kinds.map(([kind, of]) => [size, kind, groups, of] as const)))('%s: %s', (_size, _kind, groups, of) => {
    // By turns, so that the rows of a group are apart.
    const members = groups.flatMap((n, g) => Array.from({ length: n }, (_, j) => ({ g, j, at: j * groups.length + g }))).sort((x, y) => x.at - y.at);
    const ids = members.map(({ g }) => g);
    const scores = members.map(({ j }, i) => of(i, j));
    const others = scores.map((_, i) => scores.filter((_score, k) => k !== i && ids[k] === ids[i]));
    const sum = (x: number[]) => x.reduce((total, each) => total + each, 0);
    const mean = (x: number[]) => {
      const rough = sum(x) / Math.max(1, x.length);
      return rough + sum(x.map((each) => each - rough)) / Math.max(1, x.length);
    };
    const grouped = new Groups(ids, ids.length);
    const { difference, spread } = grouped.besideOthers(tensor(scores, { dtype: 'float64' }));
    const [got, gotSpread, most] = [difference, spread, grouped.maxOfOthers(tensor(scores, { dtype: 'float64' }))].map((each) => each.dataSync());
    scores.forEach((score, i) => {
      const centre = mean(others[i]!);
      const wanted = sum(others[i]!.map((each) => (each - centre) ** 2));
      expect(Math.abs(got![i]! - (others[i]!.length > 0 ? score - centre : 0))).toBeLessThanOrEqual(1e-12 * Math.max(1, Math.abs(score), Math.abs(centre)));
      expect(Math.abs(gotSpread![i]! - wanted)).toBeLessThanOrEqual(1e-9 * wanted + 1e-25);
      expect(most![i]).toBe(Math.max(-Infinity, ...others[i]!));
    });
    const columns = grouped.sumColumns(tensor(scores.map((score) => [score, 1]), { dtype: 'float64' })).toArray() as number[][];
    columns.forEach(([total, count], i) => {
      expect(count).toBe(others[i]!.length + 1);
      expect(Math.abs(total! - sum(scores.filter((_, k) => ids[k] === ids[i])))).toBeLessThan(1e-12 * (1 + Math.abs(total!)));
    });
  });
});

test('equal tokens with an epsilon of 0: nothing is divided by it', () => {
  const zeros = [[0, 0, 0], [0, 0, 0]];
  const ones = [[1, 1, 0], [1, 1, 1]];
  const inputs = { rewards: zeros, values: zeros, masks: ones, groupIds: [0, 0] };
  for (const name of ['gae', 'vapo_gae', 'reinforce++', 'reinforce++_baseline', 'raw_reward']) {
    for (const options of [{}, { epsilonPlacement: 'outside' }, { ddof: 0 }, { countEpsilon: 1 }, { convention: 'openrlhf', minVariance: 0 }] as const) {
      for (const whiten of ['batch', 'group'] as const) {
        expect([...computeAdvantages(name, inputs, { epsilon: 0, whiten, ...options }).advantages.dataSync()]).toEqual([0, 0, 0, 0, 0, 0]);
      }
    }
  }
  // Equal, and not 0; one token alone.
  expect([...computeAdvantages('reinforce++', { rewards: [[0.1, 0.1, 0.1]], masks: [[1, 1, 1]] }, { epsilon: 0, gamma: 0 }).advantages.dataSync()]).toEqual([0, 0, 0]);
  expect([...computeAdvantages('reinforce++', { rewards: [[1, 0]], masks: [[1, 0]] }, { epsilon: 0 }).advantages.dataSync()]).toEqual([0, 0]);
  // Components that trade off.
  const traded = { rewards: [[0, 0], [0, 0]], masks: [[1, 1], [1, 1]], groupIds: ['a', 'a'], rewardComponents: [[1, 0], [0, 1]] };
  expect([...computeAdvantages('gdpo', traded, { whiten: 'tokens' }).advantages.dataSync()]).toEqual([0, 0, 0, 0]);
  for (const epsilonOutside of [false, true]) expect([...whiten(tensor([[3, 3, 7]]), tensor([[1, 1, 0]]), { epsilon: 0, epsilonOutside }).dataSync()]).toEqual([0, 0, 0]);
  expect([...maskedWhiten(tensor([[3, 3]]), tensor([[1, 1]]), 0).dataSync()]).toEqual([0, 0]);
  // What is no number is none still.
  expect(() => computeAdvantages('reinforce++', { rewards: [[NaN, 0]], masks: [[1, 1]] }, { epsilon: 0 })).toThrow('NaN');
});
