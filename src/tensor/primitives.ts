/** The tuned kernels that models use, as operations on tensors. */
import { TensorError } from '../errors';
import { isFloating } from './dtype';
import { cast, kernel, release, reshape, retain, windowOf, type Node } from './graph';
import { contiguous } from './operations';
import { explainNodes, realize } from './plan';
import { checkKey, type RandomKey } from './random';
import { checkArray, checkFinite, checkOptions, describe, eachOf, formatShape, type Shape } from './shape';
import { Tensor, tensorArgument } from './tensor';

/** @internal Checks a shape; a name stands for any extent. */
export function expectShape(operation: string, name: string, { shape }: Node, expected: readonly (number | string)[]): void {
  let fits = shape.length === expected.length;
  for (let d = 0; fits && d < shape.length; d++) fits = expected[d] === shape[d] || typeof expected[d] === 'string';
  if (!fits) throw new TensorError(`${operation}: expected ${name} of shape [${expected.join(',')}], got ${formatShape(shape)}`);
}

const attentionNames = ['scale', 'keyStart', 'queryOffset'] as const;
const logProbNames = ['temperature'] as const;
const samplingNames = ['temperature', 'topK', 'topP', 'minP', 'key', 'counter'] as const;
const adamwNames = ['lr', 'beta1', 'beta2', 'epsilon', 'weightDecay', 'step'] as const;

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Factor on the products of queries and keys, usually 1/√D. */
  scale: number;
  /** int32 [B]: the first key that counts in each row (what precedes it is padding). */
  keyStart: Tensor;
  /** The position of the first query among the keys. Default 0. */
  queryOffset?: number;
}

/**
 * Causal grouped-query attention: q [B,H,Tq,D], k and v [B,Hk,Tk,D] → [B,H,Tq,D]. Query i stands at position p = queryOffset + i and sees the keys keyStart[b] … p;
 * one that sees none gives 0. Head h reads key head ⌊h·Hk/H⌋. Differentiable in q, k, v.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
  const { scale, keyStart, queryOffset = 0 } = checkOptions('attention', options, attentionNames);
  const query = tensorArgument('attention q', q);
  checkFinite('attention', 'scale', scale);
  checkFinite('attention', 'queryOffset', queryOffset);
  const [batch, heads, length] = query.shape as [number, number, number];
  const key = tensorArgument('attention k', k);
  const start = tensorArgument('attention keyStart', keyStart);
  expectShape('attention', 'q', query, ['B', 'H', 'Tq', 'D']);
  expectShape('attention', 'k', key, [batch, 'Hk', 'Tk', query.shape[3]!]);
  expectShape('attention', 'v', tensorArgument('attention v', v), key.shape);
  expectShape('attention', 'keyStart', start, [batch]);
  const outputs = [{ shape: query.shape, dtype: query.dtype }, { shape: [batch, heads, length], dtype: query.dtype }];
  const call = { name: 'attention', outputs, scalars: [scale, queryOffset], attributes: [] };
  return new Tensor(kernel(call, [query, key, v.node, cast(start, 'int32')])[0]!);
}

/**
 * log softmax(logits/temperature) at the given tokens, and the entropy of the same distributions: logits [...,V], ids int32 [...] → both of shape [...].
 * One pass over the logits. Differentiable in the logits.
 */
