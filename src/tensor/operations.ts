/**
 * Operations on graph nodes: types and shapes are checked and brought together here, the graph is built in graph.ts. `Tensor` is a thin
 * surface over these functions; gradients use them too.
 */
import { TensorError } from '../errors';
import { dtypes, isFloating, promote, type DType } from './dtype';
import {
  assemble,
  cast,
  constant,
  copy,
  elementwise,
  expand,
  kernel,
  permute,
  reduce,
  reshape,
  runsAlongMemory,
  scan,
  slice,
  windowOf,
  type ElementwiseOp,
  type Node,
  type ReduceOp,
  type Region,
} from './graph';
import { broadcastShapes, contiguousStrides, formatShape, sameShape, sizeOf, type Shape } from './shape';

export type Operand = Node | number;

const compares = new Set<ElementwiseOp>(['eq', 'ne', 'lt', 'le', 'gt', 'ge']);
const keepsSmallIntegers = new Set<ElementwiseOp>(['maximum', 'minimum', 'where']);

/** A number takes the dtype of the tensor beside it: floating stays, integers stay for integral numbers and become float32 for others. */
function weakDType(value: number, beside: DType): DType {
  if (isFloating(beside)) return beside;
  if (!Number.isInteger(value) || Math.abs(value) > 2147483647) return 'float32';
  return beside === 'bool' || value < 0 || (beside === 'uint8' && value > 255) ? 'int32' : beside;
}

function commonDType(a: Operand, b: Operand): DType {
  if (typeof a !== 'number') return typeof b !== 'number' ? promote(a.dtype, b.dtype) : promote(a.dtype, weakDType(b, a.dtype));
  return typeof b !== 'number' ? promote(b.dtype, weakDType(a, b.dtype)) : 'float32';
}

/** An operand of arithmetic whose result has this dtype and shape. */
export function prepare(operand: Operand, dtype: DType, shape: Shape): Node {
  if (typeof operand === 'number') return constant(operand, dtype);
  const typed = cast(operand, dtype);
  return typed.op === 'constant' ? constant(typed.attributes.value!, dtype) : expand(typed, shape);
}

function resultShape(op: ElementwiseOp, operands: readonly Operand[]): Shape {
  let common: Shape | null = null;
  for (let i = 0; i < operands.length; i++) {
    const operand = operands[i]!;
    if (typeof operand === 'number' || operand.shape.length === 0) continue;
    if (common === null) common = operand.shape;
    else if (!sameShape(operand.shape, common)) {
      return broadcastShapes(publicName(op), operands.filter((each) => typeof each !== 'number').map((each) => each.shape));
    }
  }
  return common ?? [];
}

const publicNames: Partial<Record<ElementwiseOp, string>> = {
  eq: 'equal',
  ne: 'notEqual',
  lt: 'less',
  le: 'lessEqual',
  gt: 'greater',
  ge: 'greaterEqual',
  and_: 'logicalAnd',
  or_: 'logicalOr',
  not_: 'logicalNot',
  isnan: 'isNaN',
  isfinite: 'isFinite',
};

/** What users call an operation. */
export function publicName(operation: string): string {
  return publicNames[operation as ElementwiseOp] ?? operation;
}

/** The number that an operand is everywhere; NaN where it is none. */
function valueOf(operand: Operand): number {
  if (typeof operand === 'number') return operand;
  return operand.op === 'constant' ? operand.attributes.value! : NaN;
}

/**
 * Powers that are a product or two, in a tenth of the time. Zeros, infinities, NaN and signs come out as those of pow, and nothing on the way leaves the range of the dtype where the
 * result does not: x⁻² is the square of 1/x, as 1/x² would be 0 where x² is infinite. (√x is not x^0.5: of −0 and −Infinity.)
 */
const powers = new Map<number, (x: Node) => Node>([
  [1, (x) => x],
  [2, (x) => unary('square', x)],
  [3, (x) => binary('mul', unary('square', x), x)],
  [4, (x) => unary('square', unary('square', x))],
  [-1, (x) => binary('div', 1, x)],
  [-2, (x) => unary('square', binary('div', 1, x))],
]);

/**
 * Arithmetic on two operands. Numbers join a tensor without changing its kind; bool and uint8 become int32 (masks count as numbers);
 * `div` and `pow` of integers give float32.
 */
