/** Ways to make tensors. */
import { TensorError } from '../errors';
import { dtypeOfArray, dtypes, isDType, rounded, toStored, type DType, type NumericArray } from './dtype';
import { constant } from './graph';
import { checkDevice, type Device } from './memory';
import { flatten, holdsNumbers, type TensorData } from './nested';
import * as ops from './operations';
import { checkAxis, checkDimensions, checkOptions, checkShape, describe, formatShape, sizeOf } from './shape';
import { operandArgument, storedTensor, Tensor, tensorArgument } from './tensor';

/** Of what type a new tensor is, and where it lives. */
export interface TensorOptions {
  /** The element type. Default float32; of a typed array, its own. */
  dtype?: DType;
  /** Default {@link defaultDevice}. */
  device?: Device;
}

const optionNames = ['dtype', 'device'] as const;
const dataNames = ['dtype', 'device', 'shape'] as const;

function dtypeOption(operation: string, dtype: unknown, otherwise: DType): DType {
  if (dtype === undefined) return otherwise;
  if (!isDType(dtype)) throw new TensorError(`${operation}: expected a dtype (${Object.keys(dtypes).join(', ')}), got ${describe(dtype)}`);
  return dtype;
}

/**
 * A tensor of the given values: a number, nested arrays, or a typed array. Nested arrays give their own shape; `shape` shows the values under another one.
 * The dtype is that of a typed array (Float32Array, Float64Array, Int32Array, Uint8Array), bool for booleans, else float32. A Uint16Array with the dtype
 * bfloat16 holds the numbers' bits, the upper halves of float32, and is stored as it is.
 *
 * @throws TensorError where rows differ in length, a value is no number, or the shape does not hold the values
 * @example
 * const t = tensor([[1, 2], [3, 4]]);
 */
export function tensor(data: TensorData, options?: TensorOptions & { shape?: readonly number[] }): Tensor {
  const { device: wantedDevice, dtype: wantedDType, shape: wantedShape } = checkOptions('tensor', options, dataNames);
  const device = checkDevice('tensor', wantedDevice);
  let values: NumericArray;
  let shape: number[];
  let natural: DType = 'float32';
  if (ArrayBuffer.isView(data)) {
    const named = dtypeOfArray(data);
    if (!holdsNumbers(data)) throw new TensorError(`tensor: expected numbers, got ${describe(data)}`);
    // Another thread may write to shared memory, and the addon is not to read it: a copy of its own.
    values = data.buffer instanceof SharedArrayBuffer ? data.slice() : data;
    shape = [data.length];
    natural = named ?? 'float32';
  } else {
    const flat = flatten(data, dtypeOption('tensor', wantedDType, 'float32'));
    ({ values, shape } = flat);
    if (flat.onlyBooleans) natural = 'bool';
  }
  const dtype = dtypeOption('tensor', wantedDType, natural);
  if (wantedShape !== undefined) {
    const wanted = checkShape('tensor', wantedShape);
    if (sizeOf(wanted) !== values.length) throw new TensorError(`tensor: shape ${formatShape(wanted)} holds ${sizeOf(wanted)} values, got ${values.length}`);
    shape = wanted;
  }
  const direct = values.constructor.name === dtypes[dtype].stored.name && dtype !== 'bool';
  return storedTensor(direct ? values : toStored(values, dtype), dtype, shape, device);
}

/** The same value at every position; takes no memory until it is stored, and goes with tensors on any device unless given one. */
export function full(shape: readonly number[], value: number, options?: TensorOptions): Tensor {
  const { device, dtype: wanted } = checkOptions('full', options, optionNames);
  const place = device === undefined ? null : checkDevice('full', device);
  if (typeof value !== 'number') throw new TensorError(`full: expected a number, got ${describe(value)}`);
  const dtype = dtypeOption('full', wanted, 'float32');
  return new Tensor(constant(rounded(value, dtype), dtype, checkShape('full', shape), place));
}

/** A tensor of zeros, float32 unless told otherwise. It takes no memory and goes with tensors of any device unless one is given. @throws TensorError for a shape or a dtype that is none */
export function zeros(shape: readonly number[], options?: TensorOptions): Tensor {
  return full(shape, 0, options);
}

/** A tensor of ones, float32 unless told otherwise. It takes no memory and goes with tensors of any device unless one is given. @throws TensorError for a shape or a dtype that is none */
export function ones(shape: readonly number[], options?: TensorOptions): Tensor {
  return full(shape, 1, options);
}

/** Zeros of another tensor's shape, dtype and device. @throws TensorError for anything but a tensor */
export function zerosLike(like: Tensor): Tensor {
  return full(tensorArgument('zerosLike', like).shape, 0, { dtype: like.dtype, device: like.device });
}

/** Ones of another tensor's shape, dtype and device. @throws TensorError for anything but a tensor */
export function onesLike(like: Tensor): Tensor {
  return full(tensorArgument('onesLike', like).shape, 1, { dtype: like.dtype, device: like.device });
}

/** Elements of an arange: it is written out on the host. */
const MOST_COUNTED = 2 ** 27;

/** start, start+step, … below stop; with one argument 0 … stop−1. int32 where all are integers, else float32. */
export function arange(start: number, stop?: number, step = 1, options?: TensorOptions): Tensor {
  const { dtype, device } = checkOptions('arange', options, optionNames);
  const from = stop === undefined ? 0 : start;
  const to = stop ?? start;
  if (![from, to, step].every(Number.isFinite) || step === 0) {
    throw new TensorError(`arange: expected finite numbers and a step other than 0, got ${describe(start)}, ${describe(stop)}, ${describe(step)}`);
  }
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length >= 2 ** 32) throw new TensorError(`arange: ${length} elements are too many`);
  if (length > MOST_COUNTED) throw new TensorError(`arange: expected at most ${MOST_COUNTED} elements, got ${length}`);
  const whole = [from, to, step].every(Number.isInteger);
  const values = new Float64Array(length);
  for (let i = 0; i < length; i++) values[i] = from + i * step;
  return tensor(values, { dtype: dtype ?? (whole ? 'int32' : 'float32'), device });
}

function tensorList(operation: string, tensors: unknown): ReturnType<typeof tensorArgument>[] {
  if (!Array.isArray(tensors) || tensors.length === 0) throw new TensorError(`${operation}: expected an array of at least one Tensor, got ${describe(tensors)}`);
  return Array.from(tensors as readonly unknown[], (item, i) => tensorArgument(operation, item, i));
}

/** Joins tensors along an axis; their other extents are equal. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const nodes = tensorList('concat', tensors);
  return new Tensor(ops.concat(nodes, checkAxis('concat', axis, nodes[0]!.shape.length)));
}

/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  const nodes = tensorList('stack', tensors);
  const ndim = nodes[0]!.shape.length + 1;
  checkDimensions('stack', ndim);
  return new Tensor(ops.stack(nodes, checkAxis('stack', axis, ndim)));
}

/** `a` where the condition is not 0, else `b`. What the side not taken holds, NaN included, has no effect. */
export function where(condition: Tensor, a: Tensor | number, b: Tensor | number): Tensor {
  return new Tensor(ops.where(tensorArgument('where condition', condition), operandArgument('where a', a), operandArgument('where b', b)));
}
