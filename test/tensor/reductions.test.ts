/** Reductions over every choice of axes, with masks, large offsets and NaN. */
import { defaultDevice, evaluate, full, gradients, scan, tensor, where, zeros, type DType, type Tensor } from '../../src/tensor';
import { expectMatches, Random } from './helpers';
import { maximum, mean, minimum, Ref, sum, variance } from './reference';
import { expectClose } from '../closeness';

const subsets = (ndim: number) => Array.from({ length: 2 ** ndim }, (_, bits) => Array.from({ length: ndim }, (_, d) => d).filter((d) => bits & (1 << d)));
const sqrt = (f: (values: number[]) => number) => (values: number[]) => Math.sqrt(f(values));
/** As PyTorch: with n ≤ ddof values the divisor is 0. */
const ddof = (n: number) => (values: number[]) => sum(values.map((v) => (v - mean(values)) ** 2)) / (values.length === 0 ? 0 : Math.max(0, values.length - n));

type Fold = (x: Tensor, axes: number[], options: { keepDims: boolean; mask?: Tensor }) => Tensor;
const folds: Record<string, { engine: Fold; reference: (values: number[]) => number }> = {
  sum: { engine: (x, axes, o) => x.sum(axes, o), reference: sum },
  mean: { engine: (x, axes, o) => x.mean(axes, o), reference: mean },
  max: { engine: (x, axes, o) => x.max(axes, o), reference: maximum },
  min: { engine: (x, axes, o) => x.min(axes, o), reference: minimum },
  var: { engine: (x, axes, o) => x.var(axes, o), reference: ddof(1) },
  'var, ddof 3': { engine: (x, axes, o) => x.var(axes, { ...o, ddof: 3 }), reference: ddof(3) },
  'var, ddof 0': { engine: (x, axes, o) => x.var(axes, { ...o, ddof: 0 }), reference: ddof(0) },
  std: { engine: (x, axes, o) => x.std(axes, o), reference: sqrt(ddof(1)) },
};

describe.each(Object.entries(folds))('%s', (_, { engine, reference }) => {
  test('every choice of axes, with and without kept dimensions', () => {
    const random = new Random(31);
    for (const shape of [[], [7], [3, 4], [2, 3, 4], [2, 1, 3, 5], [3, 2, 2, 3], [129, 3], [3, 129], [0, 2], [2, 0]]) {
      const x = random.smooth(shape);
      for (const axes of subsets(shape.length)) {
        for (const keepDims of [false, true]) {
          const expected = x.fold(axes, reference, { keepDims });
          expectMatches(engine(x.tensor(), axes, { keepDims }), expected, 1e-10, `axes [${axes}] of`);
          expectMatches(engine(x.tensor('float32'), axes, { keepDims }), x.map(Math.fround).fold(axes, reference, { keepDims }), 3e-6, `float32 axes [${axes}] of`);
        }
      }
    }
  });

  test('masks: only what they choose counts, whatever stands elsewhere', () => {
    const random = new Random(32);
    for (const shape of [[9], [4, 5], [2, 3, 4], [70, 3]]) {
      for (const axes of subsets(shape.length)) {
        const mask = random.ref(random.broadcastable(shape), 'bool');
        const clean = random.smooth(shape);
        const dirty = Ref.build(shape, (at) => (mask.at(at) ? clean.at(at) : random.pick([NaN, Infinity, -Infinity, 1e300])));
        const expected = clean.fold(axes, axes.length ? reference : ([only]) => reference(only === undefined ? [] : [only]), { mask });
        for (const dtype of ['bool', 'float32', 'int32'] as DType[]) {
          expectMatches(engine(dirty.tensor(), axes, { keepDims: false, mask: mask.tensor(dtype) }), expected, 1e-10, `${dtype} mask, axes [${axes}] of`);
        }
      }
    }
  });

  test('of views and of arithmetic', () => {
    const random = new Random(33);
    const x = random.smooth([4, 3, 5]);
    const changed = x.permute([2, 0, 1]).flip(1).map((v) => 2 * v + 1);
    for (const axes of subsets(3)) {
      expectMatches(engine(x.tensor().transpose([2, 0, 1]).flip(1).mul(2).add(1), axes, { keepDims: false }), changed.fold(axes, reference), 1e-10);
    }
  });
});

