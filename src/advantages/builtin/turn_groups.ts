/** Turns as the members of step groups: what `turn_discount`, `turn_level` and `gigpo` have in common. */
import { EstimatorError } from '../../errors';
import { concat, evaluate, scan, tensor, where, zeros, type Device, type Tensor } from '../../tensor';
import { isFloating } from '../../tensor/dtype';
import { placeIn } from '../../tensor/shape';
import type { AdvantageResult } from '../estimator';
import { Groups } from '../groups';
import { centreInGroups } from '../outcome';
import { scaled } from './grpo';

export type GroupRelativeOptions = Parameters<typeof scaled>[2];

/** Whether a turn begins at the token, bool [B,T]. @throws EstimatorError for ids that are no integers */
export function turnStarts(turnIds: Tensor, masks: Tensor): Tensor {
  checkIntegers('turnIds', turnIds, masks);
  return changesOf(turnIds, masks);
}

/** @throws EstimatorError where an id of a valid token is no integer, or one that float32 cannot tell from others */
function checkIntegers(name: string, ids: Tensor, masks: Tensor): void {
  if (!isFloating(ids.dtype)) return;
  const wrong = masks.notEqual(0).logicalAnd(ids.floor().notEqual(ids).logicalOr(ids.abs().greater(2 ** 24)));
  if (wrong.sum().item() === 0) return;
  const at = (wrong.dataSync() as Uint8Array).indexOf(1);
  throw new EstimatorError(`${name}: expected integers (as int32 beyond 2^24), got ${ids.dataSync()[at]} at ${placeIn(ids.shape, at)}`);
}

/** Whether the token is valid and has another id than the valid token of the row before it, or there is none; bool [B,T]. */
function changesOf(ids: Tensor, masks: Tensor): Tensor {
  const parts = exactParts(ids);
  const before = previousOf(parts, { mask: masks, reverse: false, init: NO_TURN });
  const isSame = parts.map((part, k) => part.equal(before[k]!)).reduce((all, each) => all.logicalAnd(each));
  return masks.notEqual(0).logicalAnd(isSame.logicalNot());
}

/** Numbers that tell ids apart, in float32, which is exact to 2^24: of int32 the id as float32, and what that rounded off. */
function exactParts(ids: Tensor): Tensor[] {
  const rounded = ids.cast('float32');
  return ids.dtype === 'int32' ? [rounded, ids.sub(rounded.cast('int32')).cast('float32')] : [rounded];
}

/** What no id is. */
const NO_TURN = 2 ** 100;

/** The numbers at the valid token of the row that was scanned before, `init` where there is none. */
function previousOf(parts: Tensor[], { mask, reverse, init }: { mask: Tensor; reverse: boolean; init: number }): Tensor[] {
  // The second half of the states holds what the first one was before. Under a mask of the scan it would be carried itself, in a scan of its own.
  const states = scan([mask, ...parts], { reverse, init: [...parts, ...parts].map(() => init) }, (last, [isValid, ...now]) => [
    ...now.map((part, k) => where(isValid!, part, last[k]!)),
    ...last.slice(0, parts.length),
  ]);
  return states.slice(parts.length);
}

/**
 * From each token on what its turn has, and the discounted return of the turn after it, [B,T]: where a turn begins, that is its G. Turns are runs of valid tokens of one id, which begin at
 * `starts`: in memory, where they are a byte a token, or each pass would have numbers of four made of them stored.
 */
export function turnsToGo(rewards: Tensor, masks: Tensor, starts: Tensor, discount: number): Tensor {
  const [isLast] = previousOf([starts.cast('float32')], { mask: masks, reverse: true, init: 0 });
  const factor = where(isLast!.notEqual(0), tensor(discount, { dtype: rewards.dtype, device: rewards.device }), 1);
  return scan([rewards, factor], { reverse: true, mask: masks }, (next, [r, f]) => r.add(next.mul(f)));
}

/** The turns of all rows, numbered row by row. */
export interface Turns {
  /** Whether one begins at the token, bool [B,T]. */
  starts: Tensor;
  /** Where each begins in [B·T], and its row; int32 [turns]. */
  first: Tensor;
  row: Tensor;
  /** Those of one step group. */
  stepGroups: Groups;
  /** Which turn of its row the token is in, from 1 on, int32 [B,T]; 0 at masked positions. */
  place: Tensor;
  /** Which turn that is, from 1 on, int32 [B, turns of a row + 1]; 0 where there is none. */
  ofPlace: Tensor;
}

/**
 * Turns are in one step group where they have one anchor in one group of rows; without `anchorIds`, one turn id.
 * @throws EstimatorError for ids that are no integers, for anchors that differ within a turn, and for turn ids below 0 where they are the anchors
 */
