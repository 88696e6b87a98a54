/** Turns as the members of step groups: what `turn_discount`, `turn_level` and `gigpo` have in common. */
import { EstimatorError } from '../../errors';
import { scan, tensor, where, type Tensor } from '../../tensor';
import { Groups } from '../groups';
import { centreInGroups } from '../outcome';
import { scaled } from './grpo';

export type GroupRelativeOptions = Parameters<typeof scaled>[2];

/** G of each token's turn, [B,T]; 0 at masked positions. Turns are runs of valid tokens of one id. */
export function turnReturns(rewards: Tensor, masks: Tensor, turnIds: Tensor, discount: number): Tensor {
  const factor = where(isSameTurn(turnIds, masks, true), tensor(1, { dtype: rewards.dtype, device: rewards.device }), discount);
  const toGo = scan([rewards, factor], { reverse: true, mask: masks }, (next, [r, f]) => r.add(next.mul(f)));
  const goesOn = isSameTurn(turnIds, masks, false);
  const spread = scan([toGo, goesOn], { mask: masks }, (current, [g, on]) => where(on, current, g));
  return where(masks, spread, 0);
}

/** Whether the next valid token of the row (`reverse`), or the one before, is of the same turn. */
function isSameTurn(turnIds: Tensor, masks: Tensor, reverse: boolean): Tensor {
  // The second state holds what the first one was before. float32 is exact to 2^24: of larger ones the low bits and the others are compared.
  const isSame = (part: Tensor) => part.equal(scan([part], { reverse, mask: masks, init: [NO_TURN, NO_TURN] }, ([last], [id]) => [id, last])[1]);
  if (turnIds.dtype !== 'int32') return isSame(turnIds.cast('float32'));
  const low = turnIds.mod(LOW);
  return isSame(low.cast('float32')).logicalAnd(isSame(turnIds.sub(low).cast('float32')));
}

const LOW = 2 ** 16;
/** What no id is. */
const NO_TURN = 2 ** 100;

/** The turns of all rows. */
export interface Turns {
  /** Where each begins in [B·T]. */
  first: Int32Array;
  /** The step group of each. */
  stepGroups: string[];
  /** The turn of each token, 0 at masked positions; [B·T]. */
  ofToken: Int32Array;
}

/**
 * Turns are in one step group where they have one anchor in one group of rows; without `anchorIds`, one turn id.
 * @throws EstimatorError for anchors that are no integers, or differ within a turn, and for turn ids below 0 where they are the anchors
 */
export function findTurns(masks: Tensor, turnIds: Tensor, anchorIds: Tensor | null, groups: Groups): Turns {
  const time = masks.shape[1]!;
  const [valid, turn, anchor, group] = [masks.dataSync(), turnIds.dataSync(), (anchorIds ?? turnIds).dataSync(), groups.index.dataSync()];
  const dtype = (anchorIds ?? turnIds).dtype;
  const place = (at: number) => `row ${Math.floor(at / time)}, position ${at % time}`;
  const checkedAnchor = (id: number, at: number): number => {
    // float32 does not hold every integer beyond 2^24: two states could seem one.
    if (!Number.isInteger(id) || (dtype !== 'int32' && Math.abs(id) > 2 ** 24))
      throw new EstimatorError(`${anchorIds ? 'anchorIds' : 'turnIds'}: expected integers (as int32 beyond 2^24), got ${id} at ${place(at)}`);
    if (!anchorIds && id < 0) throw new EstimatorError(`turnIds: expected integers of at least 0 on valid tokens, got ${id} at ${place(at)}`);
    return id;
  };
  const first: number[] = [];
  const stepGroups: string[] = [];
  const ofToken = new Int32Array(valid.length);
  for (let row = 0, at = 0; at < valid.length; row++) {
    let before = -1;
    for (const end = at + time; at < end; at++) {
      if (!valid[at]) continue;
      if (before < 0 || turn[at] !== turn[before]) {
        const id = checkedAnchor(Number(anchor[at]), at);
        // Without an anchor it stands alone.
        stepGroups.push(id < 0 ? `alone ${first.length}` : `${group[row]} ${id}`);
        first.push(at);
      } else if (anchor[at] !== anchor[before]) {
        throw new EstimatorError(`anchorIds: expected one id a turn, got ${Number(anchor[before])} and ${Number(anchor[at])} in turn ${Number(turn[at])} at ${place(at)}`);
      }
      before = at;
      ofToken[at] = first.length - 1;
    }
  }
  return { first: Int32Array.from(first), stepGroups, ofToken };
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
  return relative.take(tensor(ofToken, { shape: [...returns.shape], device }));
}

/** With `skipNaN` a turn without a reward (NaN) takes no part, nor does one whose return hangs on it: their returns are 0. */
export function withoutUnscored(returns: Tensor, { skipNaN }: GroupRelativeOptions): Tensor {
  return skipNaN ? where(returns.isNaN(), 0, returns) : returns;
}
