/** From tokens to one number: how the tokens of a batch are weighted. */
import { type GroupIds, Groups } from '../advantages/groups';
import { EstimatorError } from '../errors';
import { checkNames, checkValue, type Rule } from '../options';
import { type DType, full, type Tensor, where } from '../tensor';
import { checkNumber, checkRows, checkSameShape } from './check';

/** The names of `trainer.algorithm.loss_reduction`, and further ones. */
export const lossReductions = Object.freeze(
  [
    'token_mean',
    'token_mean_legacy',
    'sequence_mean',
    'seq_mean_token_sum',
    'seq_mean_token_sum_norm',
    'prompt_mean',
    'token_sum',
  ] as const,
);
/** A name of {@link lossReductions}. @useDeclaredType */
export type LossReduction = (typeof lossReductions)[number];

/** Options of {@link reduceLoss}. */
export interface ReductionOptions {
  /** The constant length that `seq_mean_token_sum_norm` divides by. */
  maxSeqLen?: number | null;
  /** Rows of a micro-batch, for `token_mean_legacy`. */
  microBatchSize?: number | null;
  /** `token_mean_legacy`: rows behind the last whole micro-batch make one of their own (`count`, default), or weigh nothing (`leave_out`). */
  incompleteMicroBatch?: 'count' | 'leave_out';
  /** The prompt of each row, for `prompt_mean`. */
  groupIds?: GroupIds | null;
  /** Whether rows without a valid token (for `prompt_mean`: such prompts) are counted by means over rows. Default `count`. */
  emptyRows?: 'count' | 'leave_out';
  /** Valid tokens to divide by in `token_mean`, where those here are a part of more; 1 or more. */
  totalTokens?: number | null;
  /** Rows to divide by in means over rows, where those here are a part of more. */
  totalRows?: number | null;
  /** Factor on the result, such as the number of workers that will average theirs. Default 1. */
  scale?: number;
  /** Added to a row's number of tokens in `sequence_mean`. Default 0: at least 1 is taken instead. */
  countEpsilon?: number;
}

/** What each option may be; `groupIds` are looked at where they are used. */
export const reductionRules: Readonly<Record<string, Rule>> = {
  maxSeqLen: { low: 1, nullable: true },
  microBatchSize: { low: 1, integer: true, nullable: true },
  incompleteMicroBatch: { choices: ['count', 'leave_out'] },
  emptyRows: { choices: ['count', 'leave_out'] },
  totalTokens: { low: 1, nullable: true },
  totalRows: { low: Number.MIN_VALUE, nullable: true },
  scale: { low: Number.MIN_VALUE },
  countEpsilon: { low: 0 },
};

/** Marks the options of a policy loss, which have been checked by its own names and hold more than a reduction looks at. */
export const ofLoss = Symbol('options of a policy loss');

/** @throws EstimatorError for an option that a reduction does not have, with the nearest name, and for a value that is none */
export function checkReductionOptions(who: string, options: ReductionOptions, more: readonly string[] = []): void {
  if (Object.hasOwn(Object(options), ofLoss)) return;
  checkNames(who, 'option', options, [...Object.keys(reductionRules), 'groupIds', ...more]);
  for (const [name, rule] of Object.entries(reductionRules)) {
    const value: unknown = options[name as keyof ReductionOptions];
    if (value !== undefined) checkValue(`${who}: ${name}`, value, rule);
  }
}

/**
 * The divisor c of each row's tokens, [B,1], so that Σ_bt m·x/c is the reduction of x [B,T] over the mask m [B,T]. With L_b = Σ_t m_bt:
 *
 * - `token_mean`: Σ_b L_b; every token counts the same (Yu et al. 2025, DAPO);
 * - `token_mean_legacy`: the mean over micro-batches of `microBatchSize` rows of their `token_mean`;
 * - `sequence_mean`: B·L_b; the mean over sequences of their means (Shao et al. 2024, GRPO). A fully masked sequence counts as 0;
 * - `seq_mean_token_sum`: B; the mean over sequences of their sums;
 * - `seq_mean_token_sum_norm`: B·maxSeqLen; no bias towards short or long responses (Liu et al. 2025, Dr. GRPO);
 * - `prompt_mean`: G·(Σ of L over the rows of the prompt); the mean over the G prompts of the means of their tokens;
 * - `token_sum`: 1.
 *
 * Where nothing is valid the divisor is 1, or B times that. Folded into the advantages of a whole minibatch, the divisors make the losses of its micro-batches
 * masked sums that add up exactly.
 *
 * @param dtype of the divisors; default float32
 * @throws EstimatorError for another mode, and for a mode without the option that it needs
 */
