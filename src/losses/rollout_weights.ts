/** Importance weights of tokens whose sampler was not quite the old policy. */
import { stopGradient, type Tensor, where } from '../tensor';
import { checkChoice, checkNumber, checkSameShape } from './check';
import { meanOver } from './reduction';
import { rowMean } from './token_loss';

export interface RolloutWeightOptions {
  /** `truncate` (default): within the bounds; `mask`: 0 outside of them; `sequence_mask`: 0 for rows whose geometric mean lies outside of them, else as they are. */
  type?: 'truncate' | 'mask' | 'sequence_mask';
  /** Lower bound. Default 0. */
  low?: number;
  /** Upper bound. Default 2. */
  high?: number;
}

/**
 * w = exp(ℓ_old − ℓ_rollout) of each token, [B,T], bounded: the `weights` of a policy loss; a constant, 1 at masked positions. `kl`: the mean of
 * ℓ_rollout − ℓ_old over the valid tokens. Truncated: Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training"; masked: Ling Team 2025,
 * "Every Step Evolves" (IcePop).
 *
 * @throws EstimatorError for shapes that differ and bounds that are none
 */
export function rolloutWeights(oldLogProbs: Tensor, rolloutLogProbs: Tensor, mask: Tensor, options: RolloutWeightOptions = {}): { weights: Tensor; kl: Tensor } {
  const operation = 'rolloutWeights';
  const { type = 'truncate', low = 0, high = 2 } = options;
  checkSameShape(operation, { oldLogProbs, rolloutLogProbs, mask });
  checkChoice(operation, 'type', type, ['truncate', 'mask', 'sequence_mask']);
  checkNumber(operation, 'low', low, 0);
  checkNumber(operation, 'high', high, low);
  const valid = mask.notEqual(0);
  const logRatio = stopGradient(where(valid, oldLogProbs.sub(rolloutLogProbs), 0));
  const ratio = logRatio.exp();
  const within = (x: Tensor) => x.greaterEqual(low).logicalAnd(x.lessEqual(high));
  const bounded = () => {
    if (type === 'truncate') return ratio.clamp(low, high);
    return where(within(type === 'mask' ? ratio : rowMean(logRatio, valid).exp()), ratio, 0);
  };
  return { weights: where(valid, bounded(), 1), kl: meanOver(valid, ratio.dtype)(logRatio.neg()) };
}
