import { join } from 'node:path';
import { ConsoleTracker } from './console_tracker';
import { JsonlTracker, RUN_FILES } from './jsonl_tracker';
import { TensorBoardTracker } from './tensorboard_tracker';
import { registerTracker, type Tracker, type TrackerFactory, type TrackerOptions } from './tracker';
import { wandbTracker } from './wandb_tracker';

/** What of a configuration is read here. */
interface PartialConfig {
  trainer?: { eval_interval?: number };
}

const reading = (reads: NonNullable<TrackerFactory['reads']>, make: (options: TrackerOptions) => Tracker): TrackerFactory => Object.assign((options: TrackerOptions) => make(options), { reads });

const builtin: Record<string, TrackerFactory> = {
  console: reading([], ({ totalSteps, stream, config }) => new ConsoleTracker({ totalSteps, stream, evaluates: (config as PartialConfig | undefined)?.trainer?.eval_interval !== -1 })),
  jsonl: reading(['samples'], ({ directory, resumedFrom, config }) => new JsonlTracker(join(directory, RUN_FILES.metrics), { resumedFrom, config })),
  tensorboard: reading([], ({ directory, resumedFrom }) => new TensorBoardTracker(join(directory, 'tensorboard'), { resumedFrom })),
  wandb: reading(['project'], wandbTracker),
};
for (const [name, factory] of Object.entries(builtin)) registerTracker(name, factory, { keepExisting: true });

export { firstReached, spreadOf, writeComparison, type ComparisonOptions, type Spread, type Threshold } from './comparison';
export { ConsoleTracker, type ConsoleStream, type ConsoleTrackerOptions } from './console_tracker';
export { JsonlTracker, readMetrics, readSamples, RUN_FILES, type MetricsRecord } from './jsonl_tracker';
export { curveOf, reportPage, type ReportOptions, writeReport } from './report';
export type { Curve } from './plot';
export { readRun, readRuns, type RunData } from './run_data';
export { createTrackers, listTrackers, registerTracker } from './tracker';
export type { Metrics, Sample, Tracker, TrackerFactory, TrackerOptions } from './tracker';
export { TensorBoardTracker } from './tensorboard_tracker';
export { wandbMode, WandbTracker, type WandbClient, type WandbRun } from './wandb_tracker';
