/** Reading the values behind a node. */
import { callNative } from '../native';
import { dtypes, fromStored, type NumericArray } from './dtype';
import { release, retain, type Node } from './graph';
import { contiguous } from './operations';
import { realize } from './plan';
import { sizeOf, type Shape } from './shape';

/** Nested arrays as deep as the tensor has dimensions; a number for a scalar. */
export type NestedArray = number | NestedArray[];

/** The elements in row-major order. */
export function readValues(node: Node): Float32Array | Float64Array | Int32Array | Uint8Array {
  if (node.op === 'constant' && node.dtype === 'bfloat16') return new Float32Array(node.size).fill(node.attributes.value!);
  return fromStored(readStored(node), node.dtype);
}

/** The elements in row-major order as they are stored. */
export function readStored(shown: Node): NumericArray {
  const node = contiguous(shown);
  const { stored, bytes } = dtypes[node.dtype];
  if (node.op === 'constant') return new stored(node.size).fill(node.attributes.value!);
  retain(node);
  try {
    realize([node]);
    const base = node.op === 'view' ? node.inputs[0]! : node;
    const offset = node.op === 'view' ? node.attributes.region!.offset : 0;
    const into = new stored(node.size);
    if (node.size > 0) callNative((addon) => addon.download(base.attributes.buffer!.id, offset * bytes, into));
    return into;
  } finally {
    release(node);
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
