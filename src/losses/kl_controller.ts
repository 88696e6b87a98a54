/** The coefficient of a KL penalty over a training run. */
import { EstimatorError, showValue } from '../errors';
import { checkName, checkNames, type Given, required, resolveOptions } from '../options';
import { checkNumber } from './check';

/** Holds the coefficient, and moves it after a step. */
export interface KlController {
  /** The coefficient in force. */
  readonly value: number;
  /**
   * The coefficient for the next batch.
   * @param kl the divergence that was measured
   * @param steps how many samples (or steps) it was measured over, in the units of the horizon
   * @returns the coefficient from now on
   */
  update(kl: number, steps?: number): number;
  /** What a checkpoint keeps. */
  state(): { value: number };
  /** Goes on from a `state()`. @throws EstimatorError for a state that is none */
  restore(state: { value: number }): void;
}

abstract class Controller implements KlController {
  /** The coefficient in force. */
  protected current: number;

  constructor(
    /** The name in error messages. */
    protected readonly who: string,
    coefficient: number,
  ) {
    checkNumber(who, 'coefficient', coefficient, -Number.MAX_VALUE);
    this.current = coefficient;
  }

  get value(): number {
    return this.current;
  }

  abstract update(kl: number, steps?: number): number;

  state(): { value: number } {
    return { value: this.current };
  }

  restore(state: { value: number }): void {
    if (typeof state?.value !== 'number' || !Number.isFinite(state.value)) {
      throw new EstimatorError(`${this.who}: state: expected { value } with a number, got ${showValue(state)}`);
    }
    this.current = state.value;
  }
}

/** A constant coefficient. */
export class FixedKlController extends Controller {
  constructor(coefficient: number) {
    super('FixedKlController', coefficient);
  }

  /** The same coefficient. */
  update(): number {
    return this.current;
  }
}

/** Settings of {@link AdaptiveKlController}. */
export interface AdaptiveKlSettings {
  /** The coefficient to start from. */
  coefficient: number;
  /** The divergence to hold; above 0. */
  target: number;
  /** Over how many samples a steady error of 1 would change the coefficient by its own size; above 0. */
  horizon: number;
  /** The largest relative error that counts. Default 0.2. */
  clip: number;
}

/**
 * Steers the coefficient β so that the divergence stays near a target:
 *
 *     β ← β · (1 + clip(kl/target − 1, ±0.2) · steps/horizon)
 *
 * Ziegler et al. 2019, "Fine-Tuning Language Models from Human Preferences", section 2.2. A divergence that is not finite leaves β as it is,
 * and where steps are so many that a low divergence would turn its sign, β is 0 (and stays there).
 *
 * @throws EstimatorError for options that are missing, unknown or out of range
 */
export class AdaptiveKlController extends Controller {
  private readonly settings: AdaptiveKlSettings;

  constructor(options: Given<AdaptiveKlSettings>) {
    const who = 'AdaptiveKlController';
    const settings = resolveOptions<AdaptiveKlSettings>(who, { coefficient: required, target: required, horizon: required, clip: 0.2 }, options);
    super(who, settings.coefficient);
    checkNumber(who, 'target', settings.target, Number.MIN_VALUE);
    checkNumber(who, 'horizon', settings.horizon, Number.MIN_VALUE);
    checkNumber(who, 'clip', settings.clip, 0);
    this.settings = settings;
  }

  /** The coefficient for the next batch; a divergence that is not finite leaves it. @throws EstimatorError for a divergence that is no number, and steps below 0 */
  update(kl: number, steps = 1): number {
    checkNumber(this.who, 'steps', steps, 0);
    if (typeof kl !== 'number') throw new EstimatorError(`${this.who}: kl: expected a number, got ${showValue(kl)}`);
    const { target, horizon, clip } = this.settings;
    const error = Math.min(clip, Math.max(-clip, kl / target - 1));
    if (Number.isFinite(kl)) this.current *= Math.max(0, 1 + (error * steps) / horizon);
    return this.current;
  }
}

/** Options of {@link createKlController}. */
export interface KlControllerOptions extends Partial<AdaptiveKlSettings> {
  /** Default `fixed`. */
  type?: 'fixed' | 'adaptive';
}

/** A controller by its type, as configurations name it. @throws EstimatorError for another type and options that do not fit it */
export function createKlController(given: KlControllerOptions = {}): KlController {
  checkNames('createKlController', 'option', given, ['type', 'coefficient', 'target', 'horizon', 'clip']);
  const { type = 'fixed', ...options } = given;
  checkName('createKlController', "option 'type'", type, ['fixed', 'adaptive']);
  return type === 'adaptive' ? new AdaptiveKlController(options) : new FixedKlController(options.coefficient as number);
}
