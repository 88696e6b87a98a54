/** Options of estimators: their checks, the presets of libraries, and the habits that they stand for. */
import {
  AdvantageEstimator,
  combineRewards,
  computeAdvantages,
  createAdvantageEstimator,
  outcomeRewards,
  registerAdvantageEstimator,
  tensor,
  unregisterAdvantageEstimator,
  type AdvantageOptions,
  type Tensor,
} from 'vantage-rl';

const f64 = (data: number[][] | number[]) => tensor(data, { dtype: 'float64' });
const outcomes = (scores: number[]) => ({ rewards: f64(scores.map((score) => [score])), masks: scores.map(() => [1]) });
const rows = (name: string, scores: number[], groupIds: (string | number)[], options: AdvantageOptions = {}) =>
  (computeAdvantages(name, { ...outcomes(scores), groupIds }, options).advantages.toArray() as number[][]).flat();

const near = (got: number[], wanted: number[], digits = 9) => wanted.forEach((x, i) => expect(got[i]).toBeCloseTo(x, digits));

describe('an option that does not fit is named, with what fits', () => {
  const cases: [string, Record<string, unknown>, RegExp][] = [
    ['grpo', { singelton: 'raw' }, /'grpo': unknown option 'singelton'\. Did you mean 'singleton'\?/],
    ['grpo', { singleton: 'keep' }, /'grpo': option 'singleton': expected one of zero, raw, error, got "keep"/],
    ['grpo', { ddof: 2 }, /option 'ddof': expected 0 or 1, got 2/],
    ['grpo', { epsilon: '1e-6' }, /option 'epsilon': expected a number, 0 or more, got "1e-6"/],
    ['grpo', { epsilon: NaN }, /option 'epsilon': expected a number, 0 or more, got NaN/],
    ['grpo', { leaveOneOut: 1 }, /option 'leaveOneOut': expected a boolean, got 1/],
    ['gae', { holes: 'skip' }, /option 'holes': expected one of carry, ignore, decay, got "skip"/],
    ['gae', { whiten: 'all' }, /option 'whiten': expected "batch", "group", "none", true or false, got "all"/],
    ['gae', { remask: 'returns' }, /option 'remask': expected true, false or "advantages", got "returns"/],
    ['gae', { convention: 'openrhlf' }, /option 'convention': expected one of vantage, .*openrlhf.*, got "openrhlf"\. Did you mean 'openrlhf'\?/],
    ['vapo_gae', { lambdaPolicy: 'none' }, /option 'lambdaPolicy': expected a number from 0 to 1, or null, got "none"/],
    ['gdpo', { weights: [1, 'x'] }, /option 'weights': expected an array of finite numbers, got/],
    ['gdpo', { weights: [1] }, /'gdpo': option 'weights': expected 2 numbers, one a component, got 1/],
    ['gdpo', { minComponents: 3 }, /'gdpo': expected at least 3 reward components, got 2/],
    ['grpo_passk', { singleton: 'error' }, /'grpo_passk': expected at least two rows with a reward in every group, got a group of one/],
    ['raw_reward', { klCoef: 0.1 }, /'raw_reward': klCoef is 0\.1, and this run has no oldLogProbs/],
  ];
  test.each(cases)('%s %j', (name, options, message) => {
    const inputs = { ...outcomes([1, 2, 3]), values: [[0], [0], [0]], groupIds: ['a', 'a', 'b'], rewardComponents: [[1, 2], [3, 4], [5, 6]] };
    expect(() => computeAdvantages(name, inputs, options as AdvantageOptions)).toThrow(message);
  });

  test('a row without a reward is in no group', () => {
    const options = { skipNaN: true, singleton: 'error' } as const;
    const run = (scores: number[]) => computeAdvantages('rloo', { ...outcomes(scores), groupIds: scores.map((_, row) => (row < 2 ? 'a' : 'b')) }, options).advantages.toArray();
    expect(() => run([NaN, 1])).toThrow(/expected at least two rows with a reward in every group, got a group of one/);
    expect(run([1, 3, NaN])).toEqual([[-2], [2], [0]]);
  });

  test('components of another batch, and whitening of groups without group ids', () => {
    const inputs = { ...outcomes([1, 2]), groupIds: [0, 0] };
    expect(() => computeAdvantages('gdpo', { ...inputs, rewardComponents: [[1, 2]] })).toThrow(/expected rewardComponents of shape \[2, components\], got \[1,2\]/);
    expect(() => computeAdvantages('gdpo', inputs)).toThrow(/'gdpo' requires 'rewardComponents'/);
    expect(() => computeAdvantages('raw_reward', outcomes([1, 2]), { whiten: 'group' })).toThrow(/whiten is 'group', and this run has no groupIds/);
    const turns = { ...inputs, turnIds: tensor([[0], [-1]], { dtype: 'int32' }) };
    expect(() => computeAdvantages('turn_level', turns)).toThrow(/turnIds: expected integers of at least 0 on valid tokens, got -1/);
  });
});

