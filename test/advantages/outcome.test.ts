/** What estimators that compare the rows of a group get from one kernel is what they get from the expression, which rows without a reward (skipNaN) need. */
import { computeAdvantages, explain, tensor, tidy, where, type AdvantageOptions, type DType, type Tensor } from 'vantage-rl';
import { advantagesInGroups } from '../../src/advantages/outcome';
import { Groups } from '../../src/advantages/groups';
import { Random } from '../tensor/helpers';

const random = new Random(11);
const dtypes: DType[] = ['float32', 'float64'];

/** Group sizes from 1 to 6, apart from one another or not; equal rewards in some groups, empty rows, garbage behind the mask. */
function batchOf(rows: number, time: number, dtype: DType, apart: boolean) {
  const groupIds = Array.from({ length: rows }, (_, b) => (apart ? (b * 7) % Math.ceil(rows / 3) : Math.floor(Math.sqrt(b * 3))));
  const [rewards, masks]: [number[], number[]] = [[], []];
  for (let b = 0; b < rows; b++) {
    const length = random.next() < 0.1 ? 0 : random.integer(1, time);
    const same = groupIds[b]! % 4 === 1;
    for (let t = 0; t < time; t++) {
      const valid = t < length && (t === 0 || random.next() < 0.9);
      masks.push(valid ? 1 : 0);
      rewards.push(!valid ? NaN : same ? (t === 0 ? 0.1 : 0) : random.next() - 0.5);
    }
  }
  return { rewards: tensor(rewards, { shape: [rows, time], dtype }), masks: tensor(masks, { shape: [rows, time], dtype: 'bool' }), groupIds };
}

const grpoOptions: AdvantageOptions[] = [
  {},
  { normByStd: false },
  { ddof: 0, epsilon: 0.5, epsilonPlacement: 'inside' },
  { singleton: 'raw', epsilon: 0.25 },
  { singleton: 'raw', normByStd: false, remask: 'advantages' },
  { minVariance: 0.75 },
  { rewardOnMasked: 'error' },
];
const cases: [string, AdvantageOptions][] = [
  ...grpoOptions.map((options): [string, AdvantageOptions] => ['grpo', options]),
  ['dr_grpo', {}],
  ['dr_grpo', { singleton: 'raw' }],
  ['rloo', {}],
  ['rloo', { singleton: 'raw' }],
];

test.each(cases)('%s %j', (name, options) => {
  for (const dtype of dtypes) {
    for (const [rows, time, apart] of [[1, 1, false], [9, 5, true], [60, 33, false], [60, 33, true], [200, 150, false]] as const) {
      const given = batchOf(rows, time, dtype, apart);
      const batch = options.rewardOnMasked === 'error' ? { ...given, rewards: where(given.masks, given.rewards, 0) } : given;
      const tuned = computeAdvantages(name, batch, options);
      const composed = computeAdvantages(name, batch, { ...options, skipNaN: true });
      const [got, wanted] = [tuned, composed].map(({ advantages }) => advantages.dataSync() as Float32Array);
      const bound = dtype === 'float64' ? 1e-12 : 1e-6;
      const differs = got!.findIndex((x, i) => !(Math.abs(x - wanted![i]!) <= bound * Math.max(1, Math.abs(wanted![i]!))));
      expect([differs, got![differs], wanted![differs]]).toEqual([-1, undefined, undefined]);
      expect(tuned.returns).toBe(tuned.advantages);
    }
  }
});

test('rewards at masked positions, where they count, are not left to the kernel', () => {
  const batch = { rewards: [[1, 0], [0, 3]], masks: [[1, 1], [1, 0]], groupIds: [0, 0] };
  expect(computeAdvantages('rloo', batch).advantages.toArray()).toEqual([[1, 1], [-1, 0]]);
  expect(computeAdvantages('rloo', batch, { rewardOnMasked: 'keep' }).advantages.toArray()).toEqual([[-2, -2], [2, 0]]);
  expect(computeAdvantages('rloo', batch, { remask: false }).advantages.toArray()).toEqual([[1, 1], [-1, -1]]);
  expect(computeAdvantages('rloo', batch, { rewardOnMasked: 'carry' }).advantages.toArray()).toEqual([[-2, -2], [2, 0]]);
});

