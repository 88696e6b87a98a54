import { EstimatorError } from '../../errors';
import { tensor, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { Groups } from '../groups';
import { centreInGroups } from '../outcome';
import { GroupRelative, scaled } from './grpo';
import { turnReturns } from './turns';

type GroupRelativeOptions = Parameters<typeof scaled>[2];

interface GroupInGroupOptions {
  stepWeight: number;
  turnDiscount: number | null;
}

/**
 * Group-in-group policy optimisation (Feng et al., Group-in-Group Policy Optimization for LLM Agent Training, 2025): A = A_E + ω·A_S for every token of a turn.
 *
 * A_E = (R − μ)/(σ + ε) compares the row's total reward R with those of the rows of its group, as `grpo` does. A_S = (G − μ_S)/(σ_S + ε) compares the turn's discounted return
 * G_k = R_k + γ·G_{k+1} (see `turn_discount`) with those of all turns that began in the same state (`anchorIds`) in the rows of the group, further turns of the same row included. A turn alone in its
 * step group gets A_S = 0, as does one without an anchor (a negative id). `normByStd` false takes the means off only. Options of `grpo` hold for both parts (`singleton` for A_E only). Returns = G.
 *
 * Turns are runs of valid tokens of one turn id; the anchor of a turn is that of its tokens. Errors: anchors that are no integers, or differ within a turn.
 */
export class GroupInGroup extends AdvantageEstimator {
  static override readonly requires = ['groupIds', 'turnIds', 'anchorIds'] as const;
  static override readonly options: Readonly<Record<string, unknown>> = {
    ...GroupRelative.options,
    /** ω. */
    stepWeight: 1,
    /** From turn to turn. null: γ of the run. */
    turnDiscount: null,
  };
  static override readonly choices: Readonly<Record<string, readonly unknown[]>> = GroupRelative.choices;

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, turnIds, anchorIds, gamma }: AdvantageContext): AdvantageResult {
    const { stepWeight, turnDiscount } = this.options as unknown as GroupInGroupOptions;
    const returns = turnReturns(rewards, masks, turnIds!, turnDiscount ?? gamma);
    const options = this.options as unknown as GroupRelativeOptions;
    const episodes = where(masks, relative(rewards.sum(1), groups!, options).expandDims(1), 0);
    const turns = findTurns(masks, turnIds!, anchorIds!, groups!);
    if (turns.first.length === 0) return { advantages: episodes.cast(rewards.dtype), returns };
    const { device } = rewards;
    const perTurn = returns.reshape(-1).take(tensor(turns.first, { device }));
    // A state that was met once is no mistake, whatever is said of rows that are alone.
    const ofTurns = relative(perTurn, new Groups(turns.stepGroups, turns.first.length, device), { ...options, singleton: 'zero' });
    const steps = ofTurns.take(tensor(turns.ofToken, { shape: [...masks.shape], device }));
    return { advantages: episodes.add(where(masks, steps.mul(stepWeight), 0)).cast(rewards.dtype), returns };
  }
}

function relative(scores: Tensor, groups: Groups, options: GroupRelativeOptions): Tensor {
  const parts = centreInGroups(scores, groups, options);
  return options.normByStd ? scaled(parts, scores, options) : parts.centred;
}

/** The turns of all rows: where each begins in [B·T], which step group it is in; and the turn of each token, 0 at masked positions. */
function findTurns(masks: Tensor, turnIds: Tensor, anchorIds: Tensor, groups: Groups): { first: Int32Array; stepGroups: string[]; ofToken: Int32Array } {
  const time = masks.shape[1]!;
  const [valid, turn, anchor, group] = [masks.dataSync(), turnIds.dataSync(), anchorIds.dataSync(), groups.index.dataSync()];
  const first: number[] = [];
  const stepGroups: string[] = [];
  const ofToken = new Int32Array(valid.length);
  let before = -1;
  for (let at = 0; at < valid.length; at++) {
    if (at % time === 0) before = -1;
    if (!valid[at]) continue;
    const place = `row ${Math.floor(at / time)}, position ${at % time}`;
    const id = Number(anchor[at]);
    // float32 does not hold every integer beyond 2^24: two states could seem one.
    if (!Number.isInteger(id) || (anchorIds.dtype !== 'int32' && Math.abs(id) > 2 ** 24)) throw new EstimatorError(`anchorIds: expected integers (as int32 beyond 2^24), got ${id} at ${place}`);
    if (before >= 0 && turn[at] === turn[before]) {
      if (anchor[at] !== anchor[before]) throw new EstimatorError(`anchorIds: expected one id a turn, got ${Number(anchor[before])} and ${id} in turn ${Number(turn[at])} at ${place}`);
    } else {
      // Without an anchor it stands alone.
      stepGroups.push(id < 0 ? `alone ${first.length}` : `${group[Math.floor(at / time)]} ${id}`);
      first.push(at);
    }
    before = at;
    ofToken[at] = first.length - 1;
  }
  return { first: Int32Array.from(first), stepGroups, ofToken };
}
