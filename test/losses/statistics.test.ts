/** Divergences, reductions, statistics and selections against plain loops. */
import { klDivergence, klEstimators, type KlOptions, maskedMean, maskedStandardize, maskedVariance, reduceLoss, reductionDivisors, valueLoss } from '../../src/losses';
import { topTokens } from '../../src/losses/select';
import { gradients, type Tensor, tensor } from '../../src/tensor';
import { Random } from '../tensor/helpers';

const maskRows = [[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]];
const rows = maskRows.map((row, b) => row.map((_, t) => Math.sin(3 * b + 7 * t) * 2));
const others = maskRows.map((row, b) => row.map((_, t) => Math.cos(5 * b + 2 * t) * 2));
const valid = maskRows.flatMap((row, b) => row.flatMap((m, t) => (m ? [rows[b][t]] : [])));

const float = (values: number[][], dtype: 'float64' | 'float32' = 'float64') => tensor(values, { dtype });
const mask = () => tensor(maskRows, { dtype: 'uint8' });
const spoilt = (values: number[][], offset = 0) => float(values.map((row, b) => row.map((x, t) => (maskRows[b][t] ? x + offset : NaN))));
const list = (x: Tensor) => Array.from(x.dataSync());
const sum = (xs: number[]) => xs.reduce((a, b) => a + b, 0);
const clamp = (x: number, bound: number | null | undefined) => (bound == null ? x : Math.min(Math.max(x, -bound), bound));
function expectClose(got: number[], expected: number[], digits = 10): void {
  expect(got).toHaveLength(expected.length);
  got.forEach((x, i) => expect(x).toBeCloseTo(expected[i], digits));
}

describe('klDivergence', () => {
  const value = (d: number, type: string): number => {
    if (type === 'k1') return d;
    if (type === 'abs') return Math.abs(d);
    return type === 'k2' ? d ** 2 / 2 : Math.exp(-d) + d - 1;
  };
  const slope = (d: number, type: string): number => {
    if (type === 'k1') return 1;
    if (type === 'abs') return Math.sign(d);
    return type === 'k2' ? d : 1 - Math.exp(-d);
  };
  const bounds: KlOptions[] = [{ inputClamp: null, outputClamp: null }, { inputClamp: 1, outputClamp: null }, { inputClamp: null, outputClamp: 0.5 }, { inputClamp: 2, outputClamp: 1 }];

  it.each(klEstimators.flatMap((type) => bounds.map((options) => [type, options] as const)))('%s with %j: values and gradients', (type, options) => {
    const logProbs = spoilt(rows);
    const kl = klDivergence(logProbs, spoilt(others), type, mask(), options);
    const [gradient] = gradients(kl.sum(), [logProbs]);
    const plain = type.replace('+', '');
    const differences = maskRows.flatMap((row, b) => row.map((m, t) => (m ? rows[b][t] - others[b][t] : null)));
    const one = (d: number | null, f: (d: number, type: string) => number, which: string) => {
      if (d === null) return { x: 0, open: false };
      const bounded = clamp(d, options.inputClamp);
      const estimate = value(bounded, which);
      return { x: f(bounded, which), open: bounded === d && Math.abs(estimate) <= (options.outputClamp ?? Infinity) };
    };
    expectClose(list(kl), differences.map((d) => clamp(one(d, value, plain).x, options.outputClamp)));
    const through = type.endsWith('+') ? 'k2' : type;
    expectClose(
      list(gradient),
      differences.map((d) => {
        const { x, open } = one(d, slope, through);
        return open ? x : 0;
      }),
    );
  });

  it('weights are factors before the last bound, and the names of other libraries are known', () => {
    const weights = float(maskRows.map((row) => row.map((_, t) => t + 1)));
    const kl = klDivergence(float(rows), float(others), 'k1', undefined, { weights, outputClamp: 2 });
    expectClose(list(kl), rows.flatMap((row, b) => row.map((x, t) => clamp((x - others[b][t]) * (t + 1), 2))));
    for (const [name, type] of [['kl', 'k1'], ['mse', 'k2'], ['low_var_kl', 'k3']] as const) {
      expect(list(klDivergence(float(rows), float(others), name))).toEqual(list(klDivergence(float(rows), float(others), type)));
    }
    expect(() => klDivergence(float(rows), float(others), 'k3', undefined, { inputClamp: -1 })).toThrow('klDivergence: inputClamp: expected a number, 0 or more, got -1');
  });
});