test('the worked numbers of the libraries', () => {
  near(rows('grpo', [1, 0, 0, 0], [0, 0, 0, 0], { convention: 'nemo' }), [1, -0.577349, -0.577349, -0.577349], 5);
  near(rows('grpo', [1, 0, 0, 0], [0, 0, 0, 0]), [1.499997, -0.499999, -0.499999, -0.499999], 5);
  near(rows('dr_grpo', [6, 3, 9, 12], [0, 0, 1, 1]), [1.5, -1.5, -1.5, 1.5]);
  near(rows('maxrl', [1, 0, 0, 1], [0, 0, 0, 0], { epsilon: 0 }), [1, -1, -1, 1]);
  near(rows('grpo_passk', [1, 3, 6], [0, 0, 0], { normByStd: false }), [0, 0, 3]);
  near(rows('gpg', [1, 0, 0, 0], [0, 0, 0, 0]), [3, -1, -1, -1]);
  const baseline = computeAdvantages('tir_optimal_token_baseline', {
    rewards: f64([[0, 0, 1], [0, 0, 0]]),
    masks: [[1, 1, 1], [1, 1, 1]],
    groupIds: ['a', 'a'],
    oldLogProbs: f64([[0.5, 0.25, 0.8].map(Math.log), [0.9, 0.5, 0.5].map(Math.log)]),
    sumSquaredProbs: f64([[0.4, 0.3, 0.7], [0.82, 0.4, 0.5]]),
  });
  near((baseline.advantages.toArray() as number[][])[0]!, [0.0476, 0.2593, 0.4144], 4);
  const decoupled = computeAdvantages('vapo_gae', { rewards: [[0, 0, 5]], values: [[1, 2, 3]], masks: [[1, 1, 1]] }, { lambda: 0, whiten: 'none' });
  expect(decoupled.advantages.toArray()).toEqual([[1, 1, 2]]);
});

test('a row alone in its group: what each library gives it', () => {
  const single = (name: string, convention: AdvantageOptions['convention']) => rows(name, [2, 5, 1], ['a', 'b', 'b'], { convention })[0]!;
  for (const name of ['grpo', 'rloo', 'dr_grpo', 'opo', 'gpg', 'maxrl']) expect(single(name, 'vantage')).toBe(0);
  expect(single('grpo', 'skyrl')).toBeCloseTo(2, 5);
  expect(single('rloo', 'skyrl')).toBe(0);
  expect(single('rloo', 'verl')).toBe(2);
  for (const name of ['opo', 'maxrl', 'dr_grpo']) expect(single(name, 'verl')).toBe(2);
  for (const convention of ['trl', 'openrlhf', 'nemo'] as const) for (const name of ['grpo', 'rloo']) expect(single(name, convention)).toBe(0);
});

