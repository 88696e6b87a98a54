/** How long the learning rates have. */
import type { Config } from '../config';

/** The models that have an optimizer. */
export type TrainedPart = 'policy' | 'critic';

/** Optimizer steps of a model in so many training steps. */
export function optimizerSteps({ trainer }: Config, part: TrainedPart, steps: number): number {
  return steps * trainer.update_epochs_per_batch * Math.ceil(trainer.train_batch_size / trainer[`${part}_mini_batch_size`]);
}

/** What is wrong with a warm-up in a run of so many training steps at most, or null: a rate that never is what `lr` says, or has no step left to fall in. */
export function warmupProblem(config: Config, part: TrainedPart, steps: number): string | null {
  const { scheduler, num_warmup_steps } = config.trainer[part].optimizer_config;
  const total = optimizerSteps(config, part, steps);
  const falls = scheduler !== 'constant_with_warmup';
  if (falls ? num_warmup_steps < total : num_warmup_steps <= total) return null;
  const expected = falls ? `fewer than the ${total} optimizer steps of the run (the rate falls behind them: ${scheduler})` : `at most the ${total} optimizer steps of the run`;
  return `trainer.${part}.optimizer_config.num_warmup_steps: expected ${expected}, got ${num_warmup_steps}`;
}
