/** Turns as the members of step groups: what `turn_discount`, `turn_level` and `gigpo` have in common. */
import { EstimatorError } from '../../errors';
import { scan, tensor, where, type Tensor } from '../../tensor';
import { isFloating } from '../../tensor/dtype';
import { placeIn } from '../../tensor/shape';
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
  // The second half of the states holds what the first one was before.
  const states = scan(parts, { reverse, mask, init: [...parts, ...parts].map(() => init) }, (last, now) => [...now, ...last.slice(0, parts.length)]);
  return states.slice(parts.length);
}

/** G of each token's turn, [B,T]; 0 at masked positions. Turns are runs of valid tokens of one id, which begin at `starts`. */
export function turnReturns(rewards: Tensor, masks: Tensor, starts: Tensor, discount: number): Tensor {
  const [isLast] = previousOf([starts.cast('float32')], { mask: masks, reverse: true, init: 0 });
  const factor = where(isLast!.notEqual(0), tensor(discount, { dtype: rewards.dtype, device: rewards.device }), 1);
  const toGo = scan([rewards, factor], { reverse: true, mask: masks }, (next, [r, f]) => r.add(next.mul(f)));
  const spread = scan([toGo, starts], { mask: masks }, (current, [g, isStart]) => where(isStart, g, current));
  return where(masks, spread, 0);
}

/** The turns of all rows. */
export interface Turns {
  /** Where each begins in [B·T]. */
  first: Int32Array;
  /** The step group of each. */
  stepGroups: string[];
  /** The turn of each valid token, int32 [B,T]; any turn at masked positions. */
  ofToken: Tensor;
}

/**
 * Turns are in one step group where they have one anchor in one group of rows; without `anchorIds`, one turn id.
 * @param starts see {@link turnStarts}
 * @throws EstimatorError for anchors that are no integers, or differ within a turn, and for turn ids below 0 where they are the anchors
 */
export function findTurns(masks: Tensor, turnIds: Tensor, starts: Tensor, anchorIds: Tensor | null, groups: Groups): Turns {
  const [batch, time] = masks.shape as [number, number];
  const { device } = masks;
  const flags = starts.dataSync() as Uint8Array;
  const positions: number[] = [];
  for (let at = flags.indexOf(1); at >= 0; at = flags.indexOf(1, at + 1)) positions.push(at);
  const first = Int32Array.from(positions);
  const ids = anchorIds ?? turnIds;
  if (anchorIds) checkAnchors(anchorIds, turnIds, masks, starts);
  const anchors = first.length === 0 ? [] : ids.reshape(-1).take(tensor(first, { device })).dataSync();
  const group = groups.index.dataSync();
  // Of each row, the turns of the rows before it.
  const before = new Int32Array(batch);
  const stepGroups: string[] = [];
  for (let turn = 0; turn < first.length; turn++) {
    const [at, id] = [first[turn]!, anchors[turn]!];
    if (!anchorIds && id < 0) throw new EstimatorError(`turnIds: expected integers of at least 0 on valid tokens, got ${id} at ${placeIn(masks.shape, at)}`);
    const row = Math.floor(at / time);
    // Without an anchor it stands alone.
    stepGroups.push(id < 0 ? `alone ${turn}` : `${group[row]} ${id}`);
    if (row + 1 < batch) before[row + 1]!++;
  }
  for (let row = 1; row < batch; row++) before[row]! += before[row - 1]!;
  // Counted in float32, which is faster, as long as it is exact.
  const ofRow = starts.cast(time < 2 ** 24 ? 'float32' : 'int32').cumsum(1).cast('int32');
  const ofToken = ofRow.add(tensor(before, { shape: [batch, 1], device })).sub(1).maximum(0);
  return { first, stepGroups, ofToken };
}

/** @throws EstimatorError for anchors that are no integers, and where one changes within a turn */
function checkAnchors(anchorIds: Tensor, turnIds: Tensor, masks: Tensor, starts: Tensor): void {
  checkIntegers('anchorIds', anchorIds, masks);
  const changes = changesOf(anchorIds, masks).logicalAnd(starts.logicalNot());
  if (changes.sum().item() === 0) return;
  const at = (changes.dataSync() as Uint8Array).indexOf(1);
  const valid = masks.dataSync();
  let before = at - 1;
  while (!valid[before]) before -= 1;
  const [anchor, turn] = [anchorIds.dataSync(), turnIds.dataSync()];
  throw new EstimatorError(`anchorIds: expected one id a turn, got ${anchor[before]} and ${anchor[at]} in turn ${turn[at]} at ${placeIn(masks.shape, at)}`);
}

/** (x − μ)/(σ + ε), or x − μ without `normByStd`, over each group; float64. */
export function relativeInGroups(scores: Tensor, groups: Groups, options: GroupRelativeOptions): Tensor {
  const parts = centreInGroups(scores, groups, options);
  return options.normByStd ? scaled(parts, scores, options) : parts.centred;
}

/** The same for the returns [B,T] of turns over their step groups, for each token of a turn. */
export function relativeInStepGroups(returns: Tensor, { first, stepGroups, ofToken }: Turns, options: GroupRelativeOptions): Tensor {
  if (first.length === 0) return where(returns.isNaN(), 0, returns.mul(0));
  const { device } = returns;
  const perTurn = returns.reshape(-1).take(tensor(first, { device }));
  const relative = relativeInGroups(perTurn, new Groups(stepGroups, first.length, device), options);
  return relative.take(ofToken);
}

/** With `skipNaN` a turn without a reward (NaN) takes no part, nor does one whose return hangs on it: their returns are 0. */
export function withoutUnscored(returns: Tensor, { skipNaN }: GroupRelativeOptions): Tensor {
  return skipNaN ? where(returns.isNaN(), 0, returns) : returns;
}