export function tokenLogProbs(logits: Tensor, ids: Tensor, options?: { temperature?: number }): { logProbs: Tensor; entropy: Tensor } {
  const { temperature = 1 } = checkOptions('tokenLogProbs', options, logProbNames);
  const scores = tensorArgument('tokenLogProbs logits', logits);
  const chosen = tensorArgument('tokenLogProbs ids', ids);
  if (scores.shape.length === 0 || !isFloating(scores.dtype)) throw new TensorError(`tokenLogProbs: expected floating logits [...,V], got ${scores.dtype} ${formatShape(scores.shape)}`);
  const rows: Shape = scores.shape.slice(0, -1);
  expectShape('tokenLogProbs', 'ids', chosen, rows);
  if (isFloating(chosen.dtype)) throw new TensorError(`tokenLogProbs: expected integer ids, got ${chosen.dtype}`);
  if (typeof temperature !== 'number' || !(temperature >= 1e-30 && temperature <= 1e30))
    throw new TensorError(`tokenLogProbs: expected a temperature from 1e-30 to 1e30, got ${describe(temperature)}`);
  const vocabulary = scores.shape[rows.length]!;
  const flat = logits.reshape(vocabulary === 0 ? [chosen.size, 0] : [-1, vocabulary]).node;
  const dtype = scores.dtype === 'float64' ? 'float64' : 'float32';
  const output = { shape: [chosen.size], dtype } as const;
  const call = { name: 'token_log_probs', outputs: [output, output, output], scalars: [1 / temperature], attributes: [] };
  const [logProbs, entropy] = kernel(call, [flat, cast(ids.reshape([chosen.size]).node, 'int32')]);
  return { logProbs: new Tensor(logProbs!).reshape([...rows]), entropy: new Tensor(entropy!).reshape([...rows]) };
}

/** Options of {@link sampleTokens}. */
export interface SamplingOptions {
  /** 0 takes the most likely token. Default 1. */
  temperature?: number;
  /** Only the k most likely tokens; off where ≤ 0. Default off. */
  topK?: number;
  /** Only the most likely tokens that together reach this probability; off at 1. Default 1. */
  topP?: number;
  /** Only tokens at least this many times as likely as the most likely one; off at 0. Default 0. */
  minP?: number;
  /** The stream that the draws come from: the same key and counter give the same tokens. */
  key: RandomKey;
  /** Row b draws from block counter + b of the key's stream. Default 0. */
  counter?: number;
}

/**
 * Draws a token from each row of logits [B,V]: ids int32 [B], and the log-prob of each under softmax(logits/temperature) as it was before
 * top-k, top-p and min-p cut it (at temperature 0: under softmax(logits)).
 */
export function sampleTokens(logits: Tensor, options: SamplingOptions): { ids: Tensor; logProbs: Tensor } {
  const { temperature = 1, topK = -1, topP = 1, minP = 0, key, counter = 0 } = checkOptions('sampleTokens', options, samplingNames);
  const scores = tensorArgument('sampleTokens logits', logits);
  expectShape('sampleTokens', 'logits', scores, ['B', 'V']);
  for (const [name, value] of Object.entries({ temperature, topK, topP, minP, counter })) checkFinite('sampleTokens', name, value);
  if (temperature !== 0 && !(temperature >= 1e-30 && temperature <= 1e30)) throw new TensorError(`sampleTokens: expected a temperature from 1e-30 to 1e30, or 0, got ${describe(temperature)}`);
  checkKey('sampleTokens', key);
  const rows = [scores.shape[0]!];
  const outputs = [{ shape: rows, dtype: 'int32' as const }, { shape: rows, dtype: 'float32' as const }];
  const call = { name: 'sample', outputs, scalars: [temperature, topP, minP, topK, key.low, key.high, counter], attributes: [] };
  const [ids, logProbs] = kernel(call, [scores]);
  return { ids: new Tensor(ids!), logProbs: new Tensor(logProbs!) };
}

/**
 * Writes values [B,S,C] into cache [B,T,C] at positions position … position+S−1, in place. The result stands for the changed
 * cache; the tensor given must not be used any more.
 */
export function writeAt(cache: Tensor, values: Tensor, position: number): Tensor {
  const target = tensorArgument('writeAt cache', cache);
  const source = tensorArgument('writeAt values', values);
  expectShape('writeAt', 'cache', target, ['B', 'T', 'C']);
  if (target.op === 'view') throw new TensorError('writeAt: expected a cache with memory of its own, got a view');
  expectShape('writeAt', 'values', source, [target.shape[0]!, 'S', target.shape[2]!]);
  if (!Number.isInteger(position) || position < 0 || position + source.shape[1]! > target.shape[1]!) {
    throw new TensorError(`writeAt: expected a position from 0 to ${target.shape[1]! - source.shape[1]!}, got ${describe(position)}`);
  }
  // A chain of writes stays lazy; anything else needs memory to write to.
  if (target.op !== 'output' || !target.inputs[0]!.attributes.kernel?.aliases) cache.realize();
  const call = { name: 'index_copy', outputs: [{ shape: target.shape, dtype: target.dtype }], scalars: [position], attributes: [], aliases: [0] };
  return new Tensor(kernel(call, [cache.node, cast(source, target.dtype)])[0]!);
}

