/** The tensor users touch. */
import { showValue, TensorError } from '../errors';
import { callNative } from '../native';
import { dtypes, isDType, isFloating, type DType, type NumericArray } from './dtype';
import { bufferNode, cast, constant, expand, permute, reshape, slice, type ElementwiseOp, type Node, type ReduceOp } from './graph';
import { DISPOSED, Handle } from './handle';
import { checkDevice, defaultDevice, DeviceBuffer, type Device } from './memory';
import type { NestedArray } from './nested';
import * as ops from './operations';
import { explainNodes, realize } from './plan';
import { type Axes, ddofOf, type ReduceOptions, reduceNames, varianceNames, type VarianceOptions } from './reduce_options';
import { checkArray, checkAxes, checkAxis, checkDimensions, checkFlags, checkOptions, checkShape, describe, formatShape, sizeOf, type Shape } from './shape';
import { nestedValues, readNumber, readStored, readValues } from './values';

const cumsumNames = ['reverse'] as const;

/**
 * An n-dimensional array. Operations are lazy: they build a graph, which runs, fused, when a value is read (`data`, `dataSync`, `toArray`,
 * `item`) or with `realize`. Shapes broadcast as in NumPy; numbers mix with tensors freely.
 *
 * Dtypes: float32 (default), float64, bfloat16 (stored; computed in float32), int32, uint8, bool. Where two meet, floating wins over
 * integer and wider over narrower; a plain number never widens a tensor.
 *
 * Memory is freed when a tensor is collected, at once with `dispose()`, at the end of its block with `using`, or at the end of a `tidy`.
 */
export class Tensor extends Handle {
  /** The extents, the outermost first. */
  get shape(): Shape {
    return this.nodeFor('shape').shape;
  }

  /** The element type. */
  get dtype(): DType {
    return this.nodeFor('dtype').dtype;
  }

  /** Where the values are, or will be computed. */
  get device(): Device {
    return this.nodeFor('device').device ?? defaultDevice();
  }

  /** Number of elements. */
  get size(): number {
    return this.nodeFor('size').size;
  }

  /** Number of dimensions. */
  get ndim(): number {
    return this.nodeFor('ndim').shape.length;
  }

  // ---- values ----

  /** The elements in row-major order: Float32Array (float32, bfloat16), Float64Array, Int32Array or Uint8Array (uint8, bool). */
  async data(): Promise<Float32Array | Float64Array | Int32Array | Uint8Array> {
    return readValues(this.nodeFor('data'));
  }

  /** The elements in row-major order, at once. See {@link data}. */
  dataSync(): Float32Array | Float64Array | Int32Array | Uint8Array {
    return readValues(this.nodeFor('dataSync'));
  }

  /** The elements as nested arrays of numbers (bool as 0 and 1). @throws TensorError where JavaScript's heap has no room for them */
  toArray(): NestedArray {
    return nestedValues(this.nodeFor('toArray'));
  }

  /** The value of a tensor of one element. */
  item(): number {
    const node = this.nodeFor('item');
    if (node.size !== 1) throw new TensorError(`item: expected a tensor of one element, got shape ${formatShape(node.shape)}`);
    return readNumber(node);
  }

  /** Runs the graph behind this tensor, so that its result is in memory. Gradients asked for later do not flow through it, as through everything that was read. */
  realize(): this {
    realize([this.nodeFor('realize')]);
    return this;
  }

  /** The fused programs and kernels that reading this tensor would run, as text. */
  explain(): string {
    return explainNodes([this.nodeFor('explain')]);
  }

  // ---- arithmetic ----

