/** Packed rows give what padded ones give, to the bit: every policy loss that is registered, and the losses and corrections beside them. */
import {
  computePolicyLoss,
  getPolicyLoss,
  importanceWeights,
  klDivergence,
  listPolicyLosses,
  PolicyLoss,
  type PolicyLossInputs,
  type PolicyLossOptions,
  reduceLoss,
  registerPolicyLoss,
  rejectionMask,
  topEntropyMask,
  unregisterPolicyLoss,
  valueLoss,
} from '../../src/losses';
import { evaluate, gradients, packRows, padRows, type Tensor, tensor } from '../../src/tensor';
import { Random } from '../tensor/helpers';

type DType = 'float32' | 'float64';
const lengths = [4, 0, 1, 7, 3, 1, 12, 5];
const time = Math.max(...lengths);
const rowOffsets = lengths.reduce((offsets, length) => [...offsets, offsets.at(-1)! + length], [0]);
const groupIds = ['a', 'a', 'b', 'b', 'a', 'c', 'b', 'c'];

/** The same numbers for both forms: rows as nested arrays. */
function raggedBatch(seed: number, holes: boolean): Record<string, number[][]> {
  const random = new Random(seed);
  const rows = (value: () => number) => lengths.map((length) => Array.from({ length }, value));
  const logProbs = () => rows(() => -0.05 - 2 * random.next());
  return {
    logProbs: logProbs(),
    oldLogProbs: logProbs(),
    rolloutLogProbs: logProbs(),
    refLogProbs: logProbs(),
    // An advantage of 0 gives gradients of 0 and −0.
    advantages: rows(() => (random.next() < 0.1 ? 0 : 3 * (random.next() - 0.5))),
    entropy: rows(() => random.next()),
    weights: rows(() => 0.5 + random.next()),
    ...(holes && { mask: rows(() => Number(random.next() < 0.7)) }),
  };
}

const dtypeOf = (name: string, dtype: DType) => (name === 'mask' ? 'uint8' : dtype);
const wide = (rows: number[][]) => rows.map((row) => [...row, ...new Array<number>(time - row.length).fill(0)]);
const inRows = (x: Tensor) => (x.toArray() as number[][]).flatMap((row, b) => row.slice(0, lengths[b]));

function paddedInputs(batch: Record<string, number[][]>, dtype: DType): PolicyLossInputs {
  const mask = batch.mask ?? lengths.map((length) => new Array<number>(length).fill(1));
  return Object.fromEntries(Object.entries({ ...batch, mask }).map(([name, rows]) => [name, tensor(wide(rows), { dtype: dtypeOf(name, dtype) })])) as never;
}

function packedInputs(batch: Record<string, number[][]>, dtype: DType) {
  const tensors = Object.fromEntries(Object.entries(batch).map(([name, rows]) => [name, tensor(rows.flat(), { dtype: dtypeOf(name, dtype) })]));
  return { ...(tensors as unknown as PolicyLossInputs), rowOffsets };
}

function expectSame(name: string, wide: PolicyLossInputs, packed: ReturnType<typeof packedInputs>, options: PolicyLossOptions = {}): void {
  const run = (inputs: Parameters<typeof computePolicyLoss>[1]) => {
    const { loss, metrics } = computePolicyLoss(name, inputs, options);
    const [gradient] = gradients(loss, [inputs.logProbs]);
    evaluate([loss, gradient!, ...Object.values(metrics)]);
    return { loss: loss.item(), metrics: Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, value.item()])), gradient: gradient! };
  };
  const [expected, got] = [run(wide), run(packed)];
  expect(got.gradient.shape).toEqual([rowOffsets.at(-1)]);
  // toEqual tells 0 from −0 and knows NaN.
  expect({ loss: got.loss, metrics: got.metrics }).toEqual({ loss: expected.loss, metrics: expected.metrics });
  expect(got.gradient.toArray()).toEqual(inRows(expected.gradient));
}

/** Those of the options that the loss has. */
function known(name: string, options: PolicyLossOptions): PolicyLossOptions {
  const own = getPolicyLoss(name).options;
  return own ? Object.fromEntries(Object.entries(options).filter(([key]) => key in own)) : options;
}

describe.each(listPolicyLosses())('%s', (name) => {
  test.each(['float32', 'float64'] as const)('%s, with holes and without', (dtype) => {
    for (const holes of [true, false]) {
      const batch = raggedBatch(holes ? 31 : 32, holes);
      expectSame(name, paddedInputs(batch, dtype), packedInputs(batch, dtype), known(name, { maxSeqLen: 20 }));
      const options: PolicyLossOptions = {
        reduction: 'prompt_mean',
        groupIds,
        klCoef: 0.1,
        rowMetrics: true,
        driftMetrics: true,
        topEntropyQuantile: 0.6,
        offPolicyThreshold: 0.5,
        clipCovRatio: 0.2,
        klCovRatio: 0.2,
        clipCovLow: -1,
      };
      expectSame(name, paddedInputs(batch, dtype), packedInputs(batch, dtype), known(name, options));
    }
  });

  test.each(['skyrl', 'verl', 'trl', 'openrlhf', 'nemo', 'areal'] as const)('as %s does it', (convention) => {
    const batch = raggedBatch(33, true);
    expectSame(name, paddedInputs(batch, 'float32'), packedInputs(batch, 'float32'), known(name, { convention, reduction: 'sequence_mean', remask: false }));
  });
});