export function reductionDivisors(mask: Tensor, mode: LossReduction, options: ReductionOptions = {}, dtype: DType = 'float32'): Tensor {
  checkValue('loss reduction', mode, { choices: lossReductions });
  checkReductionOptions(mode, options);
  const { maxSeqLen = null, totalTokens = null, totalRows = null, scale = 1, countEpsilon = 0, emptyRows = 'count' } = options;
  checkRows(mode, 'mask', mask);
  const height = mask.shape[0] ?? 1;
  const lengths = mask.notEqual(0).sum(-1, { keepDims: true }).cast(dtype);
  const same = (divisor: number): Tensor => full([height, 1], divisor, { dtype });
  /** Rows to divide by, times a number. */
  const rows = (factor = 1): Tensor => {
    if (totalRows !== null || emptyRows === 'count') return same((totalRows ?? height) * factor);
    return lengths.greater(0).sum(null, { keepDims: true }).maximum(1).cast(dtype).mul(factor).broadcastTo([height, 1]);
  };
  const divisors = (): Tensor => {
    switch (mode) {
      case 'token_mean': {
        const tokens = totalTokens === null ? lengths.sum(null, { keepDims: true }) : full([1, 1], totalTokens, { dtype });
        return tokens.maximum(1).broadcastTo([height, 1]);
      }
      case 'token_mean_legacy':
        return microBatchDivisors(lengths, options, dtype);
      case 'sequence_mean':
        return tokenCount(lengths, countEpsilon).mul(rows());
      case 'seq_mean_token_sum':
        return rows();
      case 'seq_mean_token_sum_norm':
        checkNumber('seq_mean_token_sum_norm', 'maxSeqLen', maxSeqLen, 1);
        return rows(maxSeqLen as number);
      case 'prompt_mean':
        return promptDivisors(lengths, options, emptyRows === 'count', dtype);
      case 'token_sum':
        return same(1);
    }
  };
  const result = divisors();
  return scale === 1 ? result : result.div(scale);
}

function microBatchDivisors(lengths: Tensor, { microBatchSize = null, incompleteMicroBatch = 'count' }: ReductionOptions, dtype: DType): Tensor {
  const operation = 'token_mean_legacy';
  checkNumber(operation, 'microBatchSize', microBatchSize, 1);
  const [height, size] = [lengths.shape[0]!, microBatchSize as number];
  const ids = Int32Array.from({ length: height }, (_, row) => Math.floor(row / size));
  const whole = Math.floor(height / size);
  const count = incompleteMicroBatch === 'count' ? Math.ceil(height / size) : whole;
  const groups = new Groups(ids, height, lengths.device);
  const tokens = groups.sum(lengths.reshape([height])).maximum(1).mul(count);
  const kept = incompleteMicroBatch === 'count' ? tokens : where(groups.index.less(whole), tokens, Infinity);
  return kept.cast(dtype).expandDims(1);
}

function promptDivisors(lengths: Tensor, { groupIds = null }: ReductionOptions, all: boolean, dtype: DType): Tensor {
  if (groupIds === null) throw new EstimatorError('prompt_mean: groupIds: expected the prompt of each row, got null');
  const height = lengths.shape[0]!;
  const groups = new Groups(groupIds, height, lengths.device);
  const tokens = groups.sum(lengths.reshape([height]));
  // Each row of a prompt that has tokens adds its share of 1.
  const prompts = all ? groups.count : where(tokens.greater(0), groups.sizes.cast(dtype).pow(-1), 0).sum().maximum(1);
  return tokens.maximum(1).mul(prompts).cast(dtype).expandDims(1);
}

/** A number of tokens to divide by. */
const tokenCount = (count: Tensor, epsilon: number): Tensor => (epsilon > 0 ? count.add(epsilon) : count.maximum(1));

/**
 * The tokens' losses [B,T] as one number, divided as `reductionDivisors` says. Masked positions, NaN included, have no effect.
 * @throws EstimatorError for shapes that differ and another mode
 */
export function reduceLoss(perToken: Tensor, mask: Tensor, mode: LossReduction, options: ReductionOptions = {}): Tensor {
  checkSameShape('reduceLoss', { perToken, mask });
  return perToken.div(reductionDivisors(mask, mode, options, perToken.dtype)).sum(null, { mask });
}

/**
 * {@link maskedMean} of several tensors over one mask, whose tokens are counted once; the means have the dtype given. With `epsilon` the divisor is
 * Σ m + ε instead of max(Σ m, 1).
 */
export function meanOver(mask: Tensor, dtype: DType = 'float32', epsilon = 0): (x: Tensor) => Tensor {
  const valid = mask.notEqual(0);
  const count = tokenCount(valid.sum().cast(dtype), epsilon);
  return (x) => x.sum(null, { mask: valid }).cast(dtype).div(count);
}