  /** this + other. */
  add(other: Tensor | number): Tensor {
    return this.with('add', other);
  }
  /** this − other. */
  sub(other: Tensor | number): Tensor {
    return this.with('sub', other);
  }
  /** this · other. */
  mul(other: Tensor | number): Tensor {
    return this.with('mul', other);
  }
  /** True division: integers give float32. */
  div(other: Tensor | number): Tensor {
    return this.with('div', other);
  }
  /** Remainder with the sign of the divisor, as in Python. */
  mod(other: Tensor | number): Tensor {
    return this.with('mod', other);
  }
  /** this to the power of other; integers give float32. */
  pow(exponent: Tensor | number): Tensor {
    return this.with('pow', exponent);
  }
  /** The larger of the two, element by element; NaN wins. */
  maximum(other: Tensor | number): Tensor {
    return this.with('maximum', other);
  }
  /** The smaller of the two, element by element; NaN wins. */
  minimum(other: Tensor | number): Tensor {
    return this.with('minimum', other);
  }
  /** 1 where equal, else 0 (bool). */
  equal(other: Tensor | number): Tensor {
    return this.with('eq', other);
  }
  /** 1 where not equal (bool). */
  notEqual(other: Tensor | number): Tensor {
    return this.with('ne', other);
  }
  /** 1 where this < other (bool). */
  less(other: Tensor | number): Tensor {
    return this.with('lt', other);
  }
  /** 1 where this ≤ other (bool). */
  lessEqual(other: Tensor | number): Tensor {
    return this.with('le', other);
  }
  /** 1 where this > other (bool). */
  greater(other: Tensor | number): Tensor {
    return this.with('gt', other);
  }
  /** 1 where this ≥ other (bool). */
  greaterEqual(other: Tensor | number): Tensor {
    return this.with('ge', other);
  }
  /** 1 where both are not 0 (bool). */
  logicalAnd(other: Tensor): Tensor {
    return new Tensor(ops.logical('and_', [this.nodeFor('logicalAnd'), tensorArgument('logicalAnd', other)]));
  }
  /** 1 where one of both is not 0 (bool). */
  logicalOr(other: Tensor): Tensor {
    return new Tensor(ops.logical('or_', [this.nodeFor('logicalOr'), tensorArgument('logicalOr', other)]));
  }
  /** 1 where this is 0 (bool). */
  logicalNot(): Tensor {
    return new Tensor(ops.logical('not_', [this.nodeFor('logicalNot')]));
  }
  /** −this. */
  neg(): Tensor {
    return this.unary('neg');
  }
  /** |this|. */
  abs(): Tensor {
    return this.unary('abs');
  }
  /** −1, 0 or 1; NaN stays. */
  sign(): Tensor {
    return this.unary('sign');
  }
  /** this². */
  square(): Tensor {
    return this.unary('square');
  }
  /** e^this. */
  exp(): Tensor {
    return this.unary('exp');
  }
  /** e^this − 1, accurate near 0. */
  expm1(): Tensor {
    return this.unary('expm1');
  }
  /** Natural logarithm. */
  log(): Tensor {
    return this.unary('log');
  }
  /** log(1 + this), accurate near 0. */
  log1p(): Tensor {
    return this.unary('log1p');
  }
  /** Square root; NaN below 0. */
  sqrt(): Tensor {
    return this.unary('sqrt');
  }
  /** 1/√this. */
  rsqrt(): Tensor {
    return this.unary('rsqrt');
  }
  /** Sine. Of float32 up to 2³⁰, beyond which neighbouring numbers are 128 apart: NaN there. */
  sin(): Tensor {
    return this.unary('sin');
  }
  /** Cosine. Of float32 up to 2³⁰, as `sin`. */
  cos(): Tensor {
    return this.unary('cos');
  }
  /** Hyperbolic tangent. */
  tanh(): Tensor {
    return this.unary('tanh');
  }
  /** 1/(1 + e^−this). */
  sigmoid(): Tensor {
    return this.unary('sigmoid');
  }
  /** log(1 + e^x). */
  softplus(): Tensor {
    return this.unary('softplus');
  }
  /** To the integer below. */
  floor(): Tensor {
    return this.unary('floor');
  }
  /** To the integer above. */
  ceil(): Tensor {
    return this.unary('ceil');
  }
  /** To the nearest integer, halves to the even one. */
  round(): Tensor {
    return this.unary('round');
  }
  /** 1 where NaN (bool). */
  isNaN(): Tensor {
    return this.unary('isnan');
  }
  /** 1 where neither NaN nor infinite (bool). */
  isFinite(): Tensor {
    return this.unary('isfinite');
  }
  /** min(max(x, low), high); null leaves a side open. NaN stays. */
  clamp(low: Tensor | number | null, high: Tensor | number | null = null): Tensor {
    let node = this.nodeFor('clamp');
    if (low !== null) node = ops.binary('maximum', node, operandArgument('clamp low', low));
    if (high !== null) node = ops.binary('minimum', node, operandArgument('clamp high', high));
    return node === this.node ? this : new Tensor(node);
  }