test("a loss of one's own, weights of rows, a correction", () => {
  class Squared extends PolicyLoss {
    computeLoss({ logProbs, advantages, mask, weights }: PolicyLossInputs) {
      const losses = logProbs.square().mul(advantages).mul(weights!);
      return { loss: reduceLoss(losses, mask, 'sequence_mean'), metrics: { longest: mask.sum(1).max() } };
    }
  }
  registerPolicyLoss('test_packed', Squared);
  try {
    for (const holes of [true, false]) {
      const batch = raggedBatch(41, holes);
      const weights = tensor(lengths.map((_, row) => [row + 0.5]));
      const correction: PolicyLossInputs['correction'] = ({ losses, mask, oldLogProbs, rolloutLogProbs }) => {
        const { weights: truncated } = importanceWeights({ oldLogProbs, rolloutLogProbs: rolloutLogProbs!, mask }, { high: 1.2 });
        return { losses: losses.mul(truncated), mask, metrics: { corrected: truncated.max() } };
      };
      expectSame('test_packed', { ...paddedInputs(batch, 'float32'), weights }, { ...packedInputs(batch, 'float32'), weights });
      expectSame('regular', { ...paddedInputs(batch, 'float32'), weights, correction }, { ...packedInputs(batch, 'float32'), weights, correction });
    }
  } finally {
    unregisterPolicyLoss('test_packed');
  }
});

test('the loss of the critic', () => {
  for (const holes of [true, false]) {
    const { logProbs: values, oldLogProbs: oldValues, advantages: returns, mask } = raggedBatch(51, holes);
    const batch = { values: values!, oldValues: oldValues!, returns: returns!, ...(mask && { mask }) };
    const [padded, packed] = [paddedInputs(batch, 'float32') as never as Parameters<typeof valueLoss>[0], packedInputs(batch, 'float32') as never as Parameters<typeof valueLoss>[0]];
    for (const options of [{}, { valueClip: 0.2, reduction: 'token_mean' }] as const) {
      const [expected, got] = [padded, packed].map((inputs) => {
        const { loss, clipFraction } = valueLoss(inputs, options);
        const [gradient] = gradients(loss, [inputs.values]);
        evaluate([loss, clipFraction, gradient!]);
        return { loss: loss.item(), clipFraction: clipFraction.item(), gradient: gradient! };
      });
      expect([got!.loss, got!.clipFraction]).toEqual([expected!.loss, expected!.clipFraction]);
      expect(got!.gradient.toArray()).toEqual(inRows(expected!.gradient));
    }
  }
});

test('what works on tokens takes them packed; what works on rows takes them padded for it', () => {
  const batch = raggedBatch(61, true);
  const [padded, { rowOffsets: _, ...packed }] = [paddedInputs(batch, 'float32'), packedInputs(batch, 'float32')];
  const kl = ({ logProbs, refLogProbs, mask }: PolicyLossInputs) => klDivergence(logProbs, refLogProbs!, 'k3', mask);
  expect(kl(packed).toArray()).toEqual(inRows(kl(padded)));
  expect(topEntropyMask(packed.entropy!, packed.mask, { rho: 0.4 }).toArray()).toEqual(inRows(topEntropyMask(padded.entropy!, padded.mask, { rho: 0.4 })));
  const rows = (x: Tensor) => padRows(x, rowOffsets);
  expect(reduceLoss(rows(kl(packed)), rows(packed.mask), 'sequence_mean').item()).toBe(reduceLoss(kl(padded), padded.mask, 'sequence_mean').item());
  const off = ({ oldLogProbs, rolloutLogProbs, mask }: PolicyLossInputs) => ({ oldLogProbs, rolloutLogProbs: rolloutLogProbs!, mask });
  const inputs = off({ ...packed, oldLogProbs: rows(packed.oldLogProbs), rolloutLogProbs: rows(packed.rolloutLogProbs!), mask: rows(packed.mask) });
  expect(packRows(importanceWeights(inputs, { level: 'sequence' }).weights, rowOffsets).toArray()).toEqual(inRows(importanceWeights(off(padded), { level: 'sequence' }).weights));
  const rules = [{ level: 'sequence', metric: 'k3', high: 0.5 }] as const;
  expect(packRows(rejectionMask(inputs, rules).mask, rowOffsets).toArray()).toEqual(inRows(rejectionMask(off(padded), rules).mask));
});

