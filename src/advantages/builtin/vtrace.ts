import { share } from '../../options';
import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { vtraceEstimates } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { maskedWhiten } from '../whiten';

/**
 * V-trace (Espeholt et al., IMPALA, 2018) and, with alpha below 1, leaky V-trace (Zahavy et al., 2020): advantages and critic targets for the policy before the
 * update from tokens that the sampler wrote, ρ = exp(ℓ_old − ℓ_rollout). See {@link vtraceEstimates}.
 */
export class Vtrace extends AdvantageEstimator {
  static override readonly requires = ['values', 'oldLogProbs', 'rolloutLogProbs'] as const;
  static override readonly reads: EstimatorReads = ['gamma', 'lambda', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });
  static override readonly options = {
    /** ρ̄: bound of the ratio of each temporal-difference error. */
    clipRho: 1,
    /** c̄: bound of the ratio that decays the trace. */
    clipC: 1,
    /** Bound of the ratio of the advantages. */
    clipPgRho: 1,
    /** 1 clips the ratios, 0 does not, between them they are mixed. */
    alpha: 1,
    /** Whiten the advantages over the valid tokens of the batch. */
    whiten: false,
  };
  static override readonly ranges = { alpha: share };

  override readonly takesRawInputs = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const { whiten, ...clips } = this.options as typeof Vtrace.options;
    const inputs = { ...trajectoryOf(rewards, values, masks, context), importanceRatios: context.oldLogProbs!.sub(context.rolloutLogProbs!).exp() };
    const { advantages, targets } = vtraceEstimates(inputs, { gamma: context.gamma, lambda: context.lambda, ...clips, remask: false });
    return { advantages: whiten ? maskedWhiten(advantages, masks) : advantages, returns: targets };
  }
}
