import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { discountedReturns } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { maskedWhiten } from '../whiten';

/** REINFORCE (Williams, 1992): every token gets its reward-to-go G_t = r_t + γG_{t+1}, from `bootstrapValues` (or 0) behind the last token and truncated ones. */
export class DiscountedReturn extends AdvantageEstimator {
  static override readonly reads: EstimatorReads = ['gamma', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten ? 'batch' : 'row' });
  static override readonly options = {
    /** Whiten the advantages over the valid tokens of the batch. */
    whiten: false,
  };

  override readonly takesRawInputs = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const returns = discountedReturns(trajectoryOf(rewards, null, masks, context), { gamma: context.gamma, remask: false });
    return { advantages: this.options.whiten ? maskedWhiten(returns, masks) : returns, returns };
  }
}
