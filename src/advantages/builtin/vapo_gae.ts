import { generalizedAdvantage, where, type RowMoments, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { tokenWhitening, tokenWhiteningChoices, whitenTokens, type TokenWhitening } from '../whiten';
import { holesChoices, recurrence, type Holes } from './gae';

/**
 * Generalised advantage estimation with one λ for the returns and another one for the advantages (Yue et al., VAPO: Efficient and Reliable Reinforcement Learning for Advanced
 * Reasoning Tasks, 2025): returns = A^{λ_value} + V, advantages = A^{λ_policy}, whitened over the valid tokens. Length-adaptive:
 * λ_policy = 1 − 1/(αL), L the number of valid tokens of the row, from 0 to 1.
 */
export class DecoupledAdvantageEstimation extends AdvantageEstimator {
  static override readonly requires = ['values'] as const;
  static override readonly reads: EstimatorReads = ({ lambdaValue, lambdaPolicy, lengthAdaptiveAlpha }) => {
    const isAdaptive = (lengthAdaptiveAlpha as number) > 0;
    return ['gamma', 'groupIds', ...(lambdaValue === null || (lambdaPolicy === null && !isAdaptive) ? (['lambda'] as const) : [])];
  };
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten === true || whiten === 'batch' ? 'batch' : whiten === 'group' ? 'group' : 'row' });
  static override readonly options = {
    ...tokenWhitening,
    /** λ of the returns (1 in the paper). null: λ of the run. */
    lambdaValue: null as number | null,
    /** λ of the advantages. null: λ of the run. */
    lambdaPolicy: null as number | null,
    /** α of the length-adaptive λ_policy, which then takes the place of `lambdaPolicy`; 0: it has none. */
    lengthAdaptiveAlpha: 0,
    /** As for `gae`. */
    holes: 'carry',
  };
  static override readonly choices = { ...tokenWhiteningChoices, holes: holesChoices };

  override readonly takesRawInputs = this.options.holes === 'ignore' ? 'values' : true;
  override readonly leavesZeros = this.options.holes === 'carry';

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { gamma, lambda, groups, remask }: AdvantageContext): AdvantageResult {
    const { lambdaValue, lambdaPolicy, lengthAdaptiveAlpha } = this.options as { lambdaValue: number | null; lambdaPolicy: number | null; lengthAdaptiveAlpha: number };
    const holes = this.options.holes as Holes;
    const adaptive = () => masks.sum(1, { keepDims: true }).cast('float64').mul(lengthAdaptiveAlpha).maximum(1).pow(-1).neg().add(1).cast(rewards.dtype);
    const ofReturns = lambdaValue ?? lambda;
    const ofAdvantages = lengthAdaptiveAlpha > 0 ? adaptive() : (lambdaPolicy ?? lambda);
    const first = estimate(rewards, values!, masks, { gamma, lambda: ofReturns, holes, remask });
    const { advantages, moments } = ofAdvantages === ofReturns ? first : estimate(rewards, values!, masks, { gamma, lambda: ofAdvantages, holes, remask });
    return { advantages: whitenTokens(advantages, masks, this.options as unknown as TokenWhitening, { groups, moments, remask: remask !== false }), returns: first.returns };
  }
}

function estimate(
  rewards: Tensor,
  values: Tensor,
  masks: Tensor,
  { gamma, lambda, holes, remask }: { gamma: number; lambda: number | Tensor; holes: Holes; remask: boolean | 'advantages' },
): { advantages: Tensor; returns: Tensor; moments: RowMoments | null } {
  if (holes !== 'carry' || remask !== true) return { ...recurrence(rewards, values, masks, { gamma, lambda, holes }), moments: null };
  if (typeof lambda === 'number') return generalizedAdvantage(rewards, values, masks, { gamma, lambda, moments: true });
  const { advantages, returns } = recurrence(rewards, values, masks, { gamma, lambda, holes });
  return { advantages: where(masks, advantages, 0), returns: where(masks, returns, 0), moments: null };
}