test.each<[string, object, number[]]>([
  ['zero', { singleton: 'zero' }, [Math.SQRT1_2, -Math.SQRT1_2, 0, 0]],
  ['raw', { singleton: 'raw' }, [Math.SQRT1_2, -Math.SQRT1_2, 3, 0]],
])('rloo whitens the rows that are not alone, and leaves to the others what singleton (%s) says', (_, options, wanted) => {
  near(rows('rloo', [1, 0, 3, NaN], [0, 0, 1, 1], { whiten: 'rows', whitenEpsilon: 0, skipNaN: true, ...options }), wanted);
});

test('a row beside others that are all equal is not divided by their deviation, 0', () => {
  near(rows('grpo', [1, 0, 0], [0, 0, 0], { leaveOneOut: true, epsilon: 0 }), [1, -Math.SQRT1_2, -Math.SQRT1_2]);
  expect(rows('grpo', [1, 1, 1], [0, 0, 0], { leaveOneOut: true })).toEqual([0, 0, 0]);
});

test('any option overrides the preset', () => {
  expect(rows('rloo', [2, 5, 1], ['a', 'b', 'b'], { convention: 'verl', singleton: 'zero' })[0]).toBe(0);
  near(rows('grpo', [1, 0, 0, 0], [0, 0, 0, 0], { convention: 'nemo', leaveOneOut: false, epsilon: 0 }), [1.5, -0.5, -0.5, -0.5]);
});

test('an instance keeps what it was made with', () => {
  const inputs = { rewards: [[0, 1, 0, 1]], values: [[0, 0, 2, 0]], masks: [[1, 1, 0, 1]] };
  const instance = createAdvantageEstimator('gae', { convention: 'verl', whiten: 'none', gamma: 0.5 });
  expect(computeAdvantages(instance, inputs).advantages.toArray()).toEqual([[0.75, 1.5, 1, 1]]);
  expect(computeAdvantages(instance, inputs, { gamma: 1, lambda: undefined, remask: true }).advantages.toArray()).toEqual([[2, 2, 0, 1]]);
  expect(() => computeAdvantages(instance, inputs, { whiten: 'batch' })).toThrow(/'gae': option 'whiten' came with an instance, which has its options: give it to createAdvantageEstimator/);
});

test('a preset holds for an alias as for the name', () => {
  const inputs = { rewards: [[0, 1, 0, 1]], masks: [[1, 1, 0, 1]] };
  const [name, alias] = ['reinforce++', 'reinforce_plus_plus'].map((each) => computeAdvantages(each, inputs, { convention: 'verl' }).returns.toArray());
  expect(alias).toEqual(name);
  expect(name).toEqual([[1, 1, 1, 1]]);
});

