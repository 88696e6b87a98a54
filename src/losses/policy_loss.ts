/** What a policy loss is, and the registry that `trainer.algorithm.policy_loss_type` names entries of. */
import { unpackRows } from '../advantages/packed';
import { EstimatorError, quoted, showValue } from '../errors';
import { checkNames } from '../options';
import { type RegisterOptions, Registry } from '../registry';
import { type RowLayout, type RowOffsets, Tensor } from '../tensor';
import { checkDivisors, checkNoNaN, checkRows, checkSameShape, checkTensor } from './check';
import type { PolicyLossOptions } from './options';

/** What a policy loss is computed from. */
export interface PolicyLossInputs {
  /** Log-probabilities of the sampled tokens under the policy that is trained, [B,T]: what the gradient flows through. */
  logProbs: Tensor;
  /** The same under the policy before the update, [B,T]; constants. */
  oldLogProbs: Tensor;
  /** [B,T]; constants. The divisors of the loss reduction may be folded in (see `reductionDivisors`): then the loss is their mean. */
  advantages: Tensor;
  /** [B,T]; 0 where a token is no part of the response. What the other tensors hold there, NaN included, has no effect. */
  mask: Tensor;
  /** Log-probabilities as the sampler reported them, [B,T]; constants. */
  rolloutLogProbs?: Tensor;
  /** Log-probabilities under the reference policy of the KL term, [B,T]; constants. */
  refLogProbs?: Tensor;
  /** Factors on the policy term of each token, [B,T] or [B,1]: importance weights of tokens that the sampler drew otherwise; constants. */
  weights?: Tensor;
  /** Entropy of the policy at each token, [B,T], for `topEntropyQuantile`. */
  entropy?: Tensor;
  /** Corrects the tokens' losses before they are added up, and may take tokens out of the mask. */
  correction?: LossCorrection;
  /**
   * What each token's loss is divided by before the sum, [B,1]; constants above 0 (Infinity: the row weighs nothing). They are `reductionDivisors` of a whole minibatch where the rows here are a part of it,
   * so that the parts add up to its reduction while the advantages keep their size. With the reduction `token_sum`.
   */
  divisors?: Tensor;
}

/** The same without padding: the tokens of all rows one after the other, [tokens] instead of [B,T]. `weights` may be [tokens] or [B,1]; a `correction` sees [B,T]. */
export interface PackedPolicyLossInputs extends Omit<PolicyLossInputs, 'mask'> {
  /** `[B + 1]`: row b is the tokens rowOffsets[b] … rowOffsets[b+1]−1. From 0 to the number of tokens; rows of length 0 are allowed. A {@link RowLayout} spares working out once more where each token goes. */
  rowOffsets: RowOffsets | RowLayout;
  /** Default: every token counts. */
  mask?: Tensor;
}

/** What an off-policy correction sees: losses and mask, [B,T] each, and the log-probs. */
export interface LossCorrectionInputs {
  /** `[B,T]`: the policy term of each token. */
  losses: Tensor;
  /** `[B,T]`: which tokens count so far. */
  mask: Tensor;
  /** `[B,T]`: log-probs under the policy before the update. */
  oldLogProbs: Tensor;
  /** `[B,T]`: as the sampler reported them. */
  rolloutLogProbs?: Tensor;
}

/** Changes the tokens' losses, and takes tokens out of the mask, before they are added up: [B,T] each, as they came. */
export type LossCorrection = (inputs: LossCorrectionInputs) => { losses: Tensor; mask: Tensor; metrics?: Record<string, Tensor> };

/** What a policy loss gives. */
export interface PolicyLossResult {
  /** A scalar: the SUM of the tokens' losses over the mask, where no other reduction was asked for. */
  loss: Tensor;
  /** Scalars to record. Over several micro-batches those ending in `_min` and `_max` are combined so, others averaged. */
  metrics: Record<string, Tensor>;
}

/**
 * A policy loss. A subclass computes the masked sum of its tokens' losses:
 *
 * ```ts
 * class Reinforce extends PolicyLoss {
 *   computeLoss({ logProbs, advantages, mask }: PolicyLossInputs): PolicyLossResult {
 *     return { loss: logProbs.mul(advantages).neg().sum(null, { mask }), metrics: {} };
 *   }
 * }
 * registerPolicyLoss('my_reinforce', Reinforce);   // then: trainer.algorithm.policy_loss_type: "my_reinforce"
 * ```
 */
export abstract class PolicyLoss {
  /** The loss of a batch and what to record of it. `options` holds the run's options, all of them unless the class declares its own. */
  abstract computeLoss(inputs: PolicyLossInputs, options: PolicyLossOptions): PolicyLossResult;
}

/** The class of a policy loss, as {@link registerPolicyLoss} takes it. */
export interface PolicyLossClass {
  new (): PolicyLoss;
  /** The options that the loss takes, with their defaults; where there are none it is given all. */
  readonly options?: PolicyLossOptions;
  /** Whether the loss applies `divisors` and `correction` to the losses of its tokens; else a run folds the divisors into the advantages, and has no correction. */
  readonly perToken?: boolean;
}

