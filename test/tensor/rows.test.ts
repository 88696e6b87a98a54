/** Rows packed one after the other and padded to a rectangle. */
import { evaluate, full, gradients, packRows, padRows, RowLayout, tensor, type DType, type RowOffsets } from '../../src/tensor';
import { checkGradients, expectSameNumbers, Random } from './helpers';

/** The padded form, in plain loops. */
function padded(values: readonly number[], offsets: readonly number[], time: number, fill: number): number[][] {
  return offsets.slice(1).map((end, row) => Array.from({ length: time }, (_, t) => (offsets[row]! + t < end ? values[offsets[row]! + t]! : fill)));
}

function raggedOffsets(random: Random, rows: number): number[] {
  const offsets = [0];
  for (let row = 0; row < rows; row++) offsets.push(offsets[row]! + random.pick([0, 1, 1, 2, 3, 7, 20]));
  return offsets;
}

test('rows of any length, of any dtype, there and back to the bit', () => {
  const random = new Random(1);
  for (let round = 0; round < 30; round++) {
    const offsets = raggedOffsets(random, random.integer(1, 9));
    const tokens = offsets.at(-1)!;
    const longest = Math.max(...offsets.slice(1).map((end, row) => end - offsets[row]!));
    const time = longest + random.integer(0, 2);
    const dtype = random.pick<DType>(['float32', 'float64', 'bfloat16', 'int32', 'uint8', 'bool']);
    const x = random.ref([tokens], dtype).tensor(dtype);
    const wide = padRows(x, offsets, { time, fill: 1 });
    expect([wide.dtype, wide.shape]).toEqual([dtype, [offsets.length - 1, time]]);
    expect(wide.toArray()).toEqual(padded(Array.from(x.dataSync()), offsets, time, 1));
    expect(padRows(x, offsets).shape[1]).toBe(longest);
    expect(packRows(wide, offsets).toArray()).toEqual(x.toArray());
  }
});

test('minus zero, NaN and infinities stay what they are', () => {
  const x = tensor([-0, NaN, Infinity, -Infinity]);
  expect(padRows(x, [0, 1, 4]).toArray()).toEqual([[-0, 0, 0], [NaN, Infinity, -Infinity]]);
  expect(packRows(padRows(x, [0, 1, 4], { fill: NaN }), [0, 1, 4]).toArray()).toEqual([-0, NaN, Infinity, -Infinity]);
});

test('no token, no row, constants', () => {
  expect(padRows(tensor([]), [0, 0, 0]).shape).toEqual([2, 0]);
  expect(padRows(tensor([]), [0, 0, 0], { time: 2, fill: 5 }).toArray()).toEqual([[5, 5], [5, 5]]);
  expect(packRows(padRows(tensor([]), [0, 0], { time: 3 }), [0, 0]).shape).toEqual([0]);
  expect(padRows(tensor([]), [0]).shape).toEqual([0, 0]);
  expect(padRows(full([3], 7), [0, 1, 3]).toArray()).toEqual([[7, 0], [7, 7]]);
  expect(packRows(full([2, 2], 7), [0, 1, 3]).toArray()).toEqual([7, 7, 7]);
});

test('offsets of any kind of array, and a layout for several tensors', () => {
  const x = tensor([1, 2, 3]);
  const kinds: RowOffsets[] = [[0, 2, 3], Int32Array.of(0, 2, 3), Uint8Array.of(0, 2, 3), Float64Array.of(0, 2, 3), tensor([0, 2, 3], { dtype: 'int32' })];
  for (const offsets of kinds) expect(padRows(x, offsets).toArray()).toEqual([[1, 2], [3, 0]]);
  const layout = new RowLayout([0, 2, 3], { time: 3 });
  expect([layout.batch, layout.time, layout.tokens]).toEqual([2, 3, 3]);
  const wide = padRows(x, layout);
  expect(layout.present().toArray()).toEqual([[1, 1, 0], [1, 0, 0]]);
  const back = packRows(wide.mul(2), layout);
  layout.dispose();
  expect(back.toArray()).toEqual([2, 4, 6]);
});

test('many rows of many tokens', () => {
  const random = new Random(3);
  const offsets = Int32Array.from({ length: 1001 }, () => random.integer(0, 200_000)).sort();
  [offsets[0], offsets[1000]] = [0, 200_000];
  const x = tensor(Float32Array.from({ length: 200_000 }, () => random.next()));
  const wide = padRows(x, offsets);
  expectSameNumbers(packRows(wide, offsets).dataSync(), x.dataSync());
  const time = wide.shape[1]!;
  const expected = new Float32Array(1000 * time);
  const values = x.dataSync();
  for (let row = 0; row < 1000; row++) expected.set(values.subarray(offsets[row], offsets[row + 1]), row * time);
  expectSameNumbers(wide.dataSync(), expected);
});

