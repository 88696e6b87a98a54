import { EstimatorError } from '../../errors';
import { tensor, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import type { Groups } from '../groups';
import { baselineOptions, centreInGroups, declaredByGroups, singletonChoices, toEveryToken, type BaselineOptions } from '../outcome';
import { deviationChoices, rowWhiteningChoices, whitenRows, whitenTokens, tokenWhitening, type DeviationOptions, type RowWhitening } from '../whiten';
import { scaled } from './grpo';

interface DecoupledOptions extends BaselineOptions, DeviationOptions, RowWhitening {
  normByStd: boolean;
  weights: readonly number[];
  whiten: 'rows' | 'tokens' | 'none';
  minComponents: number;
  countEpsilon: number;
}

/**
 * GDPO (Liu et al., GDPO: Group reward-Decoupled Normalization Policy Optimization for Multi-reward RL Optimization, 2026): each component of the reward (`rewardComponents`, [batch, K]) is
 * normalised in its group by itself, as in GRPO; A = Σ_k w_k(r_k − μ_k)/(σ_k + ε), then (A − mean)/(std + ε') over the rows of the batch (or over all valid tokens).
 *
 * A component that is NaN gave no reward to that row: it is left out of the component's statistics and adds nothing; a row of which all are NaN gets 0. Metric: `std`, the standard deviation of A over the rows.
 *
 * Errors: weights that are not as many as components; fewer components than `minComponents`.
 */
export class DecoupledRewards extends AdvantageEstimator {
  static override readonly requires = ['groupIds', 'rewardComponents'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = (options) => ({
    ...declaredByGroups(options),
    // ε counts where the parts of several components cancel out.
    invariantTo: options.singleton === 'raw' ? [] : ['shift'],
    ...(options.whiten !== 'none' && { scope: 'batch' }),
  });
  static override readonly options: Readonly<Record<string, unknown>> = {
    ...baselineOptions,
    skipNaN: true,
    /** One a component. Empty: all are 1. */
    weights: [],
    normByStd: true,
    ddof: 1,
    epsilon: 1e-6,
    epsilonPlacement: 'outside',
    minVariance: 0,
    /** The second normalisation: over `rows`, each once, over the valid `tokens`, or `none`. */
    whiten: 'rows',
    whitenDdof: 1,
    whitenEpsilon: 0,
    whitenEpsilonPlacement: 'outside',
    /** Added to the number of tokens that sums are divided by, where `tokens` are whitened. */
    countEpsilon: 0,
    minComponents: 1,
  };
  static override readonly choices = { ...deviationChoices, ...rowWhiteningChoices, singleton: singletonChoices, whiten: ['rows', 'tokens', 'none'] };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const components = context.rewardComponents!;
    const options = this.options as unknown as DecoupledOptions;
    const sum = summed(components, context.groups!, options);
    const scored = components.isNaN().logicalNot().sum(1).greater(0);
    const { whitened, std } = whitenRows(sum, scored, options);
    if (options.whiten === 'tokens') {
      const { countEpsilon, whitenDdof: ddof, whitenEpsilon: epsilon, whitenEpsilonPlacement: epsilonPlacement } = options;
      const tokens = where(masks, sum.cast(rewards.dtype).expandDims(1), 0);
      const known = scored.expandDims(1);
      const settings = { ...tokenWhitening, ddof, epsilon, epsilonPlacement, countEpsilon };
      const advantages = whitenTokens(tokens, masks.logicalAnd(known), settings, { groups: null, remask: context.remask !== false });
      return { advantages: where(known, advantages, 0), metrics: { std } };
    }
    return { ...toEveryToken((options.whiten === 'rows' ? whitened : sum).cast(rewards.dtype), masks, context.remask), metrics: { std } };
  }
}

/** Σ_k w_k A_k, float64 [batch]. */
function summed(components: Tensor, groups: Groups, options: DecoupledOptions): Tensor {
  const count = components.shape[1]!;
  const { weights, minComponents } = options;
  if (count < Math.max(1, minComponents)) throw new EstimatorError(`expected at least ${Math.max(1, minComponents)} reward components, got ${count}`);
  if (weights.length !== 0 && weights.length !== count) throw new EstimatorError(`option 'weights': expected ${count} numbers, one a component, got ${weights.length}`);
  let sum = tensor(0, { dtype: 'float64', device: components.device }).broadcastTo([components.shape[0]!]);
  let size = sum;
  for (let k = 0; k < count; k++) {
    const scores = components.select(1, k);
    const parts = centreInGroups(scores, groups, options);
    const normalised = options.normByStd ? scaled(parts, scores, { ...options, scale: 'group' }) : parts.centred;
    const part = normalised.mul(weights[k] ?? 1);
    sum = sum.add(part);
    size = size.add(part.abs());
  }
  // Parts that cancel out leave rounding noise, which whitening would stretch to numbers of size 1.
  // `less`, as the comparison of infinities must leave the sum, in which they are found.
  return where(sum.abs().less(size.mul(1e-12)), 0, sum);
}