test('NaN is no reward where NaN is skipped, and an error elsewhere', () => {
  const scores = [1, NaN, 3, NaN, 7];
  const groups = ['a', 'a', 'a', 'b', 'b'];
  near(rows('dr_grpo', scores, groups, { skipNaN: true }), [-1, 0, 1, 0, 0]);
  near(rows('rloo', scores, groups, { convention: 'trl' }), [-2, 0, 2, 0, 0]);
  near(rows('grpo', scores, groups, { convention: 'trl' }), [-1 / (Math.SQRT2 + 1e-4), 0, 1 / (Math.SQRT2 + 1e-4), 0, 0]);
  near(rows('grpo_batch_std', scores, groups, { skipNaN: true, epsilon: 0 }), [-1, 0, 1, 0, 0].map((x) => x / Math.sqrt(28 / 3)));
  near(rows('opo', scores, groups, { skipNaN: true }), [-1, 0, 1, 0, 0]);
  near(rows('gpg', scores, groups, { skipNaN: true }), [-1, 0, 1, 0, 0]);
  near(rows('grpo_passk', scores, groups, { skipNaN: true, normByStd: false }), [0, 0, 2, 0, 0]);
  near(rows('raw_reward', scores, groups, { skipNaN: true }), [1, 0, 3, 0, 7]);
  for (const name of ['grpo', 'dr_grpo', 'rloo', 'opo', 'gpg', 'maxrl', 'grpo_passk'])
    expect(() => rows(name, scores, groups)).toThrow(/rewards: expected finite numbers on valid tokens, got NaN at row 1, position 0, and 2 such in all \(advantages: NaN at row/);
});

test('a component that is NaN is left out of its statistics; a row without any gets 0', () => {
  const { advantages, metrics } = computeAdvantages('gdpo', { ...outcomes([0, 0, 0]), groupIds: [0, 0, 0], rewardComponents: f64([[1, NaN], [3, 4], [NaN, NaN]]) }, { normByStd: false });
  near((advantages.toArray() as number[][]).flat(), [-Math.SQRT1_2, Math.SQRT1_2, 0]);
  expect(metrics.std).toBeCloseTo(Math.SQRT2, 9);
});

describe('what a recurrence leaves at masked positions', () => {
  const inputs = { rewards: f64([[0, 0, 7, 0, 1]]), values: f64([[0.1, 0.2, 99, 0.4, 0.5]]), masks: [[1, 1, 0, 1, 1]] };
  const gae = (options: AdvantageOptions) => computeAdvantages('gae', inputs, { gamma: 0.9, lambda: 0.8, whiten: 'none', ...options });

  test.each(
    [
      ['vantage', [0.4077, 0.4552, 0, 0.41, 0.5]],
      ['verl', [0.4077, 0.4552, 0.41, 0.41, 0.5]],
      ['openrlhf', [0.2757, 0.2717, 0.6552, 0.41, 0.5].map((x, t) => (t === 2 ? 0.9 * 0.4 + 0.72 * 0.41 : x))],
      ['nemo', [0.4077, 0.4552, 0, 0.41, 0.5]],
    ] as const,
  )('gae of %s', (convention, wanted) => {
    near((gae({ convention }).advantages.toArray() as number[][])[0]!, [...wanted], 4);
  });

  test('only the advantages are masked again where remask says so', () => {
    const { advantages, returns } = gae({ convention: 'nemo' });
    expect((advantages.toArray() as number[][])[0]![2]).toBe(0);
    expect((returns.toArray() as number[][])[0]![2]).toBeCloseTo(99.41, 9);
    expect((gae({ convention: 'nemo', remask: true }).returns.toArray() as number[][])[0]![2]).toBe(0);
  });

  test.each(['gae', 'vapo_gae', 'reinforce++'])('%s: a recurrence that runs over masked positions finds the rewards that are kept there', (name) => {
    const given = { rewards: f64([[1, 5], [1, 0]]), masks: [[1, 0], [1, 1]], values: f64([[0, 0], [0, 0]]) };
    const returnsOf = (rewardOnMasked: 'drop' | 'keep' | 'carry') => computeAdvantages(name, given, { holes: 'ignore', rewardOnMasked }).returns.toArray();
    expect(returnsOf('drop')).toEqual([[1, 0], [1, 0]]);
    expect(returnsOf('keep')).toEqual([[6, 0], [1, 0]]);
    expect(returnsOf('carry')).toEqual([[6, 0], [1, 0]]);
  });

  test.each(['gae', 'vapo_gae'])('%s: and the values there, whatever they are', (name) => {
    const returnsOf = (hole: number) =>
      computeAdvantages(name, { ...inputs, values: f64([[0.1, 0.2, hole, 0.4, 0.5]]) }, { holes: 'ignore', lambda: 0.5, rewardOnMasked: 'drop' }).returns.dataSync()[0];
    // Half of δ is carried on from each token to the one before: the value at t = 2 stands in those of t = 1 and t = 2.
    expect(returnsOf(99)! - returnsOf(0)!).toBeCloseTo((1 / 2 - 1 / 4) * 99, 9);
  });

  test('REINFORCE++: carried, reset, or a step of γ', () => {
    const returnsOf = (options: AdvantageOptions) => (computeAdvantages('reinforce++', { ...inputs, rewards: f64([[0, 0, 0, 0, 1]]) }, { gamma: 0.5, ...options }).returns.toArray() as number[][])[0]!;
    near(returnsOf({}), [0.125, 0.25, 0, 0.5, 1]);
    near(returnsOf({ convention: 'skyrl' }), [0, 0, 0.25, 0.5, 1]);
    near(returnsOf({ convention: 'openrlhf' }), [0.0625, 0.125, 0.25, 0.5, 1]);
    near(returnsOf({ remask: false }), [0.125, 0.25, 0.5, 0.5, 1]);
  });

  test('an advantage of a row stands at masked positions where nothing is masked', () => {
    const { advantages } = computeAdvantages('grpo', { rewards: [[1, 0], [0, 0]], masks: [[1, 0], [1, 1]], groupIds: [0, 0] }, { normByStd: false, remask: false });
    expect(advantages.toArray()).toEqual([[0.5, 0.5], [-0.5, -0.5]]);
  });

  test('an estimator is told whether masked positions will be set to 0', () => {
    const seen: unknown[] = [];
    class Probe extends AdvantageEstimator {
      computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { remask }: { remask: unknown }): Tensor {
        seen.push(remask);
        return rewards;
      }
    }
    registerAdvantageEstimator('test_probe', Probe);
    for (const options of [{}, { remask: false }, { convention: 'verl' }] as const) computeAdvantages('test_probe', inputs, options);
    unregisterAdvantageEstimator('test_probe');
    expect(seen).toEqual([true, false, 'advantages']);
  });
});

