/** Keys and values of the tokens a batch has seen, so that each new token costs one column of work. */
import { writeAt, zeros, type DType, type Tensor } from '../tensor';
import { TensorError } from '../errors';
import { describe } from '../tensor/shape';
import { checkCount, shapeOf } from './check';
import type { ResolvedConfig } from './config';
import { keptTensors } from './kept';

/**
 * One [rows, capacity, Hk·hd] tensor of keys and one of values a layer, written in place. The first columns (a prompt) may come with fewer
 * rows than the cache has: each of them then fills neighbouring rows, so that several samples of a prompt cost one reading of it.
 */
export class KeyValueCache {
  /** Columns filled. */
  length = 0;
  private readonly keys: Tensor[];
  private readonly values: Tensor[];

  constructor(
    private readonly config: ResolvedConfig,
    /** Sequences that it holds. */
    readonly rows: number,
    /** Positions that it has room for. */
    readonly capacity: number,
    dtype: DType,
  ) {
    if (typeof config !== 'object' || config === null) throw new TensorError(`KeyValueCache: expected a model's config, got ${describe(config)}`);
    for (const [name, value] of Object.entries({ rows, capacity, numKvHeads: config.numKvHeads, headDim: config.headDim, numLayers: config.numLayers })) checkCount('KeyValueCache', name, value);
    const width = config.numKvHeads * config.headDim;
    const made = keptTensors(2 * config.numLayers, () => zeros([rows, capacity, width], { dtype }));
    this.keys = made.slice(0, config.numLayers);
    this.values = made.slice(config.numLayers);
  }

  /** The tensors that hold the cache now; evaluate them with what was computed from it. */
  get tensors(): Tensor[] {
    return [...this.keys, ...this.values];
  }

  /**
   * Adds columns of a layer: k, v [B, S, Hk, hd]. Returns the keys and values that their queries may see: a prompt's own, or all of the
   * cache [rows, capacity, Hk, hd].
   */
  append(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
    this.write(this.keys, layer, k);
    this.write(this.values, layer, v);
    if (this.length === 0) return { k, v };
    const shape = [this.rows, this.capacity, this.config.numKvHeads, this.config.headDim];
    return { k: this.keys[layer]!.reshape(shape), v: this.values[layer]!.reshape(shape) };
  }

  /** Counts columns that every layer has added. */
  advance(columns: number): void {
    if (!Number.isInteger(columns) || columns < 0 || this.length + columns > this.capacity) {
      throw new TensorError(`KeyValueCache.advance: expected 0 to ${this.capacity - this.length} columns, got ${describe(columns)}`);
    }
    this.length += columns;
  }

  /** Frees its memory. */
  dispose(): void {
    for (const x of this.tensors) x.dispose();
  }

  private write(store: Tensor[], layer: number, x: Tensor): void {
    const [given, columns] = shapeOf('KeyValueCache.append', 'keys and values', x, 4) as [number, number, number, number];
    const width = this.config.numKvHeads * this.config.headDim;
    if (store[layer] === undefined) throw new TensorError(`KeyValueCache.append: expected a layer from 0 to ${store.length - 1}, got ${describe(layer)}`);
    const repeated = repeatRows(x.reshape(given, columns, width), this.rows / given);
    const written = writeAt(store[layer]!, repeated, this.length).keep();
    store[layer]!.dispose();
    store[layer] = written;
  }
}

/** Each row `times` times, neighbours: [B, …] → [B·times, …]. */
export function repeatRows(x: Tensor, times: number): Tensor {
  if (times === 1) return x;
  const [rows, ...rest] = x.shape as [number, ...number[]];
  return x
    .expandDims(1)
    .broadcastTo([rows, times, ...rest])
    .reshape(rows * times, ...rest);
}