  // ---- reductions ----

  /** Σ over axes (all unless told otherwise). float32 adds up in float64; bool and uint8 give int32, beyond whose bounds a sum is the nearest of them. */
  sum(axis?: Axes, options?: ReduceOptions): Tensor {
    return this.reduced('sum', axis, options, (x, axes, mask, keepDims) => ops.dropAxes(ops.sum(mask ? ops.where(mask, x, 0) : x, axes), axes, keepDims));
  }
  /** Rounded once, and finite where the sum is beyond the dtype; NaN where nothing takes part. */
  mean(axis?: Axes, options?: ReduceOptions): Tensor {
    return this.reduced('mean', axis, options, ops.mean);
  }
  /** Σ(x−μ)² / (n−ddof), ddof 1 unless told otherwise; NaN or Infinity where no more than ddof take part. An offset of the values costs no precision. */
  var(axis?: Axes, options?: VarianceOptions): Tensor {
    const ddof = ddofOf('var', options);
    return this.reduced('var', axis, options, (x, axes, mask, keepDims) => ops.variance(x, axes, mask, ddof, keepDims), varianceNames);
  }
  /** The square root of {@link var}. Its gradient is 0 where that is 0: where all numbers are equal, or nearer to one another than their dtype can square. */
  std(axis?: Axes, options?: VarianceOptions): Tensor {
    const ddof = ddofOf('std', options);
    return this.reduced('std', axis, options, (x, axes, mask, keepDims) => ops.deviation(x, axes, mask, ddof, keepDims), varianceNames);
  }
  /** The largest over axes; NaN wins. Where nothing takes part −Infinity, or the least number of an integer dtype. */
  max(axis?: Axes, options?: ReduceOptions): Tensor {
    return this.extreme('max', 'maximum', axis, options);
  }
  /** The smallest over axes; NaN wins. Where nothing takes part Infinity, or the largest number of an integer dtype. */
  min(axis?: Axes, options?: ReduceOptions): Tensor {
    return this.extreme('min', 'minimum', axis, options);
  }
  /** Running sum along an axis (the last unless told otherwise); `reverse` sums from the end. dtypes and bounds as those of `sum`. */
  cumsum(axis = -1, options?: { reverse?: boolean }): Tensor {
    const { reverse = false } = checkOptions('cumsum', options, cumsumNames);
    return new Tensor(ops.cumsum(this.nodeFor('cumsum'), checkAxis('cumsum', axis, this.ndim), Boolean(reverse)));
  }

  // ---- shape ----