test('an offset of 1e4 costs std and var no digits in float32', () => {
  const random = new Random(34);
  for (const [rows, columns] of [[1, 5000], [64, 64], [5000, 2]] as const) {
    const x = random.smooth([rows, columns], -1, 1).map((v) => Math.fround(v + 1e4));
    for (const axes of [[0], [1], [0, 1]]) {
      if (axes.length === 1 && x.shape[axes[0]!] === 1) continue;
      const expected = x.fold(axes, variance);
      const got = x.tensor('float32').var(axes).dataSync();
      expectClose(got as Float32Array, expected.data, 1e-5, 0);
      const deviation = x.tensor('float32').std(axes).dataSync();
      expectClose(deviation as Float32Array, expected.data.map(Math.sqrt), 1e-5, 0);
    }
  }
  expect(full([1000], 12345.678).add(tensor([0])).std().item()).toBe(0);
});

test.each([0, 1e6])('deviations of what a scan computes, beside its means, about %p', (offset) => {
  const random = new Random(35);
  for (const [rows, columns] of [[3, 31], [3, 32], [70, 33], [5, 1000], [2, 3000], [1, 70_000]] as const) {
    for (const reverse of [false, true]) {
      // What comes first is far from the rest.
      const far = reverse ? columns - 1 : 0;
      const x = new Ref([rows, columns], random.smooth([rows, columns], -1, 1).data.map((v, i) => Math.fround(v + offset + (i % columns === far ? 50 : 0))));
      const given = x.tensor('float32');
      // Its states are the numbers themselves.
      const states = scan([given], { reverse }, (state, [value]) => state.mul(0).add(value!));
      for (const axes of [[1], [0, 1]]) {
        const [means, deviations] = [states.mean(axes), states.std(axes, { ddof: 0 })];
        evaluate([means, deviations, states]);
        expectClose(means.dataSync() as Float32Array, x.fold(axes, mean).data, 1e-6, 1e-6);
        const deviation = (values: number[]) => {
          const centre = mean(values);
          return Math.sqrt(mean(values.map((v) => (v - centre) ** 2)));
        };
        expectClose(deviations.dataSync() as Float32Array, x.fold(axes, deviation).data, 1e-5, 0);
      }
    }
  }
});

test('a mean is rounded once, and finite where the sum is not; its gradient has the dtype of the numbers', () => {
  const random = new Random(36);
  for (const [rows, columns] of [[1, 3], [7, 31], [6, 500], [500, 3]] as const) {
    const x = random.smooth([rows, columns], 1, 2);
    const mask = random.smooth([rows, columns], -1, 4).map((v) => Number(v > 0));
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const given = x.tensor(dtype);
      const held = new Ref([rows, columns], Array.from(given.cast('float64').dataSync() as Float64Array));
      for (const axes of [[0], [1], [0, 1]]) {
        const once = tensor(Float64Array.from(held.fold(axes, mean).data)).cast(dtype).cast('float64').toArray();
        expect(given.mean(axes).cast('float64').reshape([-1]).toArray()).toEqual(once);
      }
      const counted = held.data.filter((_, i) => mask.data[i] !== 0);
      const wanted = tensor(Float64Array.of(mean(counted))).cast(dtype).cast('float64').item();
      expect(given.mean(null, { mask: mask.tensor('bool') }).cast('float64').item()).toBe(wanted);
      const [gradient] = gradients(given.mean(null, { mask: mask.tensor('bool') }), [given]);
      expect(gradient!.dtype).toBe(dtype);
      expect(gradient!.cast('float64').sum().item()).toBeCloseTo(1, dtype === 'float32' ? 5 : 2);
    }
  }
  expect(tensor([3e38, 3e38, 1e38]).mean().item() / (7e38 / 3)).toBeCloseTo(1, 6);
  expect(tensor([[3e38, 3e38], [-3e38, -3e38]]).mean(1).toArray()).toEqual([Math.fround(3e38), Math.fround(-3e38)]);
});

