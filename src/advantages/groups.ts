/** Rows of a batch that answer the same prompt, and statistics over them. */
import { EstimatorError, showValue } from '../errors';
import { tensor, Tensor } from '../tensor';
import * as ops from '../tensor/operations';

/** One id a row: strings or integers, in any order, groups of any size. */
export type GroupIds = readonly (string | number | bigint)[] | Int32Array | Tensor;

/**
 * Group statistics of per-row numbers. Every method takes and returns tensors of shape [batch]: each row gets the statistic of its group.
 * Sums run in row order, in float64; differences from a mean are taken twice, so that an offset of the scores costs no digits.
 */
export class Groups {
  /** int32 [batch]: the group of each row, numbered in order of appearance. */
  readonly index: Tensor;
  /** float32 [batch]: the number of rows in each row's group. */
  readonly sizes: Tensor;
  /** Number of groups. */
  readonly count: number;

  constructor(ids: GroupIds, batch: number) {
    const list = ids instanceof Tensor ? ids.dataSync() : ids;
    if (!Array.isArray(list) && !ArrayBuffer.isView(list)) throw new EstimatorError(`groupIds: expected one id a row (strings or integers), got ${showValue(ids)}`);
    if (list.length !== batch) throw new EstimatorError(`groupIds: expected ${batch} ids, one a row, got ${list.length}`);
    const numbers = new Map<string | number | bigint, number>();
    const index = new Int32Array(batch);
    const counts: number[] = [];
    for (let row = 0; row < batch; row++) {
      const id = list[row] as string | number | bigint;
      if (typeof id !== 'string' && typeof id !== 'bigint' && !Number.isInteger(id)) {
        throw new EstimatorError(`groupIds: expected strings or integers, got ${showValue(id)} in row ${row}`);
      }
      let group = numbers.get(id);
      if (group === undefined) {
        numbers.set(id, (group = counts.length));
        counts.push(0);
      }
      index[row] = group;
      counts[group]!++;
    }
    this.count = counts.length;
    this.index = tensor(index);
    this.sizes = tensor(Float32Array.from(index, (group) => counts[group]!));
  }

  /** Σ over the group. */
  sum(scores: Tensor): Tensor {
    const totals = ops.scatterAdd(this.index.node, this.check(scores), 0, [this.count]);
    return new Tensor(ops.gather(totals, this.index.node, 0));
  }

  mean(scores: Tensor): Tensor {
    return this.sum(scores).div(this.sizes);
  }

  /** score − mean of the group. */
  centre(scores: Tensor): Tensor {
    const first = scores.sub(this.mean(scores));
    return first.sub(this.mean(first));
  }

  /** √(Σ(x−μ)²/(n−ddof)); 0 where the group has no more than ddof rows. */
  std(scores: Tensor, ddof = 1): Tensor {
    const spread = this.sum(this.centre(scores).square());
    return spread.div(this.sizes.sub(ddof).maximum(1)).sqrt();
  }

  private check(scores: Tensor) {
    if (scores.ndim !== 1 || scores.shape[0] !== this.index.shape[0]) {
      throw new EstimatorError(`groups: expected one number a row, shape [${this.index.shape[0]}], got [${scores.shape.join(',')}]`);
    }
    return scores.node;
  }
}
