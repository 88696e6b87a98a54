/** The clipped surrogate under the names of its reductions. */
import { type Tensor, where } from '../../tensor';
import type { PolicyLossOptions, ResolvedOptions } from '../options';
import { RegularPolicyLoss } from './clipped';

/** `grpo`: `regular`, the mean over sequences of their means. Shao et al. 2024, "DeepSeekMath". */
export class GroupRelativePolicyLoss extends RegularPolicyLoss {
  static override readonly lossName: string = 'grpo';
  static override readonly options: PolicyLossOptions = { ...RegularPolicyLoss.options, reduction: 'sequence_mean' };
  static override readonly fixed: readonly string[] = ['reduction'];
}

/** `bnpo`: `regular`, the mean over the tokens of the batch. */
export class BatchNormalizedPolicyLoss extends RegularPolicyLoss {
  static override readonly lossName: string = 'bnpo';
  static override readonly options: PolicyLossOptions = { ...RegularPolicyLoss.options, reduction: 'token_mean' };
  static override readonly fixed: readonly string[] = ['reduction'];
}

/** `dapo`: `regular` with ε_high 0.28, the mean over tokens; those of all workers and micro-batches where `totalTokens` are given. Yu et al. 2025, "DAPO". */
export class DecoupledClipPolicyLoss extends BatchNormalizedPolicyLoss {
  static override readonly lossName = 'dapo';
  static override readonly options: PolicyLossOptions = { ...BatchNormalizedPolicyLoss.options, epsClipHigh: 0.28 };
}

/** `dr_grpo`: `regular`, divided by B·`maxSeqLen`. Liu et al. 2025, "Understanding R1-Zero-Like Training". */
export class UnbiasedLengthPolicyLoss extends RegularPolicyLoss {
  static override readonly lossName = 'dr_grpo';
  static override readonly options: PolicyLossOptions = { ...RegularPolicyLoss.options, reduction: 'seq_mean_token_sum_norm' };
  static override readonly fixed = ['reduction'];
}

/**
 * `luspo`: the surrogate of the sequence's ratio times the row's number of tokens L_b, averaged over rows: with a loss that a row's tokens share this is the mean over
 * rows of the sums over tokens (`seq_mean_token_sum`). Liu et al. 2026, "Length-Unbiased Sequence Policy Optimization". With `remask: false` a row's mean is taken
 * over all of its columns, masked ones included: (1/B)·Σ_b L_b·(1/T)·Σ_t L_bt.
 */
export class LengthUnbiasedPolicyLoss extends RegularPolicyLoss {
  static override readonly lossName = 'luspo';
  static override readonly options: PolicyLossOptions = { ...RegularPolicyLoss.options, ratioLevel: 'sequence', reduction: 'seq_mean_token_sum' };
  static override readonly fixed = ['reduction', 'ratioLevel'];

  protected override reduce(losses: Tensor, mask: Tensor, options: ResolvedOptions): Tensor {
    if (options.remask) return super.reduce(losses, mask, options);
    const share = mask.sum(-1, { keepDims: true }).cast(losses.dtype).div(mask.shape[1]!);
    const everything = where(mask, 1, 1);
    return super.reduce(losses.mul(share), everything, options);
  }
}