  /** One extent may be -1: it is worked out from the size. */
  reshape(...shape: (number | readonly number[])[]): Tensor {
    const node = this.nodeFor('reshape');
    const asked = (Array.isArray(shape[0]) ? shape[0] : shape) as number[];
    checkDimensions('reshape', asked.length);
    const wanted = [...asked];
    const unknown = wanted.indexOf(-1);
    if (unknown >= 0 && wanted.every(Number.isInteger)) {
      const rest = sizeOf(wanted.filter((_, d) => d !== unknown));
      wanted[unknown] = rest === 0 ? 0 : node.size / rest;
    }
    if (!wanted.every((extent) => Number.isInteger(extent) && extent >= 0) || sizeOf(wanted) !== node.size) {
      throw new TensorError(`reshape: cannot show shape ${formatShape(node.shape)} as [${asked.map(describe).join(',')}]`);
    }
    return new Tensor(reshape(node, checkShape('reshape', wanted)));
  }
  /** Dimensions in another order; reversed where none is given. */
  transpose(order?: readonly number[]): Tensor {
    const node = this.nodeFor('transpose');
    if (order !== undefined) checkArray('transpose', 'an order of axes', order);
    if (order !== undefined && order.length !== node.shape.length) throw new TensorError(`transpose: expected an order of the ${node.shape.length} axes, got ${showValue(order)}`);
    const axes = order === undefined ? [...node.shape.keys()].reverse() : order.map((axis) => checkAxis('transpose', axis, node.shape.length));
    if (axes.length !== node.shape.length || new Set(axes).size !== axes.length) {
      throw new TensorError(`transpose: expected an order of the ${node.shape.length} axes, got ${showValue(order)}`);
    }
    return new Tensor(permute(node, axes));
  }
  /** A new dimension of extent 1 at `axis`. */
  expandDims(axis: number): Tensor {
    const node = this.nodeFor('expandDims');
    const at = checkAxis('expandDims', axis, node.shape.length + 1);
    checkDimensions('expandDims', node.shape.length + 1);
    return new Tensor(reshape(node, [...node.shape.slice(0, at), 1, ...node.shape.slice(at)]));
  }
  /** Takes out dimensions of extent 1: all, or those named. */
  squeeze(axis?: Axes): Tensor {
    const node = this.nodeFor('squeeze');
    const axes = axis === undefined || axis === null ? [...node.shape.keys()].filter((d) => node.shape[d] === 1) : checkAxes('squeeze', axis, node.shape.length);
    for (const d of axes) if (node.shape[d] !== 1) throw new TensorError(`squeeze: expected extent 1 at axis ${d}, got ${node.shape[d]}`);
    return new Tensor(ops.dropAxes(node, axes, false));
  }
  /** Repeats along dimensions of extent 1 and new leading ones. */
  broadcastTo(shape: readonly number[]): Tensor {
    const node = this.nodeFor('broadcastTo');
    const wanted = checkShape('broadcastTo', shape);
    const added = wanted.length - node.shape.length;
    if (added < 0 || node.shape.some((extent, d) => extent !== 1 && extent !== wanted[d + added])) {
      throw new TensorError(`broadcastTo: shape ${formatShape(node.shape)} does not broadcast to ${formatShape(wanted)}`);
    }
    return new Tensor(expand(node, wanted));
  }
  /** Elements starts[d] … ends[d]−1 of each leading dimension named; negative indices count from the end; dimensions left out stay whole. */
  slice(starts: readonly number[], ends: readonly (number | null)[] = []): Tensor {
    const node = this.nodeFor('slice');
    checkArray('slice', 'an array of starts', starts);
    checkArray('slice', 'an array of ends', ends);
    const from = node.shape.map((extent, d) => bound('slice', starts[d] ?? 0, extent));
    const to = node.shape.map((extent, d) => bound('slice', ends[d] ?? extent, extent));
    if (starts.length > node.shape.length || ends.length > node.shape.length)
      throw new TensorError(`slice: expected at most ${node.shape.length} starts and ends, got ${starts.length} and ${ends.length}`);
    return new Tensor(slice(node, from, from.map(() => 1), from.map((start, d) => Math.max(0, to[d]! - start))));
  }
  /** The elements at one index of an axis; the axis leaves the shape. */
  select(axis: number, index: number): Tensor {
    const node = this.nodeFor('select');
    const at = checkAxis('select', axis, node.shape.length);
    const extent = node.shape[at]!;
    if (!Number.isInteger(index) || index < -extent || index >= extent) {
      throw new TensorError(`select: expected an index from ${-extent} to ${extent - 1} on axis ${at}, got ${describe(index)}`);
    }
    const window = slice(node, node.shape.map((_, d) => (d === at ? (index + extent) % extent : 0)), node.shape.map(() => 1), node.shape.map((e, d) => (d === at ? 1 : e)));
    return new Tensor(ops.dropAxes(window, [at], false));
  }
  /** The same elements in the opposite order along an axis. */
  flip(axis: number): Tensor {
    return new Tensor(ops.flip(this.nodeFor('flip'), checkAxis('flip', axis, this.ndim)));
  }
  /** out[..i..] = this[..index[..i..]..] along the axis: `index` has the shape of the result. */
  gather(index: Tensor, axis = -1): Tensor {
    const node = this.nodeFor('gather');
    const at = checkAxis('gather', axis, node.shape.length);
    const chosen = tensorArgument('gather index', index);
    const fits = chosen.shape.length === node.shape.length && chosen.shape.every((extent, d) => d === at || extent === node.shape[d]);
    if (!fits || isFloating(chosen.dtype)) {
      throw new TensorError(`gather: expected integer indices of shape ${formatShape(node.shape)} but for axis ${at}, got ${chosen.dtype} ${formatShape(chosen.shape)}`);
    }
    return new Tensor(ops.gather(node, chosen, at));
  }
  /** Rows of the first dimension by number: shape [...indices.shape, ...this.shape[1..]]. */
  take(indices: Tensor): Tensor {
    const node = this.nodeFor('take');
    const chosen = tensorArgument('take indices', indices);
    if (node.shape.length === 0 || isFloating(chosen.dtype)) throw new TensorError(`take: expected integer indices into a tensor of at least one dimension, got ${chosen.dtype}`);
    checkDimensions('take', chosen.shape.length + node.shape.length - 1);
    return new Tensor(ops.take(node, chosen));
  }

