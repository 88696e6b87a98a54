/** Penalties and transformations of rewards against plain loops. */
import { klShapedRewards, missingEosPenalty, overlongPenalty, repetitionPenalty, stopProperlyPenalty, tensor, transformRewards, type Tensor } from 'vantage-rl';
import { meanOf, offPolicyBatch, sumOf, uniform } from '../losses/off_policy_reference';

const precisions = [['float64', 1e-9], ['float32', 1e-5]] as const;

function expectClose(got: Tensor, wanted: unknown, tolerance: number): void {
  const flat = (x: unknown): number[] => (Array.isArray(x) ? x.flatMap(flat) : [x as number]);
  const values = flat(got.toArray());
  const numbers = flat(wanted);
  expect(values.length).toBe(numbers.length);
  numbers.forEach((x, i) => expect(Math.abs(values[i]! - x)).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(x))));
}

describe('overlongPenalty', () => {
  const lengths = [0, 50, 80, 81, 90, 100, 101, 140];

  test('linear over the buffer, capped or growing', () => {
    const penalty = (length: number, capped: boolean) => {
      const over = Math.max(0, (length - 80) / 20);
      return -0.7 * (capped ? Math.min(1, over) : over);
    };
    for (const capped of [true, false]) {
      const wanted = lengths.map((length) => penalty(length, capped));
      expectClose(overlongPenalty(lengths, { maxLength: 100, bufferLength: 20, factor: 0.7, capped }), wanted, 1e-12);
      expectClose(overlongPenalty(tensor(lengths), { maxLength: 100, bufferLength: 20, factor: 0.7, capped }), wanted, 1e-6);
    }
    for (const convention of ['verl', 'nemo', 'areal'] as const) expectClose(overlongPenalty([140], { convention, maxLength: 100, bufferLength: 20 }), [-3], 1e-12);
    expectClose(overlongPenalty([140], { convention: 'verl', maxLength: 100, bufferLength: 20, capped: true }), [-1], 1e-12);
  });

  test('without a buffer, only beyond the length; errors', () => {
    expectClose(overlongPenalty([99, 100, 101], { maxLength: 100, bufferLength: 0, factor: 0.3 }), [0, 0, -0.3], 1e-12);
    expect(overlongPenalty([99], { maxLength: 100, bufferLength: 0 }).toArray()).toEqual([0]);
    expect(overlongPenalty([9, 90], { maxLength: 100, bufferLength: 20 }).toArray()).toEqual([0, -0.5]);
    expect(overlongPenalty([90], { maxLength: 100, bufferLength: 20, factor: 0 }).toArray()).toEqual([0]);
    expect(() => overlongPenalty([1], {} as never)).toThrow('maxLength: expected a number, 0 or more, got undefined');
    expect(() => overlongPenalty([1], { maxLength: 10, bufferLength: 20 })).toThrow('bufferLength: expected a number from 0 to 10, got 20');
    expect(() => overlongPenalty([1], { maxlength: 10 } as never)).toThrow("unknown option 'maxlength'. Did you mean 'maxLength'?");
    expect(() => overlongPenalty([[1]] as never, { maxLength: 10, bufferLength: 2 })).toThrow('lengths: expected one number a row, shape [B]');
  });
});

