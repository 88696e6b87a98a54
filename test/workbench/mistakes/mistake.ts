/** A mistake that people make, planted, and the cause that a check should name. */
import { AdvantageEstimator, scan, type AdvantageContext, type AdvantageResult, type CauseId, type CheckOptions, type EstimatorDeclaration, type EstimatorState, type Tensor } from 'vantage-rl';

type Compute = (this: AdvantageEstimator, rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext) => Tensor | AdvantageResult;

/** The fields in which mistakes carry something. */
export interface WithState extends AdvantageEstimator {
  kept: Tensor[];
  count: number;
  level: number;
}

export interface Planted {
  /** What is wrong, or what it is. */
  what: string;
  compute: Compute;
  requires?: readonly string[];
  reads?: readonly string[];
  declares?: EstimatorDeclaration;
  options?: Readonly<Record<string, unknown>>;
  takesRawInputs?: boolean;
  leavesZeros?: boolean;
  save?: (self: WithState) => EstimatorState;
  restore?: (self: WithState, state: EstimatorState) => void;
  check?: CheckOptions;
}

export interface Mistake extends Planted {
  cause: CauseId;
}

/** A class of its own for each, as a user would have written it. */
export function classOf({ compute, requires = [], reads, declares, options = {}, takesRawInputs = false, leavesZeros = false, save, restore }: Planted) {
  return class Mistaken extends AdvantageEstimator {
    static override readonly requires = requires as never;
    static override readonly reads = reads as never;
    static override readonly declares = declares;
    static override readonly options = options;
    override readonly takesRawInputs = takesRawInputs;
    override readonly leavesZeros = leavesZeros;
    kept: Tensor[] = [];
    count = 0;
    level = 0;
    computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext) {
      return compute.call(this, rewards, values, masks, context);
    }
    override saveState() {
      return save ? save(this) : super.saveState();
    }
    override restoreState(state: EstimatorState) {
      if (restore) restore(this, state);
      else super.restoreState(state);
    }
  };
}

/** One number a row, for each valid token. */
export const perToken = (scores: Tensor, masks: Tensor): Tensor => scores.expandDims(1).mul(masks);

/** Σγ^k r_{t+k} over valid tokens. */
export const toGo = (rewards: Tensor, masks: Tensor, gamma: number): Tensor => scan([rewards], { reverse: true, mask: masks }, (next, [r]) => r.add(next.mul(gamma)));
/** V of the next valid token, 0 behind the last. */
export const carried = (values: Tensor, masks: Tensor): Tensor => scan([values], { reverse: true, mask: masks, init: [0, 0] }, ([, last], [v]) => [last, v])[0];
/** What stands in the next column, whatever the mask says of it. */
export const leftBy = (x: Tensor): Tensor => scan([x], { reverse: true, init: [0, 0] }, ([, last], [v]) => [last, v])[0];
/** GAE whose next values come from `next`. */
export const gaeWith = (rewards: Tensor, values: Tensor, next: Tensor, masks: Tensor, gamma: number, lambda: number): Tensor =>
  scan([rewards.add(next.mul(gamma)).sub(values)], { reverse: true, mask: masks }, (a, [d]) => d.add(a.mul(gamma * lambda)));
