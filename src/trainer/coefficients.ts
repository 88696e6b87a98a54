/** The weights of the KL term and of the entropy bonus over a run, fixed or adaptive. */
import type { Config } from '../config';
import { checkConfig } from '../config/validate';
import { checkFields } from '../data/check';
import { EstimatorError, showValue } from '../errors';
import { AdaptiveEntropyCoefficient, AdaptiveKlController, createKlController, type KlController } from '../losses';

/** What a checkpoint keeps of them; plain JSON. */
export interface CoefficientsState {
  /** The weight of the KL term. */
  kl: { value: number };
  /** null where it is fixed. */
  entropy: { coefficient: number; isLow: boolean } | null;
}

/** What a step measured. */
export interface Measured {
  /** Divergence of the policy from the reference, a mean over tokens. */
  kl?: number;
  /** The sequences that it was measured over. */
  sequences: number;
  /** Entropy of the policy, a mean over tokens. */
  entropy?: number;
}

/** The weights of the KL term and of the entropy bonus over a run, fixed or adaptive, as the configuration says. */
export class Coefficients {
  private readonly adaptiveEntropy: AdaptiveEntropyCoefficient | null;
  private readonly fixedEntropy: number;

  private readonly klController: KlController;

  constructor(config: Config, klController?: KlController) {
    checkConfig('Coefficients', config);
    const { algorithm } = config.trainer;
    this.klController = klController ?? klControllerOf(algorithm);
    if (typeof this.klController.update !== 'function') throw new EstimatorError(`Coefficients: expected a KL controller, got ${showValue(klController)}`);
    const { entropy_ctrl, entropy_loss_coef } = algorithm;
    const { target: entropy, delta, min, max } = entropy_ctrl;
    this.adaptiveEntropy = entropy_ctrl.type === 'adaptive' ? new AdaptiveEntropyCoefficient({ coefficient: entropy_loss_coef, target: entropy, delta, min, max }) : null;
    this.fixedEntropy = entropy_loss_coef;
  }

  /** The weight of the KL term. */
  get kl(): number {
    return this.klController.value;
  }

  /** The weight of the entropy bonus. */
  get entropy(): number {
    return this.adaptiveEntropy?.value ?? this.fixedEntropy;
  }

  /** Moves those that are adaptive, after a step. */
  update(measured: Measured): void {
    checkFields('Coefficients.update', 'what was measured', measured, '{ kl, sequences, entropy }');
    const { kl, sequences, entropy } = measured;
    if (kl !== undefined) this.klController.update(kl, sequences);
    if (entropy !== undefined) this.adaptiveEntropy?.update(entropy);
  }

  /** What a checkpoint keeps of them. */
  state(): CoefficientsState {
    return { kl: this.klController.state(), entropy: this.adaptiveEntropy?.state() ?? null };
  }

  /** Goes on from a {@link Coefficients.state}. @throws EstimatorError for a state that is none */
  restore(state: CoefficientsState): void {
    checkFields('Coefficients.restore', 'state', state, '{ kl, entropy }');
    const { kl, entropy } = state;
    // A fixed one is the configuration's, which may have changed.
    if (this.klController instanceof AdaptiveKlController) this.klController.restore(kl);
    if (entropy !== null) this.adaptiveEntropy?.restore(entropy);
  }
}

function klControllerOf({ kl_ctrl, kl_loss_coef }: Config['trainer']['algorithm']): KlController {
  const { type, kl_target, horizon } = kl_ctrl;
  return createKlController({ type, coefficient: kl_loss_coef, target: kl_target, horizon });
}
