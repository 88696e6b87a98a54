import { join } from 'node:path';
import { ConsoleTracker } from './console_tracker';
import { JsonlTracker } from './jsonl_tracker';
import { registerTracker } from './tracker';

registerTracker('console', ({ totalSteps, stream }) => new ConsoleTracker({ totalSteps, stream }), { keepExisting: true });
registerTracker('jsonl', ({ directory, resumedFrom }) => new JsonlTracker(join(directory, 'metrics.jsonl'), { resumedFrom }), {
  keepExisting: true,
});

export { ConsoleTracker, type ConsoleStream, type ConsoleTrackerOptions } from './console_tracker';
export { JsonlTracker, readMetrics, type MetricsRecord } from './jsonl_tracker';
export { seriesOf, writeLearningCurve, type LearningCurveOptions, type Series } from './learning_curve';
export { createTrackers, listTrackers, registerTracker } from './tracker';
export type { Metrics, Tracker, TrackerFactory, TrackerOptions } from './tracker';
