import { EstimatorError, showValue } from '../errors';
import { Tensor, type Shape } from '../tensor';
import { formatShape, sameShape } from '../tensor/shape';

/** float64 stays, all else is computed in float32. */
export function floating(x: Tensor): Tensor {
  return x.dtype === 'float64' ? x : x.cast('float32');
}

/** @throws EstimatorError unless all are tensors of the first one's shape */
export function checkSameShape(operation: string, tensors: Record<string, Tensor>): void {
  const names = Object.keys(tensors);
  let expected: Shape | undefined;
  for (const name of names) {
    const value: unknown = tensors[name];
    if (!(value instanceof Tensor)) throw new EstimatorError(`${operation}: ${name}: expected a Tensor, got ${showValue(value)}`);
    expected ??= value.shape;
    if (!sameShape(value.shape, expected)) throw new EstimatorError(`${operation}: ${name}: expected shape ${formatShape(expected)} as ${names[0]}, got ${formatShape(value.shape)}`);
  }
}

/** @throws EstimatorError unless `value` is a number in [low, high], the ends included where finite */
export function checkNumber(operation: string, name: string, value: unknown, low: number, high = Infinity): void {
  if (typeof value === 'number' && value >= low && value <= high && Number.isFinite(value)) return;
  const open = high === Infinity ? 'a number' : `a number up to ${high}`;
  const bounded = high === Infinity ? `a number, ${low} or more` : `a number from ${low} to ${high}`;
  const expected = low === -Number.MAX_VALUE ? open : low === Number.MIN_VALUE && high === Infinity ? 'a number above 0' : bounded;
  throw new EstimatorError(`${operation}: ${name}: expected ${expected}, got ${showValue(value)}`);
}

/** @throws EstimatorError unless `value` is one of `choices` */
export function checkChoice(operation: string, name: string, value: unknown, choices: readonly unknown[]): void {
  if (!choices.includes(value)) throw new EstimatorError(`${operation}: ${name}: expected one of ${choices.join(', ')}, got ${showValue(value)}`);
}
