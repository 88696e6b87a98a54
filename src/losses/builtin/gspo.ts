import type { PolicyLossOptions } from '../options';
import { RegularPolicyLoss } from './clipped';

/**
 * `gspo`: as `regular`, with the ratio of the sequence in place of the token's,
 *
 *     s_t = sg[exp(mean over the row of (ℓ − ℓ_old))] · π_t/sg[π_t]
 *
 * so that a whole response is clipped or not (GSPO-token, for which advantages may differ within a row). log s is at most 10, without gradient beyond.
 * `ratioLevel: 'sequence'` lets the gradient flow through the mean instead. Zheng et al. 2025, "Group Sequence Policy Optimization".
 */
export class SequencePolicyLoss extends RegularPolicyLoss {
  static override readonly lossName = 'gspo';
  static override readonly options: PolicyLossOptions = { ...RegularPolicyLoss.options, ratioLevel: 'sequence_token', logRatioMin: null, logRatioMax: 10 };
  static override readonly fixed = ['ratioLevel'];
}
