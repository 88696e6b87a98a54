/** What no memory has room for is refused at once, and leaves nothing behind. */
import { arange, memory, ones, randomKey, randomNormal, tensor, TensorError, tidy, VantageError, zeros } from '../../src';

/** The message of an array of more elements than the addon takes. */
const addressed = (array: string, bytes: number, elements: number): RegExp =>
  new RegExp(`^an array ${array.replace('[', '\\[')} takes ${bytes} bytes, more than can be addressed: expected at most 1099511627776 elements, got ${elements}$`);

test.each<[string, () => unknown, RegExp]>([
  ['reading a constant', () => zeros([1e12]).dataSync(), /^reading float32 \[1000000000000\]: no room for 4000000000000 bytes in the host's memory$/],
  ['reading what was broadcast', () => tensor([1]).broadcastTo([1e6, 1e6]).dataSync(), /no room for|out of memory/],
  [
    'nested arrays of no elements',
    () => zeros([2 ** 31, 0]).toArray(),
    /^toArray: nested arrays of \[2147483648,0\] take 137438953520 bytes; JavaScript's heap has \d+, and a list at most 67108864 entries: /,
  ],
  ['nested arrays as JSON', () => JSON.stringify(zeros([2 ** 53, 0])), /^toArray: nested arrays of \[9007199254740992,0\] take/],
  ['a list that V8 cannot make', () => zeros([2 ** 27]).toArray(), /^toArray: nested arrays of \[134217728\] take/],
  ['a constant in memory', () => zeros([1e12]).realize(), /^allocate: out of memory for 4000000000000 bytes on cpu$/],
  ['arithmetic', () => ones([2 ** 39]).add(1).realize(), /^allocate: out of memory for 2199023255552 bytes on cpu$/],
  ['a product', () => ones([1e6, 1]).matmul(ones([1, 1e6])).realize(), /^allocate: out of memory/],
  ['random numbers', () => randomNormal([1e12], { key: randomKey(1) }).realize(), /^allocate: out of memory/],
  ['a constant that cannot be addressed', () => zeros([2 ** 32, 2 ** 20]).realize(), addressed('float32 [4294967296,1048576]', 2 ** 54, 2 ** 52)],
  ['what was broadcast, in arithmetic', () => zeros([2 ** 26, 1]).add(tensor([1])).add(zeros([1, 2 ** 26])).realize(), addressed('float32 [67108864,67108864]', 2 ** 54, 2 ** 52)],
  [
    'an intermediate result',
    () => ones([2 ** 25, 1], { dtype: 'float64' }).matmul(ones([1, 2 ** 25], { dtype: 'float64' })).exp().sum().item(),
    addressed('float64 [33554432,33554432]', 2 ** 53, 2 ** 50),
  ],
  ['a sum over what has no end', () => zeros([2 ** 45]).add(tensor([1])).sum().item(), addressed('float32 [35184372088832]', 2 ** 47, 2 ** 45)],
  [
    'a shape of more elements than there are numbers',
    () => zeros([2 ** 40, 2 ** 20]),
    /expected a shape of at most 9007199254740991 elements, got \[1099511627776,1048576\], which has 1152921504606847000$/,
  ],
  ['a range', () => arange(1e12), /^arange: 1000000000000 elements are too many$/],
])('%s', (_, make, message) => {
  const before = memory();
  let error: unknown = null;
  try {
    tidy(() => void make());
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(VantageError);
  expect((error as Error).message).toMatch(message);
  const { tensors, buffers, bytes } = memory();
  expect([tensors, buffers, bytes]).toEqual([before.tensors, before.buffers, before.bytes]);
  expect(tensor([1, 2]).add(1).toArray()).toEqual([2, 3]);
});

test('what is never asked for whole may be of any size', () => {
  expect(tensor([1]).broadcastTo([2 ** 50]).slice([5], [7]).toArray()).toEqual([1, 1]);
});

test('a size that is no size', () => {
  expect(() => zeros([1e300])).toThrow(TensorError);
});
