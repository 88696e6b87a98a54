/** The normaliser against plain loops. */
import { Groups, normalize, tensor } from 'vantage-rl';
import { normalized, randomSteps, type Normalization } from './classical_reference';
import { generator } from './reference';
import { expectClose } from '../closeness';

const levels = ['batch', 'group', 'none'] as const;
const combinations = levels.flatMap((meanLevel) =>
  levels.flatMap((stdLevel) => [false, true].flatMap((leaveOneOut) => ([0, 1] as const).map((ddof): Normalization => ({ meanLevel, stdLevel, leaveOneOut, ddof, epsilon: 1e-5 }))))
);

test.each(combinations)('mean $meanLevel, σ $stdLevel, leave one out $leaveOneOut, ddof $ddof', (options) => {
  for (let seed = 0; seed < 6; seed++) {
    const random = generator(seed);
    const { rewards, masks } = randomSteps(seed);
    const groups = rewards.map(() => `p${Math.floor(random() * 3)}`);
    const wanted = normalized(rewards, masks, groups, options);
    const dirty = rewards.map((row, b) => row.map((x, t) => (masks[b]![t] ? x : NaN)));
    for (const [dtype, tolerance] of [['float64', 1e-9], ['float32', 1e-5]] as const) {
      const mask = tensor(masks, { dtype: 'uint8' });
      expectClose(normalize(tensor(dirty, { dtype }), { ...options, mask, groups }).toArray() as number[][], wanted, tolerance);
    }
    const scores = rewards.map((row) => [row[0]!]);
    const perRow = normalize(tensor(scores.flat(), { dtype: 'float64' }), { ...options, groups: new Groups(groups, groups.length) });
    expect(perRow.shape).toEqual([groups.length]);
    expectClose((perRow.toArray() as number[]).map((x) => [x]), normalized(scores, scores.map(() => [1]), groups, options), 1e-9);
  }
});

test('numbers around 1e4 lose nothing', () => {
  const x = [1e4, 1e4 + 0.5, 1e4 + 1, 1e4 - 0.25];
  const wanted = normalized(x.map((v) => [v]), x.map(() => [1]), [0, 0, 1, 1], { meanLevel: 'group', stdLevel: 'group', leaveOneOut: false, ddof: 1, epsilon: 1e-5 });
  expectClose((normalize(tensor(x), { meanLevel: 'group', stdLevel: 'group', groups: [0, 0, 1, 1] }).toArray() as number[]).map((v) => [v]), wanted, 1e-5);
});

test('zero variance, one number, nothing valid, an empty batch', () => {
  expect(normalize(tensor([3, 3, 3])).toArray()).toEqual([0, 0, 0]);
  expect(normalize(tensor([3, 3, 3]), { epsilon: 0 }).toArray()).toEqual([0, 0, 0]);
  expect(normalize(tensor([3])).toArray()).toEqual([0]);
  expect((normalize(tensor([3]), { leaveOneOut: true }).toArray() as number[])[0]).toBeCloseTo(3, 3);
  expect(normalize(tensor([[3, NaN]]), { mask: tensor([[0, 0]]) }).toArray()).toEqual([[0, 0]]);
  expect(normalize(tensor([], { shape: [0] })).shape).toEqual([0]);
  expect(normalize(tensor([], { shape: [0, 3] })).shape).toEqual([0, 3]);
});

test('errors name what was given', () => {
  const x = tensor([1, 2]);
  expect(() => normalize(x, { level: 'batch' } as never)).toThrow("normalize: unknown option 'level'");
  expect(() => normalize(x, { meanLevel: 'row' as never })).toThrow('normalize: option \'meanLevel\': expected one of batch, group, none, got "row"');
  expect(() => normalize(x, { stdLevel: 'group' })).toThrow("normalize: stdLevel is 'group': expected groups, one id a row");
  expect(() => normalize(x, { mask: tensor([1]) })).toThrow('normalize: expected mask of shape [2], as x, got [1]');
  expect(() => normalize(x, { ddof: 2 as never })).toThrow("normalize: option 'ddof': expected 0 or 1, got 2");
  expect(() => normalize(tensor(1))).toThrow('normalize: expected x of shape [batch] or [batch, time], got []');
  expect(() => normalize(x, { epsilon: -1 })).toThrow("normalize: option 'epsilon': expected a number of at least 0, got -1");
});

test('groups name what does not fit them', () => {
  expect(() => new Groups(['a'], -1)).toThrow('Groups: expected batch, the number of rows, got -1');
  const three = tensor([[1], [2], [3]]);
  expect(() => new Groups(['a', 'b'], 2).advantages(three, three)).toThrow('Groups.advantages: expected rewards of 2 rows, one for each id, got [3,1]');
});