export function binary(op: ElementwiseOp, a: Operand, b: Operand): Node {
  const shape = resultShape(op, [a, b]);
  let dtype = commonDType(a, b);
  if ((op === 'div' || op === 'pow') && !isFloating(dtype)) dtype = 'float32';
  if ((dtype === 'bool' || dtype === 'uint8') && !compares.has(op) && !keepsSmallIntegers.has(op)) dtype = 'int32';
  // x·1, x+0, x−0, x/1: what gradients are full of.
  if (typeof a !== 'number' && a.dtype === dtype && sameShape(a.shape, shape)) {
    if (((op === 'mul' || op === 'div') && valueOf(b) === 1) || ((op === 'add' || op === 'sub') && valueOf(b) === 0)) return a;
  }
  if (typeof b !== 'number' && b.dtype === dtype && sameShape(b.shape, shape) && ((op === 'mul' && valueOf(a) === 1) || (op === 'add' && valueOf(a) === 0))) return b;
  if (op === 'ne' && typeof a !== 'number' && a.dtype === 'bool' && sameShape(a.shape, shape) && valueOf(b) === 0) return a;
  const product = op === 'pow' && typeof a !== 'number' ? powers.get(valueOf(b)) : undefined;
  if (product) return product(expand(cast(a as Node, dtype), shape));
  const inputs = [prepare(a, dtype, shape), prepare(b, dtype, shape)];
  return elementwise(op, inputs, shape, compares.has(op) ? 'bool' : dtype);
}

const floatingUnary = new Set<ElementwiseOp>(['exp', 'expm1', 'log', 'log1p', 'sqrt', 'rsqrt', 'sin', 'cos', 'tanh', 'sigmoid', 'softplus']);

/** Arithmetic on one operand. Functions such as exp turn integers into float32; floor, ceil and round leave them. */
export function unary(op: ElementwiseOp, a: Node): Node {
  if (op === 'isnan' || op === 'isfinite') {
    return isFloating(a.dtype) ? elementwise(op, [a], a.shape, 'bool') : constant(op === 'isfinite' ? 1 : 0, 'bool', a.shape);
  }
  if ((op === 'floor' || op === 'ceil' || op === 'round') && !isFloating(a.dtype)) return a;
  let dtype = a.dtype;
  if (floatingUnary.has(op) && !isFloating(dtype)) dtype = 'float32';
  else if (dtype === 'bool' || dtype === 'uint8') dtype = 'int32';
  return elementwise(op, [cast(a, dtype)], a.shape, dtype);
}

/** and, or, not on truth values (anything but 0 is true). */
export function logical(op: 'and_' | 'or_' | 'not_', operands: Node[]): Node {
  const shape = resultShape(op, operands);
  return elementwise(op, operands.map((operand) => prepare(cast(operand, 'bool'), 'bool', shape)), shape, 'bool');
}

/** `a` where the condition is not 0, else `b`. */
export function where(test: Node, a: Operand, b: Operand): Node {
  const shape = resultShape('where', [test, a, b]);
  const dtype = commonDType(a, b);
  const truth = condition(test);
  return elementwise('where', [prepare(truth, truth.dtype, shape), prepare(a, dtype, shape), prepare(b, dtype, shape)], shape, dtype);
}

/** Takes folded axes out of a shape that keeps them as 1. */
export function dropAxes(node: Node, axes: readonly number[], keepDims: boolean): Node {
  return keepDims ? node : reshape(node, node.shape.filter((_, d) => !axes.includes(d)));
}

/**
 * Sum over axes (kept with extent 1), of the node's dtype if no other is given. bool and uint8 add up as int32; beyond its bounds a sum is the nearest of them.
 *
 * Several axes are folded in two steps, the last one first: sums along time then run in the same pass as a scan.
 */
export function sum(node: Node, axes: number[], dtype?: DType): Node {
  const typed = node.dtype === 'bool' || node.dtype === 'uint8' ? cast(node, 'int32') : node;
  const last = node.shape.length - 1;
  const inTwo = axes.length > 1 && axes.includes(last) && node.shape[last]! >= LONG_ENOUGH;
  const total = dtype ?? typed.dtype;
  // The parts in float64: they are not rounded, and may leave the bounds of the dtype where the sum does not.
  return inTwo ? reduce(reduce(typed, 'sum', [last], 'float64'), 'sum', axes.filter((axis) => axis !== last), total) : reduce(typed, 'sum', axes, total);
}

/** Below this extent the partial sums would cost more memory traffic than the second step saves. */
const LONG_ENOUGH = 32;

