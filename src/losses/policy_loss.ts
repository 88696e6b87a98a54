/** What a policy loss is, and the registry that `trainer.algorithm.policy_loss_type` names entries of. */
import { EstimatorError, showValue } from '../errors';
import { type RegisterOptions, Registry } from '../registry';
import { Tensor } from '../tensor';
import { checkSameShape } from './check';

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
}

export interface PolicyLossOptions {
  /** ε below: ratios under 1 − ε gain nothing. Default 0.2. */
  epsClipLow?: number;
  /** ε above: ratios over 1 + ε gain nothing. Default 0.2. */
  epsClipHigh?: number;
  /** Dual clip: bound of the ratio for negative advantages, above 1. Default 3. */
  clipRatioC?: number;
}

export interface PolicyLossResult {
  /** A scalar: the SUM of the tokens' losses over the mask. */
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
  abstract computeLoss(inputs: PolicyLossInputs, options: PolicyLossOptions): PolicyLossResult;
}

export type PolicyLossClass = new () => PolicyLoss;

/** The policy losses of this process. */
export const policyLosses = new Registry<PolicyLossClass>('policy loss');

/** Makes a policy loss available as `trainer.algorithm.policy_loss_type`. @throws EstimatorError, RegistryError */
export function registerPolicyLoss(name: string, loss: PolicyLossClass, options?: RegisterOptions): void {
  const prototype: unknown = typeof loss === 'function' ? loss.prototype : undefined;
  if (typeof (prototype as Partial<PolicyLoss> | undefined)?.computeLoss !== 'function') {
    throw new EstimatorError(`policy loss '${name}': expected a class with a method computeLoss(inputs, options), got ${showValue(loss)}`);
  }
  policyLosses.register(name, loss, options);
}

/** @throws RegistryError for an unknown name */
export function unregisterPolicyLoss(name: string): void {
  policyLosses.unregister(name);
}

/** @throws RegistryError for an unknown name */
export function getPolicyLoss(name: string): PolicyLossClass {
  return policyLosses.get(name);
}

/** The registered names, sorted. */
export function listPolicyLosses(): string[] {
  return policyLosses.list();
}

/**
 * Computes a registered policy loss, its inputs and its result checked.
 * @throws RegistryError for an unknown name; EstimatorError for inputs whose shapes differ and a result that is none
 */
export function computePolicyLoss(name: string, inputs: PolicyLossInputs, options: PolicyLossOptions = {}): PolicyLossResult {
  const { logProbs, rolloutLogProbs, ...others } = inputs;
  checkSameShape(`policy loss '${name}'`, { logProbs, ...others, ...(rolloutLogProbs && { rolloutLogProbs }) });
  const result: unknown = new (getPolicyLoss(name))().computeLoss(inputs, options);
  const { loss, metrics } = (result ?? {}) as Partial<PolicyLossResult>;
  if (!(loss instanceof Tensor) || loss.size !== 1) {
    const got = loss instanceof Tensor ? `a tensor of shape [${loss.shape.join(',')}]` : showValue(result);
    throw new EstimatorError(`policy loss '${name}': expected { loss, metrics } with a scalar tensor as loss, got ${got}`);
  }
  const wrong = Object.entries(metrics ?? {}).find(([, value]) => !(value instanceof Tensor) || value.size !== 1);
  if (wrong) throw new EstimatorError(`policy loss '${name}': metric '${wrong[0]}': expected a scalar tensor, got ${showValue(wrong[1])}`);
  return { loss, metrics: metrics ?? {} };
}
