import { join } from 'node:path';
import { ConsoleTracker } from './console_tracker';
import { JsonlTracker, RUN_FILES } from './jsonl_tracker';
import { TensorBoardTracker } from './tensorboard_tracker';
import { registerTracker, type TrackerFactory } from './tracker';
import { wandbTracker } from './wandb_tracker';

/** What of a configuration is read here. */
interface PartialConfig {
  trainer?: { eval_interval?: number };
}

const builtin: Record<string, TrackerFactory> = {
  console: ({ totalSteps, stream, config }) => new ConsoleTracker({ totalSteps, stream, evaluates: (config as PartialConfig | undefined)?.trainer?.eval_interval !== -1 }),
  jsonl: ({ directory, resumedFrom, config }) => new JsonlTracker(join(directory, RUN_FILES.metrics), { resumedFrom, config }),
  tensorboard: ({ directory, resumedFrom }) => new TensorBoardTracker(join(directory, 'tensorboard'), { resumedFrom }),
  wandb: wandbTracker,
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