describe('responses without an end', () => {
  const rewards = tensor([1, -2, 0.5, 3], { dtype: 'float64' });

  test('stopProperlyPenalty scales, or puts a negative number in place', () => {
    expectClose(stopProperlyPenalty(rewards, [1, 1, 0, 0], { coefficient: 0.25 }), [0.25, -0.5, 0.5, 3], 1e-12);
    expectClose(stopProperlyPenalty(rewards, [1, 1, 0, 0], { coefficient: -0.7 }), [-0.7, -0.7, 0.5, 3], 1e-12);
    expect(() => stopProperlyPenalty(rewards, [1, 1, 0, 0], { coefficient: -0.7, convention: 'nemo' })).toThrow('coefficient: expected a number from 0 to 1, got -0.7');
    expect(() => stopProperlyPenalty(rewards, [1], { coefficient: 0 })).toThrow('truncated: expected 4 flags, one a row, got 1');
  });

  test('missingEosPenalty takes away, or replaces', () => {
    expectClose(missingEosPenalty(rewards, [1, 0, 1, 0], { penalty: 0.3 }), [1, -2.3, 0.5, 2.7], 1e-12);
    expectClose(missingEosPenalty(rewards, [1, 0, 1, 0], { penalty: 1, replace: true }), [1, -1, 0.5, -1], 1e-12);
    expect(() => missingEosPenalty(rewards, [1, 0, 1, 0], {} as never)).toThrow('missingEosPenalty: penalty: expected a number, 0 or more, got undefined');
  });
});

test('repetitionPenalty: the share of n-grams that were there before', () => {
  // toEqual tells 0 from −0.
  expect(repetitionPenalty([[], [1, 2, 3, 4]]).toArray()).toEqual([0, 0]);
  const random = uniform(3);
  const ids = Array.from({ length: 9 }, (_, i) => Array.from({ length: i * 2 }, () => Math.floor(random() * 3)));
  for (const ngramSize of [1, 2, 3]) {
    const wanted = ids.map((row) => {
      const grams = row.slice(ngramSize - 1).map((_, i) => row.slice(i, i + ngramSize).join(' '));
      return grams.length === 0 ? 0 : -0.5 * (grams.filter((gram, i) => grams.indexOf(gram) !== i).length / grams.length);
    });
    expectClose(repetitionPenalty(ids, { ngramSize, maxPenalty: -0.5 }), wanted, 1e-12);
    expectClose(repetitionPenalty(ids.map((row) => Int32Array.from(row)), { ngramSize, maxPenalty: -0.5 }), wanted, 1e-12);
  }
  expect(() => repetitionPenalty(ids, { maxPenalty: 1 })).toThrow('maxPenalty: expected a number');
  expect(() => repetitionPenalty(ids, { ngramSize: 0 })).toThrow('ngramSize: expected an integer, 1 or more, got 0');
  expect(() => repetitionPenalty([1, 2] as never)).toThrow('ids of row 0: expected token ids, got 1');
});

