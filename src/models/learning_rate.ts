/** Learning rate as a function of the optimizer step. */
import { ConfigError, showValue } from '../errors';

const schedules: readonly unknown[] = ['constant_with_warmup', 'cosine', 'linear'];

/** Options of {@link learningRate}. */
export interface LearningRateOptions {
  /** The rate after warm-up. */
  lr: number;
  /** How the rate goes on behind the warm-up. Default `constant_with_warmup`. */
  schedule?: 'constant_with_warmup' | 'cosine' | 'linear';
  /** Steps over which the rate rises in a straight line to `lr`. Default 0. */
  warmupSteps?: number;
  /** Steps of the whole run; cosine and linear fall to `minLr` there. */
  totalSteps?: number;
  /** Default 0. */
  minLr?: number;
}

/**
 * The rate of optimizer step `step`, counted from 0: lr · (step+1) / (warmupSteps+1) during warm-up (so that no step is lost on a rate
 * of 0), then lr (constant_with_warmup), or from lr to minLr along half a cosine or a straight line, with
 * p = (step − warmup) / (total − warmup): minLr + (lr − minLr) · ½(1 + cos πp), minLr + (lr − minLr) · (1 − p).
 *
 * @throws ConfigError where a schedule that falls is not told the number of steps
 */
export function learningRate(
  step: number,
  options: LearningRateOptions,
): number {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`learningRate: expected options {lr, schedule, warmupSteps, totalSteps, minLr}, got ${showValue(options)}`);
  const { lr, schedule = 'constant_with_warmup', warmupSteps = 0, totalSteps, minLr = 0 } = options;
  const numbers = { step, lr, warmupSteps, minLr, ...(totalSteps === undefined ? {} : { totalSteps }) };
  for (const [name, value] of Object.entries(numbers)) if (!Number.isFinite(value)) throw new ConfigError(`learningRate: ${name}: expected a finite number, got ${showValue(value)}`);
  if (!schedules.includes(schedule)) throw new ConfigError(`learningRate: schedule: expected one of ${schedules.join(', ')}, got ${showValue(schedule)}`);
  if (step < warmupSteps) return (lr * (step + 1)) / (warmupSteps + 1);
  if (schedule === 'constant_with_warmup') return lr;
  if (totalSteps === undefined || totalSteps <= warmupSteps) {
    throw new ConfigError(
      `learningRate: expected totalSteps above warmupSteps = ${warmupSteps} for the ${schedule} schedule, got ${totalSteps}`,
    );
  }
  const progress = Math.min(1, (step - warmupSteps) / (totalSteps - warmupSteps));
  const left = schedule === 'cosine' ? 0.5 * (1 + Math.cos(Math.PI * progress)) : 1 - progress;
  return minLr + (lr - minLr) * left;
}
