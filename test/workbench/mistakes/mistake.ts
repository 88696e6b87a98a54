/** A mistake that people make, planted, and the cause that a check should name. */
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type CauseId, type CheckOptions, type EstimatorDeclaration, type Tensor } from 'vantage-rl';

type Compute = (this: AdvantageEstimator, rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext) => Tensor | AdvantageResult;

export interface Mistake {
  /** What is wrong. */
  what: string;
  cause: CauseId;
  compute: Compute;
  requires?: string[];
  declares?: EstimatorDeclaration;
  takesRawInputs?: boolean;
  leavesZeros?: boolean;
  check?: CheckOptions;
}

/** A class of its own for each mistake, as a user would have written it. */
export function classOf({ compute, requires = [], declares, takesRawInputs = false, leavesZeros = false }: Mistake) {
  return class Mistaken extends AdvantageEstimator {
    static override readonly requires = requires as never;
    static override readonly declares = declares;
    override readonly takesRawInputs = takesRawInputs;
    override readonly leavesZeros = leavesZeros;
    /** State, for mistakes that carry some. */
    kept: Tensor[] = [];
    count = 0;
    computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext) {
      return compute.call(this, rewards, values, masks, context);
    }
  };
}

/** One number a row, for each valid token. */
export const perToken = (scores: Tensor, masks: Tensor): Tensor => scores.expandDims(1).mul(masks);
