/** Normalisation of rewards or advantages by statistics of the batch or of groups. */
import { EstimatorError } from '../errors';
import { checkNames, checkValue } from '../options';
import { checkTensor } from '../losses/check';
import { onesLike, rowMoments, type Tensor, where } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { formatShape, sameShape } from '../tensor/shape';
import { Groups, type GroupIds } from './groups';
import { finite } from './returns/trajectory';

const levels = ['batch', 'group', 'none'] as const;
/** Over what a statistic is taken. @useDeclaredType */
export type NormalizationLevel = (typeof levels)[number];

/** Options of {@link normalize}. */
export interface NormalizeOptions {
  /** 0 where x does not count. Default: all of it does. */
  mask?: Tensor | null;
  /** The rows that answer the same prompt; level `group` needs it. */
  groups?: Groups | GroupIds | null;
  /** What is subtracted: the mean of the batch, of the group, or nothing. Default `batch`. */
  meanLevel?: NormalizationLevel;
  /** The mean of the other numbers instead of all. Default false. */
  leaveOneOut?: boolean;
  /** What it is divided by. Default `batch`. */
  stdLevel?: NormalizationLevel;
  /** σ² is Σd²/(n−ddof). Default 1. */
  ddof?: 0 | 1;
  /** Added to σ. Default 1e-5. */
  epsilon?: number;
}

const names = ['mask', 'groups', 'meanLevel', 'leaveOneOut', 'stdLevel', 'ddof', 'epsilon'];

/**
 * d/(σ + ε) with d = x − μ, of x [B] or [B,T]; 0 at masked positions. μ and σ are each taken over the valid numbers of the batch or of the number's group, or left
 * out (`none`). σ² = Σd²/(n−ddof) is the spread about what was subtracted, so with `leaveOneOut` about the means of the others, and with `meanLevel: 'none'` about 0.
 *
 * What is too small for a statistic: with ddof 1, σ is 1 over a single number and over a group of one row; the mean of the others is 0 there; over no number at all
 * μ is 0 and σ is 1. Zero variance gives 0. Statistics are float64, from differences to the mean. With level `group` and ddof 1 over [B] it is GRPO's (Shao et al.,
 * DeepSeekMath, 2024); with `leaveOneOut` and `stdLevel: 'none'` RLOO's (Ahmadian et al., Back to Basics, 2024).
 *
 * @throws EstimatorError for shapes that differ, unknown options, and a level `group` without groups
 */
export function normalize(x: Tensor, options: NormalizeOptions = {}): Tensor {
  const who = 'normalize';
  checkNames(who, 'option', options, names);
  const { mask, groups, meanLevel = 'batch', leaveOneOut = false, stdLevel = 'batch', ddof = 1, epsilon = 1e-5 } = options;
  checkTensor(who, 'x', x);
  if (x.ndim !== 1 && x.ndim !== 2) throw new EstimatorError(`${who}: expected x of shape [batch] or [batch, time], got ${formatShape(x.shape)}`);
  if (mask) checkTensor(who, 'mask', mask);
  if (mask && !sameShape(mask.shape, x.shape)) throw new EstimatorError(`${who}: expected mask of shape ${formatShape(x.shape)}, as x, got ${formatShape(mask.shape)}`);
  for (const [name, level] of Object.entries({ meanLevel, stdLevel })) {
    checkValue(`${who}: option '${name}'`, level, { choices: levels });
    if (level === 'group' && !groups) throw new EstimatorError(`${who}: ${name} is 'group': expected groups, one id a row`);
  }
  checkValue(`${who}: option 'ddof'`, ddof, { choices: [0, 1] });
  checkValue(`${who}: option 'leaveOneOut'`, leaveOneOut, { choices: [true, false] });
  finite(who, 'epsilon', epsilon, 0);

  const batch = x.shape[0]!;
  const wide = (x.ndim === 1 ? x.expandDims(1) : x).cast('float64');
  const counted = mask ? (x.ndim === 1 ? mask.expandDims(1) : mask).notEqual(0) : onesLike(wide).cast('uint8');
  const byGroup = groups ? (groups instanceof Groups ? groups : new Groups(groups, batch, x.device)) : null;
  const whole = new Groups(new Int32Array(batch), batch, x.device);
  const over = (level: 'batch' | 'group'): Over => ({ groups: level === 'group' ? byGroup! : whole, rowsOfOne: level === 'group' });

  const centred = meanLevel === 'none' ? wide : wide.sub(meanOf(wide, counted, over(meanLevel), leaveOneOut));
  const scaled = stdLevel === 'none' ? centred : dividedBy(centred, stdOf(centred, counted, over(stdLevel), ddof).add(epsilon));
  const result = where(counted, scaled, 0).cast(isFloating(x.dtype) ? x.dtype : 'float32');
  return x.ndim === 1 ? result.squeeze(1) : result;
}

interface Over {
  groups: Groups;
  /** A group of one row has nothing to be compared with, however many numbers it holds. */
  rowsOfOne: boolean;
}

/** Of every row: n and the mean over all numbers of its group, [B,1]. */
function groupMean(x: Tensor, counted: Tensor, groups: Groups): { count: Tensor; mean: Tensor } {
  const rows = rowMoments(x, counted);
  const [n, mean] = [rows.select(1, 0), rows.select(1, 1)];
  const count = groups.sum(n);
  return { count: count.expandDims(1), mean: groups.sum(n.mul(mean)).div(count.maximum(1)).expandDims(1) };
}

function meanOf(x: Tensor, counted: Tensor, { groups, rowsOfOne }: Over, leaveOneOut: boolean): Tensor {
  const { count, mean } = groupMean(x, counted, groups);
  if (!leaveOneOut) return mean;
  // (nμ − x)/(n − 1), written as a step away from x that loses no digits.
  const others = mean.sub(x.sub(mean).div(count.sub(1).maximum(1)));
  return where(tooFew(count, groups, rowsOfOne), 0, others);
}

function stdOf(d: Tensor, counted: Tensor, { groups, rowsOfOne }: Over, ddof: number): Tensor {
  const rows = rowMoments(d, counted);
  const squares = rows.select(1, 2).add(rows.select(1, 0).mul(rows.select(1, 1).square()));
  const count = groups.sum(rows.select(1, 0)).expandDims(1);
  const std = groups.sum(squares).expandDims(1).div(count.sub(ddof).maximum(1)).sqrt();
  return where(ddof === 1 ? tooFew(count, groups, rowsOfOne) : count.equal(0), 1, std);
}

function tooFew(count: Tensor, groups: Groups, rowsOfOne: boolean): Tensor {
  const single = count.lessEqual(1);
  return rowsOfOne ? single.logicalOr(groups.sizes.equal(1).expandDims(1)) : single;
}

function dividedBy(x: Tensor, divisor: Tensor): Tensor {
  return where(divisor.equal(0), 0, x.div(divisor));
}
