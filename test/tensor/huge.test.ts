/** What no memory has room for is refused at once, and leaves nothing behind. */
import { arange, memory, ones, randomKey, randomNormal, tensor, TensorError, tidy, VantageError, zeros } from '../../src';

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

test('a size that is no size', () => {
  expect(() => zeros([1e300])).toThrow(TensorError);
});
