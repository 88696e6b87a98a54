/** Returns that mix bootstrapping and sampling by λ: TD(0), TD(1), TD(λ), Q(λ), discounted returns, n steps. */
import { EstimatorError, showValue } from '../../errors';
import { checkObject } from '../../options';
import { where, type Tensor } from '../../tensor';
import { formatShape } from '../../tensor/shape';
import { decayedSum, following, isFollowed, perStepOf, prepare, product, tensorOf, type Extras, type LambdaOptions, type Prepared, type ReturnOptions, type TrajectoryInputs } from './trajectory';

/**
 * λ-returns (Sutton, Learning to Predict by the Methods of Temporal Differences, 1988; Sutton and Barto, Reinforcement Learning, 2018, 12.1), [B,T]:
 *
 * G_t = r_t + γ_t[(1−λ_t)V'_t + λ_t·G_{t+1}]
 *
 * with V'_t the value of the state after the step, 0 where it terminated. Where the episode is done, and behind the row's last valid step, V'_t stands for G_{t+1}.
 *
 * @throws EstimatorError for arrays of other shapes, unknown names, and values that are missing
 */
export function lambdaReturns(inputs: TrajectoryInputs, options: LambdaOptions): Tensor {
  return recursion('lambdaReturns', inputs, options);
}

/** One-step returns G_t = r_t + γ_t·V'_t, [B,T]: {@link lambdaReturns} with λ = 0. */
export function td0Returns(inputs: TrajectoryInputs, options: ReturnOptions): Tensor {
  const steps = prepare('td0Returns', inputs, options);
  return steps.finish(steps.oneStep);
}

/** Returns without bootstrapping but at the end of an episode, [B,T]: {@link lambdaReturns} with λ = 1. */
export function td1Returns(inputs: TrajectoryInputs, options: ReturnOptions): Tensor {
  return recursion('td1Returns', inputs, options);
}

/** Discounted reward-to-go, [B,T]: G_t = r_t + γ_t·G_{t+1}, from `bootstrapValues` (default 0) behind the last valid step and truncated ones. Needs no values. */
export function discountedReturns(inputs: TrajectoryInputs, options: ReturnOptions): Tensor {
  return recursion('discountedReturns', inputs, options, { valueFree: true });
}

/**
 * n-step returns (Sutton and Barto, 2018, 7.1), [B,T]: G⁽¹⁾_t = r_t + γ_t·V'_t, G⁽ⁿ⁾_t = r_t + γ_t[(1−λ_t)V'_t + λ_t·G⁽ⁿ⁻¹⁾_{t+1}], so that with λ = 1 n rewards
 * are summed before V' is asked. Fewer are left at the end of an episode or a row. Steps are counted in valid ones.
 */
export function nStepReturns(inputs: TrajectoryInputs, options: LambdaOptions & { n: number }): Tensor {
  const steps = prepare('nStepReturns', inputs, options, { options: ['n'] });
  const { n } = options;
  if (!Number.isInteger(n) || n < 1) throw new EstimatorError(`nStepReturns: option 'n': expected a whole number of at least 1, got ${showValue(n)}`);
  if (n >= steps.rewards.shape[1]!) return steps.finish(unbounded(steps));
  const traces = tracesOf(steps);
  let returns = steps.oneStep;
  for (let k = 1; k < n; k++) returns = steps.oneStep.add(following(returns, steps.mask).sub(steps.nextValues).mul(traces));
  return steps.finish(returns);
}

/**
 * Q(λ) returns, [B,T]: {@link lambdaReturns} with V'_t = max_a Q(s_{t+1}, a). A number λ gives Peng's Q(λ) (Peng and Williams, Incremental Multi-Step
 * Q-Learning, 1994); λ_t that are 0 where the next action is not greedy give Watkins's (Learning from Delayed Rewards, 1989).
 *
 * @param inputs `nextActionValues` `[B,T,A]`: Q of every action in the state after each step
 */
export function qLambdaReturns(inputs: Omit<TrajectoryInputs, 'values' | 'nextValues' | 'bootstrapValues'> & { nextActionValues: Tensor }, options: LambdaOptions): Tensor {
  checkObject('qLambdaReturns', 'input', inputs);
  const { nextActionValues, ...rest } = inputs;
  const q = tensorOf('qLambdaReturns', 'nextActionValues', nextActionValues);
  if (q.ndim !== 3) throw new EstimatorError(`qLambdaReturns: expected nextActionValues of shape [batch, time, actions], got ${formatShape(q.shape)}`);
  return recursion('qLambdaReturns', { ...rest, nextValues: q.max(2) }, options);
}

function recursion(who: string, inputs: TrajectoryInputs, options: LambdaOptions, extras?: Extras): Tensor {
  const steps = prepare(who, inputs, options, extras);
  const { nextValues, bootstrapValues } = inputs;
  // With λ = 1 values cancel each other but for those that stand for the rest of an episode; without such ones nothing but rewards is left.
  const isFree = steps.lambdas === 1 && nextValues == null && bootstrapValues == null;
  return steps.finish(isFree ? decayedSum(steps.rewards, steps.traceDiscounts, steps.mask) : unbounded(steps));
}

function unbounded(steps: Prepared): Tensor {
  const traces = tracesOf(steps);
  return decayedSum(steps.oneStep.sub(steps.nextValues.mul(traces)), traces, steps.mask);
}

/** γ_tλ_t where a step of the same episode follows, else 0: the share of G_{t+1} − V'_t. */
function tracesOf({ rewards, mask, traceDiscounts, lambdas }: Prepared): Tensor {
  return where(isFollowed(rewards, mask), perStepOf(product(traceDiscounts, lambdas), rewards), 0);
}
