/** Returns of a policy from steps that another one took. */
import { scan, type Tensor } from '../../tensor';
import { type ImportanceRatios, decayedSum, perStepOf, prepare, product, type LambdaOptions, type Prepared, type ReturnOptions, type TrajectoryInputs } from './trajectory';

/** A batch for the returns of a policy other than the one that acted. */
export interface OffPolicyReturnInputs extends Omit<TrajectoryInputs, 'values'> {
  /** `[B,T]`: E_π Q(s_{t+1}, ·), the value of the state after each step under the target policy π. */
  nextValues: Tensor;
  /** `[B,T]`: Q(s_t, a_t) of the action taken. */
  actionValues: Tensor;
}

/**
 * The general form of off-policy returns (Munos, Stepleton, Harutyunyan, Bellemare, Safe and Efficient Off-Policy Reinforcement Learning, 2016), [B,T]:
 *
 * G_t = r_t + γ_t[V'_t + c_{t+1}(G_{t+1} − Q_{t+1})], and r_t + γ_t·V'_t where no step of the episode follows.
 *
 * c_t = π/μ: importance sampling; λ: Harutyunyan's Q(λ); λπ(a_t): tree backup; λ·min(1, π/μ): {@link retraceReturns}.
 *
 * @param inputs `traces` `[B,T]`: c_t of the action of each step (that of a row's first step is not asked)
 */
export function offPolicyReturns(inputs: OffPolicyReturnInputs & { traces: Tensor }, options: ReturnOptions): Tensor {
  const steps = prepare('offPolicyReturns', inputs, options, { inputs: ['actionValues', 'traces'] });
  return general(steps, steps.floats('actionValues', inputs.actionValues), steps.floats('traces', inputs.traces));
}

/**
 * Retrace(λ) (Munos et al., 2016): {@link offPolicyReturns} with c_t = λ_t·min(1, ρ_t), [B,T]. The temporal-difference errors are these returns minus Q.
 *
 * @param inputs `importanceRatios` `[B,T]`: ρ_t = π(a_t)/μ(a_t) of the action of each step
 */
export function retraceReturns(inputs: OffPolicyReturnInputs & ImportanceRatios, options: LambdaOptions): Tensor {
  const steps = prepare('retraceReturns', inputs, options, { inputs: ['actionValues', 'importanceRatios'] });
  const traces = steps.floats('importanceRatios', inputs.importanceRatios).minimum(1).mul(steps.lambdas);
  return general(steps, steps.floats('actionValues', inputs.actionValues), traces);
}

/** The state is E_t = c_t(G_t − Q_t), which the step before adds. */
function general(steps: Prepared, actionValues: Tensor, traces: Tensor): Tensor {
  const { oneStep, traceDiscounts, mask } = steps;
  const [, returns] = scan([oneStep, perStepOf(traceDiscounts, oneStep), actionValues, traces], { reverse: true, init: [0, 0], ...(mask && { mask }) }, ([next], [now, discount, q, c]) => {
    const g = now.add(next.mul(discount));
    return [g.sub(q).mul(c), g];
  });
  return steps.finish(returns);
}

/**
 * Multistep temporal-difference errors with per-decision importance sampling (Precup, Sutton, Singh, Eligibility Traces for Off-Policy Policy Evaluation, 2000;
 * Sutton, Mahmood, Precup, van Hasselt, A New Q(λ) with Interim Forward View and Monte Carlo Equivalence, 2014), [B,T]:
 *
 * Δ_t = δ_t + γ_tλ_t·ρ_{t+1}Δ_{t+1} with δ_t = r_t + γ_t·V'_t − V_t; the errors are ρ_tΔ_t.
 *
 * @param inputs `importanceRatios` `[B,T]`: ρ_t = π(a_t)/μ(a_t)
 */
export function importanceCorrectedErrors(inputs: TrajectoryInputs & ImportanceRatios, options: LambdaOptions): Tensor {
  const steps = prepare('importanceCorrectedErrors', inputs, options, { inputs: ['importanceRatios'] });
  const ratios = steps.floats('importanceRatios', inputs.importanceRatios);
  const errors = steps.oneStep.sub(steps.values()).mul(ratios);
  return steps.finish(decayedSum(errors, ratios.mul(product(steps.traceDiscounts, steps.lambdas)), steps.mask));
}
