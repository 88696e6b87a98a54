import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { lambdaReturns } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { maskedWhiten } from '../whiten';

/**
 * TD(λ) (Sutton, 1988): returns G_t = r_t + γ[(1−λ)V_{t+1} + λG_{t+1}], advantages G − V. See {@link lambdaReturns} for the ends of episodes; the value behind the last
 * token of a row is `bootstrapValues`, or 0.
 */
export class TdLambda extends AdvantageEstimator {
  static override readonly requires: readonly ('values')[] = ['values'];
  static override readonly reads: EstimatorReads = ['gamma', 'lambda', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });
  static override readonly options: Readonly<Record<string, unknown>> = {
    /** Whiten the advantages over the valid tokens of the batch. */
    whiten: false,
  };

  override readonly takesRawInputs = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const returns = this.returnsOf(rewards, values!, masks, context);
    const advantages = returns.sub(values!);
    return { advantages: this.options.whiten ? maskedWhiten(advantages, masks) : advantages, returns };
  }

  protected returnsOf(rewards: Tensor, values: Tensor, masks: Tensor, context: AdvantageContext): Tensor {
    return lambdaReturns(trajectoryOf(rewards, values, masks, context), { gamma: context.gamma, lambda: context.lambda, remask: false });
  }
}
