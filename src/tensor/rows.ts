/**
 * Rows of different lengths without padding: one long tensor [tokens], and where each row starts in it. Row b holds the elements
 * offsets[b] … offsets[b+1]−1; rows of length 0 are allowed.
 */
import { TensorError } from '../errors';
import { tensor } from './creation';
import { constant, kernel, reshape, slice, type Node, type Region } from './graph';
import { tidy, type Device } from './memory';
import * as ops from './operations';
import { checkOptions, describe, formatShape } from './shape';
import { Tensor, tensorArgument } from './tensor';

/** [batch + 1] whole numbers that do not fall, from 0 to the number of tokens. */
export type RowOffsets = readonly number[] | Int32Array | Uint32Array | Int16Array | Uint16Array | Int8Array | Uint8Array | Float32Array | Float64Array | Tensor;

/** Positions that int32 indices reach. */
const MOST_POSITIONS = 2 ** 31 - 1;

/** Options of {@link RowLayout}. */
export interface RowLayoutOptions {
  /** Columns of the padded form; at least the longest row. Default: the longest row. */
  time?: number;
  /** Where the rows will be. Default {@link defaultDevice}. */
  device?: Device;
}

/** Where the tokens of packed rows stand in [batch, time], worked out once for any number of tensors. `padRows` and `packRows` take it in place of offsets. */
export class RowLayout {
  /** Rows. */
  readonly batch: number;
  /** Columns of the padded form. */
  readonly time: number;
  /** Tokens of all rows together. */
  readonly tokens: number;
  /**
   * int32 [batch·time + tokens + 1]: for each position of the padded form its token, or `tokens` where it is padding; then for each token its position, and
   * batch·time for what is no token. The two undo each other; they are one array, so that whoever holds the one finds the other.
   */
  private readonly indices: Tensor;

  /** @throws TensorError for offsets that are none, and a `time` that a row does not fit in */
  constructor(rowOffsets: RowOffsets, options?: RowLayoutOptions) {
    const { time: wanted, device } = checkOptions('RowLayout', options, layoutOptions);
    const { starts, longest } = checkOffsets(rowOffsets);
    if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= longest)) {
      throw new TensorError(`rowOffsets: expected time, a whole number of at least ${longest}, the length of the longest row, got ${describe(wanted)}`);
    }
    this.batch = starts.length - 1;
    this.time = wanted ?? longest;
    this.tokens = starts[this.batch]!;
    const positions = this.batch * this.time;
    if (positions + this.tokens + 1 > MOST_POSITIONS) throw new TensorError(`rowOffsets: ${this.batch} rows of ${this.time} positions are more than int32 indices reach`);
    this.indices = tidy(() => indicesOf(starts, this.time, device));
  }

  /** x [tokens] → [batch, time], `fill` behind each row. */
  pad(x: Tensor, fill = 0): Tensor {
    const node = tensorArgument('padRows x', x);
    if (node.shape.length !== 1 || node.shape[0] !== this.tokens)
      throw new TensorError(`padRows: expected shape [${this.tokens}], one number a token as rowOffsets ends, got ${formatShape(node.shape)}`);
    if (typeof fill !== 'number') throw new TensorError(`padRows: expected fill, a number, got ${describe(fill)}`);
    const filled = ops.concat([node, constant(fill, node.dtype, [1])], 0);
    const padded = moved(filled, this.window(0, this.positions), { offset: this.positions, strides: [1] });
    return new Tensor(reshape(padded, [this.batch, this.time]));
  }

  /** x [batch, time] → [tokens]: what stands behind the rows is left out. */
  pack(x: Tensor): Tensor {
    const node = tensorArgument('packRows x', x);
    if (node.shape.length !== 2 || node.shape[0] !== this.batch || node.shape[1] !== this.time) {
      throw new TensorError(`packRows: expected shape [${this.batch},${this.time}], rows and columns of rowOffsets, got ${formatShape(node.shape)}`);
    }
    return new Tensor(moved(reshape(node, [this.positions]), this.window(this.positions, this.tokens), { offset: 0, strides: [1] }));
  }

  /** bool [batch, time]: 1 where a token stands. */
  present(): Tensor {
    const index = new Tensor(reshape(this.window(0, this.positions), [this.batch, this.time]));
    return index.less(this.tokens);
  }

  /** Lets go of the indices; what was padded and packed stays. */
  dispose(): void {
    this.indices.dispose();
  }

  /** As {@link dispose}, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  private get positions(): number {
    return this.batch * this.time;
  }

  private window(from: number, count: number): Node {
    return slice(this.indices.node, [from], [1], [count]);
  }
}

const layoutOptions = ['time', 'device'] as const;

/** x[index], whose gradient goes back by the inverse of the index (see KernelCall): exactly, and in parallel, where adding up would do neither. */
function moved(x: Node, index: Node, inverse: Region): Node {
  return kernel({ name: 'gather', outputs: [{ shape: index.shape, dtype: x.dtype }], scalars: [], attributes: [0], inverse }, [x, index])[0]!;
}

