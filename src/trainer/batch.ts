/** Trajectories as padded arrays. */
import { checkFields, checkList, isList, isNumber, isObject } from '../data/check';
import { DataError, showValue } from '../errors';
import { tensor, type Tensor } from '../tensor';
import { isFailed, type Trajectory, type TrajectoryStop, turnsOf } from './trajectory';

/** The columns of a batch. */
export interface BatchShape {
  /** Columns of the prompts, P: the same at each step, so that the plans of the first are found again. */
  promptWidth: number;
  /** Columns of the responses, R. */
  responseWidth: number;
  /** The token that fills rows up. */
  padId: number;
}

/** The arrays of a batch by name. */
export type BatchField = 'ids' | 'start' | 'masks' | 'turnIds' | 'rewards' | 'rolloutLogProbs' | 'oldLogProbs' | 'refLogProbs' | 'values' | 'advantages' | 'returns';

/**
 * One row a trajectory, row-major in host memory: prompts right-aligned in the first P columns, responses left-aligned in the R after them.
 * Minibatches are uploaded as arrays of their own, so that all of them share one plan.
 */
export class TrainingBatch {
  /** B, the rows: trajectories. */
  readonly rows: number;
  /** int32 [B, P+R]. */
  readonly ids: Int32Array;
  /** int32 [B]: the column of each prompt's first token. */
  readonly start: Int32Array;
  /** uint8 [B,R]: 1 where the policy wrote a token that counts. Observations are holes; a trajectory whose environment failed is 0 throughout. */
  readonly masks: Uint8Array;
  /** int32 [B,R]: the turn of each token, from 0; that of the turn before for observations and what follows. */
  readonly turnIds: Int32Array;
  /** float32 [B,R]: the reward of a turn stands at its last token. */
  readonly rewards: Float32Array;
  /** float32 [B,R], as the sampler reported them. */
  readonly rolloutLogProbs: Float32Array;
  /** The prompt of each row; a trajectory whose environment failed is a group of its own, so that the others are not compared with it. */
  readonly groupIds: string[];
  /** Why each trajectory ended. */
  readonly stopReasons: TrajectoryStop[];
  /** float32 [B,R]: what the models and the estimator add before the update. */
  oldLogProbs: Float32Array | null = null;
  /** float32 [B,R]: under the reference; null without a KL term. */
  refLogProbs: Float32Array | null = null;
  /** float32 [B,R]: the critic's; null without one. */
  values: Float32Array | null = null;
  /** float32 [B,R]: the estimator's; null before it ran. */
  advantages: Float32Array | null = null;
  /** float32 [B,R]: what the critic is trained on; null before the estimator ran. */
  returns: Float32Array | null = null;

  /** @throws DataError for a trajectory that does not fit the shape */
  constructor(
    trajectories: readonly Trajectory[],
    /** The columns of prompts and responses. */
    readonly shape: BatchShape,
  ) {
    const who = 'TrainingBatch';
    checkFields(who, 'shape', shape, '{ promptWidth, responseWidth, padId }');
    const { promptWidth, responseWidth, padId } = shape;
    for (const [name, value] of Object.entries({ promptWidth, responseWidth, padId })) {
      if (!Number.isInteger(value) || value < 0) throw new DataError(`${who}: ${name}: expected an integer, 0 or more, got ${showValue(value)}`);
    }
    checkList(who, 'trajectories', trajectories, 'an array of trajectories (promptIds, responseIds, rolloutLogProbs, …)', isTrajectory);
    if (trajectories.length * (promptWidth + responseWidth) > MOST_IDS) {
      throw new DataError(`${who}: expected at most ${MOST_IDS} ids, got ${trajectories.length} rows of ${promptWidth} + ${responseWidth}`);
    }
    const width = promptWidth + responseWidth;
    this.rows = trajectories.length;
    this.ids = new Int32Array(this.rows * width).fill(padId);
    this.start = new Int32Array(this.rows);
    this.masks = new Uint8Array(this.rows * responseWidth);
    this.rewards = new Float32Array(this.rows * responseWidth);
    this.rolloutLogProbs = new Float32Array(this.rows * responseWidth);
    this.turnIds = new Int32Array(this.rows * responseWidth);
    this.groupIds = trajectories.map((trajectory, row) => (isFailed(trajectory) ? `${trajectory.groupId} (failed in row ${row})` : trajectory.groupId));
    this.stopReasons = trajectories.map(({ stopReason }) => stopReason);
    for (const [row, trajectory] of trajectories.entries()) {
      const { promptIds, responseIds, rolloutLogProbs } = trajectory;
      const counts = !isFailed(trajectory);
      checkLength('prompt', promptIds.length, 1, promptWidth);
      checkLength('response', responseIds.length, counts ? 1 : 0, responseWidth);
      this.start[row] = promptWidth - promptIds.length;
      this.ids.set(promptIds, row * width + this.start[row]);
      this.ids.set(responseIds, row * width + promptWidth);
      const first = row * responseWidth;
      this.rolloutLogProbs.set(rolloutLogProbs, first);
      for (const [turn, { start, end, reward }] of turnsOf(trajectory).entries()) {
        if (counts) this.masks.fill(1, first + start, first + end);
        this.turnIds.fill(turn, first + start, first + responseWidth);
        this.rewards[first + end - 1] = reward;
      }
    }
  }

  /** Takes all rows but these out of every loss and statistic. */
  keepRows(kept: readonly number[]): void {
    const { responseWidth } = this.shape;
    const keep = new Set(kept);
    for (let row = 0; row < this.rows; row++) if (!keep.has(row)) this.masks.fill(0, row * responseWidth, (row + 1) * responseWidth);
  }

  /** Takes the rows whose last answer did not end by itself out of every loss, as `generator.apply_overlong_filtering` asks for. */
  keepStopped(): void {
    this.keepRows([...this.stopReasons.keys()].filter((row) => this.stopReasons[row] === 'stop'));
  }

  /** Response tokens that count, in rows [from, to). */
  tokens(from = 0, to = this.rows): number {
    const { responseWidth } = this.shape;
    return this.masks.subarray(from * responseWidth, to * responseWidth).reduce((sum, m) => sum + m, 0);
  }

  /** Rows [from, to) of a field on the device. @throws DataError for a field that was not computed */
  tensor(field: BatchField, from = 0, to = this.rows): Tensor {
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

/** Ids that fit in an array of 32-bit numbers of a gigabyte. */
const MOST_IDS = 2 ** 28;

function isTrajectory(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { promptIds, responseIds, rolloutLogProbs, reward } = value as Trajectory;
  return isNumber(reward) && [promptIds, responseIds, rolloutLogProbs].every((list) => isList(list, isNumber)) && rolloutLogProbs.length === responseIds.length;
}

function checkLength(what: string, length: number, least: number, most: number): void {
  if (length < least || length > most) throw new DataError(`TrainingBatch: expected a ${what} of ${least} to ${most} tokens, got ${length}`);
}
