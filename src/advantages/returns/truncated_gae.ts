/** Generalised advantage estimation over pieces of episodes. */
import type { Tensor } from '../../tensor';
import { decayedSum, prepare, product, type LambdaOptions, type TrajectoryInputs } from './trajectory';

/**
 * Generalised advantage estimation (Schulman, Moritz, Levine, Jordan, Abbeel, 2016), truncated where episodes are cut off (Schulman et al., Proximal Policy
 * Optimization Algorithms, 2017): δ_t = r_t + γ_t·V'_t − V_t, A_t = δ_t + γ_tλ_t(1−done_t)·A_{t+1}, returns = A + V; all [B,T], with V'_t the value of the
 * state after the step, 0 where it terminated.
 *
 * With numbers γ and λ and values alone, `generalizedAdvantage` gives the same in one pass over memory; this one also takes γ_t, λ_t and `nextValues`, and has gradients.
 *
 * @throws EstimatorError for arrays of other shapes, unknown names, and values that are missing
 */
export function truncatedGae(inputs: TrajectoryInputs, options: LambdaOptions): { advantages: Tensor; returns: Tensor } {
  const steps = prepare('truncatedGae', inputs, options);
  const values = steps.values();
  const advantages = decayedSum(steps.oneStep.sub(values), product(steps.traceDiscounts, steps.lambdas), steps.mask);
  return { advantages: steps.finish(advantages), returns: steps.finish(advantages.add(values)) };
}
