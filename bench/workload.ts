/** What a workload of the suite is: its inputs, what it computes, and who else computes it. */
import type { DType, Tensor } from 'vantage-rl';

export type Device = 'cpu' | 'cuda';
export type HostData = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

/** An array on the host; bfloat16 is held as its 16 bits. */
export interface HostArray {
  dtype: DType;
  shape: number[];
  /** All elements, or the first ones, which repeat to the end: a large array is made where it is used. */
  data: HostData;
}
export type HostArrays = Record<string, HostArray>;
export type ArrayType = Pick<HostArray, 'dtype' | 'shape'>;

/** Rows from the first one to before the second one. */
export type RowRange = readonly [begin: number, end: number];

/** What a contender computed, by the names of the workload's outputs. */
export type Results = Record<string, ArrayLike<number>>;
/** The arrays of the host by name, typed as the loop that reads them wants it. */
export type Data = Record<string, any>;

export interface Tolerance {
  relative: number;
  absolute: number;
}

/** Calls of tuned kernels by the names of native/core/kernels.h. A view is the name of an input, an output or a scratch array. */
export interface NativeJob {
  scratch?: Record<string, ArrayType>;
  calls: { kernel: string; views: string[]; scalars?: number[]; attributes?: number[] }[];
}

/**
 * One row of the suite. All but `name` … `reference` and `ours` is optional: what is missing has no column.
 * A newcomer adds a row by adding one such object to a list in bench/workloads/.
 */
export interface Workload {
  /** family/sizes, for example `gae/1024x1024`. */
  name: string;
  shape: number[];
  dtype: DType;
  /** Elements that results are counted by. */
  tokens: number;
  /** Bytes a token that must cross the memory bus: each input read once, each output written once (more where a pass cannot be saved). */
  bytesPerToken: number;
  /** The devices it runs on by default; --filter with the full name runs it anywhere. Default both. */
  devices?: Device[];
  outputs: Record<string, ArrayType>;
  inputs(): HostArrays;
  /**
   * Only so many rows of each output are compared, half of them at the beginning and half at the end (where an index that is too large for its type
   * shows), since the reference of all would take minutes. Rows must not depend on others then. Default all.
   */
  checkedRows?: number;
  /** |got − expected| ≤ absolute + relative · |expected|. Default 1e-5 for both. */
  tolerance?: Tolerance;
  /** The outputs in float64, from the formula (bench/reference.ts). Where not all rows are checked, the inputs are those of the checked `rows`. */
  reference(inputs: Data, rows: number): Record<string, Float64Array>;
  /** Through the public API, on the inputs as tensors; `host` has the data of the same. What it returns is evaluated together. */
  ours(tensors: Record<string, Tensor>, host: Data): Record<string, Tensor>;
  /** The same results by another way through the public API: the built-in estimator beside a custom one, the estimator beside its kernel. */
  variants?: Record<string, Workload['ours']>;
  /** The kernels alone, without Node. */
  native?: NativeJob;
  /** Plain loops over typed arrays. */
  javascript?(inputs: Data, outputs: Data): void;
  /** The function of the peers (bench/peers/) that computes this. */
  peer?: { name: string; parameters: Record<string, number | boolean> };
}

export const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export const float32 = (...shape: number[]): ArrayType => ({ dtype: 'float32', shape });

const bytesOf: Record<DType, number> = { float32: 4, float64: 8, bfloat16: 2, int32: 4, uint8: 1, bool: 1 };
export const byteSize = ({ dtype, shape }: ArrayType): number => product(shape) * bytesOf[dtype];

/** The bytes the floor counts. */
export const floorBytes = (workload: Workload): number => workload.tokens * workload.bytesPerToken;

/** Tokens whose reference and comparison take some seconds. */
const MOST_CHECKED = 2 ** 23;

/** `checkedRows` of a workload whose rows do not depend on others, or only on those of a group that this many rows hold wholly. */
export function checkedRowsOf([rows, time]: readonly [number, number], group = 1): number {
  const halves = 2 * group;
  return Math.min(rows, halves * Math.max(1, Math.floor(MOST_CHECKED / time / halves)));
}

/** The rows that are compared, or undefined for all. */
export function checkedRanges({ checkedRows, shape }: Workload): RowRange[] | undefined {
  const rows = shape[0]!;
  if (checkedRows === undefined || checkedRows >= rows) return undefined;
  const first = Math.ceil(checkedRows / 2);
  return [[0, first], [rows - (checkedRows - first), rows]];
}

/** Those rows of an array, or all. */
export function rowsOf({ shape, data }: Pick<HostArray, 'shape' | 'data'>, ranges?: readonly RowRange[]): HostData {
  if (ranges === undefined && data.length === product(shape)) return data;
  const [rows, ...rest] = shape;
  const width = product(rest);
  const taken = ranges ?? [[0, rows!]];
  const result = new (data.constructor as new (length: number) => HostData)(taken.reduce((sum, [begin, end]) => sum + (end - begin) * width, 0));
  let filled = 0;
  for (const [begin, end] of taken) {
    const stop = filled + (end - begin) * width;
    for (let from = (begin * width) % data.length; filled < stop; from = 0) {
      const part = data.subarray(from, from + stop - filled);
      result.set(part as never, filled);
      filled += part.length;
    }
  }
  return result;
}
