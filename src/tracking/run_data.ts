import { existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { checkList, checkPath, isText } from '../data/check';
import { DataError } from '../errors';
import { type MetricsRecord, readMetrics, readSamples, RUN_FILES } from './jsonl_tracker';
import type { Sample } from './tracker';

/** What a run left, as reports show it. */
export interface RunData {
  /** What the run is called. */
  name: string;
  /** Its metrics, a record a step. */
  records: readonly MetricsRecord[];
  /** Responses that were logged token by token. */
  samples: readonly Sample[];
  /** The run's settings; nested objects are shown as dotted keys. */
  config: Record<string, unknown>;
}

/**
 * Reads what a run's `jsonl` logger left: metrics.jsonl, and samples.jsonl and config.json where they are there.
 * @param run the run's folder, or its metrics file
 * @throws DataError where it holds no metrics, or a line is not what it should be
 */
export function readRun(run: string): Omit<RunData, 'name'> {
  checkPath('readRun', run);
  if (!existsSync(run)) throw new DataError(`${run}: no such file or folder; expected a run's folder (it holds ${RUN_FILES.metrics})`);
  const metrics = statSync(run).isDirectory() ? join(run, RUN_FILES.metrics) : run;
  if (!existsSync(metrics)) throw new DataError(`${run}: expected a run's folder (it holds ${RUN_FILES.metrics}; trainer.logger has to name jsonl)`);
  const [samples, config] = [RUN_FILES.samples, RUN_FILES.config].map((name) => join(dirname(metrics), name));
  return {
    records: readMetrics(metrics),
    samples: existsSync(samples) ? readSamples(samples) : [],
    config: existsSync(config) ? readConfig(config) : {},
  };
}

function readConfig(file: string): Record<string, unknown> {
  try {
    const config: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config as Record<string, unknown>;
  } catch (error) {
    throw new DataError(`${file}: malformed JSON (${(error as Error).message})`, { cause: error });
  }
  throw new DataError(`${file}: expected a JSON object`);
}

/** Several runs, under their `run_name`s where these tell them apart, else under the folders' own part of the path. */
export function readRuns(runs: readonly string[]): RunData[] {
  checkList('readRuns', 'runs', runs, 'names of folders or files', isText);
  const read = runs.map((run) => readRun(run));
  const named = read.map(({ config }) => (config.trainer as { run_name?: unknown } | undefined)?.run_name);
  const isTelling = named.every((name) => typeof name === 'string') && new Set(named).size === runs.length;
  const names = isTelling ? (named as string[]) : ownParts(runs);
  return read.map((data, i) => ({ name: names[i], ...data }));
}

/** Paths without the folders that all of them begin with and the names that all of them end in. */
function ownParts(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split(sep).filter((part) => part !== '' && part !== '.'));
  if (paths.length === 1) return [basename(paths[0])];
  while (parts.every((names) => names.length > 1 && names[0] === parts[0][0])) parts.forEach((names) => names.shift());
  while (parts.every((names) => names.length > 1 && names.at(-1) === parts[0].at(-1))) parts.forEach((names) => names.pop());
  return parts.map((names) => names.join('/'));
}

/** The items by a key of theirs, in the order in which the keys come first. */
export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