export function findTurns(masks: Tensor, turnIds: Tensor, anchorIds: Tensor | null, groups: Groups): Turns {
  const [batch, time] = masks.shape as [number, number];
  const { device } = masks;
  const starts = turnStarts(turnIds, masks);
  // Counted in float32, which is faster, as long as it is exact.
  const place = where(masks, starts.cast(time < 2 ** 24 ? 'float32' : 'int32').cumsum(1).cast('int32'), 0);
  evaluate([starts, place]);
  const flags = starts.dataSync() as Uint8Array;
  const positions: number[] = [];
  for (let at = flags.indexOf(1); at >= 0; at = flags.indexOf(1, at + 1)) positions.push(at);
  const row = Int32Array.from(positions, (at) => Math.floor(at / time));
  const first = tensor(Int32Array.from(positions), { device });
  const ofPlace = turnsByPlace(row, batch, device);
  const ofTurns = (anchorIds ?? turnIds).reshape(-1).take(first);
  if (anchorIds) checkAnchors(anchorIds, toTokens(ofTurns, { place, ofPlace }), turnIds, masks);
  const [anchors, group] = [ofTurns.dataSync(), groups.index.dataSync()];
  /** The step groups of each group, by their anchors. */
  const known = Array.from({ length: groups.count }, () => new Map<number, number>());
  let count = 0;
  const stepGroup = row.map((ofRow, turn) => {
    const id = anchors[turn]!;
    // Without an anchor it stands alone.
    if (id < 0 && anchorIds) return count++;
    if (id < 0) throw new EstimatorError(`turnIds: expected integers of at least 0 on valid tokens, got ${id} at ${placeIn(masks.shape, positions[turn]!)}`);
    const ofGroup = known[group[ofRow]!]!;
    const found = ofGroup.get(id);
    if (found === undefined) ofGroup.set(id, count);
    return found ?? count++;
  });
  return { starts, first, row: tensor(row, { device }), stepGroups: new Groups(stepGroup, row.length, device), place, ofPlace };
}

/** See Turns.ofPlace. */
function turnsByPlace(row: Int32Array, batch: number, device: Device): Tensor {
  const counts = new Int32Array(batch);
  for (const ofRow of row) counts[ofRow]!++;
  const width = counts.reduce((most, each) => Math.max(most, each), 0) + 1;
  const turns = new Int32Array(batch * width);
  counts.fill(0);
  row.forEach((ofRow, turn) => (turns[ofRow * width + ++counts[ofRow]!] = turn + 1));
  return tensor(turns, { shape: [batch, width], device });
}

/** What each turn has, [turns], for each of its tokens, [B,T]; 0 at masked positions. */
function toTokens(ofTurns: Tensor, { place, ofPlace }: Pick<Turns, 'place' | 'ofPlace'>): Tensor {
  return afterZero(ofTurns).take(ofPlace).gather(place, 1);
}

const afterZero = (x: Tensor): Tensor => concat([zeros([1], { dtype: x.dtype, device: x.device }), x]);

/** @throws EstimatorError for anchors that are no integers, and where one is not that of its turn, `ofTurns` [B,T] */
function checkAnchors(anchorIds: Tensor, ofTurns: Tensor, turnIds: Tensor, masks: Tensor): void {
  checkIntegers('anchorIds', anchorIds, masks);
  const changes = masks.logicalAnd(anchorIds.notEqual(ofTurns));
  if (changes.sum().item() === 0) return;
  const at = (changes.dataSync() as Uint8Array).indexOf(1);
  const [anchor, expected, turn] = [anchorIds, ofTurns, turnIds].map((ids) => ids.dataSync()[at]);
  throw new EstimatorError(`anchorIds: expected one id a turn, got ${expected} and ${anchor} in turn ${turn} at ${placeIn(masks.shape, at)}`);
}

/** (x − μ)/(σ + ε), or x − μ without `normByStd`, over each group; float64. */
export function relativeInGroups(scores: Tensor, groups: Groups, options: GroupRelativeOptions): Tensor {
  const parts = centreInGroups(scores, groups, options);
  return options.normByStd ? scaled(parts, scores, options) : parts.centred;
}

/** What an estimator says of turns, all [turns]: their advantages, and their returns, which are not finite only where an advantage is not. */
export function resultOfTurns(advantages: Tensor, returns: Tensor, turns: Turns, { skipNaN }: GroupRelativeOptions): AdvantageResult {
  const ofTurns = advantages.cast(returns.dtype);
  // With `skipNaN` a turn without a reward (NaN) takes no part, nor does one whose return hangs on it.
  const scored = skipNaN ? where(returns.isNaN(), 0, returns) : returns;
  return { advantages: toTokens(ofTurns, turns), returns: toTokens(scored, turns), finiteIf: afterZero(ofTurns) };
}