/** The policy losses of this process. */
export const policyLosses = new Registry<PolicyLossClass>('policy loss');

/** Makes a policy loss available as `trainer.algorithm.policy_loss_type`. @throws EstimatorError, RegistryError */
export function registerPolicyLoss(name: string, loss: PolicyLossClass, options?: RegisterOptions): void {
  const prototype: unknown = typeof loss === 'function' ? loss.prototype : undefined;
  if (typeof (prototype as Partial<PolicyLoss> | undefined)?.computeLoss !== 'function') {
    throw new EstimatorError(`policy loss ${quoted(name)}: expected a class with a method computeLoss(inputs, options), got ${showValue(loss)}`);
  }
  policyLosses.register(name, loss, options);
}

/** Takes a policy loss and its aliases out of the registry. @throws RegistryError for an unknown name */
export function unregisterPolicyLoss(name: string): void {
  policyLosses.unregister(name);
}

/** The class of a policy loss by its name or an alias. @throws RegistryError for an unknown name */
export function getPolicyLoss(name: string): PolicyLossClass {
  return policyLosses.get(name);
}

/** The registered names, sorted. */
export function listPolicyLosses(): string[] {
  return policyLosses.list();
}

const inputNames = [
  'logProbs',
  'oldLogProbs',
  'advantages',
  'mask',
  'rolloutLogProbs',
  'refLogProbs',
  'weights',
  'entropy',
  'correction',
  'divisors',
  'rowOffsets',
];

/**
 * Computes a registered policy loss, its inputs and its result checked. Packed rows give the same loss, metrics and gradient, to the bit, as the same rows padded.
 * @throws RegistryError for an unknown name; EstimatorError for unknown inputs, inputs whose shapes differ and a result that is none
 */
export function computePolicyLoss(name: string, given: PolicyLossInputs | PackedPolicyLossInputs, options: PolicyLossOptions = {}): PolicyLossResult {
  const Loss = getPolicyLoss(name);
  const operation = `policy loss '${name}'`;
  checkNames(operation, 'input', given, inputNames);
  const inputs = inputsOf(operation, given);
  const { logProbs, oldLogProbs, advantages, mask, rolloutLogProbs, refLogProbs, entropy, weights, correction, divisors } = inputs;
  const optional = { rolloutLogProbs, refLogProbs, entropy };
  const present = Object.fromEntries(Object.entries(optional).filter((entry): entry is [string, Tensor] => entry[1] !== undefined));
  checkRows(operation, 'logProbs', logProbs);
  checkSameShape(operation, { logProbs, oldLogProbs, advantages, mask, ...present });
  checkNoNaN(operation, 'mask', mask);
  for (const [key, value] of Object.entries({ weights, divisors })) if (value) checkTensor(operation, key, value);
  if (weights && !(weights.ndim === 2 && weights.shape[1] === 1 && weights.shape[0] === logProbs.shape[0])) checkSameShape(operation, { logProbs, weights });
  if (divisors && !(divisors.ndim === 2 && divisors.shape[1] === 1 && divisors.shape[0] === logProbs.shape[0])) {
    throw new EstimatorError(`${operation}: divisors: expected a Tensor of shape [${logProbs.shape[0]},1], got one of shape [${divisors.shape.join(',')}]`);
  }
  if (divisors) checkDivisors(operation, divisors);
  if (correction !== undefined && typeof correction !== 'function') throw new EstimatorError(`${operation}: correction: expected a function, got ${showValue(correction)}`);
  const result: unknown = new Loss().computeLoss(inputs, options);
  const { loss, metrics } = (result ?? {}) as Partial<PolicyLossResult>;
  if (!(loss instanceof Tensor) || loss.size !== 1) {
    const got = loss instanceof Tensor ? `a tensor of shape [${loss.shape.join(',')}]` : showValue(result);
    throw new EstimatorError(`${operation}: expected { loss, metrics } with a scalar tensor as loss, got ${got}`);
  }
  const wrong = Object.entries(metrics ?? {}).find(([, value]) => !(value instanceof Tensor) || value.size !== 1);
  if (wrong) throw new EstimatorError(`${operation}: metric '${wrong[0]}': expected a scalar tensor, got ${showValue(wrong[1])}`);
  return { loss, metrics: metrics ?? {} };
}

function inputsOf(operation: string, given: PolicyLossInputs | PackedPolicyLossInputs): PolicyLossInputs {
  const { rowOffsets } = given as Partial<PackedPolicyLossInputs>;
  if (rowOffsets === undefined || rowOffsets === null) return given as PolicyLossInputs;
  const { logProbs, oldLogProbs, advantages, mask, rolloutLogProbs, refLogProbs, weights, entropy, correction, divisors } = given;
  const arrays = { logProbs, oldLogProbs, advantages, mask, rolloutLogProbs, refLogProbs, weights, entropy };
  const { padded, layout, release } = unpackRows(operation, arrays, rowOffsets, (name, { shape }, batch) => name === 'weights' && shape.length === 2 && shape[0] === batch && shape[1] === 1);
  const inputs = { mask: layout.present(), ...padded, correction, divisors } as PolicyLossInputs;
  release();
  return inputs;
}
