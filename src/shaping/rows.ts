/** RowNumbers that come one a row. */
import { EstimatorError, showValue } from '../errors';
import { tensor, Tensor, type DType, type TensorData } from '../tensor';
import { isFloating } from '../tensor/dtype';

/** One number a row: a tensor of shape [B] or an array. */
export type RowNumbers = Tensor | readonly (number | boolean)[] | Float32Array | Float64Array | Int32Array | Uint8Array;

/** As a floating tensor [B]; arrays become `dtype`. @throws EstimatorError for anything else */
export function oneARow(who: string, name: string, values: unknown, dtype: DType = 'float32'): Tensor {
  let found: Tensor;
  try {
    found = values instanceof Tensor ? values : tensor(values as TensorData, ArrayBuffer.isView(values) ? {} : { dtype });
  } catch {
    throw new EstimatorError(`${who}: ${name}: expected one number a row, got ${showValue(values)}`);
  }
  if (found.ndim !== 1) throw new EstimatorError(`${who}: ${name}: expected one number a row, shape [B], got shape [${found.shape.join(',')}]`);
  return isFloating(found.dtype) ? found : found.cast(dtype);
}
