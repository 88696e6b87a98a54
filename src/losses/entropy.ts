/** Entropy in the loss: a coefficient that finds itself, and the tokens at which the policy decides. */
import { EstimatorError, showValue } from '../errors';
import { type Given, required, resolveOptions } from '../options';
import { evaluate, stopGradient, type Tensor, where } from '../tensor';
import { checkNumber, checkSameShape } from './check';
import { topTokens } from './select';

/** Settings of {@link AdaptiveEntropyCoefficient}. */
export interface AdaptiveEntropySettings {
  /** The coefficient to start from. Default 0. */
  coefficient: number;
  /** The entropy below which the coefficient grows. */
  target: number;
  /** What one step adds or takes away. Default 0.005. */
  delta: number;
  /** The coefficient stays in [min, max]. Defaults 0 and 1. */
  min: number;
  /** The upper end of the coefficient. Default 1. */
  max: number;
}

/**
 * A coefficient of the entropy bonus that holds the policy's entropy at a target: after each step it grows by δ while the entropy is below the target and shrinks
 * by δ while it is above; it is in force only while the entropy is at most the target. He et al. 2025, "Skywork Open Reasoner 1 Technical Report", section 4.
 *
 * @throws EstimatorError for options that are missing, unknown or out of range
 */
export class AdaptiveEntropyCoefficient {
  private readonly settings: AdaptiveEntropySettings;
  private current: number;
  private isLow = true;

  constructor(options: Given<AdaptiveEntropySettings>) {
    const who = 'AdaptiveEntropyCoefficient';
    this.settings = resolveOptions<AdaptiveEntropySettings>(who, { coefficient: 0, target: required, delta: 0.005, min: 0, max: 1 }, options);
    const { coefficient, target, delta, min, max } = this.settings;
    checkNumber(who, 'target', target, 0);
    checkNumber(who, 'delta', delta, 0);
    checkNumber(who, 'max', max, -Number.MAX_VALUE);
    checkNumber(who, 'min', min, -Number.MAX_VALUE, max);
    checkNumber(who, 'coefficient', coefficient, min, max);
    this.current = coefficient;
  }

  /** The coefficient in force: 0 while the entropy is above the target. */
  get value(): number {
    return this.isLow ? this.current : 0;
  }

  /** The coefficient for the next batch. @param entropy the mean over valid tokens that was measured; one that is not finite changes nothing. @returns the coefficient in force from now on */
  update(entropy: number): number {
    if (typeof entropy !== 'number') throw new EstimatorError(`AdaptiveEntropyCoefficient: entropy: expected a number, got ${showValue(entropy)}`);
    const { target, delta, min, max } = this.settings;
    if (Number.isFinite(entropy)) {
      this.current = Math.min(max, Math.max(min, this.current + delta * Math.sign(target - entropy)));
      this.isLow = entropy <= target;
    }
    return this.value;
  }

  /** What a checkpoint keeps. */
  state(): { coefficient: number; isLow: boolean } {
    return { coefficient: this.current, isLow: this.isLow };
  }

  /** Goes on from a {@link AdaptiveEntropyCoefficient.state}. @throws EstimatorError for a state that is none */
  restore(state: { coefficient: number; isLow: boolean }): void {
    if (!Number.isFinite(state?.coefficient) || typeof state.isLow !== 'boolean') {
      throw new EstimatorError(`AdaptiveEntropyCoefficient: state: expected { coefficient, isLow }, got ${showValue(state)}`);
    }
    this.current = state.coefficient;
    this.isLow = state.isLow;
  }
}

/**
 * The mask of the ρ share of valid tokens with the highest entropy, [B,T]: those with an entropy of at least the (1 − ρ)-quantile over all valid tokens of the
 * batch (interpolated between neighbours; ties stay). ρ = 1 keeps all. Wang et al. 2025, "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective
 * Reinforcement Learning for LLM Reasoning".
 *
 * @param entropy [B,T]; what it holds where the mask is 0 has no effect
 * @throws EstimatorError for shapes that differ, a ρ outside of [0, 1], and NaN on a valid token
 */
export function topEntropyMask(entropy: Tensor, mask: Tensor, options: Given<{ rho: number }> = {}): Tensor {
  const who = 'topEntropyMask';
  const { rho } = resolveOptions(who, { rho: 0.2 }, options);
  checkNumber(who, 'rho', rho, 0, 1);
  checkSameShape(who, { entropy, mask });
  const valid = mask.notEqual(0);
  const nothing = where(valid, entropy.isNaN(), 0);
  const [tokens, unknown] = [valid.sum(), nothing.sum()];
  evaluate([tokens, unknown]);
  if (unknown.item() > 0) {
    const [at, time] = [nothing.dataSync().findIndex(Boolean), entropy.shape.at(-1) ?? 1];
    throw new EstimatorError(`${who}: entropy: expected numbers on valid tokens, got NaN at row ${Math.floor(at / time)}, position ${at % time}, and ${unknown.item()} such in all`);
  }
  const count = tokens.item();
  // Those not under the quantile, which lies between two order statistics; 10·(1 − 0.7) is to be 3.
  const taken = count - Math.ceil(Math.fround((count - 1) * (1 - rho)));
  return where(taken < count ? topTokens(stopGradient(entropy), valid, taken, 'all') : valid, mask, 0);
}
