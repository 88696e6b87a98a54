import { TrainingError } from '../errors';
import type { Metrics } from '../tracking';

/** A loss or gradient that is not finite has spoilt the weights: no later step can mend them. @throws TrainingError */
export function checkConvergence(step: number, metrics: Metrics): void {
  for (const part of ['policy', 'critic'] as const) {
    for (const name of [part === 'policy' ? 'policy/final_loss' : 'critic/critic_loss', `${part}/grad_norm`]) {
      const value = metrics[name];
      if (value === undefined || Number.isFinite(value)) continue;
      throw new TrainingError(`step ${step}: ${name} is ${value}: the training has diverged; lower trainer.${part}.optimizer_config.lr, and start again or from a checkpoint`);
    }
  }
}
