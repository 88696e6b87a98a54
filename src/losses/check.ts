import { EstimatorError, showValue } from '../errors';
import { checkValue } from '../options';
import { Tensor, tidy, type Shape } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { DISPOSED } from '../tensor/handle';
import { formatShape, placeIn, sameShape } from '../tensor/shape';

/** float64 stays, all else is computed in float32. */
export function floating(x: Tensor): Tensor {
  return x.dtype === 'float64' ? x : x.cast('float32');
}

/** @throws EstimatorError unless `value` is a tensor that was not disposed */
export function checkTensor(operation: string, name: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw new EstimatorError(`${operation}: ${name}: expected a Tensor, got ${showValue(value)}`);
  if (value.isDisposed) throw new EstimatorError(`${operation}: ${name}: ${DISPOSED}`);
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

/**
 * Only floating tensors can hold NaN: others are not looked at.
 * @param within positions that count; all unless given
 * @throws EstimatorError for NaN in flags [batch, time], or in any tensor, with its place
 */
export function checkNoNaN(operation: string, name: string, x: Tensor, within?: Tensor): void {
  if (!isFloating(x.dtype)) return;
  tidy(() => {
    const isMissing = within ? x.isNaN().logicalAnd(within) : x.isNaN();
    if (isMissing.sum().item() === 0) return;
    const at = isMissing.dataSync().findIndex((flag) => flag !== 0);
    const place = x.ndim === 2 ? placeIn(x.shape, at) : `position ${at}`;
    throw new EstimatorError(`${operation}: ${name}: expected numbers that are 0 or not, got NaN at ${place}`);
  });
}

/** @throws EstimatorError for divisors of rows [B,1] that are not above 0, where they are on the CPU; by Infinity a row weighs nothing */
export function checkDivisors(operation: string, divisors: Tensor): void {
  // On a GPU every micro-batch would wait for them.
  if (divisors.device !== 'cpu') return;
  const values = divisors.dataSync();
  const row = values.findIndex((value) => !(value > 0));
  if (row >= 0) throw new EstimatorError(`${operation}: divisors: expected numbers above 0 (Infinity: the row weighs nothing), got ${values[row]} in row ${row}`);
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
