/**
 * The tuned kernels of reinforcement learning's recurrences and statistics, as operations on tensors. Each has the same result as an expression of
 * `scan`, `where` and sums, in fewer passes over memory. None is differentiable; the expressions are.
 *
 * Masks are uint8 or bool (other dtypes are converted): a position where the mask is 0 is passed through as if it were not there, whatever it holds, and gives 0.
 * Anything else counts, NaN in a floating mask too: to look for it would be a pass of its own. `computeAdvantages` and the losses, which are given masks from outside,
 * look once and refuse it.
 */
import { TensorError } from '../errors';
import { isFloating, type DType } from './dtype';
import { cast, constant, copy, expand, kernel, reshape, type Node } from './graph';
import { expectShape } from './primitives';
import { checkFinite, checkFlags, checkOptions, describe, formatShape, sameShape, type Shape } from './shape';
import { Tensor, tensorArgument } from './tensor';

/** An array of float32 or float64 (bfloat16 and integers become float32) of a shape. */
function floats(operation: string, name: string, value: unknown, shape: readonly (number | string)[], dtype?: DType): Node {
  const node = tensorArgument(`${operation} ${name}`, value);
  expectShape(operation, name, node, shape);
  return cast(node, dtype ?? (node.dtype === 'float64' ? 'float64' : 'float32'));
}

function maskOf(operation: string, value: unknown, shape: Shape, name = 'mask'): Node {
  const node = tensorArgument(`${operation} ${name}`, value);
  expectShape(operation, name, node, shape);
  return node.dtype === 'uint8' ? node : bytesOf(cast(node, 'bool'));
}

/** The bytes that a mask was made of, if they are at hand: kernels ask of each only whether it is 0. */
function bytesOf(mask: Node): Node {
  const source = mask.op === 'cast' && mask.dtype === 'bool' ? mask.inputs[0]! : mask;
  return source.dtype === 'uint8' ? source : mask;
}

/** Of where(mask, x, 0) the x: kernels that read nothing at masked positions need no pass over memory for it. */
function behindMask(node: Node, mask: Node): Node {
  return isMasked(node, mask) ? node.inputs[1]! : node;
}

function isMasked(node: Node, mask: Node): boolean {
  if (node.op !== 'where') return false;
  const [condition, kept, other] = node.inputs as [Node, Node, Node];
  return other.op === 'constant' && other.attributes.value === 0 && sameShape(kept.shape, node.shape) && bytesOf(condition) === bytesOf(mask);
}

/** Whether an array that is not evaluated yet is where(mask, x, 0). */
export function isZeroWhereMasked(x: Tensor, mask: Tensor): boolean {
  return isMasked(tensorArgument('isZeroWhereMasked x', x), tensorArgument('isZeroWhereMasked mask', mask));
}

const advantageNames = ['gamma', 'lambda', 'ends', 'bootstrap', 'moments'] as const;
const returnNames = ['gamma', 'moments'] as const;
const vtraceInputNames = ['targetLogProbs', 'behaviourLogProbs', 'rewards', 'values', 'mask', 'bootstrap'] as const;
const vtraceNames = ['gamma', 'lambda', 'clipRho', 'clipC', 'clipPgRho'] as const;
const affineNames = ['initial', 'reverse'] as const;
const groupAdvantageNames = ['byDeviation', 'leaveOneOut', 'keepSingletons', 'ddof', 'epsilon', 'epsilonOutside', 'minVariance'] as const;
const whitenNames = ['epsilon', 'ddof', 'keepMean', 'epsilonOutside', 'moments'] as const;

const empty = (dtype: DType, columns = 0): Node => constant(0, dtype, [0, columns]);

/** Per row of an array: the number of valid positions, their mean, and Σ(x−μ)² over them. float64 [B, 3]. */
export type RowMoments = Tensor;

/** Where episodes end inside of a row. */
export interface EpisodeEnds {
  /** uint8 [B,T]: 1 where an episode terminated with this step (nothing comes after it), 2 where it was cut off there (truncated). */
  ends: Tensor;
  /** [B,T] or [B]: the value of the state that followed, where an episode was truncated. Default 0. */
  bootstrap?: Tensor;
}

