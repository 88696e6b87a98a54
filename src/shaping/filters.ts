/** Which rows of a batch are worth training on. */
import { EstimatorError, showValue } from '../errors';
import { checkNumber, checkTensor } from '../losses/check';
import { type Given, resolveOptions } from '../options';
import { tensor, Tensor, where } from '../tensor';

/** What tells the prompts of a batch apart. */
export type GroupId = string | number | bigint;

/** A reward a row, or the rewards of its tokens, which are summed. */
export type RowRewards = readonly (number | readonly number[])[];

/**
 * The numbers of the rows to keep: all but those of groups in which more than one row is live and the live rows' rewards lie within `tolerance` of each
 * other: they have no advantage over one another. Yu et al. 2025, "DAPO: An Open-Source LLM Reinforcement Learning System at Scale" (dynamic sampling).
 *
 * @param live one flag a row: 0 where nothing of it is trained on, so that its reward does not count. Default: all are
 * @throws EstimatorError for lengths that differ and options that are unknown or out of range
 */
export function zeroVarianceFilter(rewards: RowRewards, groupIds: readonly GroupId[], options: Given<{ tolerance: number }> = {}, live?: readonly (number | boolean)[]): number[] {
  const who = 'zeroVarianceFilter';
  const { tolerance } = resolveOptions(who, { tolerance: 0 }, options);
  checkNumber(who, 'tolerance', tolerance, 0);
  const scores = totals(who, rewards, groupIds);
  if (live !== undefined && !Array.isArray(live)) throw new EstimatorError(`${who}: live: expected an array of flags, one a row, got ${showValue(live)}`);
  if (live && live.length !== scores.length) throw new EstimatorError(`${who}: live: expected ${scores.length} flags, one a row, got ${live.length}`);
  const dropped = new Set<GroupId>();
  for (const [id, rows] of rowsOfGroups(groupIds)) {
    const counted = live ? rows.filter((row) => live[row]) : rows;
    if (counted.length > 1 && spread(counted, scores) <= tolerance) dropped.add(id);
  }
  return scores.flatMap((_, row) => (dropped.has(groupIds[row]!) ? [] : [row]));
}

/**
 * Masks in which the rows that did not come to an end by themselves are 0 throughout. Yu et al. 2025, "DAPO" (overlong filtering).
 *
 * @param masks a tensor [B,T], or a list of numbers for each row (of any lengths), of which copies are returned
 * @param stopReasons why each response ended: all but those named by `kept` (default: `stop`) are left out
 * @throws EstimatorError for lengths that differ and unknown options
 */
export function overlongFilter<M extends Tensor | readonly (readonly number[])[]>(
  masks: M,
  stopReasons: readonly string[],
  options: Given<{ kept: readonly string[] }> = {},
): M extends Tensor ? Tensor : number[][] {
  const who = 'overlongFilter';
  const { kept } = resolveOptions<{ kept: readonly string[] }>(who, { kept: ['stop'] }, options);
  if (!Array.isArray(kept)) throw new EstimatorError(`${who}: option 'kept': expected an array of reasons, got ${showValue(kept)}`);
  if (!(masks instanceof Tensor) && !(Array.isArray(masks) && masks.findIndex((mask) => !Array.isArray(mask)) < 0)) {
    throw new EstimatorError(`${who}: masks: expected a Tensor [batch, time] or an array of numbers for each row, got ${showValue(masks)}`);
  }
  if (masks instanceof Tensor) checkTensor(who, 'masks', masks);
  else checkRows(who, masks);
  const rows = masks instanceof Tensor ? masks.shape[0] : masks.length;
  if (!Array.isArray(stopReasons) || stopReasons.length !== rows) {
    throw new EstimatorError(`${who}: stopReasons: expected ${rows} reasons, one a row, got ${Array.isArray(stopReasons) ? stopReasons.length : showValue(stopReasons)}`);
  }
  const unknown = (stopReasons as readonly unknown[]).findIndex((reason) => typeof reason !== 'string');
  if (unknown >= 0) throw new EstimatorError(`${who}: stopReasons: expected a reason for each row, got ${showValue(stopReasons[unknown])} in row ${unknown}`);
  const ended = stopReasons.map((reason) => kept.includes(reason));
  type Result = M extends Tensor ? Tensor : number[][];
  if (!(masks instanceof Tensor)) return (masks as readonly (readonly number[])[]).map((mask, row) => mask.map((m) => (ended[row] ? m : 0))) as Result;
  const flags = tensor(ended.map(Number), { dtype: 'uint8' }).reshape([rows, ...masks.shape.slice(1).map(() => 1)]);
  return where(flags.notEqual(0), masks, 0) as Result;
}

/** By findIndex(): every() passes over holes, of which a list may have four thousand million. */
function checkRows(who: string, masks: readonly (readonly unknown[])[]): void {
  masks.forEach((mask, row) => {
    const at = mask.findIndex((value) => typeof value !== 'number' && typeof value !== 'boolean');
    if (at >= 0) throw new EstimatorError(`${who}: masks: expected numbers, got ${showValue(mask[at])} in row ${row} at position ${at}`);
  });
}

/** A reward for each row. */
export function totals(who: string, rewards: RowRewards, groupIds: readonly GroupId[]): number[] {
  if (!Array.isArray(rewards)) throw new EstimatorError(`${who}: rewards: expected a list, one a row, got ${showValue(rewards)}`);
  if (!Array.isArray(groupIds) || groupIds.length !== rewards.length) {
    throw new EstimatorError(`${who}: groupIds: expected ${rewards.length} ids, one a row, got ${Array.isArray(groupIds) ? groupIds.length : showValue(groupIds)}`);
  }
  return rewards.map((reward: unknown, row) => {
    const total = Array.isArray(reward) ? sumOf(reward) : reward;
    if (typeof total !== 'number') throw new EstimatorError(`${who}: rewards: expected a number, or an array of numbers, a row, got ${showValue(reward)} in row ${row}`);
    return total;
  });
}

/** Null where it holds anything but numbers. */
function sumOf(list: readonly unknown[]): number | null {
  let sum = 0;
  // Not reduce(), which passes over holes.
  for (const each of list) {
    if (typeof each !== 'number') return null;
    sum += each;
  }
  return sum;
}

/** The rows of each group, in order of appearance. */
export function rowsOfGroups(groupIds: readonly GroupId[]): Map<GroupId, number[]> {
  const groups = new Map<GroupId, number[]>();
  groupIds.forEach((id, row) => {
    const rows = groups.get(id);
    if (rows) rows.push(row);
    else groups.set(id, [row]);
  });
  return groups;
}

/** The largest reward of the rows less the smallest. */
export function spread(rows: readonly number[], scores: readonly number[]): number {
  const found = rows.map((row) => scores[row]!);
  return found.reduce((a, b) => Math.max(a, b), -Infinity) - found.reduce((a, b) => Math.min(a, b), Infinity);
}
