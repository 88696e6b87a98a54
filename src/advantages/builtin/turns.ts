import { scan, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { declaredByGroups } from '../outcome';
import { GroupRelative } from './grpo';
import { findTurns, relativeInGroups, resultOfTurns, turnsToGo, turnStarts, type GroupRelativeOptions } from './turn_groups';

/**
 * Discounted returns of turns: R_k is the sum of the rewards of turn k, G_k = R_k + d·G_{k+1}; every token of a turn gets its G_k. Turns are runs of valid tokens of one turn id; the tokens
 * of tools between them do not count. Advantages are G, not whitened; returns = G.
 */
export class TurnDiscount extends AdvantageEstimator {
  static override readonly requires = ['turnIds'] as const;
  static override readonly reads: EstimatorReads = ({ turnDiscount }) => (turnDiscount === null ? ['gamma'] : []);
  static override readonly declares: EstimatorDeclares = { scope: 'row' };
  static override readonly options = {
    /** d, from turn to turn; within a turn nothing is discounted. null: γ of the run. */
    turnDiscount: null as number | null,
  };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { gamma, turnIds }: AdvantageContext): AdvantageResult {
    const discount = (this.options.turnDiscount as number | null) ?? gamma;
    const starts = turnStarts(turnIds!, masks).realize();
    const toGo = turnsToGo(rewards, masks, starts, discount);
    return { advantages: where(masks, scan([toGo, starts], { mask: masks }, (current, [g, isStart]) => where(isStart, g, current)), 0) };
  }
}

interface TurnLevelOptions {
  turnDiscount: number | null;
  turnWeight: number;
  trajectoryWeight: number;
}

/**
 * Group-relative advantages of turns (Zeng et al., Reinforcing Multi-Turn Reasoning in LLM Agents via Turn-Level Reward Design, 2025): the return G_k of turn k (see `turn_discount`) is
 * compared with those of the same turn id in the rows of the group that have it, A = w_turn·(G_k − μ)/(σ + ε) + w_trajectory·(R − μ_R)/(σ_R + ε), R the row's total. Turn ids are integers of
 * at least 0. Options of `grpo` hold for both parts. (`gigpo` compares turns that began in the same state.)
 */
export class TurnLevel extends AdvantageEstimator {
  static override readonly requires = ['groupIds', 'turnIds'] as const;
  static override readonly reads: EstimatorReads = ({ turnDiscount }) => (turnDiscount === null ? ['gamma'] : []);
  static override readonly declares: EstimatorDeclares = declaredByGroups;
  static override readonly options: Readonly<Record<string, unknown>> = {
    ...GroupRelative.options,
    /** From turn to turn. null: γ of the run. */
    turnDiscount: null,
    turnWeight: 1,
    trajectoryWeight: 0,
  };
  static override readonly choices: Readonly<Record<string, readonly unknown[]>> = GroupRelative.choices;

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const { turnDiscount, turnWeight, trajectoryWeight } = this.options as unknown as TurnLevelOptions;
    const { turnIds, groups, gamma } = context;
    const options = this.options as unknown as GroupRelativeOptions;
    const turns = findTurns(masks, turnIds!, null, groups!);
    const returns = turnsToGo(rewards, masks, turns.starts, turnDiscount ?? gamma).reshape(-1).take(turns.first);
    let relative = relativeInGroups(returns, turns.stepGroups, options).mul(turnWeight);
    if (trajectoryWeight !== 0) relative = relative.add(relativeInGroups(rewards.sum(1), groups!, options).mul(trajectoryWeight).take(turns.row));
    return resultOfTurns(relative, returns, turns, options);
  }
}