/** Options of {@link generalizedAdvantage}. */
export interface GeneralizedAdvantageOptions extends Partial<EpisodeEnds> {
  /** Discount γ. */
  gamma: number;
  /** λ: 1 takes whole returns, 0 one step. */
  lambda: number;
  /** Also take the moments of the advantages, for a {@link whiten} without a pass of its own. */
  moments?: boolean;
}

/**
 * Generalised advantage estimation (Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation, 2016) in one pass over memory:
 * δ_t = r_t + γV_{t+1} − V_t, A_t = δ_t + γλA_{t+1}, returns = A + V; all [B,T]. After a row's last valid position V and A are 0; where an episode
 * ends inside a row, V_{t+1} is 0 (terminated) or the bootstrap value (truncated) and nothing of A_{t+1} comes in.
 *
 * @throws TensorError for shapes that do not belong together
 */
export function generalizedAdvantage(
  rewards: Tensor,
  values: Tensor,
  mask: Tensor,
  options: GeneralizedAdvantageOptions,
): { advantages: Tensor; returns: Tensor; moments: RowMoments | null } {
  const operation = 'generalizedAdvantage';
  const { gamma, lambda, ends, bootstrap, moments = false } = checkOptions(operation, options, advantageNames);
  checkFinite(operation, 'gamma', gamma);
  checkFinite(operation, 'lambda', lambda);
  checkFlags(operation, { moments });
  const r = floats(operation, 'rewards', rewards, ['B', 'T']);
  const v = floats(operation, 'values', values, r.shape, r.dtype);
  const m = maskOf(operation, mask, r.shape);
  if (bootstrap !== undefined && ends === undefined) throw new TensorError(`${operation}: bootstrap was given without ends, which say where it counts`);
  const [e, next] = ends === undefined ? [empty('uint8'), empty(r.dtype)] : [cast(tensorArgument(`${operation} ends`, ends), 'uint8'), bootstrapOf(operation, bootstrap, r)];
  if (ends !== undefined) expectShape(operation, 'ends', e, r.shape);
  const outputs = [{ shape: r.shape, dtype: r.dtype }, { shape: r.shape, dtype: r.dtype }, momentsOutput(moments, r.shape)];
  const inputs = [behindMask(r, m), behindMask(v, m), m, e, next];
  const [advantages, returns, statistics] = kernel({ name: 'gae', outputs, scalars: [gamma, lambda], attributes: [] }, inputs);
  return { advantages: new Tensor(advantages!), returns: new Tensor(returns!), moments: moments ? new Tensor(statistics!) : null };
}

function bootstrapOf(operation: string, bootstrap: Tensor | undefined, rewards: Node): Node {
  if (bootstrap === undefined) return expand(copy(constant(0, rewards.dtype, [1, 1])), rewards.shape);
  const node = tensorArgument(`${operation} bootstrap`, bootstrap);
  if (node.shape.length !== 1) return floats(operation, 'bootstrap', bootstrap, rewards.shape, rewards.dtype);
  expectShape(operation, 'bootstrap', node, [rewards.shape[0]!]);
  return expand(reshape(cast(node, rewards.dtype), [rewards.shape[0]!, 1]), rewards.shape);
}

function momentsOutput(wanted: boolean, shape: Shape): { shape: Shape; dtype: DType } {
  return { shape: [wanted ? shape[0]! : 0, 3], dtype: 'float64' };
}

/** Discounted reward-to-go G_t = r_t + γG_{t+1}, [B,T], from the last valid position of each row to the first; `moments` as for {@link generalizedAdvantage}. */
export function discountedReturn(rewards: Tensor, mask: Tensor, options: { gamma: number; moments?: boolean }): { returns: Tensor; moments: RowMoments | null } {
  const operation = 'discountedReturn';
  const { gamma, moments = false } = checkOptions(operation, options, returnNames);
  checkFinite(operation, 'gamma', gamma);
  checkFlags(operation, { moments });
  const r = floats(operation, 'rewards', rewards, ['B', 'T']);
  const m = maskOf(operation, mask, r.shape);
  const outputs = [{ shape: r.shape, dtype: r.dtype }, momentsOutput(moments, r.shape)];
  const [returns, statistics] = kernel({ name: 'discounted_return', outputs, scalars: [gamma], attributes: [] }, [behindMask(r, m), m]);
  return { returns: new Tensor(returns!), moments: moments ? new Tensor(statistics!) : null };
}

