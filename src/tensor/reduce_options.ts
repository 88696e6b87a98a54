/** What reductions may be told. */
import { TensorError } from '../errors';
import { checkOptions, describe } from './shape';
import type { Tensor } from './tensor';

/** One axis, several, or (undefined, null) all. */
export type Axes = number | readonly number[] | null;

/** Options of sums, means and extremes. */
export interface ReduceOptions {
  /** Leave folded axes in the shape with extent 1. */
  keepDims?: boolean;
  /** Only positions where the mask (broadcast to the tensor's shape) is not 0 take part; what the others hold, NaN included, has no effect. */
  mask?: Tensor;
}

/** Options of variances and standard deviations. */
export interface VarianceOptions extends ReduceOptions {
  /** The divisor is n − ddof. Default 1, as in PyTorch. */
  ddof?: number;
}

export const reduceNames = ['keepDims', 'mask'] as const;
export const varianceNames = ['keepDims', 'mask', 'ddof'] as const;

/** The ddof of a variance. @throws TensorError for options that are unknown, and a ddof that is none */
export function ddofOf(operation: string, options: VarianceOptions | undefined): number {
  const { ddof = 1 } = checkOptions(operation, options, varianceNames);
  if (!Number.isInteger(ddof) || ddof < 0) throw new TensorError(`${operation}: expected ddof, a non-negative integer, got ${describe(ddof)}`);
  return ddof;
}
