/** Numbers of a batch, as callers give them. */
import { EstimatorError, NativeError, showValue } from '../errors';
import { checkTensor } from '../losses/check';
import { tensor, Tensor, type TensorData } from '../tensor';

/** Numbers of a batch: a tensor, nested arrays, or a typed array. */
export type Array2D = Tensor | TensorData;

/** @throws EstimatorError for what is neither a tensor that is there nor an array of numbers */
export function asTensor(who: string, label: string, value: unknown): Tensor {
  if (value instanceof Tensor) {
    checkTensor(who, label, value);
    return value;
  }
  if (value === undefined || value === null) throw new EstimatorError(`${who}: expected ${label}, got ${showValue(value)}`);
  try {
    return tensor(value as TensorData);
  } catch (error) {
    if (error instanceof NativeError) throw error; // no addon: not the input's fault
    throw new EstimatorError(`${who}: ${label}: ${(error as Error).message}`);
  }
}
