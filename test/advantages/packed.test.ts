/** Packed rows give what padded ones give, to the bit: every estimator that is registered. */
import {
  AdvantageEstimator,
  computeAdvantages,
  createAdvantageEstimator,
  getAdvantageEstimator,
  listAdvantageEstimators,
  registerAdvantageEstimator,
  scan,
  tensor,
  unregisterAdvantageEstimator,
  type AdvantageContext,
  type AdvantageInputs,
  type AdvantageOptions,
  type Tensor,
} from 'vantage-rl';
import { Random } from '../tensor/helpers';

/** Ragged rows as nested arrays, with lengths 0 and 1 among them. */
function raggedBatch(seed: number, { holes }: { holes: boolean }) {
  const random = new Random(seed);
  const lengths = [4, 0, 1, 7, 3, 1, 12, 5];
  const groups = ['a', 'a', 'b', 'b', 'a', 'c', 'b', 'c'];
  const rows = (value: () => number) => lengths.map((length) => Array.from({ length }, value));
  const logProbs = () => rows(() => -2 * random.next());
  return {
    lengths,
    tokens: {
      rewards: rows(() => (random.next() < 0.5 ? 0 : 2 * random.next() - 1)),
      values: rows(() => random.next()),
      oldLogProbs: logProbs(),
      refLogProbs: logProbs(),
      rolloutLogProbs: logProbs(),
      teacherLogProbs: logProbs(),
      sumSquaredProbs: rows(() => random.next()),
      importanceWeights: rows(() => 0.5 + random.next()),
      terminated: rows(() => Number(random.next() < 0.1)),
      truncated: rows(() => Number(random.next() < 0.1)),
      turnIds: lengths.map((length) => Array.from({ length }, (_, t) => Math.floor(t / 3))),
      anchorIds: lengths.map((length, b) => Array.from({ length }, (_, t) => (b + Math.floor(t / 3)) % 3)),
      ...(holes && { masks: rows(() => Number(random.next() < 0.7)) }),
    } as Record<string, number[][]>,
    rows: {
      groupIds: groups,
      baselines: lengths.map(() => random.next()),
      bootstrapValues: lengths.map(() => random.next()),
      policyDivergences: [0.01, 0.01, 0.02, 0.02, 0.01, 0.03, 0.02, 0.03],
      rewardComponents: lengths.map(() => [random.next(), 3 * random.next()]),
    },
  };
}

const integers = new Set(['masks', 'terminated', 'truncated', 'turnIds', 'anchorIds']);
/** What an estimator has to be told of these batches. */
const told: Record<string, AdvantageOptions> = { bnpo: { minReward: -20, maxReward: 20 }, pass_at_k: { k: 2 } };
type Batch = ReturnType<typeof raggedBatch>;
type DType = 'float32' | 'float64';

function made(name: string, values: number[] | number[][], dtype: DType): Tensor {
  return tensor(values, { dtype: integers.has(name) ? (name.endsWith('Ids') ? 'int32' : 'uint8') : dtype });
}

function rowInputs({ rows }: Batch, dtype: DType) {
  return {
    ...rows,
    baselines: tensor(rows.baselines, { dtype }),
    bootstrapValues: tensor(rows.bootstrapValues, { dtype }),
    policyDivergences: tensor(rows.policyDivergences, { dtype }),
    rewardComponents: tensor(rows.rewardComponents, { dtype }),
  };
}

function packedInputs(batch: Batch, dtype: DType) {
  const tokens = Object.entries(batch.tokens).map(([name, rows]) => [name, made(name, rows.flat(), dtype)]);
  return { ...rowInputs(batch, dtype), ...Object.fromEntries(tokens), rowOffsets: offsetsOf(batch) };
}

function offsetsOf({ lengths }: Batch): number[] {
  return lengths.reduce((offsets, length) => [...offsets, offsets.at(-1)! + length], [0]);
}

