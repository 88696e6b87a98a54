/** Trajectories as padded arrays. */
import { DataError } from '../errors';
import { tensor, type Tensor } from '../tensor';
import type { Trajectory } from './rollout';

export interface BatchShape {
  /** Columns of the prompts, P: the same at each step, so that the plans of the first are found again. */
  promptWidth: number;
  /** Columns of the responses, R. */
  responseWidth: number;
  padId: number;
}

type Field =
  'ids' | 'start' | 'masks' | 'rewards' | 'rolloutLogProbs' | 'oldLogProbs' | 'refLogProbs' | 'values' | 'advantages' | 'returns';

/**
 * One row a trajectory, row-major in host memory: prompts right-aligned in the first P columns, responses left-aligned in the R after them.
 * Minibatches are uploaded as arrays of their own, so that all of them share one plan.
 */
export class TrainingBatch {
  readonly rows: number;
  /** int32 [B, P+R]. */
  readonly ids: Int32Array;
  /** int32 [B]: the column of each prompt's first token. */
  readonly start: Int32Array;
  /** uint8 [B,R]: 1 where a response token counts. */
  readonly masks: Uint8Array;
  /** float32 [B,R]: a trajectory's reward stands at its last token. */
  readonly rewards: Float32Array;
  /** float32 [B,R], as the sampler reported them. */
  readonly rolloutLogProbs: Float32Array;
  /** The prompt of each row. */
  readonly groupIds: string[];
  /** float32 [B,R]: what the models and the estimator add before the update. */
  oldLogProbs: Float32Array | null = null;
  refLogProbs: Float32Array | null = null;
  values: Float32Array | null = null;
  advantages: Float32Array | null = null;
  returns: Float32Array | null = null;

  /** @throws DataError for a trajectory that does not fit the shape */
  constructor(
    trajectories: readonly Trajectory[],
    readonly shape: BatchShape,
  ) {
    const { promptWidth, responseWidth, padId } = shape;
    const width = promptWidth + responseWidth;
    this.rows = trajectories.length;
    this.ids = new Int32Array(this.rows * width).fill(padId);
    this.start = new Int32Array(this.rows);
    this.masks = new Uint8Array(this.rows * responseWidth);
    this.rewards = new Float32Array(this.rows * responseWidth);
    this.rolloutLogProbs = new Float32Array(this.rows * responseWidth);
    this.groupIds = trajectories.map(({ groupId }) => groupId);
    for (const [row, { promptIds, responseIds, rolloutLogProbs, reward }] of trajectories.entries()) {
      checkLength('prompt', promptIds.length, promptWidth);
      checkLength('response', responseIds.length, responseWidth);
      this.start[row] = promptWidth - promptIds.length;
      this.ids.set(promptIds, row * width + this.start[row]);
      this.ids.set(responseIds, row * width + promptWidth);
      const first = row * responseWidth;
      this.masks.fill(1, first, first + responseIds.length);
      this.rolloutLogProbs.set(rolloutLogProbs, first);
      this.rewards[first + responseIds.length - 1] = reward;
    }
  }

  /** Takes all rows but these out of every loss and statistic. */
  keepRows(kept: readonly number[]): void {
    const { responseWidth } = this.shape;
    const keep = new Set(kept);
    for (let row = 0; row < this.rows; row++) if (!keep.has(row)) this.masks.fill(0, row * responseWidth, (row + 1) * responseWidth);
  }

  /** Response tokens that count, in rows [from, to). */
  tokens(from = 0, to = this.rows): number {
    const { responseWidth } = this.shape;
    return this.masks.subarray(from * responseWidth, to * responseWidth).reduce((sum, m) => sum + m, 0);
  }

  /** Rows [from, to) of a field on the device. @throws DataError for a field that was not computed */
  tensor(field: Field, from = 0, to = this.rows): Tensor {
    const array = this[field];
    if (array === null) throw new DataError(`TrainingBatch: ${field} was not computed`);
    const width = array.length / this.rows;
    // A copy: a view would upload the memory it looks into from its beginning.
    return tensor(array.subarray(from * width, to * width), { shape: field === 'start' ? [to - from] : [to - from, width] });
  }

  /** Row ranges of at most `size` rows. */
  *ranges(size: number, from = 0, to = this.rows): Generator<[from: number, to: number]> {
    for (let start = from; start < to; start += size) yield [start, Math.min(start + size, to)];
  }
}

function checkLength(what: string, length: number, limit: number): void {
  if (length < 1 || length > limit) throw new DataError(`TrainingBatch: expected a ${what} of 1 to ${limit} tokens, got ${length}`);
}
