import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { declaredByGroups } from '../outcome';
import { GroupRelative } from './grpo';
import { findTurns, relativeInGroups, resultOfTurns, turnsToGo, type GroupRelativeOptions } from './turn_groups';

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
  static override readonly reads: EstimatorReads = ({ turnDiscount }) => (turnDiscount === null ? ['gamma'] : []);
  static override readonly declares: EstimatorDeclares = declaredByGroups;
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
    const turns = findTurns(masks, turnIds!, anchorIds!, groups!);
    const returns = turnsToGo(rewards, masks, turns.starts, turnDiscount ?? gamma).reshape(-1).take(turns.first);
    const options = this.options as unknown as GroupRelativeOptions;
    const episodes = relativeInGroups(rewards.sum(1), groups!, options).take(turns.row);
    // A state that was met once is no mistake, whatever is said of rows that are alone.
    const steps = relativeInGroups(returns, turns.stepGroups, { ...options, singleton: 'zero' });
    return resultOfTurns(steps.mul(stepWeight).add(episodes), returns, turns, options);
  }
}
