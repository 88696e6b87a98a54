/** Masked whitening, shared by the estimators that normalise over all tokens of a batch. */
import { EstimatorError } from '../errors';
import { rowMoments, where, whiten, type RowMoments, type Tensor } from '../tensor';
import type { Groups } from './groups';

/** Where a small number is added to a standard deviation, and what it may not fall below. */
export interface DeviationOptions {
  /** The divisor of the variance is n − ddof. */
  ddof: 0 | 1;
  /** Added to σ, or under the root. */
  epsilon: number;
  /** `outside`: σ + ε. `inside`: √(σ² + ε). */
  epsilonPlacement: 'inside' | 'outside';
  /** σ² is at least this. */
  minVariance: number;
}

/** Options of estimators that whiten tokens. */
export interface TokenWhitening extends DeviationOptions {
  /** Over the valid tokens of the `batch` (also: true), of each `group`, or not at all (`none`, false). */
  whiten: 'batch' | 'group' | 'none' | boolean;
  /** false: only the mean is taken off. */
  whitenByStd: boolean;
  /** Added to the number of tokens that sums are divided by. */
  countEpsilon: number;
}

/** The defaults of {@link TokenWhitening}: (x − μ)/√(σ² + 1e-8) over the batch, σ² with ddof 1. */
export const tokenWhitening: TokenWhitening = {
  whiten: 'batch',
  whitenByStd: true,
  ddof: 1,
  epsilon: 1e-8,
  epsilonPlacement: 'inside',
  minVariance: 0,
  countEpsilon: 0,
};

export const deviationChoices = { ddof: [0, 1], epsilonPlacement: ['inside', 'outside'] } as const;
export const tokenWhiteningChoices = { ...deviationChoices, whiten: ['batch', 'group', 'none', true, false] } as const;

/** √max(σ², least) with ε inside or outside of the root. */
export function deviation(variance: Tensor, { epsilon, epsilonPlacement, minVariance }: Omit<DeviationOptions, 'ddof'>): Tensor {
  const floored = minVariance > 0 ? variance.maximum(minVariance) : variance;
  return epsilonPlacement === 'inside' ? floored.add(epsilon).sqrt() : floored.sqrt().add(epsilon);
}

/**
 * (x − μ) / √(σ² + ε) over the valid positions, σ² with ddof 1; 0 elsewhere. With a single valid position, or equal numbers, the result is 0. Values around 1e4 lose nothing.
 *
 * @param moments of x, where a kernel has taken them already
 */
export function maskedWhiten(x: Tensor, mask: Tensor, epsilon = 1e-8, moments: RowMoments | null = null): Tensor {
  return whiten(x, mask, { epsilon, moments });
}

/**
 * Whitens x [B,T] over its valid tokens. A set of no more than ddof tokens has no variance, and gives 0; so does one of equal tokens with an ε of 0.
 *
 * @param settings.moments of x, by the kernel that made it, which leaves 0 at masked positions
 * @param settings.remask 0 at masked positions; otherwise what stands there is shifted and scaled with the rest
 * @throws EstimatorError for `group` without groups
 */
export function whitenTokens(
  x: Tensor,
  masks: Tensor,
  options: TokenWhitening,
  { groups, moments = null, remask }: { groups: Groups | null; moments?: RowMoments | null; remask: boolean },
): Tensor {
  const { whiten: over, whitenByStd, ddof, epsilon, epsilonPlacement, minVariance, countEpsilon } = options;
  // What a kernel took the moments of is 0 at masked positions.
  if (over === 'none' || over === false) return remask && moments === null ? where(masks, x, 0) : x;
  if (over !== 'group' && whitenByStd && remask && minVariance === 0 && countEpsilon === 0) {
    return whiten(x, masks, { epsilon, ddof, epsilonOutside: epsilonPlacement === 'outside', moments });
  }
  if (over === 'group' && !groups) throw new EstimatorError("whiten is 'group', and this run has no groupIds");
  const rows = moments ?? rowMoments(x, masks);
  const [counts, means, spreads] = [rows.select(1, 0), rows.select(1, 1), rows.select(1, 2)];
  const total = over === 'group' ? (perRow: Tensor) => groups!.sum(perRow).expandDims(1) : (perRow: Tensor) => perRow.sum();
  const column = (perRow: Tensor) => (over === 'group' ? perRow.squeeze(1) : perRow);
  const count = total(counts);
  const centre = total(counts.mul(means)).div(count.maximum(1));
  const spread = total(spreads.add(counts.mul(means.sub(column(centre)).square())));
  // A divisor that is not the number of tokens moves the mean, and the variance is that around the moved one.
  const mean = countEpsilon === 0 ? centre : centre.mul(count).div(count.add(countEpsilon));
  const around = spread.add(count.mul(centre.sub(mean).square())).div(count.add(countEpsilon).maximum(1));
  const variance = ddof === 0 ? around : around.mul(count).div(count.sub(1).maximum(1));
  const shifted = x.cast('float64').sub(mean);
  const scale = deviation(variance, { epsilon, epsilonPlacement, minVariance });
  // Of fewer tokens there is no variance; where all are equal nothing to scale. A NaN stays.
  const whitened = whitenByStd ? where(count.greater(ddof).logicalAnd(scale.notEqual(0)), shifted.div(scale), 0) : shifted;
  const result = whitened.cast(x.dtype);
  return remask ? where(masks, result, 0) : result;
}

/** Options of estimators that whiten one number a row. */
export interface RowWhitening {
  /** The variance is divided by n − ddof. */
  whitenDdof: 0 | 1;
  /** Added to σ, or under the root. */
  whitenEpsilon: number;
  /** √(σ² + ε) or σ + ε. */
  whitenEpsilonPlacement: 'inside' | 'outside';
}

export const rowWhiteningChoices = { whitenDdof: [0, 1], whitenEpsilonPlacement: ['inside', 'outside'] } as const;

/** (x − μ)/(σ + ε) over the valid rows of x [B] (float64), 0 elsewhere; where σ is 0, x − μ. */
export function whitenRows(x: Tensor, valid: Tensor, { whitenDdof, whitenEpsilon, whitenEpsilonPlacement }: RowWhitening): { whitened: Tensor; std: Tensor } {
  const count = valid.sum().cast('float64');
  const known = where(valid, x, 0);
  const shifted = where(valid, known.sub(known.sum().div(count.maximum(1))), 0);
  const variance = shifted.square().sum().div(count.sub(whitenDdof).maximum(1));
  const scale = deviation(variance, { epsilon: whitenEpsilon, epsilonPlacement: whitenEpsilonPlacement, minVariance: 0 });
  return { whitened: shifted.div(where(variance.greater(0), scale, 1)), std: variance.sqrt() };
}
