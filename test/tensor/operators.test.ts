/** JavaScript's operators and printing. */
import { inspect } from 'node:util';
import { tensor, TensorError } from 'vantage-rl';

test('operators of JavaScript throw instead of giving something else', () => {
  const x = tensor([1, 2]) as unknown as number;
  for (const wrong of [() => x + 1, () => x > 0, () => x * 2, () => -x]) expect(wrong).toThrow(TensorError);
  expect(() => x > 0).toThrow(/use its methods .*where\(condition, a, b\)/);
});

test('a tensor prints as what it is', () => {
  const x = tensor([[1, 2]]);
  expect(inspect(x)).toBe('Tensor(float32 [1,2])');
  expect(`${x}`).toBe('Tensor(float32 [1,2])');
  expect(JSON.stringify({ x })).toBe('{"x":[[1,2]]}');
});
