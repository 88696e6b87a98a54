import { checkFields, checkList, checkNumber, checkPath, isText } from '../data/check';
import { DataError, showValue } from '../errors';
import { Registry } from '../registry';

/** The numbers of one training step by name, as TRAINER metrics are named: `reward/avg_raw_reward`, `policy/final_loss`, … */
export type Metrics = Record<string, number>;

/** One response of a training step, with what the estimator made of it. The lists have an entry for each of its tokens. */
export interface Sample {
  /** The training step, from 1. */
  step: number;
  /** Samples of one group answer the same prompt. */
  group: string;
  /** The prompt's text. */
  prompt: string;
  /** The text that each token adds; empty for one that has none of its own (the end token, the first bytes of a character). */
  tokens: readonly string[];
  /** The response's tokens. */
  ids: readonly number[];
  /** null where the loss passes the token over. */
  advantages: readonly (number | null)[];
  /** The sum of the rewards that the estimator saw. */
  reward: number;
  /** Tokens of the response; more than the lists hold where it was cut. */
  length: number;
}

/** Where a run's metrics go: the terminal, a file, a service. */
export interface Tracker {
  /** Takes the metrics of one step. Steps come in ascending order; a step may come again with further metrics (an evaluation). */
  log(step: number, metrics: Metrics): void;
  /** Takes some responses of one step; a tracker without it shows none. */
  logSamples?(samples: readonly Sample[]): void;
  /** Finishes: what is buffered is written, what is open is closed; a promise is waited for. A second call does nothing. */
  close(): void | Promise<void>;
}

/** What a tracker may need to know of the run that it follows. */
export interface TrackerOptions {
  /** The run's folder, where files are written; created where it is missing. */
  directory: string;
  /** How many steps the run will take, where that is known: gives the progress bar its end and the time left. */
  totalSteps?: number;
  /** The last step of the run that this one continues: what was logged up to it is kept. Without it the run starts afresh. */
  resumedFrom?: number;
  /** What a service files the run under. */
  project?: string;
  /** What the run is called. */
  runName?: string;
  /** The run's configuration. */
  config?: object;
  /** Where the console tracker writes; `process.stdout` unless told otherwise. */
  stream?: NodeJS.WriteStream;
}

/** Makes a tracker for one run. `reads`: which of these its trackers look at, all of them where nothing is said; a run refuses `trainer.log_samples` and `trainer.project_name` where no tracker does. */
export interface TrackerFactory {
  (options: TrackerOptions): Tracker;
  /** What its trackers look at; all where nothing is said. */
  readonly reads?: readonly ('samples' | 'project')[];
}

const trackers = new Registry<TrackerFactory>('logger');

/** Adds a tracker that configurations name in `trainer.logger`. @throws RegistryError where the name is taken, unless `override`. */
export function registerTracker(name: string, factory: TrackerFactory, options: { override?: boolean; keepExisting?: boolean } = {}): void {
  if (typeof factory !== 'function') throw new DataError(`registerTracker: expected a function that makes a tracker, got ${showValue(factory)}`);
  trackers.register(name, factory, options);
}

/** The names that `trainer.logger` may hold, sorted. */
export function listTrackers(): string[] {
  return trackers.list();
}

/** Whether trackers of a name look at samples, or at the project; an unknown name may. */
export function trackerReads(name: string, what: 'samples' | 'project'): boolean {
  return !trackers.has(name) || (trackers.get(name).reads?.includes(what) ?? true);
}

/**
 * The trackers that a configuration's `trainer.logger` names, in its order, each once.
 * @throws RegistryError for an unknown name, with what exists; nothing is opened then.
 */
export function createTrackers(names: readonly string[], options: TrackerOptions): Tracker[] {
  checkList('createTrackers', 'names', names, 'an array of names', isText);
  checkFields('createTrackers', 'options', options, '{ directory, … }');
  checkPath('createTrackers', options.directory);
  return [...new Set(names)].map((name) => trackers.get(name)).map((factory) => factory(options));
}

/** @throws DataError unless it is a step, and numbers by name */
export function checkMetrics(who: string, step: unknown, metrics: unknown): void {
  checkNumber(who, 'step', step);
  checkFields(who, 'metrics', metrics, 'numbers by name');
  for (const [name, value] of Object.entries(metrics)) if (typeof value !== 'number') throw new DataError(`${who}: metric '${name}': expected a number, got ${showValue(value)}`);
}
