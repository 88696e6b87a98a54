/** Nested arrays in and out: what they hold, what is refused of them, and that they cost about what their numbers do. */
import { tensor, type TensorData } from '../../src/tensor';

const f32 = (...values: number[]) => Float32Array.from(values);

test.each<[string, TensorData, readonly number[], string, readonly number[]]>([
  ['a number', 2.5, [], 'float32', [2.5]],
  ['a boolean', true, [], 'bool', [1]],
  ['nothing', [], [0], 'float32', []],
  ['rows of nothing', [[], []], [2, 0], 'float32', []],
  ['rows of no rows', [[[]], [[]]], [2, 1, 0], 'float32', []],
  ['booleans', [[true, false], [false, true]], [2, 2], 'bool', [1, 0, 0, 1]],
  ['booleans and numbers', [[true, 2], [0.5, false]], [2, 2], 'float32', [1, 2, 0.5, 0]],
  ['typed rows', [f32(1, 2), Int32Array.of(3, 4)], [2, 2], 'float32', [1, 2, 3, 4]],
  ['typed rows beside others', [[[1, 2]], [f32(3, 4)]], [2, 1, 2], 'float32', [1, 2, 3, 4]],
  ['three dimensions', [[[1], [2]], [[3], [4]], [[5], [6]]], [3, 2, 1], 'float32', [1, 2, 3, 4, 5, 6]],
])('tensor(%s)', (_, data, shape, dtype, values) => {
  const made = tensor(data);
  expect([made.shape, made.dtype, Array.from(made.dataSync())]).toEqual([shape, dtype, values]);
});

test('numbers are rounded once, to the dtype asked for', () => {
  const big = 2 ** 30 + 1;
  expect(tensor([[big]], { dtype: 'int32' }).item()).toBe(big);
  expect(tensor([[0.1]], { dtype: 'float64' }).item()).toBe(0.1);
  expect(tensor([[true, false]], { dtype: 'float64' }).toArray()).toEqual([[1, 0]]);
});

const deep = (item: unknown, depth: number): TensorData => (depth === 0 ? item : [deep(item, depth - 1)]) as TensorData;

test.each<[string, unknown, string]>([
  ['a short row', [[1, 2], [3]], 'tensor: expected rows of one shape, got [2] and [1]'],
  ['a long typed row', [f32(1, 2), f32(1, 2, 3)], 'tensor: expected rows of one shape, got [2] and [3]'],
  ['a number beside a row', [[1, 2], 3], 'tensor: expected rows of one shape, got [2] and []'],
  ['a row beside a number', [1, [2]], 'tensor: expected rows of one shape, got [] and [1]'],
  ['a typed row for rows', [[[1], [2]], f32(1, 2)], 'tensor: expected rows of one shape, got [2,1] and [2]'],
  ['text', [[1, 2], [3, 'x']], "tensor: expected numbers in nested arrays, got 'x'"],
  ['nothing in a row', [1, undefined, 3], 'tensor: expected numbers in nested arrays, got undefined'],
  ['bigints', [BigInt64Array.of(1n)], 'tensor: expected numbers in nested arrays, got a BigInt64Array'],
  ['bytes without a type', [new DataView(new ArrayBuffer(4))], 'tensor: expected numbers in nested arrays, got a DataView'],
  ['nine dimensions', deep(1, 9), 'tensor: expected at most 8 dimensions'],
  ['nine dimensions, the last of them typed', deep(f32(1), 8), 'tensor: expected at most 8 dimensions'],
  ['more than there is room for', new Array(2 ** 22).fill(new Uint8Array(2 ** 26)), "tensor: no room for 281474976710656 numbers in the host's memory"],
])('tensor() refuses %s', (_, data, message) => {
  expect(() => tensor(data as TensorData)).toThrow(message);
});

/** Milliseconds of the quickest of a few runs. */
function quickest(run: () => unknown): number {
  const times = Array.from({ length: 7 }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return Math.min(...times);
}

describe('a million numbers take less than half of the time that pushing them into a list would', () => {
  const rows = Array.from({ length: 1024 }, (_, i) => Array.from({ length: 1024 }, (_, j) => ((i * j) % 7) / 3));
  const flat = rows.flat();
  const held = tensor(rows);
  const pushed = () => {
    const list: number[] = [];
    for (const row of rows) for (const value of row) list.push(value);
    return list;
  };
  test.each<[string, () => unknown]>([
    ['tensor(nested)', () => tensor(rows).dispose()],
    ['tensor(flat)', () => tensor(flat).dispose()],
    ['toArray()', () => held.toArray()],
  ])('%s', (_, run) => {
    expect(quickest(run)).toBeLessThan(quickest(pushed) / 2);
  });
});
