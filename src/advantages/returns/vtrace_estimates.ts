/** V-trace and its leaky form. */
import { EstimatorError, showValue } from '../../errors';
import { checkObject } from '../../options';
import { where, type Tensor } from '../../tensor';
import { type ImportanceRatios, decayedSum, finite, following, isFollowed, prepare, product, type LambdaOptions, type TrajectoryInputs } from './trajectory';

/** Options of {@link vtraceEstimates}. */
export interface VtraceEstimateOptions extends LambdaOptions {
  /** ρ̄: bound of the ratio that weights each temporal-difference error. Default 1. */
  clipRho?: number;
  /** c̄: bound of the ratio that decays the trace. Default 1. */
  clipC?: number;
  /** Bound of the ratio that weights the advantages. Default 1. */
  clipPgRho?: number;
  /** α: 1 clips the ratios, 0 leaves them as they are, between them they are mixed (leaky V-trace). Default 1. */
  alpha?: number;
  /** `skip`: a masked position is no state. `use`: its value is that of the state after the step before it, though it is no step itself. Default `skip`. */
  maskedStates?: 'skip' | 'use';
}

/** What {@link vtraceEstimates} gives, [B,T] each. */
export interface VtraceEstimates {
  /** v_t − V_t. */
  errors: Tensor;
  /** v_t: what a critic is trained on. */
  targets: Tensor;
  /** q_t = r_t + γ_t[(1−λ_t)V_{t+1} + λ_t·v_{t+1}]; r_t + γ_t·V'_t where no step of the episode follows. */
  qEstimates: Tensor;
  /** ρ^pg_t(q_t − V_t). */
  advantages: Tensor;
}

/**
 * V-trace (Espeholt et al., IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner Architectures, 2018) and leaky V-trace (Zahavy et al., A
 * Self-Tuning Actor-Critic Algorithm, 2020), all [B,T]. With the ratio ρ = π/μ, clipped to ρ̂ = (1−α)ρ + α·min(ρ̄, ρ) and ĉ = (1−α)ρ + α·min(c̄, ρ):
 *
 * errors_t = ρ̂_t(r_t + γ_t·V'_t − V_t) + γ_tλ_tĉ_t(1−done_t)·errors_{t+1}.
 *
 * At a truncated step q asks V' and nothing of the column after it. `vtrace` of the tensor engine is the case α = 1 without flags in one pass over memory; its
 * advantages leave λ out of q.
 *
 * @param inputs `importanceRatios` `[B,T]`: ρ_t = π(a_t)/μ(a_t), of the policy that learns to the one that acted
 * @throws EstimatorError for arrays of other shapes, unknown names, values that are missing, and bounds below 0
 */
export function vtraceEstimates(inputs: TrajectoryInputs & ImportanceRatios, options: VtraceEstimateOptions): VtraceEstimates {
  const who = 'vtraceEstimates';
  checkObject(who, 'option', options);
  const { clipRho = 1, clipC = 1, clipPgRho = 1, alpha = 1, maskedStates = 'skip' } = options;
  const steps = prepare(who, inputs, options, {
    inputs: ['importanceRatios'],
    options: ['clipRho', 'clipC', 'clipPgRho', 'alpha', 'maskedStates'],
    maskedStates: maskedStates === 'use',
  });
  if (maskedStates !== 'skip' && maskedStates !== 'use') throw new EstimatorError(`${who}: option 'maskedStates': expected 'skip' or 'use', got ${showValue(maskedStates)}`);
  const share = finite(who, 'alpha', alpha, 0);
  const values = steps.values();
  const ratios = steps.floats('importanceRatios', inputs.importanceRatios);
  const clipped = (name: string, bound: unknown): Tensor => {
    if (typeof bound !== 'number' || !(bound >= 0)) throw new EstimatorError(`${who}: option '${name}': expected a number of at least 0 (Infinity: no bound), got ${showValue(bound)}`);
    const least = bound === Infinity ? ratios : ratios.minimum(bound);
    return share === 1 ? least : ratios.mul(1 - share).add(least.mul(share));
  };

  const { mask, done } = steps;
  const differences = clipped('clipRho', clipRho).mul(steps.oneStep.sub(values));
  const errors = decayedSum(differences, clipped('clipC', clipC).mul(product(steps.traceDiscounts, steps.lambdas)), mask);

  const states = maskedStates === 'use' ? null : mask;
  const goesOn = isFollowed(values, states);
  const v = following(values, states).add(following(errors, mask).mul(steps.lambdas));
  const after = where(done ? goesOn.logicalAnd(done.logicalNot()) : goesOn, v, steps.nextValues);
  const qEstimates = steps.rewards.add(after.mul(steps.discounts));
  const advantages = clipped('clipPgRho', clipPgRho).mul(qEstimates.sub(values));
  return { errors: steps.finish(errors), targets: steps.finish(errors.add(values)), qEstimates: steps.finish(qEstimates), advantages: steps.finish(advantages) };
}
