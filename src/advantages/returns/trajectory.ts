/**
 * What the classical returns have in common: steps of an environment in rows, [batch, time], with flags that end episodes inside a row.
 *
 * Two things end at a flag, and they are not the same. `terminated`: there is no state behind the step, so nothing is bootstrapped. `truncated`: the step
 * has a successor, whose value is bootstrapped, but the next column belongs to another episode, so no trace comes in. With done = terminated or truncated,
 * terminated gates the bootstrap and done gates the trace (Pardo et al., Time Limits in Reinforcement Learning, 2018).
 *
 * A masked position is passed through: the recurrence runs as if it were not there, and what it holds reaches nothing.
 */
import { EstimatorError, showValue } from '../../errors';
import { checkTensor } from '../../losses/check';
import { checkNames } from '../../options';
import { full, onesLike, scan, Tensor, where, zerosLike } from '../../tensor';
import { isFloating } from '../../tensor/dtype';
import { formatShape, sameShape } from '../../tensor/shape';

/** What a batch needs beside its steps, where another policy acted. */
export interface ImportanceRatios {
  /** `[B,T]`: ρ_t = π(a_t)/μ(a_t), of the policy that is evaluated to the one that acted. */
  importanceRatios: Tensor;
}

/** Steps in rows; all [B,T] but where it says otherwise. Step t goes from state t, whose value is `values`, to the state after it. */
export interface TrajectoryInputs {
  /** `[B,T]`: r_t of each step. */
  rewards: Tensor;
  /** V of the state before each step. */
  values?: Tensor | null;
  /** V of the state after each step. Default: V of the next valid step; behind the last one and at truncated steps `bootstrapValues`. */
  nextValues?: Tensor | null;
  /** [B] or [B,T]: V of the state behind the row's last valid step and behind truncated ones, unless they terminated. Default 0, where nothing is truncated. */
  bootstrapValues?: Tensor | null;
  /** 0 where there is no step. Default: all are steps. */
  mask?: Tensor | null;
  /** Not 0 where the episode ends with this step: no state comes after it. */
  terminated?: Tensor | null;
  /** Not 0 where the episode is cut off behind this step. */
  truncated?: Tensor | null;
}

/** Options of every return. */
export interface ReturnOptions {
  /** Discount γ: a number, or γ_t of each step, [B,T] (0 ends an episode as `terminated` does). */
  gamma: number | Tensor;
  /** Set outputs at masked positions to 0. Otherwise a recurrence holds there what passes through. Default true. */
  remask?: boolean;
}

/** Options of returns with λ. */
export interface LambdaOptions extends ReturnOptions {
  /** λ: a number, or λ_t of each step, [B,T]. Default 1. */
  lambda?: number | Tensor;
}

/** A number, or one for each step, [B,T]. */
export type Factor = number | Tensor;

/** A trajectory with its defaults filled in; tensors of the rewards' dtype, [B,T]. */
export interface Prepared {
  readonly rewards: Tensor;
  readonly mask: Tensor | null;
  readonly done: Tensor | null;
  /** γ_t. */
  readonly discounts: Factor;
  /** γ_t(1−done_t): what the trace is discounted by. */
  readonly traceDiscounts: Factor;
  /** V of the state after each step, 0 where it terminated. */
  readonly nextValues: Tensor;
  /** r_t + γ_t·(1−terminated_t)·V'_t: what is expected from one step on. */
  readonly oneStep: Tensor;
  readonly lambdas: Factor;
  values(): Tensor;
  /** Another array of the trajectory. @throws EstimatorError for another shape */
  floats(name: string, value: unknown): Tensor;
  /** 0 at masked positions, unless they are to be left. */
  finish(x: Tensor): Tensor;
}

const trajectoryNames = ['rewards', 'values', 'nextValues', 'bootstrapValues', 'mask', 'terminated', 'truncated'];
const optionNames = ['gamma', 'lambda', 'remask'];

/** What a function takes beyond the common inputs and options, and whether it needs V of the state after each step. */
export interface Extras {
  inputs?: readonly string[];
  options?: readonly string[];
  /** V' is taken from masked positions too: they are states, though not steps. */
  maskedStates?: boolean;
  /** Without values, V' is 0 but where it is bootstrapped. */
  valueFree?: boolean;
}