describe('reductions', () => {
  const lengths = maskRows.map(sum);
  const sums = rows.map((row, b) => sum(row.map((x, t) => (maskRows[b][t] ? x : 0))));
  const of = (mode: Parameters<typeof reduceLoss>[2], options = {}) => reduceLoss(spoilt(rows), mask(), mode, options).item();
  const ids = ['p', 'q', 'p', 'r', 'r'];

  it.each(
    [
      ['token_mean', { totalTokens: 20, scale: 2 }, (2 * sum(sums)) / 20],
      ['sequence_mean', { emptyRows: 'leave_out' }, sum(sums.map((s, b) => s / Math.max(1, lengths[b]))) / 4],
      ['sequence_mean', { totalRows: 8 }, sum(sums.map((s, b) => s / Math.max(1, lengths[b]))) / 8],
      ['sequence_mean', { countEpsilon: 0.5 }, sum(sums.map((s, b) => s / (lengths[b] + 0.5))) / 5],
      ['seq_mean_token_sum', { emptyRows: 'leave_out' }, sum(sums) / 4],
      ['seq_mean_token_sum_norm', { maxSeqLen: 7, scale: 3 }, (3 * sum(sums)) / (5 * 7)],
      ['prompt_mean', { groupIds: ids }, ((sums[0] + sums[2]) / 5 + sums[1] + (sums[3] + sums[4]) / 5) / 3],
      ['prompt_mean', { groupIds: ids, emptyRows: 'leave_out' }, ((sums[0] + sums[2]) / 5 + (sums[3] + sums[4]) / 5) / 2],
      ['token_mean_legacy', { microBatchSize: 2 }, ((sums[0] + sums[1]) / 3 + (sums[2] + sums[3]) / 3 + sums[4] / 4) / 3],
      ['token_mean_legacy', { microBatchSize: 2, incompleteMicroBatch: 'leave_out' }, ((sums[0] + sums[1]) / 3 + (sums[2] + sums[3]) / 3) / 2],
      ['token_sum', {}, sum(sums)],
    ] as const,
  )('%s with %j', (mode, options, expected) => expect(of(mode, options)).toBeCloseTo(expected, 10));

  it('name what they need', () => {
    expect(() => of('prompt_mean')).toThrow('prompt_mean: groupIds: expected the prompt of each row, got null');
    expect(() => of('token_mean_legacy')).toThrow('token_mean_legacy: microBatchSize: expected a number, 1 or more, got null');
    expect(() => of('token_mean', { emptyRows: 'none' })).toThrow('token_mean: emptyRows: expected one of count, leave_out, got "none"');
    expect(list(reductionDivisors(tensor([[0, 0]], { dtype: 'uint8' }), 'sequence_mean'))).toEqual([1]);
  });

  it('the value loss takes them too', () => {
    const inputs = { values: spoilt(rows), oldValues: spoilt(others), returns: spoilt(others), mask: mask() };
    const squares = maskRows.flatMap((row, b) => row.flatMap((m, t) => (m ? [(rows[b][t] - others[b][t]) ** 2] : [])));
    expect(valueLoss(inputs, { reduction: 'token_mean' }).loss.item()).toBeCloseTo(sum(squares) / 2 / squares.length, 10);
  });
});