/** A mask as the condition of `where`: as it is where it holds integers (anything but 0 counts). */
export function condition(mask: Node): Node {
  return isFloating(mask.dtype) ? cast(mask, 'bool') : mask;
}

/** A node repeated along dimensions of extent 1 and new leading ones; constants take the shape. */
export function expandNode(node: Node, shape: Shape): Node {
  return expand(node, shape);
}

export function fold(node: Node, reduction: ReduceOp, axes: number[]): Node {
  return reduce(node, reduction, axes);
}

/** The largest or smallest (`maximum`, `minimum`) along the axes, which stay; integers stay what they are. */
export function extreme(node: Node, reduction: ReduceOp, axes: number[], mask: Node | null): Node {
  // A bool is what is not 0, a number of no bounds too: as bytes it has some.
  const x = node.dtype === 'bool' ? cast(node, 'uint8') : node;
  const [least, most] = dtypes[node.dtype].bounds;
  const folded = fold(mask ? where(mask, x, constant(reduction === 'maximum' ? least : most, x.dtype)) : x, reduction, axes);
  return cast(folded, node.dtype);
}

/** The number of elements that take part along the axes: a number, or what the mask counts, of a floating dtype. */
function count(node: Node, axes: number[], mask: Node | null, keepDims: boolean, dtype = node.dtype): Operand {
  if (!mask) return axes.reduce((total, d) => total * node.shape[d]!, 1);
  return cast(dropAxes(sum(expand(mask, node.shape), axes), axes, keepDims), dtype);
}

function masked(node: Node, mask: Node | null, instead: number): Node {
  return mask ? where(mask, node, instead) : node;
}

export function floating(node: Node): Node {
  return isFloating(node.dtype) ? node : cast(node, 'float32');
}

/** A statistic of `node` that is rounded to its floating dtype once: bfloat16 is taken in float32, int32, of which float32 does not hold all, in float64. */
function statistic(node: Node, of: (x: Node) => Node): Node {
  if (node.dtype === 'bfloat16') return cast(of(cast(node, 'float32')), 'bfloat16');
  return node.dtype === 'int32' ? cast(of(cast(node, 'float64')), 'float32') : of(floating(node));
}

/** Mean over axes; NaN where nothing takes part. Rounded once, and finite where the sum is beyond the dtype. */
export function mean(node: Node, axes: number[], mask: Node | null, keepDims = true): Node {
  return statistic(node, (x) => cast(binary('div', dropAxes(sum(masked(x, mask, 0), axes, 'float64'), axes, keepDims), count(x, axes, mask, keepDims, 'float64')), x.dtype));
}

/** Variance over axes: Σ(x−μ)² / (n−ddof). An offset of the values costs no digits. NaN or infinity where n ≤ ddof. */
export function variance(node: Node, axes: number[], mask: Node | null, ddof: number, keepDims = true): Node {
  return statistic(node, (x) => varianceOf(x, axes, mask, ddof, keepDims));
}

function varianceOf(x: Node, axes: number[], mask: Node | null, ddof: number, keepDims: boolean): Node {
  const n = count(x, axes, mask, keepDims);
  const inRows = mask === null && x.dtype === 'float32' && x.device === 'cpu' && axes.includes(x.shape.length - 1) && x.shape.at(-1)! >= LONG_ENOUGH;
  const divisor = typeof n === 'number' ? Math.max(0, n - ddof) : binary('maximum', binary('sub', n, ddof), 0);
  // In float64 to the end: the sum may be beyond float32 where the variance is not.
  if (inRows) return cast(binary('div', dropAxes(spreadOfRows(x, axes), axes, keepDims), divisor), x.dtype);
  return binary('div', binary('maximum', spreadAboutMean(x, axes, mask, n, keepDims), 0), divisor);
}

/** The square root of {@link variance}. Its gradient is 0 where all numbers are equal: the root has none there, and PyTorch says 0, too. */
export function deviation(node: Node, axes: number[], mask: Node | null, ddof: number, keepDims = true): Node {
  return statistic(node, (x) => {
    const squared = varianceOf(x, axes, mask, ddof, keepDims);
    const equal = binary('eq', squared, 0);
    return where(equal, 0, unary('sqrt', where(equal, 1, squared)));
  });
}

