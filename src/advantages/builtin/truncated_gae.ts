import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { truncatedGae } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { maskedWhiten } from '../whiten';

/**
 * Generalised advantage estimation (Schulman et al., 2016) over pieces of episodes: `terminated` gates the bootstrap, `truncated` the trace, and
 * `bootstrapValues` stand behind the row and behind truncated tokens. See {@link truncatedGae}.
 */
export class TruncatedGae extends AdvantageEstimator {
  static override readonly requires = ['values'] as const;
  static override readonly reads: EstimatorReads = ['gamma', 'lambda', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });
  static override readonly options = {
    /** Whiten the advantages over the valid tokens of the batch. */
    whiten: false,
  };

  override readonly takesRawInputs = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const { advantages, returns } = truncatedGae(trajectoryOf(rewards, values, masks, context), { gamma: context.gamma, lambda: context.lambda, remask: false });
    return { advantages: this.options.whiten ? maskedWhiten(advantages, masks) : advantages, returns };
  }
}