/** A batch for {@link vtrace}; all [B,T] but `bootstrap` [B], the value after each row's last step (default 0). */
export interface VTraceInputs {
  /** log π(a_t) of the policy that learns. */
  targetLogProbs: Tensor;
  /** log μ(a_t) of the policy that acted. */
  behaviourLogProbs: Tensor;
  /** r_t. */
  rewards: Tensor;
  /** V of the state before each step. */
  values: Tensor;
  /** 0 where a position is passed through. */
  mask: Tensor;
  /** `[B]`: V of the state after each row's last step. Default 0. */
  bootstrap?: Tensor;
}

/** The bounds default to 1, as in the paper. */
export interface VTraceOptions {
  /** Discount γ. */
  gamma: number;
  /** λ, a factor on the traces. Default 1. */
  lambda?: number;
  /** ρ̄, the bound of the ratio on each temporal-difference error. */
  clipRho?: number;
  /** c̄, the bound of the ratio on the trace. */
  clipC?: number;
  /** The bound of the ratio on the advantages. */
  clipPgRho?: number;
}

/**
 * V-trace (Espeholt et al., IMPALA, 2018). With w = π/μ, ρ = min(ρ̄, w), c = λ·min(c̄, w):
 * v_t = V_t + ρ_t(r_t + γV_{t+1} − V_t) + γc_t(v_{t+1} − V_{t+1}), advantages = min(ρ̄_pg, w_t)·(r_t + γv_{t+1} − V_t); both [B,T].
 */
export function vtrace(inputs: VTraceInputs, options: VTraceOptions): { targets: Tensor; advantages: Tensor } {
  const operation = 'vtrace';
  const { targetLogProbs, behaviourLogProbs, rewards, values, mask, bootstrap } = checkOptions(operation, inputs, vtraceInputNames, 'input');
  const { gamma, lambda = 1, clipRho = 1, clipC = 1, clipPgRho = 1 } = checkOptions(operation, options, vtraceNames);
  checkFinite(operation, 'gamma', gamma);
  checkFinite(operation, 'lambda', lambda);
  for (const [name, bound] of Object.entries({ clipRho, clipC, clipPgRho })) {
    if (typeof bound !== 'number' || !(bound >= 0)) throw new TensorError(`${operation}: expected ${name}, a number of at least 0 (Infinity: no bound), got ${describe(bound)}`);
  }
  const r = floats(operation, 'rewards', rewards, ['B', 'T']);
  const same = (name: string, value: Tensor) => floats(operation, name, value, r.shape, r.dtype);
  const after = bootstrap === undefined ? constant(0, r.dtype, [r.shape[0]!]) : floats(operation, 'bootstrap', bootstrap, [r.shape[0]!], r.dtype);
  const m = maskOf(operation, mask, r.shape);
  const given = [same('targetLogProbs', targetLogProbs), same('behaviourLogProbs', behaviourLogProbs), r, same('values', values)].map((node) => behindMask(node, m));
  const output = { shape: r.shape, dtype: r.dtype };
  const [targets, advantages] = kernel({ name: 'vtrace', outputs: [output, output], scalars: [gamma, lambda, clipRho, clipC, clipPgRho], attributes: [] }, [...given, m, after]);
  return { targets: new Tensor(targets!), advantages: new Tensor(advantages!) };
}

/**
 * y_t = a_t·y_{t−1} + b_t along the last of two axes, a and b [N,T] (float32, float64 or bfloat16, alike), the state carried in float64.
 * `reverse` runs from the last element to the first: y_t = a_t·y_{t+1} + b_t. `initial` [N] stands before the first element (default 0).
 */
export function affineScan(a: Tensor, b: Tensor, options?: { initial?: Tensor; reverse?: boolean }): Tensor {
  const operation = 'affineScan';
  const { initial, reverse = false } = checkOptions(operation, options, affineNames);
  checkFlags(operation, { reverse });
  const factors = tensorArgument(`${operation} a`, a);
  const terms = tensorArgument(`${operation} b`, b);
  expectShape(operation, 'a', factors, ['N', 'T']);
  expectShape(operation, 'b', terms, factors.shape);
  if (!isFloating(factors.dtype) || factors.dtype !== terms.dtype) throw new TensorError(`${operation}: expected a and b of one floating dtype, got ${factors.dtype} and ${terms.dtype}`);
  const before = initial === undefined ? constant(0, factors.dtype, [factors.shape[0]!]) : floats(operation, 'initial', initial, [factors.shape[0]!], factors.dtype);
  const call = { name: 'affine_scan', outputs: [{ shape: factors.shape, dtype: factors.dtype }], scalars: [], attributes: [reverse ? 1 : 0] };
  return new Tensor(kernel(call, [factors, terms, before])[0]!);
}

