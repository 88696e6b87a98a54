/** One number a row: the total reward beside those of the rows of its group, and what every token of the row gets for it. */
import { EstimatorError } from '../errors';
import { checkNoNaN, floating } from '../losses/check';
import { arange, Tensor, where, type GroupAdvantageOptions } from '../tensor';
import { isZeroWhereMasked } from '../tensor/recurrences';
import { type Array2D, asTensor } from './arrays';
import type { AdvantageResult, EstimatorDeclaration } from './estimator';
import type { Groups } from './groups';

/** Options of estimators that compare the rows of a group. */
export interface BaselineOptions {
  /** What a row alone in its group gets: `zero`; `raw`, its reward; `error`: such a group is refused. */
  singleton: 'zero' | 'raw' | 'error';
  /** A row whose reward is NaN has none: it is left out of the statistics and gets 0. Without this a NaN is an error. */
  skipNaN: boolean;
  /** The statistics of a row are those of the other rows of its group. */
  leaveOneOut: boolean;
}

export const baselineOptions: BaselineOptions = { singleton: 'zero', skipNaN: false, leaveOneOut: false };
export const singletonChoices = ['zero', 'raw', 'error'] as const;

/** What estimators that compare the rows of a group by their options `singleton`, `normByStd` and `scale` declare. */
export function declaredByGroups({ singleton, normByStd, scale }: Readonly<Record<string, unknown>>): EstimatorDeclaration {
  const isOfBatch = normByStd === true && scale === 'batch';
  return {
    scope: isOfBatch ? 'batch' : 'group',
    invariantTo: isOfBatch || singleton === 'raw' ? [] : normByStd === true ? ['shift', 'scale'] : ['shift'],
    emptyRows: 'count',
    smallestGroup: singleton === 'error' ? 2 : 1,
  };
}

export interface Centred {
  /** R − μ, float64 [batch]; with `leaveOneOut` μ is the mean of the others. */
  centred: Tensor;
  /** μ of the group, float64 [batch]. */
  mean: Tensor;
  /** Rows of the group that have a reward, and Σ(R−μ)² over them (with `leaveOneOut`, over the others); float64 [batch]. */
  count: Tensor;
  spread: Tensor;
  /** Whether the row is the only one of its group that has a reward. */
  alone: Tensor;
  /** Whether the row has a reward; null: all have. */
  scored: Tensor | null;
}

const SINGLE = "expected at least two rows with a reward in every group, got a group of one (singleton is 'error')";

/** Differences of the scores [batch] from their group's mean, taken in float64. @throws EstimatorError for a singleton that is refused */
export function centreInGroups(scores: Tensor, groups: Groups, { singleton, skipNaN, leaveOneOut }: BaselineOptions): Centred {
  const scored = skipNaN ? scores.isNaN().logicalNot() : null;
  if (!scored && singleton === 'error' && groups.smallest === 1) throw new EstimatorError(SINGLE);
  const known = (scored ? where(scored, scores, 0) : scores).cast('float64');
  const { count, mean, spread } = scored ? groups.moments(known, scored) : groups.moments(known);
  const alone = count.lessEqual(1);
  if (scored && singleton === 'error' && scored.logicalAnd(alone).sum().item() > 0) throw new EstimatorError(SINGLE);
  let difference = known.sub(mean);
  let remaining = spread;
  if (leaveOneOut) {
    ({ difference, spread: remaining } = scored ? groups.besideOthers(known, scored) : groups.besideOthers(known));
  } else if (scores.dtype === 'float64') {
    // The mean of equal numbers, rounded, is not always that number, and what it differs by would be whitened to numbers of size 1; of float32 numbers float64 rounds nothing.
    difference = difference.sub((scored ? groups.moments(difference, scored) : groups.moments(difference)).mean);
  }
  // The difference of a single row from its own mean is 0 without more.
  const centred = singleton === 'raw' ? where(alone, known, difference) : difference;
  return { centred: scored ? where(scored, centred, 0) : centred, mean, count, spread: remaining, alone, scored };
}