/** Σ(x−μ)², corrected by (Σ(x−μ))²/n for the rounding of μ: the "corrected two-pass" of Chan, Golub, LeVeque 1983. */
function spreadAboutMean(x: Node, axes: number[], mask: Node | null, n: Operand, keepDims: boolean): Node {
  // Of everything, the mean is a scalar, as it is where somebody asks for it: then both are computed once.
  const centred = masked(binary('sub', x, mean(x, axes, mask, axes.length < x.shape.length)), mask, 0);
  const folded = (values: Node) => dropAxes(sum(values, axes), axes, keepDims);
  const shift = folded(centred);
  return binary('sub', folded(unary('square', centred)), binary('div', unary('square', shift), n));
}

/** Σ(x−μ)² in float64, of each row in the pass that computes it, as μ need not be known; then of the rows' means, in float64 (Chan, Golub, LeVeque 1979). */
function spreadOfRows(x: Node, axes: number[]): Node {
  const last = x.shape.length - 1;
  const rows = axes.filter((axis) => axis !== last);
  const within = reduce(x, 'spread', [last], 'float64');
  if (rows.length === 0) return within;
  const length = x.shape[last]!;
  const means = binary('div', reduce(x, 'sum', [last], 'float64'), length);
  const between = binary('sub', means, mean(means, rows, null));
  return binary('add', sum(within, rows), binary('mul', sum(unary('square', between), rows), length));
}

/** x − mean over axes, with the mean's rounding taken out by a second pass. Masked positions hold 0. */
export function centre(node: Node, axes: number[], mask: Node | null): Node {
  const x = floating(node);
  const first = masked(binary('sub', x, mean(x, axes, mask)), mask, 0);
  return masked(binary('sub', first, mean(first, axes, mask)), mask, 0);
}

/** a[..,M,K] · b[..,K,N]; a 1-D operand is a row (left) or column (right) whose dimension leaves the result. */
export function matmul(a: Node, b: Node): Node {
  if (a.shape.length === 0 || b.shape.length === 0) throw new TensorError('matmul: expected tensors of at least one dimension, got a scalar');
  const left = a.shape.length === 1 ? reshape(a, [1, a.shape[0]!]) : a;
  const right = b.shape.length === 1 ? reshape(b, [b.shape[0]!, 1]) : b;
  const [m, k] = left.shape.slice(-2) as [number, number];
  const [kRight, n] = right.shape.slice(-2) as [number, number];
  if (k !== kRight) throw new TensorError(`matmul: shapes ${formatShape(a.shape)} and ${formatShape(b.shape)} do not fit: inner dimensions ${k} and ${kRight}`);
  let dtype = promote(a.dtype, b.dtype);
  if (!isFloating(dtype)) dtype = 'float32';
  const batch = broadcastShapes('matmul', [left.shape.slice(0, -2), right.shape.slice(0, -2)]);
  let product: Node;
  if (right.shape.length === 2 && left.shape.length > 2) {
    const rows = reshape(cast(left, dtype), [sizeOf(left.shape.slice(0, -1)), k]);
    product = reshape(multiply(rows, cast(right, dtype), [rows.shape[0]!, n], dtype), [...batch, m, n]);
  } else {
    product = multiply(expand(cast(left, dtype), [...batch, m, k]), expand(cast(right, dtype), [...batch, k, n]), [...batch, m, n], dtype);
  }
  let shape: Shape = product.shape;
  if (b.shape.length === 1) shape = shape.slice(0, -1);
  if (a.shape.length === 1) shape = [...batch, ...shape.slice(batch.length + 1)];
  return reshape(product, shape);
}

function multiply(a: Node, b: Node, shape: Shape, dtype: DType): Node {
  return kernel({ name: 'matmul', outputs: [{ shape, dtype }], scalars: [], attributes: [] }, [a, b])[0]!;
}

/** Puts an axis last, applies `f` to rows [N, extent], and puts it back. */
function alongRows(node: Node, axis: number, f: (rows: Node) => Node): Node {
  const last = node.shape.length - 1;
  const moved = axis === last ? node : permute(node, [...node.shape.keys()].filter((d) => d !== axis).concat(axis));
  const extent = moved.shape[last]!;
  const result = reshape(f(reshape(moved, [extent === 0 ? 0 : moved.size / extent, extent])), moved.shape);
  if (axis === last) return result;
  const back = [...node.shape.keys()].slice(0, last);
  back.splice(axis, 0, last);
  return permute(result, back);
}

