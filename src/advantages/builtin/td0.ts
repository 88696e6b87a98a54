import type { Tensor } from '../../tensor';
import type { AdvantageContext, EstimatorDeclares, EstimatorReads } from '../estimator';
import { td0Returns } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { TdLambda } from './td_lambda';

/** TD(0) (Sutton, 1988): returns r_t + γV_{t+1}, advantages r_t + γV_{t+1} − V_t, the temporal-difference error. {@link TdLambda} with λ = 0. */
export class Td0 extends TdLambda {
  static override readonly reads: EstimatorReads = ['gamma', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });

  protected override returnsOf(rewards: Tensor, values: Tensor, masks: Tensor, context: AdvantageContext): Tensor {
    return td0Returns(trajectoryOf(rewards, values, masks, context), { gamma: context.gamma, remask: false });
  }
}
