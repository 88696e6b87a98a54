/** What people see of a run while it goes on: an example, environments that failed, responses token by token. */
import type { Tokenizer } from '../data';
import { ConsoleTracker, type Tracker } from '../tracking';
import type { Config } from '../config';
import type { TrainingBatch } from './batch';
import { samplesOf } from './samples';
import type { Trajectory } from './trajectory';

interface Audience {
  config: Config;
  tokenizer: Tokenizer;
  trackers: readonly Tracker[];
}

const say = ({ trackers }: Audience, message: string) => trackers.find((tracker) => tracker instanceof ConsoleTracker)?.message(message);

export function showExample(audience: Audience, step: number, { promptIds, text, reward }: Trajectory): void {
  const line = (value: string) => JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
  say(audience, `example after step ${step}: ${line(audience.tokenizer.decode(promptIds))} → ${line(text)}, reward ${reward}`);
}

export function showErrors(audience: Audience, step: number, trajectories: readonly Trajectory[]): void {
  const errors = trajectories.flatMap(({ error }) => error ?? []);
  if (errors.length > 0) say(audience, `after step ${step}: ${errors.length} of ${trajectories.length} environments failed, the first: ${errors[0]}`);
}

/** Some responses of the batch, for trackers that keep them. */
export function showSamples({ config, tokenizer, trackers }: Audience, step: number, batch: TrainingBatch): void {
  const keepers = trackers.filter((tracker) => tracker.logSamples);
  if (keepers.length === 0) return;
  const samples = samplesOf(batch, tokenizer, { step, count: config.trainer.log_samples });
  for (const tracker of keepers) tracker.logSamples?.(samples);
}