describe('the gradient of one is the other', () => {
  const offsets = [0, 2, 2, 3, 6];

  test('first and second order, against differences', () => {
    const random = new Random(5);
    checkGradients((x) => padRows(x, offsets, { time: 4, fill: 2 }), [random.smooth([6])]);
    checkGradients((x) => packRows(x, offsets), [random.smooth([4, 4])]);
    checkGradients((x) => gradients(padRows(x, offsets).square().mul(x.sum()).sum(), [x])[0]!, [random.smooth([6])]);
    checkGradients((x) => gradients(packRows(x, offsets).exp().sum().square(), [x])[0]!, [random.smooth([4, 3])]);
  });

  test('to the bit, minus zero included, without adding up', () => {
    const x = tensor([1, 2, 3]);
    const factors = tensor([[-0, 0.1], [5, NaN]]);
    const [gradient] = gradients(padRows(x, [0, 2, 3]).mul(factors).sum(), [x]);
    expect(gradient!.explain()).not.toContain('scatter_add');
    expect(gradient!.toArray()).toEqual([-0, Math.fround(0.1), 5]);
    const y = tensor([[1, 2], [3, NaN]]);
    const [wide] = gradients(packRows(y, [0, 2, 3]).mul(tensor([-0, 4, 5])).sum(), [y]);
    expect(wide!.toArray()).toEqual([[-0, 4], [5, 0]]);
  });

  test('of both at once, in one evaluation with the loss', () => {
    const x = tensor([1, 2, 3]);
    const wide = padRows(x, [0, 2, 3]);
    const loss = wide.square().sum();
    const [packed, rectangle] = gradients(loss, [x, wide]);
    evaluate([loss, packed!, rectangle!]);
    expect([loss.item(), packed!.toArray(), rectangle!.toArray()]).toEqual([14, [2, 4, 6], [[2, 4], [6, 0]]]);
  });
});

test.each([
  [[1, 3], 'rowOffsets: expected 0 at the start, got 1'],
  [[0, 2, 1, 3], 'rowOffsets: expected numbers that do not fall, got 1 after 2 at position 2'],
  [[0, 1.5, 3], 'rowOffsets: expected whole numbers, got 1.5 at position 1'],
  [[0, NaN, 3], 'rowOffsets: expected whole numbers, got NaN at position 1'],
  [[0, '1', 3], "rowOffsets: expected whole numbers, got '1' at position 1"],
  [[0, 2], 'padRows: expected shape [2], one number a token as rowOffsets ends, got [3]'],
  [[0, 2 ** 40], 'rowOffsets: expected at most 2147483647'],
  [[], 'rowOffsets: expected batch + 1 whole numbers that begin with 0, got none'],
  [3, 'rowOffsets: expected batch + 1 whole numbers (an array, a typed array or an int32 Tensor), got 3'],
  [null, 'an int32 Tensor), got null'],
  [BigInt64Array.of(0n, 3n), 'rowOffsets: expected whole numbers, got 0n at position 0'],
])('offsets %p are refused', (offsets, message) => {
  expect(() => padRows(tensor([1, 2, 3]), offsets as never)).toThrow(message);
});

test('what else is refused', () => {
  const x = tensor([1, 2, 3]);
  expect(() => padRows(x, tensor([0, 3]))).toThrow('an int32 Tensor), got float32 [2]');
  expect(() => padRows(x, [0, 3], { time: 2 })).toThrow('rowOffsets: expected time, a whole number of at least 3, the length of the longest row, got 2');
  expect(() => padRows(x, [0, 3], { fil: 2 } as never)).toThrow("padRows: unknown option 'fil'. Did you mean 'fill'?");
  expect(() => padRows(x, [0, 3], { fill: 'x' as never })).toThrow("padRows: expected fill, a number, got 'x'");
  expect(() => padRows(x, new RowLayout([0, 3]), { time: 4 })).toThrow('padRows: expected time 3, that of the layout, got 4');
  expect(() => padRows(x.expandDims(0), [0, 3])).toThrow('padRows: expected shape [3], one number a token as rowOffsets ends, got [1,3]');
  expect(() => padRows([1, 2, 3] as never, [0, 3])).toThrow('padRows x: expected a Tensor, got an array of 3');
  expect(() => packRows(x, [0, 3])).toThrow('packRows: expected shape [batch,time], got [3]');
  expect(() => packRows(tensor([[1, 2, 3]]), [0, 1, 3])).toThrow('packRows: expected shape [2,3], rows and columns of rowOffsets, got [1,3]');
  expect(() => packRows(tensor([[1, 2]]), [0, 3])).toThrow('rowOffsets: expected time, a whole number of at least 3, the length of the longest row, got 2');
  expect(() => new RowLayout([0, 1, 2 ** 30], { time: 2 ** 31 })).toThrow('more than int32 indices reach');
});