test('statistics of int32 lose no digits, and those of bfloat16 are rounded once, as their gradients are', () => {
  expect(tensor(Int32Array.of(16777217, 16777217, 16777218)).mean().item()).toBe(16777218);
  expect(tensor(Int32Array.of(2000000001, -2000000000)).mean().item()).toBe(0.5);
  expect(tensor(Int32Array.of(100000000, 100000001, 100000002)).var().item()).toBe(1);
  expect(tensor(Int32Array.of(100000000, 100000001, 100000002)).std(null, { mask: tensor([1, 0, 1]) }).item()).toBe(Math.fround(Math.SQRT2));
  const random = new Random(37);
  for (let draw = 0; draw < 50; draw++) {
    const x = random.smooth([5 + draw], -1, 3).tensor('bfloat16');
    for (const statistic of [(t: Tensor) => t.var(), (t: Tensor) => t.std(), (t: Tensor) => t.std(null, { ddof: 2 })]) {
      const wide = x.cast('float32');
      const [value, expected] = [statistic(x), statistic(wide)];
      const [gradient, expectedGradient] = [gradients(value, [x])[0]!, gradients(expected, [wide])[0]!];
      expect(value.dtype).toBe('bfloat16');
      expect(value.cast('float32').item()).toBe(expected.cast('bfloat16').cast('float32').item());
      expect(gradient.cast('float32').toArray()).toEqual(expectedGradient.cast('bfloat16').cast('float32').toArray());
    }
  }
});

/** A GPU squares in float32. */
const onCpu = defaultDevice() === 'cpu' ? test : test.skip;

onCpu('spreads beyond float32 that a variance is not, and equal numbers of any size', () => {
  for (const columns of [33, 1000, 5000]) {
    const x = tensor(Float32Array.from({ length: columns }, (_, i) => (i % 2 ? 1e18 : -1e18)));
    const mean = columns % 2 ? -1e18 / columns : 0;
    const wanted = (columns * 1e36 - columns * mean * mean) / (columns - 1);
    expect(x.var().item() / wanted).toBeCloseTo(1, 5);
    for (const value of [1e25, 1e30, 3e38]) expect(tensor(new Float32Array(columns).fill(value)).var().item()).toBe(0);
  }
});

test('sums keep an infinity that makes a deviation NaN; equal numbers have none', () => {
  for (const columns of [100, 5000]) {
    const x = full([2, columns], 0.1).add(tensor([[0], [0]]));
    const wild = where(tensor([[0], [1]]).mul(full([2, columns], 1)).greater(0), x, Infinity);
    const [sums, deviations] = [wild.sum(1), wild.std(1)];
    evaluate([sums, deviations]);
    expect(sums.toArray()).toEqual([Infinity, expect.closeTo(columns * 0.1, 2)]);
    expect(deviations.toArray()).toEqual([NaN, 0]);
  }
});

test('long sums keep float32 precision: accumulated in float64', () => {
  const n = 1_000_003;
  const x = Float32Array.from({ length: n }, (_, i) => 1000 + ((i * 7919) % 1000) / 1000);
  const exact = x.reduce((a, b) => a + b, 0);
  expect(Math.abs(tensor(x).sum().item() - exact) / exact).toBeLessThan(1e-7);
  expect(Math.abs(tensor(x).mean().item() - exact / n) / (exact / n)).toBeLessThan(1e-7);
});

test('max and min of NaN are NaN; of nothing, infinities', () => {
  const x = tensor([[1, NaN, 3], [4, 5, 6]]);
  expect(x.max(1).toArray()).toEqual([NaN, 6]);
  expect(x.min(0).toArray()).toEqual([1, NaN, 3]);
  expect(full([0], 1).max().item()).toBe(-Infinity);
  expect(full([0], 1).mean().item()).toBeNaN();
});