describe('transformRewards', () => {
  const whitened = (x: number[], ddof: number, epsilon: number, keepMean: boolean) => {
    const mean = meanOf(x);
    const variance = sumOf(x.map((each) => (each - mean) ** 2)) / Math.max(1, x.length - ddof);
    return x.map((each) => (variance > 0 ? (each - mean) / Math.sqrt(variance + epsilon) : 0) + (keepMean ? mean : 0));
  };

  test('shift, scale, clip; whiten with and without the mean', () => {
    const random = uniform(1);
    const rewards = Array.from({ length: 9 }, () => 4 * random() - 2);
    const shaped = rewards.map((r) => Math.min(1, Math.max(-0.5, (r + 0.25) * 0.5)));
    for (const [dtype, tolerance] of precisions) {
      const x = tensor(rewards, { dtype });
      expectClose(transformRewards(x, { bias: 0.25, scale: 0.5, low: -0.5, high: 1 }), shaped, tolerance);
      for (const keepMean of [true, false]) {
        for (const ddof of [0, 1]) {
          const options = { bias: 0.25, scale: 0.5, low: -0.5, high: 1, whiten: true, keepMean, ddof, epsilon: 1e-4 };
          expectClose(transformRewards(x, options), whitened(shaped, ddof, 1e-4, keepMean), tolerance);
        }
      }
    }
  });

  test('an offset of 1e4 costs nothing beyond what the numbers themselves lost', () => {
    const rewards = [10000.25, 10000.5, 10001, 9999.75];
    expectClose(transformRewards(tensor(rewards), { whiten: true }), whitened(rewards, 1, 1e-8, false), 1e-6);
  });

  test('tokens under a mask', () => {
    for (let seed = 0; seed < 6; seed++) {
      const { oldLogProbs, masks } = offPolicyBatch(seed);
      const valid = oldLogProbs.flatMap((row, b) => row.filter((_, t) => masks[b]![t]));
      const results = whitened(valid, 1, 1e-8, false);
      const wanted = masks.map((row) => row.map((m) => (m ? results.shift()! : 0)));
      const spoilt = oldLogProbs.map((row, b) => row.map((x, t) => (masks[b]![t] ? x : NaN)));
      for (const [dtype, tolerance] of precisions) expectClose(transformRewards(tensor(spoilt, { dtype }), { whiten: true }, tensor(masks, { dtype: 'uint8' })), wanted, tolerance);
    }
  });

  test('equal rewards, a single one, none', () => {
    expect(transformRewards(tensor([3, 3]), { whiten: true, epsilon: 0 }).toArray()).toEqual([0, 0]);
    expect(transformRewards(tensor([3]), { whiten: true }).toArray()).toEqual([0]);
    expect(transformRewards(tensor([3]), { whiten: true, keepMean: true }).toArray()).toEqual([3]);
    expect(transformRewards(tensor([[3, 4]]), { whiten: true, keepMean: true }, tensor([[0, 0]])).toArray()).toEqual([[0, 0]]);
    expect(() => transformRewards(tensor([3]), { wite: true } as never)).toThrow("unknown option 'wite'. Did you mean 'whiten'?");
  });
});

describe('klShapedRewards', () => {
  test('the score stands at the last valid token, the divergence everywhere', () => {
    for (let seed = 0; seed < 6; seed++) {
      const { oldLogProbs: kl, rolloutLogProbs: perToken, masks } = offPolicyBatch(seed);
      const scores = masks.map((_, b) => b * 2 - 3);
      const spoilt = kl.map((row, b) => row.map((x, t) => (masks[b]![t] ? x : Infinity)));
      const wanted = masks.map((row, b) => row.map((m, t) => (m ? (t === row.lastIndexOf(1) ? Math.max(-1, scores[b]!) : 0) - 0.1 * kl[b]![t]! : 0)));
      const tokens = masks.map((row, b) => row.map((m, t) => (m ? Math.max(-1, perToken[b]![t]!) - 0.1 * kl[b]![t]! : 0)));
      for (const [dtype, tolerance] of precisions) {
        const mask = tensor(masks, { dtype: 'uint8' });
        expectClose(klShapedRewards(tensor(scores, { dtype }), tensor(spoilt, { dtype }), mask, { klCoef: 0.1, low: -1 }), wanted, tolerance);
        expectClose(klShapedRewards(tensor(perToken, { dtype }), tensor(spoilt, { dtype }), mask, { klCoef: 0.1, low: -1 }), tokens, tolerance);
      }
    }
  });

  test('an empty row gets nothing, or with openrlhf its score in the last column', () => {
    const [kl, mask, scores] = [tensor([[1, 1], [1, 1]]), tensor([[0, 0], [1, 0]]), tensor([5, 6])];
    expect(klShapedRewards(scores, kl, mask, { klCoef: 0.5 }).toArray()).toEqual([[0, 0], [5.5, 0]]);
    expect(klShapedRewards(scores, kl, mask, { klCoef: 0.5, convention: 'openrlhf' }).toArray()).toEqual([[-0.5, 4.5], [5.5, -0.5]]);
    expect(() => klShapedRewards(tensor([1, 2, 3]), kl, mask)).toThrow('scores: expected a Tensor of shape [2] or [2,2], got shape [3]');
    expect(() => klShapedRewards(scores, kl, mask, { klCoef: -1 })).toThrow('klCoef: expected a number, 0 or more, got -1');
  });
});