/** See RowLayout.indices; worked out on the device, in a few passes over memory. */
function indicesOf(starts: Int32Array, time: number, device?: Device): Tensor {
  const batch = starts.length - 1;
  const [tokens, positions] = [starts[batch]!, batch * time];
  const onDevice = (values: Int32Array) => tensor(values, { device }).node;
  const column = (node: Node) => reshape(node, [batch, 1]);
  const steps = Int32Array.from({ length: time }, (_, t) => t);
  const [start, end] = [column(onDevice(starts.subarray(0, batch))), column(onDevice(starts.subarray(1)))];
  const token = ops.binary('add', start, onDevice(steps));
  const forth = reshape(ops.where(ops.binary('lt', token, end), token, tokens), [positions]);
  // From token to token the position grows by 1, and by the padding of the rows that end in between.
  const gaps = onDevice(Int32Array.from({ length: batch }, (_, row) => time - (starts[row + 1]! - starts[row]!)));
  const growth = ops.binary('add', ops.scatterAdd(reshape(end, [batch]), gaps, 0, [tokens + 1]), 1);
  const back = ops.binary('sub', ops.cumsum(growth, 0, false), 1);
  return new Tensor(ops.concat([forth, back], 0)).realize();
}

function checkOffsets(rowOffsets: unknown): { starts: Int32Array; longest: number } {
  if (rowOffsets instanceof Tensor) tensorArgument('rowOffsets', rowOffsets);
  const isIntegers = rowOffsets instanceof Tensor && rowOffsets.dtype === 'int32' && rowOffsets.ndim === 1;
  const list = (isIntegers ? rowOffsets.dataSync() : rowOffsets) as ArrayLike<number>;
  if (!isIntegers && !Array.isArray(list) && !(ArrayBuffer.isView(list) && !(list instanceof DataView))) {
    const got = rowOffsets instanceof Tensor ? `${rowOffsets.dtype} ${formatShape(rowOffsets.shape)}` : describe(rowOffsets);
    throw new TensorError(`rowOffsets: expected batch + 1 whole numbers (an array, a typed array or an int32 Tensor), got ${got}`);
  }
  if (list.length === 0) throw new TensorError('rowOffsets: expected batch + 1 whole numbers that begin with 0, got none');
  const starts = new Int32Array(list.length);
  let longest = 0;
  for (let row = 0; row < list.length; row++) {
    const start: unknown = list[row];
    if (typeof start !== 'number' || !Number.isInteger(start)) throw new TensorError(`rowOffsets: expected whole numbers, got ${describe(start)} at position ${row}`);
    if (row === 0 && start !== 0) throw new TensorError(`rowOffsets: expected 0 at the start, got ${start}`);
    if (start > MOST_POSITIONS) throw new TensorError(`rowOffsets: expected at most ${MOST_POSITIONS}, got ${start} at position ${row}`);
    if (row > 0 && start < starts[row - 1]!) throw new TensorError(`rowOffsets: expected numbers that do not fall, got ${start} after ${starts[row - 1]} at position ${row}`);
    starts[row] = start;
    if (row > 0) longest = Math.max(longest, start - starts[row - 1]!);
  }
  return { starts, longest };
}

/** Options of {@link padRows}. */
export interface PadRowsOptions {
  /** Columns of the result; at least the longest row. Default: the longest row. */
  time?: number;
  /** What stands behind a row. Default 0. */
  fill?: number;
}

const padOptions = ['time', 'fill'] as const;

/**
 * Packed rows [tokens] as [batch, time]: row b holds x[rowOffsets[b]] … x[rowOffsets[b+1]−1] and then `fill`. Any dtype. The gradient is {@link packRows} of the
 * result's; `packRows(padRows(x, o), o)` is x to the bit.
 *
 * @param rowOffsets or a {@link RowLayout}, where several tensors have the same rows
 * @throws TensorError for offsets that fall, do not begin with 0 or do not end with the number of tokens
 * @example
 * padRows(tensor([1, 2, 3, 4]), [0, 1, 4]); // [[1, 0, 0], [2, 3, 4]]
 */
export function padRows(x: Tensor, rowOffsets: RowOffsets | RowLayout, options?: PadRowsOptions): Tensor {
  const { time, fill } = checkOptions('padRows', options, padOptions);
  tensorArgument('padRows x', x);
  if (rowOffsets instanceof RowLayout) {
    if (time !== undefined && time !== rowOffsets.time) throw new TensorError(`padRows: expected time ${rowOffsets.time}, that of the layout, got ${describe(time)}`);
    return rowOffsets.pad(x, fill);
  }
  return once(new RowLayout(rowOffsets, { time, device: x.device }), (layout) => layout.pad(x, fill));
}

/**
 * The tokens of rows [batch, time] without what stands behind them: [tokens]. The gradient is {@link padRows} of the result's, 0 behind the rows.
 *
 * @param rowOffsets or a {@link RowLayout}, where several tensors have the same rows
 * @throws TensorError for offsets that are none, and rows that are longer than `time`
 * @example
 * packRows(tensor([[1, 0, 0], [2, 3, 4]]), [0, 1, 4]); // [1, 2, 3, 4]
 */
export function packRows(x: Tensor, rowOffsets: RowOffsets | RowLayout): Tensor {
  const { shape } = tensorArgument('packRows x', x);
  if (rowOffsets instanceof RowLayout) return rowOffsets.pack(x);
  if (shape.length !== 2) throw new TensorError(`packRows: expected shape [batch,time], got ${formatShape(shape)}`);
  return once(new RowLayout(rowOffsets, { time: shape[1], device: x.device }), (layout) => layout.pack(x));
}

function once(layout: RowLayout, f: (layout: RowLayout) => Tensor): Tensor {
  try {
    return f(layout);
  } finally {
    layout.dispose();
  }
}
