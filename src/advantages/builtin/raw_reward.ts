import { EstimatorError } from '../../errors';
import { klDivergence, klEstimators, type KlEstimator } from '../../losses/kl';
import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult } from '../estimator';
import { centreInGroups, singletonChoices, toEveryToken, type BaselineOptions } from '../outcome';
import { tokenWhitening, tokenWhiteningChoices, whitenTokens, type TokenWhitening } from '../whiten';

/** A penalty for the divergence from the reference policy, taken off each token's advantage. */
const penalty = {
  /** β of β·kl_t. Other than 0 it needs oldLogProbs and refLogProbs. */
  klCoef: 0,
  /** The estimate of kl_t. */
  klEstimator: 'k1' as KlEstimator,
};

/** What each row gets, less the penalty, whitened over the valid tokens. Rows that are not `scored` take no part, and get 0. */
function penalised(rowValues: Tensor, masks: Tensor, options: Readonly<Record<string, unknown>>, context: AdvantageContext, scored: Tensor | null): AdvantageResult {
  const { klCoef, klEstimator } = options as typeof penalty;
  const { oldLogProbs, refLogProbs, groups } = context;
  const remask = context.remask !== false;
  const { whiten } = options as unknown as TokenWhitening;
  if (klCoef === 0 && (whiten === 'none' || whiten === false)) return toEveryToken(rowValues, masks, context.remask);
  let tokens = rowValues.expandDims(1).broadcastTo(masks.shape);
  if (klCoef !== 0) {
    if (!oldLogProbs || !refLogProbs) throw new EstimatorError(`klCoef is ${klCoef}, and this run has no ${oldLogProbs ? 'refLogProbs' : 'oldLogProbs'}`);
    tokens = tokens.sub(klDivergence(oldLogProbs, refLogProbs, klEstimator).cast(tokens.dtype).mul(klCoef));
  }
  const known = scored?.expandDims(1);
  const counted = known ? masks.logicalAnd(known) : masks;
  const advantages = whitenTokens(tokens, counted, options as unknown as TokenWhitening, { groups, remask });
  return { advantages: known ? where(known, advantages, 0) : advantages };
}

/** Every token of a row gets R, the row's total reward; on request less β·kl_t, and whitened over the valid tokens. A row without a reward (NaN, with `skipNaN`) gets 0 and takes no part. */
export class RawReward extends AdvantageEstimator {
  static override readonly options = { ...tokenWhitening, ...penalty, whiten: 'none', skipNaN: false };
  static override readonly choices = { ...tokenWhiteningChoices, klEstimator: klEstimators };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const scores = rewards.sum(1);
    const scored = this.options.skipNaN ? scores.isNaN().logicalNot() : null;
    return penalised(scored ? where(scored, scores, 0) : scores, masks, this.options, context, scored);
  }
}

/**
 * REINFORCE++-baseline (Hu, Liu, Shen, REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global Advantage Normalization, 2025): R − μ over the rows of a group, on request less
 * β·kl_t, then whitened over the valid tokens of the batch. A row alone in its group has μ = R (option singleton).
 */
export class ReinforcePlusPlusBaseline extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly options = { ...tokenWhitening, ...penalty, singleton: 'zero', skipNaN: false };
  static override readonly choices = { ...tokenWhiteningChoices, singleton: singletonChoices, klEstimator: klEstimators };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const scores = rewards.sum(1);
    const { singleton, skipNaN } = this.options as unknown as BaselineOptions;
    const { centred, scored } = centreInGroups(scores, context.groups!, { singleton, skipNaN, leaveOneOut: false });
    return penalised(centred.cast(scores.dtype), masks, this.options, context, scored);
  }
}
