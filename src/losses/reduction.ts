/** From tokens to one number: how the tokens of a batch are weighted. */
import { EstimatorError, showValue } from '../errors';
import { full, type Tensor } from '../tensor';
import { checkNumber, checkSameShape } from './check';

/** The names of `trainer.algorithm.loss_reduction`. */
export const lossReductions = ['token_mean', 'sequence_mean', 'seq_mean_token_sum_norm'] as const;
export type LossReduction = (typeof lossReductions)[number];

export interface ReductionOptions {
  /** The constant length that `seq_mean_token_sum_norm` divides by. */
  maxSeqLen?: number | null;
}

/**
 * The divisor c of each row's tokens, [B,1], so that Σ_bt m·x/c is the reduction of x [B,T] over the mask m [B,T]:
 *
 * - `token_mean`: Σ_bt m; every token counts the same (DAPO);
 * - `sequence_mean`: B · Σ_t m_b; the mean over sequences of their means (GRPO). A fully masked sequence counts as 0;
 * - `seq_mean_token_sum_norm`: B · maxSeqLen; no bias towards short or long responses (Dr. GRPO).
 *
 * Where nothing is valid the divisor is 1. Folded into the advantages of a whole minibatch, the divisors make the losses of its micro-batches
 * masked sums that add up exactly.
 *
 * @throws EstimatorError for another mode, and for `seq_mean_token_sum_norm` without a positive `maxSeqLen`
 */
export function reductionDivisors(mask: Tensor, mode: LossReduction, { maxSeqLen = null }: ReductionOptions = {}): Tensor {
  const valid = mask.notEqual(0);
  const rows = mask.shape[0] ?? 1;
  switch (mode) {
    case 'token_mean':
      return valid.sum(null, { keepDims: true }).maximum(1).broadcastTo([rows, 1]);
    case 'sequence_mean':
      return valid.sum(-1, { keepDims: true }).maximum(1).mul(rows);
    case 'seq_mean_token_sum_norm':
      checkNumber('seq_mean_token_sum_norm', 'maxSeqLen', maxSeqLen, 1);
      return full([rows, 1], rows * (maxSeqLen as number));
    default:
      throw new EstimatorError(`loss reduction: expected one of ${lossReductions.join(', ')}, got ${showValue(mode)}`);
  }
}

/**
 * The tokens' losses [B,T] as one number, divided as `reductionDivisors` says. Masked positions, NaN included, have no effect.
 * @throws EstimatorError for shapes that differ and another mode
 */
export function reduceLoss(perToken: Tensor, mask: Tensor, mode: LossReduction, options: ReductionOptions = {}): Tensor {
  checkSameShape('reduceLoss', { perToken, mask });
  return perToken.div(reductionDivisors(mask, mode, options)).sum(null, { mask });
}

/** Σ m·x / max(Σ m, 1): 0 where nothing is valid. */
export function maskedMean(x: Tensor, mask: Tensor): Tensor {
  return meanOver(mask)(x);
}

/** {@link maskedMean} of several tensors over one mask, whose tokens are counted once. */
export function meanOver(mask: Tensor): (x: Tensor) => Tensor {
  const valid = mask.notEqual(0);
  const count = valid.sum().maximum(1);
  return (x) => x.sum(null, { mask: valid }).div(count);
}