test('integer and truth dtypes', () => {
  const random = new Random(35);
  for (const dtype of ['int32', 'uint8', 'bool'] as const) {
    const x = random.ref([5, 6], dtype);
    for (const axes of [[0], [1], [0, 1]]) {
      const total = x.tensor(dtype).sum(axes);
      expect(total.dtype).toBe('int32');
      expectMatches(total, x.fold(axes, sum));
      expect(x.tensor(dtype).max(axes).dtype).toBe(dtype);
      expectMatches(x.tensor(dtype).max(axes), x.fold(axes, maximum), 0);
      expectMatches(x.tensor(dtype).min(axes), x.fold(axes, minimum), 0);
      expect(x.tensor(dtype).mean(axes).dtype).toBe('float32');
      expectMatches(x.tensor(dtype).mean(axes), x.fold(axes, mean));
      expectMatches(x.tensor(dtype).std(axes), x.fold(axes, sqrt(ddof(1))));
    }
  }
  const mask = tensor([1, 0, 0], { dtype: 'bool' });
  expect(tensor([3, 9, 5], { dtype: 'int32' }).max(null, { mask }).item()).toBe(3);
  expect(tensor([3, 9, 5], { dtype: 'int32' }).sum(null, { mask }).item()).toBe(3);
});

test('cumsum along every axis, both ways', () => {
  const random = new Random(36);
  const running = (row: number[]) => {
    let total = 0;
    return row.map((value) => (total += value));
  };
  for (const shape of [[1], [9], [4, 5], [2, 3, 4], [300, 2], [2, 3000], [0, 3], [3, 0]]) {
    for (const dtype of ['float64', 'float32', 'int32', 'bool'] as const) {
      const x = random.ref(shape, dtype);
      shape.forEach((_, axis) => {
        expectMatches(x.tensor(dtype).cumsum(axis), x.rows(axis, running), undefined, `${dtype} axis ${axis} of`);
        expectMatches(x.tensor(dtype).cumsum(axis, { reverse: true }), x.rows(axis, (row) => running(row.toReversed()).reverse()), undefined, `${dtype} axis ${axis} reverse of`);
      });
    }
  }
});

test('the extremes of integers stay integers, with a mask and over nothing', () => {
  const mask = tensor([[1, 0], [0, 0]], { dtype: 'bool' });
  for (const [dtype, first, least, most] of [['int32', 16777217, -(2 ** 31), 2 ** 31 - 1], ['uint8', 200, 0, 255], ['bool', 1, 0, 1]] as const) {
    const x = tensor([[first, 0], [1, 1]], { dtype });
    const [largest, smallest] = [x.max(1, { mask }), x.min(1, { mask })];
    expect([largest.dtype, ...largest.dataSync()]).toEqual([dtype, first, least]);
    expect([smallest.dtype, ...smallest.dataSync()]).toEqual([dtype, first, most]);
    const nothing = zeros([1, 0], { dtype });
    expect([...nothing.max(1).dataSync(), ...nothing.min(1).dataSync()]).toEqual([least, most]);
  }
});

test('sums of int32 and running ones that leave its bounds are the nearest of them, and come back', () => {
  const int32 = { dtype: 'int32' } as const;
  const [high, low] = [2147483647, -2147483648];
  for (const n of [3, 40, 5000]) {
    const rows = tensor([...Array<number>(n).fill(high), ...Array<number>(n).fill(low)], int32).reshape(2, n);
    expect(rows.sum(1).toArray()).toEqual([high, low]);
    expect(rows.sum().item()).toBe(-n);
    expect(rows.sum(0).toArray()).toEqual(Array<number>(n).fill(-1));
    expect(rows.cumsum().slice([0, n - 1]).toArray()).toEqual([[high], [low]]);
    expect(rows.reshape(2 * n).cumsum().slice([-2]).toArray()).toEqual([high - (n - 1), -n]);
  }
  expect(full([2000], 2e6, int32).sum().item()).toBe(high);
});

test('sums over several axes are rounded once', () => {
  for (const [dtype, large] of [['float32', 2 ** 24], ['bfloat16', 256]] as const) {
    const x = Ref.build([2, 3, 40], ([i, , k]) => (k === 0 ? (i === 0 ? large : -large) : Number(k === 1 && i === 0)));
    for (const axes of [[0, 2], [0, 1, 2], [1, 2]]) {
      expectMatches(x.tensor(dtype).sum(axes), x.fold(axes, sum).map((v) => (axes.includes(0) ? v : large * 3 * Math.sign(v))), 0.01, `${dtype} [${axes}]`);
      if (dtype === 'float32') expectMatches(scan([x.tensor(dtype)], {}, (_, [v]) => v).sum(axes).sub(x.tensor(dtype).sum(axes)), x.fold(axes, () => 0), 0, `[${axes}]`);
    }
  }
});