  // ---- linear algebra and rows ----

  /** [..,M,K] · [..,K,N] → [..,M,N]; leading dimensions broadcast. */
  matmul(other: Tensor): Tensor {
    return new Tensor(ops.matmul(this.nodeFor('matmul'), tensorArgument('matmul', other)));
  }
  /** e^x / Σ e^x along an axis (the last unless told otherwise). */
  softmax(axis = -1): Tensor {
    return new Tensor(ops.softmax(this.nodeFor('softmax'), checkAxis('softmax', axis, this.ndim), false));
  }
  /** log softmax along an axis. */
  logSoftmax(axis = -1): Tensor {
    return new Tensor(ops.softmax(this.nodeFor('logSoftmax'), checkAxis('logSoftmax', axis, this.ndim), true));
  }

  // ---- type, device ----

  /** Converts; to integers by truncation, saturating; to bool: not 0. To bfloat16 numbers are rounded where they are stored: what goes on with them in the same pass has float32's digits (`realize()` between the two stores them). */
  cast(dtype: DType): Tensor {
    const node = this.nodeFor('cast');
    if (!isDType(dtype)) throw new TensorError(`cast: expected a dtype (${Object.keys(dtypes).join(', ')}), got ${describe(dtype)}`);
    return dtype === node.dtype ? this : new Tensor(cast(node, dtype));
  }
  /** The tensor's values as a constant: no gradient flows through. Evaluates it. */
  detach(): Tensor {
    const node = this.nodeFor('detach');
    realize([node]);
    const buffer = node.attributes.buffer;
    return new Tensor(buffer ? bufferNode(buffer, node.dtype, node.shape) : node);
  }
  /** The tensor on another device: evaluated and copied there. No gradient flows through a copy. */
  to(device: Device): Tensor {
    const node = this.nodeFor('to');
    const target = checkDevice('to', device);
    if (target === this.device) return this;
    if (node.op === 'constant') return new Tensor(constant(node.attributes.value!, node.dtype, node.shape, target));
    return storedTensor(readStored(node), node.dtype, node.shape, target);
  }
  /** JavaScript's own operators cannot work on tensors: `a > b` and `a + b` throw instead of giving something else. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return this.toString();
    throw new TensorError('a Tensor is no number: use its methods (a.add(b), a.greater(b)) and where(condition, a, b), or read it with item()');
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
  /** As {@link toArray}: what `JSON.stringify` writes. */
  toJSON(): NestedArray {
    return this.toArray();
  }
  /** Dtype, shape and whether it is evaluated; the values are not read. */
  override toString(): string {
    return this.isDisposed ? 'Tensor(disposed)' : `Tensor(${this.dtype} ${formatShape(this.shape)}${this.node.op === 'buffer' ? '' : ', not evaluated'})`;
  }

