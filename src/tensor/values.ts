/** Reading the values behind a node. */
import { getHeapStatistics } from 'node:v8';
import { TensorError } from '../errors';
import { callNative } from '../native';
import { dtypes, fromStored, type DType, type NumericArray } from './dtype';
import { release, retain, type Node } from './graph';
import { nest, type NestedArray } from './nested';
import { contiguous } from './operations';
import { realize } from './plan';
import { formatShape, sizeOf, type Shape } from './shape';

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

/** @throws TensorError where the host has no room for the values */
function hostArray({ size, dtype, shape }: Node): NumericArray {
  const { stored, bytes } = dtypes[dtype];
  try {
    return new stored(size);
  } catch {
    throw new TensorError(`reading ${dtype} ${formatShape(shape)}: no room for ${size * bytes} bytes in the host's memory`);
  }
}

/** The elements in row-major order as they are stored. */
export function readStored(shown: Node, into?: NumericArray): NumericArray {
  const node = contiguous(shown);
  const { bytes } = dtypes[node.dtype];
  into ??= hostArray(node);
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

/** What nested arrays of a shape take in V8's heap while they are made: 48 bytes a list and 8 an entry, twice, as long lists grow in steps and are copied. */
function nestedBytes(shape: Shape): number {
  let [lists, bytes] = [1, 0];
  for (const extent of shape) {
    bytes += lists * (48 + 16 * extent);
    lists *= extent;
  }
  return bytes;
}

/** A list of more entries than this cannot grow in V8 any further. */
const LONGEST = 2 ** 26;
/** So much is always there. */
const SMALL = 2 ** 26;

/** V8 ends the process where its heap is full: what cannot fit is refused before. What of the heap is garbage is not known, so that all of it counts as free. */
function checkRoom(shape: Shape): void {
  const bytes = nestedBytes(shape);
  if (bytes <= SMALL) return;
  const limit = getHeapStatistics().heap_size_limit;
  if (bytes <= limit && shape.every((_, d) => sizeOf(shape.slice(0, d + 1)) <= LONGEST)) return;
  throw new TensorError(
    `toArray: nested arrays of ${formatShape(shape)} take ${bytes} bytes; JavaScript's heap has ${limit}, and a list at most ${LONGEST} entries: take dataSync(), or slices of the tensor`,
  );
}

/** The elements, nested as the shape says. @throws TensorError where JavaScript's heap has no room for them */
export function nestedValues(node: Node): NestedArray {
  const { shape } = node;
  checkRoom(shape);
  return nest(readValues(node), shape);
}