function paddedInputs(batch: Batch, dtype: DType) {
  const time = Math.max(...batch.lengths);
  const masks = batch.tokens.masks ?? batch.lengths.map((length) => new Array<number>(length).fill(1));
  const wide = (rows: number[][]) => rows.map((row) => [...row, ...new Array<number>(time - row.length).fill(0)]);
  const tokens = Object.entries({ ...batch.tokens, masks }).map(([name, rows]) => [name, made(name, wide(rows), dtype)]);
  return { ...rowInputs(batch, dtype), ...Object.fromEntries(tokens) } as AdvantageInputs;
}

/** Elements of [batch, time] that stand in rows, as they stand in packed ones. */
function inRows(x: Tensor, { lengths }: Batch): number[] {
  return (x.toArray() as number[][]).flatMap((row, b) => row.slice(0, lengths[b]));
}

function expectSame(estimator: string | (() => AdvantageEstimator), batch: Batch, dtype: DType, options: AdvantageOptions = {}): void {
  const made = () => (typeof estimator === 'string' ? estimator : estimator());
  const wide = computeAdvantages(made(), paddedInputs(batch, dtype), options);
  const packed = computeAdvantages(made(), packedInputs(batch, dtype), options);
  expect(packed.advantages.shape).toEqual([batch.lengths.reduce((a, b) => a + b, 0)]);
  expect(packed.advantages.dtype).toBe(wide.advantages.dtype);
  // toEqual tells 0 from −0 and knows NaN.
  expect(packed.advantages.toArray()).toEqual(inRows(wide.advantages, batch));
  expect(packed.returns.toArray()).toEqual(inRows(wide.returns, batch));
  expect(packed.metrics).toEqual(wide.metrics);
}

describe.each(listAdvantageEstimators())('%s', (name) => {
  test.each(['float32', 'float64'] as const)('%s, with holes and without', (dtype) => {
    for (const holes of [true, false]) expectSame(name, raggedBatch(holes ? 11 : 12, { holes }), dtype, { gamma: 0.97, lambda: 0.9, ...told[name] });
  });

  test.each(['skyrl', 'verl', 'trl', 'openrlhf', 'nemo', 'areal'] as const)('as %s does it', (convention) => {
    // Where a convention refuses the batch, so it does in either form.
    const attempt = (inputs: Parameters<typeof computeAdvantages>[1]) => {
      try {
        return computeAdvantages(name, inputs, { convention, ...told[name] });
      } catch (error) {
        return (error as Error).message;
      }
    };
    const batch = raggedBatch(13, { holes: true });
    const wide = attempt(paddedInputs(batch, 'float32'));
    const packed = attempt(packedInputs(batch, 'float32'));
    if (typeof wide === 'string' || typeof packed === 'string') return expect(packed).toEqual(wide);
    expect(packed.advantages.toArray()).toEqual(inRows(wide.advantages, batch));
    expect(packed.returns.toArray()).toEqual(inRows(wide.returns, batch));
    expect(packed.metrics).toEqual(wide.metrics);
  });
});

test("an estimator of one's own, by name and as an instance", () => {
  class Discounted extends AdvantageEstimator {
    static override readonly requires = ['groupIds'] as const;

    computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups }: AdvantageContext) {
      const advantages = scan([rewards, masks], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.9)));
      const best = groups!.maxOfOthers(rewards.sum(1));
      return { advantages: advantages.sub(advantages.mean(null, { mask: masks })), returns: advantages.exp(), metrics: { best: best.max(), valid: masks.sum() } };
    }
  }
  registerAdvantageEstimator('test_packed', Discounted);
  try {
    for (const holes of [true, false]) {
      expectSame('test_packed', raggedBatch(21, { holes }), 'float32');
      expectSame(() => createAdvantageEstimator('test_packed'), raggedBatch(22, { holes }), 'float64', { remask: false });
      expectSame(() => new Discounted(), raggedBatch(23, { holes }), 'float32');
    }
  } finally {
    unregisterAdvantageEstimator('test_packed');
  }
});

test('what masked positions hold reaches nothing, and arrays do as well as tensors', () => {
  const rewards = [0.5, NaN, 1, 2, Infinity];
  const rowOffsets = Int32Array.of(0, 0, 3, 5);
  const { advantages, returns } = computeAdvantages('gae', { rewards, values: [1, NaN, 0, 0, NaN], masks: [1, 0, 1, 1, 0], rowOffsets }, { whiten: false });
  expect(advantages.toArray()).toEqual([0.5, 0, 1, 2, 0]);
  expect(returns.toArray()).toEqual([1.5, 0, 1, 2, 0]);
});

