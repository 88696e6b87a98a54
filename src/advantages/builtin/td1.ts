import type { Tensor } from '../../tensor';
import type { AdvantageContext, EstimatorDeclares, EstimatorReads } from '../estimator';
import { td1Returns } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { TdLambda } from './td_lambda';

/** TD(1) (Sutton, 1988): returns G_t = r_t + γG_{t+1}, bootstrapped only where an episode is cut off; advantages G − V. {@link TdLambda} with λ = 1. */
export class Td1 extends TdLambda {
  static override readonly reads: EstimatorReads = ['gamma', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });

  protected override returnsOf(rewards: Tensor, values: Tensor, masks: Tensor, context: AdvantageContext): Tensor {
    return td1Returns(trajectoryOf(rewards, values, masks, context), { gamma: context.gamma, remask: false });
  }
}