/** Evaluates several tensors together: what they share is computed once, in one plan. Gradients asked for later do not flow through them. */
export function evaluate(tensors: readonly Tensor[]): void {
  checkArray('evaluate', 'an array of tensors', tensors);
  realize(eachOf(tensors, (tensor, i) => tensorArgument('evaluate', tensor, i)));
}

/** The programs and kernels that `evaluate` of the same tensors would run, as text. */
export function explain(tensors: readonly Tensor[]): string {
  checkArray('explain', 'an array of tensors', tensors);
  return explainNodes(eachOf(tensors, (tensor, i) => tensorArgument('explain', tensor, i)));
}

/** The constants of one AdamW update; `step` counts from 1. */
export interface AdamWScalars {
  /** Learning rate of this step. */
  lr: number;
  /** Decay of the running mean of the gradients. */
  beta1: number;
  /** Decay of the running mean of their squares. */
  beta2: number;
  /** Added to the root of the mean square. */
  epsilon: number;
  /** Decoupled weight decay: what a step takes off a parameter, times the learning rate. */
  weightDecay: number;
  /** t, from 1, for the correction of the running means' bias. */
  step: number;
}

/** In-place updates that run together, after everything else in their evaluation. */
export class UpdateList {
  private readonly updates: { targets: Tensor[]; results: Node[] }[] = [];

  /**
   * AdamW (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019) on param, m and v, in place:
   * g = gradient·gradScale, m = β₁m+(1−β₁)g, v = β₂v+(1−β₂)g², param −= lr·((m/(1−β₁ᵗ))/(√(v/(1−β₂ᵗ))+ε) + weightDecay·param).
   * The three hold memory of their own (evaluated, not views).
   */
  adamw(param: Tensor, m: Tensor, v: Tensor, gradient: Tensor, gradScale: Tensor, scalars: AdamWScalars): void {
    const targets = [param, m, v];
    for (const [name, target] of Object.entries({ param, m, v })) {
      tensorArgument(`adamw ${name}`, target);
      target.realize();
      if (target.node.op !== 'buffer') throw new TensorError('adamw: expected parameters and moments with memory of their own, got a view');
    }
    const { lr, beta1, beta2, epsilon, weightDecay, step } = checkOptions('adamw', scalars, adamwNames);
    for (const [name, value] of Object.entries({ lr, beta1, beta2, epsilon, weightDecay, step })) checkFinite('adamw', name, value);
    const outputs = targets.map(({ shape, dtype }) => ({ shape, dtype }));
    const call = {
      name: 'adamw',
      outputs,
      attributes: [],
      aliases: [0, 1, 2],
      last: true,
      scalars: [lr, beta1, beta2, epsilon, weightDecay, 1 - beta1 ** step, 1 - beta2 ** step],
    };
    const factor = tensorArgument('adamw gradScale', gradScale);
    if (factor.size !== 1) throw new TensorError(`adamw: expected a gradScale of one element, got shape ${formatShape(factor.shape)}`);
    const results = kernel(call, [param.node, m.node, v.node, contiguous(tensorArgument('adamw gradient', gradient)), reshape(factor, [1])]);
    this.updates.push({ targets, results });
  }

  /** Runs the updates and evaluates the given tensors before them, in one plan; the updated tensors then hold the new values. */
  evaluate(others: readonly Tensor[] = []): void {
    checkArray('evaluate', 'an array of tensors', others);
    const results = this.updates.flatMap((update) => update.results);
    for (const result of results) retain(result);
    try {
      realize([...eachOf(others, (tensor) => windowOf(tensorArgument('evaluate', tensor)).base), ...results]);
      for (const { targets, results: updated } of this.updates) targets.forEach((target, i) => target.replace(updated[i]!));
    } finally {
      for (const result of results) release(result);
      this.updates.length = 0;
    }
  }
}