test('bootstrap values of tokens, rows of one token, no token at all', () => {
  const rewards = [1, 2, 3];
  const perToken = { rewards, values: [0, 0, 0], truncated: [0, 1, 0], bootstrapValues: [9, 4, 9], rowOffsets: [0, 3] };
  expect(computeAdvantages('td_lambda', perToken).advantages.toArray()).toEqual([7, 6, 12]);
  const single = { rewards, values: [0, 0, 0], bootstrapValues: [1, 2, 3], rowOffsets: [0, 1, 2, 3] };
  expect(computeAdvantages('td_lambda', single).advantages.toArray()).toEqual([2, 4, 6]);
  const none = computeAdvantages('grpo', { rewards: [], groupIds: ['a', 'a'], rowOffsets: [0, 0, 0] });
  expect([none.advantages.shape, none.returns.shape]).toEqual([[0], [0]]);
});

test.each([
  [{ rowOffsets: [0, 4, 2, 5] }, "advantage estimator 'gae': rowOffsets: expected numbers that do not fall, got 2 after 4 at position 2"],
  [{ rowOffsets: [1, 5] }, 'rowOffsets: expected 0 at the start, got 1'],
  [{ rowOffsets: [0, 2.5, 5] }, 'rowOffsets: expected whole numbers, got 2.5 at position 1'],
  [{ rowOffsets: [0, 4] }, 'rowOffsets: expected 5 at the end, the number of tokens in rewards, got 4'],
  [{ rowOffsets: [0, 6] }, 'rowOffsets: expected 5 at the end, the number of tokens in rewards, got 6'],
  [{ rowOffsets: '0,5' }, "rowOffsets: expected batch + 1 whole numbers (an array, a typed array or an int32 Tensor), got '0,5'"],
  [{ values: [1, 2, 3, 4] }, "advantage estimator 'gae': values: expected shape [5], one number a token as rewards, got [4]"],
  [{ masks: [[1, 1, 1, 1, 1]] }, 'masks: expected shape [5], one number a token as rewards, got [1,5]'],
  [{ rewards: [[1, 2], [3, 4]] }, 'rowOffsets came with rewards of shape [2,2]: expected shape [tokens], the rows one after the other'],
  [{ rewards: undefined }, "advantage estimator 'gae': expected rewards, got undefined"],
  [{ rowOffsets: undefined, masks: [1, 1, 1, 1, 1] }, 'expected rewards of shape [batch, time], got [5] ([tokens] come with rowOffsets)'],
  [{ baselines: [1, 2, 3] }, 'expected baselines of shape [2], got [3]'],
  [{ bootstrapValues: [1, 2, 3] }, 'bootstrapValues: expected shape [5], one number a token as rewards, got [3]'],
  [{ rowOffset: [0, 5] }, "unknown input 'rowOffset'. Did you mean 'rowOffsets'?"],
  [{ values: undefined }, "requires 'values'"],
])('%j is refused', (wrong, message) => {
  const inputs = { rewards: [1, 2, 3, 4, 5], values: [1, 2, 3, 4, 5], rowOffsets: [0, 2, 5], ...wrong };
  expect(() => computeAdvantages('gae', inputs as never)).toThrow(message);
});

test('options that are none', () => {
  const inputs = { rewards: [1], values: [1], rowOffsets: [0, 1] };
  for (const options of [null, 3, 'verl']) {
    expect(() => computeAdvantages('gae', inputs, options as never)).toThrow("advantage estimator 'gae': expected options, got");
    expect(() => computeAdvantages(createAdvantageEstimator('gae'), inputs, options as never)).toThrow("advantage estimator 'gae': expected options, got");
    expect(() => createAdvantageEstimator('gae', options as never)).toThrow("advantage estimator 'gae': expected options, got");
  }
  expect(getAdvantageEstimator('gae')).toBeDefined();
});
