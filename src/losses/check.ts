import { EstimatorError, showValue } from '../errors';
import { checkValue } from '../options';
import { Tensor, type Shape } from '../tensor';
import { formatShape, sameShape } from '../tensor/shape';

/** float64 stays, all else is computed in float32. */
export function floating(x: Tensor): Tensor {
  return x.dtype === 'float64' ? x : x.cast('float32');
}

/** @throws EstimatorError unless `value` is a tensor that was not disposed */
export function checkTensor(operation: string, name: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw new EstimatorError(`${operation}: ${name}: expected a Tensor, got ${showValue(value)}`);
  if (value.isDisposed) throw new EstimatorError(`${operation}: ${name}: expected a Tensor that is there, got one that was disposed`);
}

/** @throws EstimatorError unless all are tensors of the first one's shape; the optional ones, where they are given */
export function checkSameShape(operation: string, tensors: Record<string, Tensor>, optional: Record<string, Tensor | null | undefined> = {}): void {
  const given = Object.entries(optional).filter(([, value]) => value !== undefined && value !== null);
  const all: [string, unknown][] = [...Object.entries(tensors), ...given];
  let expected: Shape | undefined;
  for (const [name, value] of all) {
    checkTensor(operation, name, value);
    expected ??= value.shape;
    if (!sameShape(value.shape, expected)) throw new EstimatorError(`${operation}: ${name}: expected shape ${formatShape(expected)} as ${all[0]![0]}, got ${formatShape(value.shape)}`);
  }
}

/** @throws EstimatorError unless it is a tensor [batch, time] */
export function checkRows(operation: string, name: string, value: unknown): asserts value is Tensor {
  checkTensor(operation, name, value);
  if (value.ndim === 2) return;
  throw new EstimatorError(`${operation}: ${name}: expected shape [batch, time], got ${formatShape(value.shape)}${value.ndim === 1 ? ' ([tokens] come with rowOffsets, see padRows)' : ''}`);
}

/** @throws EstimatorError unless `value` is a number in [low, high], the ends included where finite */
export function checkNumber(operation: string, name: string, value: unknown, low: number, high = Infinity): void {
  checkValue(`${operation}: ${name}`, value, { low, high });
}

/** @throws EstimatorError unless `value` is one of `choices` */
export function checkChoice(operation: string, name: string, value: unknown, choices: readonly unknown[]): void {
  checkValue(`${operation}: ${name}`, value, { choices });
}