/** @throws EstimatorError for a name that is not known, a missing array, or one of another shape */
export function prepare(who: string, inputs: TrajectoryInputs, options: LambdaOptions, extras: Extras = {}): Prepared {
  checkNames(who, 'input', inputs, [...trajectoryNames, ...(extras.inputs ?? [])]);
  checkNames(who, 'option', options, [...optionNames, ...(extras.options ?? [])]);
  const rewards = floating(tensorOf(who, 'rewards', inputs.rewards));
  if (rewards.ndim !== 2) throw new EstimatorError(`${who}: expected rewards of shape [batch, time], got ${formatShape(rewards.shape)}`);
  const { shape, dtype } = rewards;
  const shaped = (name: string, value: unknown): Tensor => {
    const array = tensorOf(who, name, value);
    if (!sameShape(array.shape, shape)) throw new EstimatorError(`${who}: expected ${name} of shape ${formatShape(shape)}, as rewards, got ${formatShape(array.shape)}`);
    return array;
  };
  const floats = (name: string, value: unknown): Tensor => shaped(name, value).cast(dtype);
  const flags = (name: string, value: Tensor | null | undefined): Tensor | null => {
    if (value === undefined || value === null) return null;
    const array = shaped(name, value);
    return array.dtype === 'bool' ? array : array.notEqual(0);
  };
  const perStep = (name: string, value: Factor): Factor => (value instanceof Tensor ? floats(name, value) : finite(who, name, value));

  const mask = flags('mask', inputs.mask);
  const [terminated, truncated] = [flags('terminated', inputs.terminated), flags('truncated', inputs.truncated)];
  const done = terminated && truncated ? terminated.logicalOr(truncated) : (terminated ?? truncated);
  const values = (): Tensor => floats('values', inputs.values);
  const next = stateAfter(who, inputs, rewards, { mask: extras.maskedStates ? null : mask, truncated, valueFree: Boolean(extras.valueFree), values, floats });
  const nextValues = terminated ? where(terminated, 0, next) : next;
  const discounts = perStep('gamma', options.gamma);
  return {
    rewards,
    mask,
    done,
    discounts,
    traceDiscounts: done ? where(done, 0, perStepOf(discounts, rewards)) : discounts,
    nextValues,
    oneStep: rewards.add(nextValues.mul(discounts)),
    lambdas: perStep('lambda', options.lambda ?? 1),
    values,
    floats,
    finish: (x) => (mask && (options.remask ?? true) ? where(mask, x, 0) : x),
  };
}

interface StateAfter {
  mask: Tensor | null;
  truncated: Tensor | null;
  valueFree: boolean;
  values: () => Tensor;
  floats: (name: string, value: unknown) => Tensor;
}

function stateAfter(who: string, inputs: TrajectoryInputs, rewards: Tensor, { mask, truncated, valueFree, values, floats }: StateAfter): Tensor {
  const { nextValues, bootstrapValues } = inputs;
  const given = bootstrapValues !== undefined && bootstrapValues !== null;
  if (nextValues !== undefined && nextValues !== null) {
    if (given) throw new EstimatorError(`${who}: expected nextValues or bootstrapValues, got both`);
    return floats('nextValues', nextValues);
  }
  if (truncated && !given) throw new EstimatorError(`${who}: truncated was given without the values of the states behind such steps: expected bootstrapValues or nextValues`);
  const inside = valueFree ? zerosLike(rewards) : values();
  if (!given) return valueFree ? inside : following(inside, mask);
  if (tensorOf(who, 'bootstrapValues', bootstrapValues).ndim === 1) {
    if (bootstrapValues.shape[0] !== rewards.shape[0]) {
      throw new EstimatorError(`${who}: expected bootstrapValues of shape [${rewards.shape[0]}] or ${formatShape(rewards.shape)}, got ${formatShape(bootstrapValues.shape)}`);
    }
    const behind = bootstrapValues.cast(rewards.dtype);
    const next = following(inside, mask, behind);
    return truncated ? where(truncated, behind.expandDims(1), next) : next;
  }
  const goesOn = isFollowed(rewards, mask);
  return where(truncated ? goesOn.logicalAnd(truncated.logicalNot()) : goesOn, following(inside, mask), floats('bootstrapValues', bootstrapValues));
}

/** x of the next valid position, [B,T]; `behind` [B] (default 0) behind the last one. */
export function following(x: Tensor, mask: Tensor | null, behind: Tensor | number = 0): Tensor {
  // The second state is the first one as it was before the step.
  const options = { reverse: true, init: [behind, 0] } as const;
  return mask ? scan([x, mask], options, ([held], [value, valid]) => [where(valid, value, held), held])[1] : scan([x], options, ([held], [value]) => [value, held])[1];
}

/** Whether a valid position comes after this one. */
export function isFollowed(like: Tensor, mask: Tensor | null): Tensor {
  return following(onesLike(like), mask).notEqual(0);
}

/** y_t = x_t + d_t·y_{t+1} over the valid positions, from `behind` [B] (default 0) behind the last one; [B,T]. */
export function decayedSum(x: Tensor, decay: Factor, mask: Tensor | null, behind: Tensor | number = 0): Tensor {
  const options = { reverse: true, init: behind, ...(mask && { mask }) };
  return decay instanceof Tensor ? scan([x, decay], options, (next, [now, d]) => now.add(next.mul(d))) : scan([x], options, (next, [now]) => now.add(next.mul(decay)));
}

/** A factor as a tensor of the shape and dtype of another one. */
export const perStepOf = (factor: Factor, { shape, dtype, device }: Tensor): Tensor => (factor instanceof Tensor ? factor : full(shape, factor, { dtype, device }));

/** The product of factors: of numbers a number. */
export function product(x: Factor, y: Factor): Factor {
  if (typeof x === 'number') return typeof y === 'number' ? x * y : y.mul(x);
  return x.mul(y);
}

export function finite(who: string, name: string, value: unknown, low = -Infinity): number {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < low) {
    throw new EstimatorError(`${who}: option '${name}': expected a ${low === -Infinity ? 'finite number' : `number of at least ${low}`}, got ${showValue(value)}`);
  }
  return value;
}

export function tensorOf(who: string, name: string, value: unknown): Tensor {
  if (!(value instanceof Tensor)) throw new EstimatorError(`${who}: expected ${name}, a Tensor, got ${showValue(value)}`);
  checkTensor(who, name, value);
  return value;
}

export const floating = (x: Tensor): Tensor => (isFloating(x.dtype) && x.dtype !== 'bfloat16' ? x : x.cast('float32'));