test('turns: the tokens of a turn share the return of the turns from it on', () => {
  const turnIds = tensor([[0, 0, 9, 1, 1, 2]], { dtype: 'int32' });
  const { advantages } = computeAdvantages('turn_discount', { rewards: [[1, 0, 50, 0, 2, 4]], masks: [[1, 1, 0, 1, 1, 1]], turnIds }, { turnDiscount: 0.5 });
  expect(advantages.toArray()).toEqual([[3, 3, 0, 4, 4, 4]]);
});

test('outcomeRewards puts a score on the last valid token, and on the last position of a row without one', () => {
  const rewards = outcomeRewards(tensor([1, 2, 3]), tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]], { dtype: 'uint8' }));
  expect(rewards.toArray()).toEqual([[0, 1, 0], [0, 0, 2], [0, 0, 3]]);
  expect(() => outcomeRewards(tensor([1]), tensor([[1], [1]]))).toThrow(/expected scores \[batch\] and masks \[batch, time\], got \[1\] and \[2,1\]/);
});

test('combineRewards weighs components and leaves out what is NaN', () => {
  expect(combineRewards(tensor([[1, 2], [NaN, 2], [NaN, NaN]]), tensor([1, 0.5])).toArray()).toEqual([2, 1, NaN]);
  expect(() => combineRewards(tensor([[1, 2]]), tensor([1]))).toThrow(/expected components \[batch, K\] and K weights, got \[1,2\] and \[1\]/);
});

test('turns are told apart whatever their ids: -1, and integers that float32 does not hold', () => {
  const of = (turnIds: number[]) =>
    computeAdvantages('turn_discount', { rewards: [[1, 0, 2]], masks: [[1, 1, 1]], turnIds: tensor([turnIds], { dtype: 'int32' }) }, { turnDiscount: 0.5 }).advantages.toArray();
  expect(of([-1, -1, 0])).toEqual([[2, 2, 2]]);
  expect(of([-7, -7, -1])).toEqual([[2, 2, 2]]);
  expect(of([2 ** 24, 2 ** 24 + 1, 2 ** 24 + 2])).toEqual([[1.5, 1, 2]]);
  expect(of([-(2 ** 31), 2 ** 31 - 1, 2 ** 31 - 1])).toEqual([[2, 2, 2]]);
});
