/** Keys and values of the tokens a batch has seen, so that each new token costs one column of work. */
import { writeAt, zeros, type DType, type Tensor } from '../tensor';
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
    readonly rows: number,
    readonly capacity: number,
    dtype: DType,
  ) {
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
    this.length += columns;
  }

  dispose(): void {
    for (const x of this.tensors) x.dispose();
  }

  private write(store: Tensor[], layer: number, x: Tensor): void {
    const [given, columns] = x.shape as [number, number, number, number];
    const width = this.config.numKvHeads * this.config.headDim;
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
