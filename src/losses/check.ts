import { EstimatorError, showValue } from '../errors';
import { Tensor } from '../tensor';

/** @throws EstimatorError unless all are tensors of the first one's shape */
export function checkSameShape(operation: string, tensors: Record<string, Tensor>): void {
  let first: [string, Tensor] | undefined;
  for (const [name, value] of Object.entries(tensors)) {
    if (!(value instanceof Tensor)) throw new EstimatorError(`${operation}: ${name}: expected a Tensor, got ${showValue(value)}`);
    first ??= [name, value];
    const [expected, got] = [first[1].shape.join(','), value.shape.join(',')];
    if (expected !== got) throw new EstimatorError(`${operation}: ${name}: expected shape [${expected}] as ${first[0]}, got [${got}]`);
  }
}

/** @throws EstimatorError unless `value` is a number in [low, high], the ends included where finite */
export function checkNumber(operation: string, name: string, value: unknown, low: number, high = Infinity): void {
  if (typeof value === 'number' && value >= low && value <= high && Number.isFinite(value)) return;
  const expected = high === Infinity ? `a number, ${low} or more` : `a number from ${low} to ${high}`;
  throw new EstimatorError(`${operation}: ${name}: expected ${expected}, got ${showValue(value)}`);
}
