import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { advantagesInGroups, baselineOptions, centreInGroups, declaredByGroups, singletonChoices, toEveryToken, type BaselineOptions, type Centred } from '../outcome';
import { deviation, deviationChoices, type DeviationOptions } from '../whiten';

interface GroupRelativeOptions extends BaselineOptions, DeviationOptions {
  normByStd: boolean;
  scale: 'group' | 'batch';
}

/**
 * Group-relative policy optimisation (Shao et al., DeepSeekMath, 2024): every token of a row gets (R − μ)/(σ + ε), with R the row's
 * total reward, μ and σ (ddof 1) over the rows of its group. Where σ is 0 nothing is divided. A row alone in its group gets 0 (option singleton).
 */
export class GroupRelative extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = declaredByGroups;
  static override readonly options: Readonly<Record<string, unknown>> = {
    ...baselineOptions,
    /** Divide by the standard deviation. */
    normByStd: true,
    /** The divisor of the variance is n − ddof. */
    ddof: 1,
    /** Added to the standard deviation. */
    epsilon: 1e-6,
    /** `outside` of the root (σ + ε), or `inside` of it (√(σ² + ε)). */
    epsilonPlacement: 'outside',
    /** The variance is at least this. */
    minVariance: 0,
    /** Whose standard deviation: the `group`'s, or that of all rewards of the `batch`. */
    scale: 'group',
  };
  static override readonly choices: Readonly<Record<string, readonly unknown[]>> = { ...deviationChoices, singleton: singletonChoices, scale: ['group', 'batch'] };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const options = this.options as unknown as GroupRelativeOptions;
    const { normByStd: byDeviation, scale, ddof, epsilon, minVariance } = options;
    const tuned = scale === 'batch' && byDeviation
      ? null
      : advantagesInGroups({ rewards, masks, groups: groups!, remask }, options, { byDeviation, ddof, epsilon, epsilonOutside: options.epsilonPlacement === 'outside', minVariance });
    if (tuned) return tuned;
    const scores = rewards.sum(1);
    const parts = centreInGroups(scores, groups!, options);
    const advantages = options.normByStd ? scaled(parts, scores, options) : parts.centred;
    return toEveryToken(advantages.cast(scores.dtype), masks, remask);
  }
}

/** Divides by the standard deviation of the group, or of the batch. */
export function scaled(parts: Centred, scores: Tensor, options: GroupRelativeOptions): Tensor {
  const { centred, alone } = parts;
  const variance = options.scale === 'batch' ? varianceOfBatch(scores, parts, options.ddof) : varianceOfGroups(parts, options);
  // A raw singleton is divided as if its σ were 1.
  const known = options.singleton === 'raw' ? where(alone, 1, variance) : variance;
  return centred.div(where(known.greater(0), deviation(known, options), 1));
}

function varianceOfGroups({ count, spread }: Centred, { ddof, leaveOneOut }: GroupRelativeOptions): Tensor {
  const divisor = count.sub(leaveOneOut ? ddof + 1 : ddof);
  return where(divisor.greater(0), spread.div(divisor.maximum(1)), 0);
}

function varianceOfBatch(scores: Tensor, { scored }: Centred, ddof: number): Tensor {
  const mask = scored ?? scores.isNaN().logicalNot();
  const divisor = mask.sum().sub(ddof);
  const known = where(mask, scores, 0).cast('float64');
  const spread = where(mask, known.sub(known.mean(null, { mask })), 0).square().sum();
  return where(divisor.greater(0), spread.div(divisor.maximum(1)), 0);
}

/**
 * Dr. GRPO (Liu et al., Understanding R1-Zero-Like Training: A Critical Perspective, 2025): every token of a row gets R − μ, μ the mean of the rewards of its group:
 * GRPO without the division by the standard deviation.
 */
export class DrGroupRelative extends GroupRelative {
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = declaredByGroups;
  static override readonly options: Readonly<Record<string, unknown>> = { ...baselineOptions };
  static override readonly choices: Readonly<Record<string, readonly unknown[]>> = { singleton: singletonChoices };

  constructor(options: Readonly<Record<string, unknown>> = {}) {
    super({ ...options, normByStd: false });
  }
}

/**
 * GRPO scaled by the batch (Liu et al., Part I: Tricks or Traps? A Deep Dive into RL for LLM Reasoning, 2025, Lite PPO): every token of a row gets (R − μ)/(σ + ε), μ the mean of its group,
 * σ the standard deviation of the rewards of all rows.
 */
export class GroupRelativeBatchScale extends GroupRelative {
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = declaredByGroups;
  static override readonly options: Readonly<Record<string, unknown>> = { ...baselineOptions, ddof: 1, epsilon: 1e-4, epsilonPlacement: 'outside', minVariance: 0 };
  static override readonly choices: Readonly<Record<string, readonly unknown[]>> = { ...deviationChoices, singleton: singletonChoices };

  constructor(options: Readonly<Record<string, unknown>> = {}) {
    super({ ...options, normByStd: true, scale: 'batch' });
  }
}
