/** Inputs as callers give them: arrays for tensors, layouts for offsets, and NaN where it says nothing. */
import { combineRewards, computeAdvantages, computePolicyLoss, EstimatorError, outcomeRewards, reduceLoss, RowLayout, tensor, valueLoss } from 'vantage-rl';

const rewards = [[0, 1, 0], [0, 0, 0]];
const values = [[0.5, 0.5, 0.5], [0.25, 0.25, 0.25]];
const masks = [[1, 1, 0], [1, 1, 1]];
const groupIds = ['a', 'a'];

describe('NaN that says neither yes nor no', () => {
  const cases: [string, () => unknown, string][] = [
    ['masks', () => computeAdvantages('grpo', { rewards, masks: [[1, 1, 1], [1, NaN, 1]], groupIds }), "'grpo': masks: expected numbers that are 0 or not, got NaN at row 1, position 1"],
    [
      'a typed mask',
      () => computeAdvantages('gae', { rewards, values, masks: tensor(new Float64Array([1, 1, NaN, 1, 1, 1]), { shape: [2, 3] }) }),
      "'gae': masks: expected numbers that are 0 or not, got NaN at row 0, position 2",
    ],
    [
      'terminated',
      () => computeAdvantages('gae', { rewards, values, masks, terminated: [[0, NaN, 0], [0, 0, 1]] }),
      "'gae': terminated: expected numbers that are 0 or not, got NaN at row 0, position 1",
    ],
    [
      'truncated',
      () => computeAdvantages('td0', { rewards, values, masks, truncated: [[0, 0, 0], [0, 0, NaN]] }),
      "'td0': truncated: expected numbers that are 0 or not, got NaN at row 1, position 2",
    ],
    ['the mask of outcomeRewards', () => outcomeRewards([1, 2], [[1, 1], [NaN, 1]]), 'outcomeRewards: masks: expected numbers that are 0 or not, got NaN at row 1, position 0'],
  ];
  test.each(cases)('%s', (_, run, message) => {
    expect(run).toThrow(EstimatorError);
    expect(run).toThrow(message);
  });

  test('flags at masked positions may hold anything', () => {
    const given = (flag: number) => computeAdvantages('gae', { rewards, values, masks, terminated: [[0, 1, flag], [0, 0, 0]], bootstrapValues: [9, 9] }).advantages.toArray();
    expect(given(NaN)).toEqual(given(0));
  });
});

test('what is not finite in a result is traced to the input that an option lets through', () => {
  const rewardComponents = [[1, 2], [NaN, 3]];
  const gdpo = (options: { skipNaN?: boolean }) => () => computeAdvantages('gdpo', { rewards, masks, groupIds, rewardComponents }, options);
  expect(gdpo({})).not.toThrow();
  expect(gdpo({ skipNaN: false })).toThrow(/'gdpo': expected finite advantages .*\. rewardComponents holds NaN at row 1, position 0; what is NaN there is left out with skipNaN/);
  const masked = { rewards, masks, values: [[0.5, 0.5, NaN], [0.25, 0.25, 0.25]] };
  expect(() => computeAdvantages('gae', masked)).not.toThrow();
  expect(() => computeAdvantages('gae', masked, { convention: 'skyrl' })).toThrow(
    /'gae': expected finite .*\. values holds NaN at row 0, position 2, which is masked: options, such as holes and remask, or a convention may/,
  );
});

test('a policy cannot have moved by less than nothing', () => {
  const spo = (policyDivergences: number[]) => () => computeAdvantages('spo', { rewards, masks, groupIds: ['a', 'b'], policyDivergences });
  expect(spo([0, NaN])).not.toThrow();
  expect(spo([0.1, -0.5])).toThrow(/'spo': policyDivergences: expected numbers, 0 or more, or NaN, got -0\.5 in row 1/);
});

test('rewards of rows come as arrays, nested or typed', () => {
  const wanted = [[0, 1.5, 0], [0, 0, -2]];
  expect(outcomeRewards([1.5, -2], masks).toArray()).toEqual(wanted);
  expect(outcomeRewards(new Float64Array([1.5, -2]), masks).dtype).toBe('float64');
  expect(outcomeRewards(new Int8Array([1, -2]), tensor(masks, { dtype: 'bool' })).toArray()).toEqual([[0, 1, 0], [0, 0, -2]]);
  expect(combineRewards([[1, 2], [NaN, 4], [NaN, NaN]], new Float32Array([1, 0.5])).toArray()).toEqual([2, 2, NaN]);
  expect(combineRewards([[true, false], [true, true]], [1, 3]).toArray()).toEqual([1, 4]);
});

test('a layout takes the place of offsets, and is there afterwards', () => {
  const offsets = [0, 2, 2, 5];
  // Wider than the longest row: what stands behind rows changes nothing.
  for (const layout of [new RowLayout(offsets), new RowLayout(offsets, { time: 6 })]) {
    const advantagesBy = (rowOffsets: number[] | RowLayout) => computeAdvantages('grpo', { rewards: [0, 1, 0, 0, 0.5], groupIds: ['a', 'a', 'a'], rowOffsets }).advantages;
    expect(advantagesBy(layout).toArray()).toEqual(advantagesBy(offsets).toArray());
    const x = tensor([-0.5, -0.25, -1, -2, -0.125]);
    const lossBy = (rowOffsets: number[] | RowLayout) => [
      computePolicyLoss('gspo', { logProbs: x, oldLogProbs: x.mul(1.1), advantages: x, rowOffsets }, { reduction: 'sequence_mean' }).loss.item(),
      valueLoss({ values: x, oldValues: x, returns: x.mul(2), rowOffsets }).loss.item(),
    ];
    expect(lossBy(layout)).toEqual(lossBy(offsets));
    expect(reduceLoss(layout.pad(x), layout.present(), 'token_sum').item()).toBe(-3.875);
    expect(() => computeAdvantages('grpo', { rewards: [0, 1], groupIds: ['a', 'a', 'a'], rowOffsets: layout })).toThrow(
      "'grpo': rowOffsets: expected 2 at the end, the number of tokens in rewards, got 5",
    );
    layout.dispose();
  }
});
