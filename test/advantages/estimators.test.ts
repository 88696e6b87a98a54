/** Every further estimator against its float64 reference, with its options, and what holds for all of them. */
import { computeAdvantages, listAdvantageEstimators, tensor, type AdvantageInputs, type AdvantageOptions } from 'vantage-rl';
import { references as table } from './estimator_references';
import { fullBatch, type FullBatch } from './group_reference';

const tokenInputs = ['values', 'oldLogProbs', 'refLogProbs', 'teacherLogProbs', 'sumSquaredProbs', 'importanceWeights'] as const;

function inputsOf(batch: FullBatch, dtype: 'float32' | 'float64'): AdvantageInputs {
  const floats = Object.fromEntries(tokenInputs.map((name) => [name, tensor(batch[name], { dtype })]));
  return {
    ...floats,
    rewards: tensor(batch.rewards, { dtype }),
    masks: tensor(batch.masks, { dtype: 'uint8' }),
    groupIds: batch.groups,
    baselines: tensor(batch.baselines, { dtype }),
    rewardComponents: tensor(batch.rewardComponents, { dtype }),
    turnIds: tensor(batch.turnIds, { dtype: 'int32' }),
  };
}

function expectClose(got: number[][], wanted: number[][], tolerance: number): void {
  const differences = wanted.flatMap((row, b) => row.map((x, t) => Math.abs(got[b]![t]! - x) / Math.max(1, Math.abs(x))));
  expect(Math.max(0, ...differences)).toBeLessThanOrEqual(tolerance);
}

const run = (name: string, inputs: AdvantageInputs, options: AdvantageOptions = {}) => computeAdvantages(name, inputs, options).advantages.toArray() as number[][];

test.each(table)('%s %j agrees with its reference', (name, options, reference) => {
  for (let seed = 0; seed < 8; seed++) {
    const batch = fullBatch(seed, { holes: seed % 2 === 0 });
    const wanted = reference(batch);
    for (const [dtype, tolerance] of [['float64', 1e-9], ['float32', 1e-5]] as const) expectClose(run(name, inputsOf(batch, dtype), options), wanted, tolerance);
  }
});

const names = listAdvantageEstimators().filter((name) => table.some(([each]) => each === name));

describe.each(names)('%s', (name) => {
  test('what masked positions hold changes nothing, and they get 0', () => {
    const batch = fullBatch(5, { holes: true });
    const clean = run(name, inputsOf(batch, 'float32'));
    for (const garbage of [NaN, Infinity, -1e30]) {
      const dirty = { ...batch };
      for (const key of ['rewards', ...tokenInputs] as const) dirty[key] = batch[key].map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x : garbage)));
      expect(run(name, inputsOf(dirty, 'float32'))).toEqual(clean);
    }
    expect(clean.flatMap((row, b) => row.filter((x, t) => !batch.masks[b]![t] && x !== 0))).toEqual([]);
  });

  test('equal rewards, singletons, one valid token and none: finite', () => {
    const batch = fullBatch(2, { holes: false });
    const shapes: FullBatch[] = [
      { ...batch, rewards: batch.rewards.map((row) => row.map(() => 0)) },
      { ...batch, groups: batch.groups.map((_, b) => b) },
      { ...batch, masks: batch.masks.map((row, b) => row.map((_, t) => (b === 0 && t === 1 ? 1 : 0))) },
      { ...batch, masks: batch.masks.map((row) => row.map(() => 0)) },
    ];
    for (const each of shapes) expect(run(name, inputsOf(each, 'float32')).flat().every(Number.isFinite)).toBe(true);
  });

  test('an empty batch', () => {
    const empty = (columns: number) => tensor([], { shape: [0, columns] });
    const inputs = Object.fromEntries(tokenInputs.map((each) => [each, empty(4)]));
    const { advantages } = computeAdvantages(name, {
      ...inputs,
      rewards: empty(4),
      masks: empty(4),
      groupIds: [],
      baselines: tensor([], { shape: [0] }),
      rewardComponents: empty(2),
      turnIds: tensor([], { shape: [0, 4], dtype: 'int32' }),
    });
    expect(advantages.shape).toEqual([0, 4]);
  });
});

test.each(['dr_grpo', 'grpo', 'grpo_batch_std', 'maxrl', 'opo', 'gpg', 'grpo_passk', 'reinforce++_baseline'])('%s: rewards around 1e4 lose nothing', (name) => {
  const batch = fullBatch(4, { holes: false });
  const outcomes = batch.masks.map((row, b) => row.map((m, t) => (m && t === row.lastIndexOf(1) ? Math.round(batch.rewards[b]![t]! * 8) / 8 + 1e4 : 0)));
  const offset = { ...batch, rewards: outcomes };
  const [single, double] = (['float32', 'float64'] as const).map((dtype) => run(name, inputsOf(offset, dtype)));
  expectClose(single!, double!, 1e-5);
});