/** softmax, or its logarithm, along an axis. */
export function softmax(node: Node, axis: number, log: boolean): Node {
  return alongRows(floating(node), axis, (rows) => kernel({ name: 'softmax', outputs: [{ shape: rows.shape, dtype: rows.dtype }], scalars: [], attributes: [log ? 1 : 0] }, [rows])[0]!);
}

/** out[..i..] = x[..index[..i..]..]: index has as many dimensions as x and, but for the axis, the same extents. */
export function gather(node: Node, index: Node, axis: number): Node {
  const shape = node.shape.map((extent, d) => (d === axis ? index.shape[d]! : extent));
  const call = { name: 'gather', outputs: [{ shape, dtype: node.dtype }], scalars: [], attributes: [axis] };
  return kernel(call, [node, expand(cast(index, 'int32'), shape)])[0]!;
}

/** Adds src into zeros of `shape` at the indices along an axis, in the order of src. index and src have equal shapes. */
export function scatterAdd(index: Node, src: Node, axis: number, shape: Shape): Node {
  return kernel({ name: 'scatter_add', outputs: [{ shape, dtype: src.dtype }], scalars: [], attributes: [axis] }, [cast(index, 'int32'), src])[0]!;
}

/** Rows x[indices[..]] of the first dimension: shape [...indices, ...x.shape[1..]]. */
export function take(node: Node, indices: Node): Node {
  const rest = node.shape.slice(1);
  const flat = reshape(indices, [indices.size, ...rest.map(() => 1)]);
  return reshape(gather(node, expand(flat, [indices.size, ...rest]), 0), [...indices.shape, ...rest]);
}

export function concat(parts: readonly Node[], axis: number): Node {
  const dtype = parts.map((part) => part.dtype).reduce(promote);
  const first = parts[0]!.shape;
  for (const part of parts) {
    const fits = part.shape.length === first.length && part.shape.every((extent, d) => d === axis || extent === first[d]);
    if (!fits) throw new TensorError(`concat: expected shapes equal but for axis ${axis}, got ${formatShape(first)} and ${formatShape(part.shape)}`);
  }
  if (parts.length === 1) return parts[0]!;
  const shape = first.map((extent, d) => (d === axis ? parts.reduce((total, part) => total + part.shape[d]!, 0) : extent));
  const strides = contiguousStrides(shape);
  let start = 0;
  const regions = parts.map((part): Region => {
    const region = { offset: start * strides[axis]!, strides };
    start += part.shape[axis]!;
    return region;
  });
  return assemble(parts.map((part) => cast(part, dtype)), regions, shape, dtype, false);
}

export function stack(parts: readonly Node[], axis: number): Node {
  const dtype = parts.map((part) => part.dtype).reduce(promote);
  const first = parts[0]!.shape;
  for (const part of parts) {
    if (!sameShape(part.shape, first)) throw new TensorError(`stack: expected equal shapes, got ${formatShape(first)} and ${formatShape(part.shape)}`);
  }
  const shape = [...first.slice(0, axis), parts.length, ...first.slice(axis)];
  const strides = contiguousStrides(shape);
  const kept = strides.filter((_, d) => d !== axis);
  return assemble(parts.map((part) => cast(part, dtype)), parts.map((_, i) => ({ offset: i * strides[axis]!, strides: kept })), shape, dtype, false);
}

/** Running sum along an axis. */
export function cumsum(node: Node, axis: number, reverse: boolean): Node {
  const typed = node.dtype === 'bool' || node.dtype === 'uint8' ? cast(node, 'int32') : node;
  const last = node.shape.length - 1;
  const order = [...node.shape.keys()].filter((d) => d !== axis).concat(axis);
  const moved = axis === last ? typed : permute(typed, order);
  const sums = scan(constant(1, moved.dtype), moved, constant(0, moved.dtype), reverse, 'scan');
  return axis === last ? sums : permute(sums, order.map((_, d) => order.indexOf(d)));
}

/** The same elements in the opposite order along an axis. */
export function flip(node: Node, axis: number): Node {
  const starts = node.shape.map((extent, d) => (d === axis ? Math.max(0, extent - 1) : 0));
  return slice(node, starts, node.shape.map((_, d) => (d === axis ? -1 : 1)), node.shape);
}

/** The node itself, or a copy where it shows a window that does not run along memory. */
export function contiguous(node: Node): Node {
  if (node.op !== 'view') return node;
  const { offset, strides, base } = windowOf(node);
  return runsAlongMemory(node.shape, strides) && offset === 0 && base.size === node.size ? node : copy(node);
}
