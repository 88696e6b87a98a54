import { EstimatorError } from '../../errors';
import { scan, tensor, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { centreInGroups } from '../outcome';
import { GroupRelative, scaled } from './grpo';

/**
 * Discounted returns of turns: R_k is the sum of the rewards of turn k, G_k = R_k + d·G_{k+1}; every token of a turn gets its G_k. Turns are runs of valid tokens of one turn id; the tokens
 * of tools between them do not count. Advantages are G, not whitened; returns = G.
 */
export class TurnDiscount extends AdvantageEstimator {
  static override readonly requires = ['turnIds'] as const;
  static override readonly options = {
    /** d, from turn to turn; within a turn nothing is discounted. null: γ of the run. */
    turnDiscount: null as number | null,
  };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { gamma, turnIds }: AdvantageContext): AdvantageResult {
    const discount = (this.options.turnDiscount as number | null) ?? gamma;
    return { advantages: turnReturns(rewards, masks, turnIds!, discount) };
  }
}

/** G of each token's turn, [B,T]; 0 at masked positions. */
export function turnReturns(rewards: Tensor, masks: Tensor, turnIds: Tensor, discount: number): Tensor {
  // The second state holds what the first one was before: the turn of the next valid token, and of the one before.
  const neighbour = (reverse: boolean) => scan([turnIds.cast('float32')], { reverse, mask: masks, init: [-1, -1] }, ([last], [id]) => [id, last])[1];
  const ids = turnIds.cast('float32');
  const factor = where(ids.equal(neighbour(true)), tensor(1, { dtype: rewards.dtype, device: rewards.device }), discount);
  const toGo = scan([rewards, factor], { reverse: true, mask: masks }, (next, [r, f]) => r.add(next.mul(f)));
  const starts = ids.notEqual(neighbour(false));
  const spread = scan([toGo, starts], { mask: masks }, (current, [g, start]) => where(start, g, current));
  return where(masks, spread, 0);
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
    const { turnIds, gamma } = context;
    const ids = where(masks, turnIds!.cast('float32'), -1);
    const [least, most] = [where(masks, ids, 0).min(), ids.max()].map((tensor) => (masks.size === 0 ? -1 : tensor.item())) as [number, number];
    if (least < 0 && masks.size > 0) throw new EstimatorError(`turnIds: expected integers of at least 0 on valid tokens, got ${least}`);
    const returns = turnReturns(rewards, masks, turnIds!, turnDiscount ?? gamma);
    let advantages = where(masks, this.normalised(where(masks, rewards, 0).sum(1), context).mul(trajectoryWeight).expandDims(1), 0);
    for (let turn = 0; turn <= most; turn++) {
      const here = ids.equal(turn);
      // The same for all tokens of the turn; NaN: the row has no such turn.
      const scores = where(here.sum(1).greater(0), where(here, returns, -Infinity).max(1), NaN);
      advantages = advantages.add(where(here, this.normalised(scores, context).mul(turnWeight).expandDims(1), 0));
    }
    // A turn without a reward (NaN) takes no part, nor does one whose return hangs on it.
    return { advantages: advantages.cast(rewards.dtype), returns: this.options.skipNaN ? where(returns.isNaN(), 0, returns) : returns };
  }

  private normalised(scores: Tensor, { groups }: AdvantageContext): Tensor {
    const options = { ...(this.options as unknown as Parameters<typeof scaled>[2]), skipNaN: true };
    const parts = centreInGroups(scores, groups!, options);
    return options.normByStd ? scaled(parts, scores, options) : parts.centred;
  }
}