/**
 * What a row's total reward beside those of its group gives each of its tokens, by one kernel; null where the kernel says something else than {@link centreInGroups} and
 * {@link toEveryToken} do: rewards at masked positions count, results stay there, or rows are left out.
 *
 * @throws EstimatorError for a singleton that is refused
 */
export function advantagesInGroups(
  { rewards, masks, groups, remask }: { rewards: Tensor; masks: Tensor; groups: Groups; remask: boolean | 'advantages' },
  { singleton, skipNaN, leaveOneOut }: BaselineOptions,
  options: GroupAdvantageOptions,
): AdvantageResult | null {
  if (skipNaN || leaveOneOut || remask === false || !isZeroWhereMasked(rewards, masks)) return null;
  if (singleton === 'error' && groups.smallest === 1) throw new EstimatorError(SINGLE);
  const { advantages, rowAdvantages } = groups.advantages(rewards, masks, { ...options, keepSingletons: singleton === 'raw' });
  return { advantages, finiteIf: rowAdvantages };
}

/** One number a row, [batch], for each valid token of it; at masked positions 0, or the same number where they are not to be masked. */
export function toEveryToken(rowValues: Tensor, masks: Tensor, remask: boolean | 'advantages' = true): AdvantageResult {
  const column = rowValues.expandDims(1);
  return { advantages: remask === false ? column.broadcastTo(masks.shape) : where(masks, column, 0), finiteIf: rowValues };
}

/**
 * A reward for each row [B] as token rewards [B,T]: it stands at the last valid token, in a row without one at the last position. Tensors, or nested or typed arrays.
 *
 * @example
 * const rewards = outcomeRewards(tensor([1, 0]), tensor([[1, 1, 0], [1, 1, 1]])); // [[0, 1, 0], [0, 0, 0]]
 */
export function outcomeRewards(scores: Array2D, masks: Array2D): Tensor {
  const perRow = numbers('outcomeRewards', 'scores', scores);
  const marks = asTensor('outcomeRewards', 'masks', masks);
  checkNoNaN('outcomeRewards', 'masks', marks);
  const [batch, time] = marks.shape;
  if (marks.ndim !== 2 || perRow.ndim !== 1 || perRow.shape[0] !== batch) {
    throw new EstimatorError(`outcomeRewards: expected scores [batch] and masks [batch, time], got [${perRow.shape.join(',')}] and [${marks.shape.join(',')}]`);
  }
  const valid = marks.notEqual(0);
  const last = valid.logicalAnd(valid.cast('int32').cumsum(1, { reverse: true }).equal(1));
  const end = arange(0, time!, 1, { device: marks.device }).equal(time! - 1);
  const none = valid.sum(1, { keepDims: true }).equal(0);
  return where(last.logicalOr(none.logicalAnd(end)), perRow.expandDims(1), 0);
}

/**
 * Σ_k w_k r_k of each row of components [B,K] → [B]. A NaN is a component that gave no reward and is left out; the sum is NaN where none gave one. Tensors, or nested or
 * typed arrays.
 *
 * @param weights one a component; all 1 unless given
 */
export function combineRewards(components: Array2D, weights?: Array2D): Tensor {
  const rows = numbers('combineRewards', 'components', components);
  const factors = weights === undefined ? undefined : numbers('combineRewards', 'weights', weights);
  if (rows.ndim !== 2 || (factors && (factors.ndim !== 1 || factors.shape[0] !== rows.shape[1]))) {
    throw new EstimatorError(`combineRewards: expected components [batch, K] and K weights, got [${rows.shape.join(',')}]${factors ? ` and [${factors.shape.join(',')}]` : ''}`);
  }
  const given = rows.isNaN().logicalNot();
  const known = where(given, rows, 0);
  const sum = (factors ? known.mul(factors) : known).sum(1);
  return where(given.sum(1).greater(0), sum, NaN);
}

/** A tensor as it is; what an array holds as floating numbers. */
function numbers(who: string, label: string, given: Array2D): Tensor {
  const array = asTensor(who, label, given);
  return given instanceof Tensor ? array : floating(array);
}