describe('statistics', () => {
  const mean = sum(valid) / valid.length;
  const spread = sum(valid.map((x) => (x - mean) ** 2));

  it.each([0, 1e4])('mean, variance and whitening of numbers around %d', (offset) => {
    const x = spoilt(rows, offset);
    expect(maskedMean(x, mask()).item()).toBeCloseTo(mean + offset, 8);
    expectClose(list(maskedMean(spoilt(rows), mask(), { axis: 1 })), rows.map((row, b) => sum(row.map((v, t) => (maskRows[b][t] ? v : 0))) / Math.max(1, sum(maskRows[b]))));
    expect(maskedVariance(x, mask()).item()).toBeCloseTo(spread / (valid.length - 1), 8);
    expect(maskedVariance(x, mask(), { ddof: 0 }).item()).toBeCloseTo(spread / valid.length, 8);
    const deviation = Math.sqrt(spread / (valid.length - 1) + 1e-8);
    expectClose(list(maskedStandardize(x, mask())), rows.flatMap((row, b) => row.map((v, t) => (maskRows[b][t] ? (v - mean) / deviation : 0))), 8);
    expectClose(list(maskedStandardize(x, mask(), { keepMean: true })).filter((v) => v !== 0), valid.map((v) => (v - mean) / deviation + mean + offset), 7);
  });

  it('of one valid position or none are 0, or an error where asked for', () => {
    for (const count of [0, 1]) {
      const few = tensor([[count, 0, 0]], { dtype: 'uint8' });
      const x = float([[3, NaN, NaN]]);
      expect(maskedMean(x, few).item()).toBe(3 * count);
      expect(maskedVariance(x, few).item()).toBe(0);
      expect(list(maskedStandardize(x, few))).toEqual([0, 0, 0]);
      expect(() => maskedVariance(x, few, { tooFew: 'error' })).toThrow(`maskedVariance: expected at least 2 valid positions, got ${count}`);
    }
  });
});

describe.each(['float64', 'float32'] as const)('topTokens of %s', (dtype) => {
  const pick = (values: number[][], marks: number[][], count: number, ties?: 'all') => list(topTokens(float(values, dtype), tensor(marks, { dtype: 'uint8' }).notEqual(0), count, ties));

  it('takes the largest valid ones, whatever their size', () => {
    for (const scale of [1e-6, 1, 1e6]) {
      for (const count of [0, 1, 3, valid.length]) {
        const bound = [...valid].sort((a, b) => b - a)[count - 1] ?? Infinity;
        const expected = maskRows.flatMap((row, b) => row.map((m, t) => (m && rows[b][t] >= bound ? 1 : 0)));
        expect(pick(rows.map((row) => row.map((x) => x * scale)), maskRows, count)).toEqual(expected);
      }
    }
  });

  it('of equal ones takes the first, or all', () => {
    const values = [[1, 2, 2], [2, NaN, 3]];
    const marks = [[1, 1, 1], [1, 0, 1]];
    expect(pick(values, marks, 3)).toEqual([0, 1, 1, 0, 0, 1]);
    expect(pick(values, marks, 3, 'all')).toEqual([0, 1, 1, 1, 0, 1]);
    expect(pick([[5, 5, 5]], [[1, 1, 1]], 2)).toEqual([1, 1, 0]);
  });

  it('takes neither -Infinity nor NaN, and knows numbers of every size', () => {
    const values = [[-Infinity, NaN, 1e-45, -0, 0, -1e-45, -3e38, 3e38, Infinity]];
    const marks = [values[0]!.map(() => 1)];
    const inOrder = [8, 7, 2, 3, 4, 5, 6];
    for (let count = 1; count <= 9; count++) {
      const taken = inOrder.slice(0, count);
      expect(pick(values, marks, count)).toEqual(values[0]!.map((_, at) => Number(taken.includes(at))));
    }
    expect(pick(values, marks, 4, 'all')).toEqual([0, 0, 1, 1, 1, 0, 0, 1, 1]); // the zeros are equal
  });

  it('takes what sorting puts first', () => {
    const random = new Random(dtype.length);
    for (const [n, levels] of [[1, 5], [70, 3], [1000, 40], [5000, 1e9]] as const) {
      const values = Array.from({ length: n }, () => Math.fround(Math.floor((random.next() - 0.5) * levels) / 7));
      const marks = values.map(() => Number(random.next() < 0.7));
      const order = values.map((_, at) => at).filter((at) => marks[at]).sort((a, b) => values[b]! - values[a]! || a - b);
      for (const count of [1, 2, Math.ceil(n / 3), order.length]) {
        const taken = new Set(order.slice(0, count));
        expect(pick([values], [marks], count)).toEqual(values.map((_, at) => Number(taken.has(at))));
        const least = values[order[Math.min(count, order.length) - 1]!] ?? Infinity;
        expect(pick([values], [marks], count, 'all')).toEqual(values.map((value, at) => Number(marks[at] === 1 && value >= least)));
      }
    }
  });
});
