import type { Tensor } from '../../tensor';
import type { AdvantageContext, EstimatorDeclares, EstimatorReads } from '../estimator';
import { nStepReturns } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { TdLambda } from './td_lambda';

/** n-step returns (Sutton and Barto, Reinforcement Learning, 2018, 7.1), advantages G⁽ⁿ⁾ − V: n rewards, then the value behind them. See {@link nStepReturns}. */
export class NStep extends TdLambda {
  static override readonly reads: EstimatorReads = ['gamma', 'lambda', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });
  static override readonly options = {
    ...TdLambda.options,
    /** The steps that are summed. */
    n: 5,
  };

  protected override returnsOf(rewards: Tensor, values: Tensor, masks: Tensor, context: AdvantageContext): Tensor {
    return nStepReturns(trajectoryOf(rewards, values, masks, context), { gamma: context.gamma, lambda: context.lambda, n: this.options.n as number, remask: false });
  }
}
