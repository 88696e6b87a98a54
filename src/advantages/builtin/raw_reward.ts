import { EstimatorError } from '../../errors';
import { klDivergence, klEstimators, type KlEstimator } from '../../losses/kl';
import { concat, where, zerosLike, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { centreInGroups, declaredByGroups, singletonChoices, toEveryToken, type BaselineOptions } from '../outcome';
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
  const whitening = options as unknown as TokenWhitening;
  const column = rowValues.expandDims(1);
  const known = scored?.expandDims(1);
  const counted = known ? masks.logicalAnd(known) : masks;
  if (klCoef === 0) {
    // All tokens of a row are alike: its moments are known, and one of them is whitened for all.
    const counts = counted.sum(1, { keepDims: true }).cast('float64');
    const moments = concat([counts, column.cast('float64'), zerosLike(counts)], 1);
    const whitened = whitenTokens(column, counted, whitening, { groups, moments, remask: false });
    return toEveryToken((known ? where(known, whitened, 0) : whitened).squeeze(1), masks, context.remask);
  }
  if (!oldLogProbs || !refLogProbs) throw new EstimatorError(`klCoef is ${klCoef}, and this run has no ${oldLogProbs ? 'refLogProbs' : 'oldLogProbs'}`);
  const tokens = column.sub(klDivergence(oldLogProbs, refLogProbs, klEstimator).cast(column.dtype).mul(klCoef));
  const advantages = whitenTokens(tokens, counted, whitening, { groups, remask: context.remask !== false });
  return { advantages: known ? where(known, advantages, 0) : advantages };
}

/** Every token of a row gets R, the row's total reward; on request less β·kl_t, and whitened over the valid tokens. A row without a reward (NaN, with `skipNaN`) gets 0 and takes no part. */
export class RawReward extends AdvantageEstimator {
  static override readonly reads: EstimatorReads = ['groupIds', 'oldLogProbs', 'refLogProbs'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten === true || whiten === 'batch' ? 'batch' : whiten === 'group' ? 'group' : 'row' });
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
  static override readonly reads: EstimatorReads = ['oldLogProbs', 'refLogProbs'];
  static override readonly declares: EstimatorDeclares = ({ singleton, whiten }) => ({
    ...declaredByGroups({ singleton }),
    ...((whiten === true || whiten === 'batch') && { scope: 'batch' }),
  });
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