test('infinite and missing rewards are named; a group of one is refused where it shall be', () => {
  for (const bad of [NaN, Infinity]) {
    const batch = { rewards: [[1, bad], [0, 3]], masks: [[1, 1], [1, 0]], groupIds: [0, 0] };
    expect(() => computeAdvantages('grpo', batch)).toThrow(`advantage estimator 'grpo': rewards: expected finite numbers on valid tokens, got ${bad} at row 0, position 1`);
    expect(computeAdvantages('grpo', { ...batch, masks: [[1, 0], [1, 1]] }).advantages.shape).toEqual([2, 2]);
  }
  expect(() => computeAdvantages('grpo', { rewards: [[1]], masks: [[1]], groupIds: [0] }, { singleton: 'error' })).toThrow("got a group of one (singleton is 'error')");
});

test('beside an outlier the deviation of the others keeps its digits', () => {
  for (const step of [1e-4, 1e-3, 0.1]) {
    const scores = [1, 1 + step, 1000].map(Math.fround);
    const wanted = scores.map((score, i) => {
      const others = scores.filter((_, k) => k !== i);
      const mean = (others[0]! + others[1]!) / 2;
      const spread = others.reduce((sum, x) => sum + (x - mean) ** 2, 0);
      return (score - mean) / (Math.sqrt(spread / 1) + 1e-6);
    });
    const got = computeAdvantages('grpo', { rewards: scores.map((score) => [score]), masks: [[1], [1], [1]], groupIds: [0, 0, 0] }, { leaveOneOut: true }).advantages.dataSync();
    wanted.forEach((x, i) => expect(Math.abs(got[i]! - x)).toBeLessThan(1e-5 * Math.abs(x)));
  }
  const equal = computeAdvantages('grpo', { rewards: [[0.1], [0.1], [1000]], masks: [[1], [1], [1]], groupIds: [0, 0, 0] }, { leaveOneOut: true }).advantages.dataSync();
  expect(equal[2]).toBeCloseTo(999.9, 2);
});

test('statistics of groups refuse what is no ddof, and ids that are no list', () => {
  const groups = new Groups([0, 0, 0, 1], 4);
  const scores = tensor([1, 2, 4, 7]);
  expect(groups.std(scores, 0).toArray()).toEqual([expect.closeTo(1.2472, 4), expect.closeTo(1.2472, 4), expect.closeTo(1.2472, 4), 0]);
  expect(groups.std(scores, 5).toArray()).toEqual([0, 0, 0, 0]);
  for (const ddof of [NaN, -1, 0.5, '1', null]) expect(() => groups.std(scores, ddof as never)).toThrow('groups: std: expected ddof, a non-negative integer, got');
  expect(() => new Groups(tensor([[0, 1]]), 2)).toThrow('groupIds: expected one id a row, shape [2], got [1,2]');
});

test('one kernel and no program over the tokens', () => {
  tidy(() => {
    const { rewards, masks } = batchOf(16, 8, 'float32', false);
    const groups = new Groups(Array.from({ length: 16 }, (_, b) => b >> 2), 16);
    const compare = (r: Tensor) => advantagesInGroups({ rewards: r, masks, groups, remask: true }, { singleton: 'zero', skipNaN: false, leaveOneOut: false }, {});
    // What is not known to be 0 behind the mask may count there.
    expect(compare(rewards)).toBeNull();
    const plan = explain([compare(where(masks, rewards, 0))!.advantages]);
    expect(plan).toMatch(/group_advantages/);
    expect(plan.trim().split('\n')).toHaveLength(1);
  });
});