test.each([
  [{ rowOffsets: [0, 4, 2, 5] }, "policy loss 'regular': rowOffsets: expected numbers that do not fall, got 2 after 4 at position 2"],
  [{ rowOffsets: [2, 5] }, 'rowOffsets: expected 0 at the start, got 2'],
  [{ rowOffsets: [0, 0.5, 5] }, 'rowOffsets: expected whole numbers, got 0.5 at position 1'],
  [{ rowOffsets: [0, 7] }, 'rowOffsets: expected 5 at the end, the number of tokens in logProbs, got 7'],
  [{ rowOffsets: 5 }, 'rowOffsets: expected batch + 1 whole numbers'],
  [{ advantages: tensor([1, 2]) }, "policy loss 'regular': advantages: expected shape [5], one number a token as logProbs, got [2]"],
  [{ weights: tensor([[1], [2], [3]]) }, 'weights: expected shape [5], one number a token as logProbs, got [3,1]'],
  [{ mask: tensor([[1, 1, 1, 1, 1]]) }, 'mask: expected shape [5]'],
  [{ logProbs: tensor([[1, 2], [3, 4]]) }, 'rowOffsets came with logProbs of shape [2,2]: expected shape [tokens]'],
  [{ logProbs: undefined }, "policy loss 'regular': logProbs: expected a Tensor, got undefined"],
  [{ oldLogProbs: [1, 2, 3, 4, 5] }, "policy loss 'regular': oldLogProbs: expected a Tensor, got [1,2,3,4,5]"],
  [{ oldLogProbs: undefined }, "policy loss 'regular': oldLogProbs: expected a Tensor, got undefined"],
])('%p is refused', (wrong, message) => {
  const x = tensor([-1, -2, -3, -4, -5]);
  const inputs = { logProbs: x, oldLogProbs: x, advantages: x, rowOffsets: [0, 2, 5], ...wrong };
  expect(() => computePolicyLoss('regular', inputs as never)).toThrow(message);
});

test('inputs and options that are none', () => {
  const x = tensor([-1, -2, -3]);
  expect(() => computePolicyLoss('regular', null as never)).toThrow(
    "policy loss 'regular': expected inputs {logProbs, oldLogProbs, advantages, mask, rolloutLogProbs, refLogProbs, weights, entropy, correction, divisors, rowOffsets}, got null",
  );
  expect(() => computePolicyLoss('regular', { logProbs: x, oldLogProbs: x, advantages: x, rowOffsets: [0, 3] }, null as never)).toThrow("policy loss 'regular': expected options, got null");
  expect(() => valueLoss({ values: x, oldValues: x, returns: x, rowOffsets: [0, 2] })).toThrow('valueLoss: rowOffsets: expected 3 at the end, the number of tokens in values, got 2');
});

test('tokens without rowOffsets are refused, where rows would be taken for what they are not', () => {
  const x = tensor([-0.5, -1.2]);
  const message = 'expected shape [batch, time], got [2] ([tokens] come with rowOffsets, see padRows)';
  expect(() => computePolicyLoss('regular', { logProbs: x, oldLogProbs: x, advantages: x, mask: x })).toThrow(`policy loss 'regular': logProbs: ${message}`);
  expect(() => valueLoss({ values: x, oldValues: x, returns: x, mask: x })).toThrow(`valueLoss: values: ${message}`);
  expect(() => reduceLoss(x, x, 'token_mean')).toThrow(`token_mean: mask: ${message}`);
  expect(() => reduceLoss(tensor([[[1]]]), tensor([[[1]]]), 'token_mean')).toThrow('token_mean: mask: expected shape [batch, time], got [1,1,1]');
});

test('a gradient that begins with a factor is cut into programs in the same way', () => {
  // Multiply-adds are rounded once within a program: where programs are cut differently, last bits differ.
  const options = { reduction: 'seq_mean_token_sum_norm', maxSeqLen: 11, scale: 2, klCoef: -1, klEstimator: 'k2+', kNeg: 1 } as const;
  for (let seed = 0; seed < 20; seed++) {
    const random = new Random(seed);
    const numbers = Array.from({ length: 4 }, (_, k) => [random.next(), random.next()].map((u) => (k === 2 ? 0.5 : 0) - u));
    const inputs = (shape: number[]) => {
      const [logProbs, oldLogProbs, advantages, refLogProbs] = numbers.map((values) => tensor(values, { shape, dtype: 'float64' })) as [Tensor, Tensor, Tensor, Tensor];
      return { logProbs, oldLogProbs, advantages, refLogProbs };
    };
    const [wide, packed] = [inputs([2, 1]), inputs([2])];
    const [expected] = gradients(computePolicyLoss('vespo', { ...wide, mask: tensor([[1], [1]]) }, options).loss, [wide.logProbs]);
    const [got] = gradients(computePolicyLoss('vespo', { ...packed, rowOffsets: [0, 1, 2] }, options).loss, [packed.logProbs]);
    expect(got!.toArray()).toEqual((expected!.toArray() as number[][]).flat());
  }
});
