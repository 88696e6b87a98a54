/** Means, variances and whitening over the valid positions of a tensor. */
import { EstimatorError } from '../errors';
import { checkNames } from '../options';
import { type Axes, type Tensor, where } from '../tensor';
import { checkChoice, checkNumber, checkSameShape } from './check';

/** Options of {@link maskedMean}. */
export interface MaskedMeanOptions {
  /** Folded axes; all unless told otherwise. */
  axis?: Axes;
  /** The divisor is Σ m + ε. Default 0: the divisor is max(Σ m, 1). */
  countEpsilon?: number;
}

/** Σ m·x / max(Σ m, 1): 0 where nothing is valid. What masked positions hold has no effect. @throws EstimatorError for shapes that differ and unknown options */
export function maskedMean(x: Tensor, mask: Tensor, options: MaskedMeanOptions = {}): Tensor {
  checkNames('maskedMean', 'option', options, ['axis', 'countEpsilon']);
  const { axis = null, countEpsilon = 0 } = options;
  checkSameShape('maskedMean', { x, mask });
  return mean(x, mask.notEqual(0), axis, countEpsilon, false);
}

function mean(x: Tensor, valid: Tensor, axis: Axes, epsilon: number, keepDims: boolean): Tensor {
  checkNumber('maskedMean', 'countEpsilon', epsilon, 0);
  const count = valid.sum(axis, { keepDims });
  const divisor = epsilon > 0 ? count.cast(x.dtype === 'float64' ? 'float64' : 'float32').add(epsilon) : count.maximum(1);
  return x.sum(axis, { mask: valid, keepDims }).div(divisor);
}

/** Options of {@link maskedVariance}. */
export interface MaskedVarianceOptions extends Omit<MaskedMeanOptions, 'axis'> {
  /** The variance is Σ m·(x−μ)²/(n − ddof). Default 1. */
  ddof?: 0 | 1;
  /** With fewer valid positions than ddof + 1: a variance of 0 (default), or an error, which reads the mask. */
  tooFew?: 'zero' | 'error';
}

const varianceNames = ['ddof', 'tooFew', 'countEpsilon'];

/**
 * The variance over all valid positions, from differences to the mean, so that an offset costs no digits. 0 where no more than `ddof` are valid.
 * @throws EstimatorError for shapes that differ, options, and, if asked to, too few valid positions
 */
export function maskedVariance(x: Tensor, mask: Tensor, options: MaskedVarianceOptions = {}): Tensor {
  checkNames('maskedVariance', 'option', options, varianceNames);
  checkSameShape('maskedVariance', { x, mask });
  return moments('maskedVariance', x, mask, options).variance;
}

function moments(operation: string, x: Tensor, mask: Tensor, { ddof = 1, tooFew = 'zero', countEpsilon = 0 }: MaskedVarianceOptions) {
  checkChoice(operation, 'ddof', ddof, [0, 1]);
  checkChoice(operation, 'tooFew', tooFew, ['zero', 'error']);
  const valid = mask.notEqual(0);
  const count = valid.sum();
  if (tooFew === 'error' && count.item() <= ddof) throw new EstimatorError(`${operation}: expected at least ${ddof + 1} valid positions, got ${count.item()}`);
  const average = mean(x, valid, null, countEpsilon, false);
  const biased = mean(x.sub(average).square(), valid, null, countEpsilon, false);
  const correction = count.cast(x.dtype).div(count.sub(ddof).maximum(1));
  return { valid, average, variance: ddof === 0 ? biased : where(count.greater(ddof), biased.mul(correction), 0) };
}

/** Options of {@link maskedStandardize}. */
export interface StandardizeOptions extends MaskedVarianceOptions {
  /** Under the root. Default 1e-8. */
  epsilon?: number;
  /** Add the mean again, so that only the scale changes. Default false. */
  keepMean?: boolean;
  /** Set masked positions to 0. Default true; else they are treated like the others, but count for nothing. */
  remask?: boolean;
}

/**
 * (x − μ)/√(σ² + ε), with μ and σ² over all valid positions of x, of any shape; 0 elsewhere. With a single valid position the result is 0.
 * @throws EstimatorError as `maskedVariance`
 */
export function maskedStandardize(x: Tensor, mask: Tensor, options: StandardizeOptions = {}): Tensor {
  checkNames('maskedStandardize', 'option', options, [...varianceNames, 'epsilon', 'keepMean', 'remask']);
  const { epsilon = 1e-8, keepMean = false, remask = true, ...rest } = options;
  checkSameShape('maskedStandardize', { x, mask });
  checkNumber('maskedStandardize', 'epsilon', epsilon, 0);
  const { valid, average, variance } = moments('maskedStandardize', x, mask, rest);
  const scaled = x.sub(average).mul(variance.add(epsilon).rsqrt());
  const result = keepMean ? scaled.add(average) : scaled;
  return remask ? where(valid, result, 0) : result;
}