  private with(op: ElementwiseOp, other: Tensor | number): Tensor {
    return new Tensor(ops.binary(op, this.nodeFor(op), operandArgument(op, other)));
  }

  private unary(op: ElementwiseOp): Tensor {
    return new Tensor(ops.unary(op, this.nodeFor(op)));
  }

  private reduced(
    name: string,
    axis: Axes | undefined,
    options: ReduceOptions | undefined,
    f: (x: Node, axes: number[], mask: Node | null, keepDims: boolean) => Node,
    names: readonly string[] = reduceNames,
  ): Tensor {
    const node = this.nodeFor(name);
    const axes = checkAxes(name, axis, node.shape.length);
    const { mask, keepDims = false } = checkOptions(name, options, names);
    checkFlags(name, { keepDims });
    return new Tensor(f(node, axes, mask === undefined ? null : maskArgument(name, mask, node.shape), keepDims));
  }

  private extreme(name: string, reduction: ReduceOp, axis: Axes | undefined, options: ReduceOptions | undefined): Tensor {
    return this.reduced(name, axis, options, (x, axes, mask, keepDims) => ops.dropAxes(ops.extreme(x, reduction, axes, mask), axes, keepDims));
  }
}

/** @internal A tensor over values already in the form they are stored in. */
export function storedTensor(stored: NumericArray, dtype: DType, shape: Shape, device: Device): Tensor {
  const buffer = new DeviceBuffer(device, stored.byteLength);
  const result = new Tensor(bufferNode(buffer, dtype, shape));
  if (stored.byteLength > 0) callNative((addon) => addon.upload(buffer.id, 0, stored));
  return result;
}

/** @internal A tensor argument, or an error that names it, and its place in a list: `vtrace rewards`, `evaluate 2`. */
export function tensorArgument(argument: string, value: unknown, place?: number): Node {
  if (value instanceof Tensor && !value.isDisposed) return value.node;
  const who = place === undefined ? argument : `${argument} ${place}`;
  throw new TensorError(`${who}: ${value instanceof Tensor ? DISPOSED : `expected a Tensor, got ${describe(value)}`}`);
}

/** @internal A tensor or number argument. */
export function operandArgument(operation: string, value: unknown): Node | number {
  if (typeof value === 'number') return value;
  if (value instanceof Tensor) return value.isDisposed ? tensorArgument(ops.publicName(operation), value) : value.node;
  throw new TensorError(`${ops.publicName(operation)}: expected a Tensor or a number, got ${describe(value)}`);
}

function maskArgument(operation: string, mask: unknown, shape: Shape): Node {
  const node = tensorArgument(`${operation} mask`, mask);
  const added = shape.length - node.shape.length;
  if (added < 0 || node.shape.some((extent, d) => extent !== 1 && extent !== shape[d + added])) {
    throw new TensorError(`${operation}: expected a mask that broadcasts to ${formatShape(shape)}, got ${formatShape(node.shape)}`);
  }
  return expand(cast(node, 'bool'), shape);
}

function bound(operation: string, index: number, extent: number): number {
  if (!Number.isInteger(index)) throw new TensorError(`${operation}: expected an integer index, got ${describe(index)}`);
  return Math.min(extent, Math.max(0, index < 0 ? index + extent : index));
}