/** Options of {@link whiten}. */
export interface WhitenOptions {
  /** Default 1e-8. */
  epsilon?: number;
  /** The variance is Σ(x−μ)²/(n−ddof). Default 1. */
  ddof?: 0 | 1;
  /** Add the mean again, so that only the scale changes. Default false. */
  keepMean?: boolean;
  /** Divide by √σ² + ε instead of √(σ² + ε). Default false. */
  epsilonOutside?: boolean;
  /** Moments of each row as {@link generalizedAdvantage} or {@link rowMoments} took them; without them they are taken here. */
  moments?: RowMoments | null;
}

/** (x − μ)/√(σ² + ε) over all valid positions of x [B,T], 0 elsewhere. Values around 1e4 lose nothing; a single valid position, or equal numbers, give 0. */
export function whiten(x: Tensor, mask: Tensor, options?: WhitenOptions): Tensor {
  const operation = 'whiten';
  const { epsilon = 1e-8, ddof = 1, keepMean = false, epsilonOutside = false, moments } = checkOptions(operation, options, whitenNames);
  if (typeof epsilon !== 'number' || !(epsilon >= 0)) throw new TensorError(`${operation}: expected epsilon, a number of at least 0, got ${describe(epsilon)}`);
  if (ddof !== 0 && ddof !== 1) throw new TensorError(`${operation}: expected ddof 0 or 1, got ${describe(ddof)}`);
  checkFlags(operation, { keepMean, epsilonOutside });
  const values = floats(operation, 'x', x, ['B', 'T']);
  const known = moments === undefined || moments === null ? empty('float64', 3) : tensorArgument(`${operation} moments`, moments);
  if (known.dtype !== 'float64' || known.shape.length !== 2 || known.shape[1] !== 3 || (known.shape[0] !== 0 && known.shape[0] !== values.shape[0])) {
    throw new TensorError(`${operation}: expected moments float64 [${values.shape[0]},3], got ${known.dtype} ${formatShape(known.shape)}`);
  }
  const call = {
    name: 'whiten',
    outputs: [{ shape: values.shape, dtype: values.dtype }],
    scalars: [epsilon, ddof],
    attributes: [(keepMean ? 1 : 0) + (epsilonOutside ? 2 : 0)],
  };
  const m = maskOf(operation, mask, values.shape);
  return new Tensor(kernel(call, [behindMask(values, m), m, known])[0]!);
}

/** Count, mean and Σ(x−μ)² of the valid positions of each row of x [B,T]: float64 [B,3]. */
export function rowMoments(x: Tensor, mask: Tensor): RowMoments {
  const values = floats('rowMoments', 'x', x, ['B', 'T']);
  const call = { name: 'masked_moments', outputs: [momentsOutput(true, values.shape)], scalars: [], attributes: [] };
  const m = maskOf('rowMoments', mask, values.shape);
  return new Tensor(kernel(call, [behindMask(values, m), m])[0]!);
}

/**
 * Statistics over groups of numbers: of the valid ones in each number's group, how many there are, their mean, and Σ(x−μ)²; float64 [B] each, 0 where none is valid.
 *
 * @param scores [B]
 * @param valid uint8 or bool [B]
 * @param rows int32 [B]: the positions 0…B−1, each once (which is not looked at), group by group
 * @param starts int32 [G+1]: group g is rows[starts[g]] … rows[starts[g+1]−1]
 */
export function groupMoments(scores: Tensor, valid: Tensor, rows: Tensor, starts: Tensor): { count: Tensor; mean: Tensor; spread: Tensor } {
  const operation = 'groupMoments';
  const x = floats(operation, 'scores', scores, ['B']);
  const output = { shape: x.shape, dtype: 'float64' as const };
  const call = { name: 'group_moments', outputs: [output, output, output], scalars: [], attributes: [] };
  const [count, mean, spread] = kernel(call, [x, maskOf(operation, valid, x.shape, 'valid'), ...groupLists(operation, rows, starts, x.shape[0]!)]);
  return { count: new Tensor(count!), mean: new Tensor(mean!), spread: new Tensor(spread!) };
}

