/** Reading the values behind a node. */
import { TensorError } from '../errors';
import { callNative } from '../native';
import { dtypes, fromStored, type DType, type NumericArray } from './dtype';
import { release, retain, type Node } from './graph';
import { contiguous } from './operations';
import { realize } from './plan';
import { formatShape, sizeOf, type Shape } from './shape';

/** Nested arrays as deep as the tensor has dimensions; a number for a scalar. */
export type NestedArray = number | NestedArray[];

/** The elements in row-major order. */
export function readValues(node: Node): Float32Array | Float64Array | Int32Array | Uint8Array {
  if (node.op === 'constant' && node.dtype === 'bfloat16') return new Float32Array(node.size).fill(node.attributes.value!);
  return fromStored(readStored(node), node.dtype);
}

const singles = new Map<DType, NumericArray>();

/** The one element of a node of size 1. */
export function readNumber(node: Node): number {
  if (node.op === 'constant') return readValues(node)[0]!;
  // Into an array that is used again: the addon has to move a new one out of V8's heap before it can look at it.
  let single = singles.get(node.dtype);
  if (!single) singles.set(node.dtype, single = new dtypes[node.dtype].stored(1));
  return fromStored(readStored(node, single), node.dtype)[0]!;
}

/** The elements in row-major order as they are stored. */
export function readStored(shown: Node, into?: NumericArray): NumericArray {
  const node = contiguous(shown);
  const { stored, bytes } = dtypes[node.dtype];
  into ??= newArray(stored, node);
  if (node.op === 'constant') return into.fill(node.attributes.value!);
  retain(node);
  try {
    realize([node]);
    const base = node.op === 'view' ? node.inputs[0]! : node;
    const offset = node.op === 'view' ? node.attributes.region!.offset : 0;
    if (node.size > 0) callNative((addon) => addon.download(base.attributes.buffer!.id, offset * bytes, into));
    return into;
  } finally {
    release(node);
  }
}

/** An array for a node's values. */
function newArray(stored: new (length: number) => NumericArray, { shape, size }: Node): NumericArray {
  try {
    return new stored(size);
  } catch (error) {
    throw new TensorError(`reading a tensor of shape ${formatShape(shape)}: its ${size} elements are more than memory has room for`, { cause: error });
  }
}

/** Values in row-major order, nested as the shape says. */
export function nested(values: ArrayLike<number>, shape: Shape): NestedArray {
  let level: NestedArray[] = Array.from(values);
  for (let d = shape.length - 1; d > 0; d--) {
    const extent = shape[d]!;
    const rows = sizeOf(shape.slice(0, d));
    level = Array.from({ length: rows }, (_, i) => level.slice(i * extent, (i + 1) * extent));
  }
  return shape.length === 0 ? level[0]! : level;
}