/** Options of {@link groupAdvantages}. */
export interface GroupAdvantageOptions {
  /** Divide by the standard deviation of the group's scores, where it is not 0. Default true. */
  byDeviation?: boolean;
  /** The baseline is the mean of the other rows of the group instead of that of all; σ stays that of all. Default false. */
  leaveOneOut?: boolean;
  /** A row alone in its group keeps its score, as if σ were 1, instead of getting 0. Default false. */
  keepSingletons?: boolean;
  /** The variance is Σ(x−μ)²/(n−ddof); 0 where n is not above ddof. Default 1. */
  ddof?: 0 | 1;
  /** Default 1e-6. */
  epsilon?: number;
  /** Divide by σ + ε instead of √(σ² + ε). Default true. */
  epsilonOutside?: boolean;
  /** A variance that is not 0 counts as at least this. Default 0. */
  minVariance?: number;
}

/**
 * The advantage of every token by its row's score R, the sum of its valid rewards, beside those of the rows of its group: (R − μ)/(σ + ε), the same number for all valid tokens
 * of the row, 0 elsewhere. Rewards, mask and advantages are passed over once.
 *
 * @param rewards [B,T]
 * @param mask uint8 or bool [B,T]
 * @param rows int32 [B]: the rows 0…B−1, each once (which is not looked at), group by group; a row that is not among them gets 0
 * @param starts int32 [G+1]: group g is rows[starts[g]] … rows[starts[g+1]−1]
 * @returns the advantages [B,T], and the number that each row's tokens get [B], of the dtype of the rewards
 * @throws TensorError for shapes that do not belong together and options that are none; NativeError, when the result is read, for rows and starts out of range
 */
export function groupAdvantages(rewards: Tensor, mask: Tensor, rows: Tensor, starts: Tensor, options?: GroupAdvantageOptions): { advantages: Tensor; rowAdvantages: Tensor } {
  const operation = 'groupAdvantages';
  const given = checkOptions(operation, options, groupAdvantageNames);
  const { byDeviation = true, leaveOneOut = false, keepSingletons = false, ddof = 1, epsilon = 1e-6, epsilonOutside = true, minVariance = 0 } = given;
  if (ddof !== 0 && ddof !== 1) throw new TensorError(`${operation}: expected ddof 0 or 1, got ${describe(ddof)}`);
  checkFlags(operation, { byDeviation, leaveOneOut, keepSingletons, epsilonOutside });
  for (const [name, value] of Object.entries({ epsilon, minVariance })) {
    if (typeof value !== 'number' || !(value >= 0)) throw new TensorError(`${operation}: expected ${name}, a number of at least 0, got ${describe(value)}`);
  }
  const r = floats(operation, 'rewards', rewards, ['B', 'T']);
  const call = {
    name: 'group_advantages',
    outputs: [{ shape: r.shape, dtype: r.dtype }, { shape: [r.shape[0]!], dtype: r.dtype }],
    scalars: [ddof, epsilon, minVariance],
    attributes: [(byDeviation ? 1 : 0) + (epsilonOutside ? 2 : 0) + (leaveOneOut ? 4 : 0) + (keepSingletons ? 8 : 0)],
  };
  const m = maskOf(operation, mask, r.shape);
  const [advantages, perRow] = kernel(call, [behindMask(r, m), m, ...groupLists(operation, rows, starts, r.shape[0]!)]);
  return { advantages: new Tensor(advantages!), rowAdvantages: new Tensor(perRow!) };
}

/** The rows of each group, as kernels of groups take them. */
function groupLists(operation: string, rows: Tensor, starts: Tensor, count: number): [rows: Node, starts: Node] {
  const integers = (name: string, value: Tensor, shape: readonly (number | string)[]): Node => {
    const node = tensorArgument(`${operation} ${name}`, value);
    expectShape(operation, name, node, shape);
    if (node.dtype !== 'int32') throw new TensorError(`${operation}: expected int32 ${name}, got ${node.dtype}`);
    return node;
  };
  const lists: [Node, Node] = [integers('rows', rows, [count]), integers('starts', starts, ['G+1'])];
  if (lists[1].shape[0] === 0) throw new TensorError(`${operation}: expected starts of shape [G+1], where the groups begin and the last one ends, got [0]`);
  return lists;
}
