import { closeSync, existsSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkFields, checkList, checkPath, isObject, isText } from '../data/check';
import { jsonOf } from '../data/jsonl';
import { readBytes } from '../data/files';
import { DataError } from '../errors';
import { makeFolder } from '../folders';
import { checkMetrics, type Metrics, type Sample, type Tracker } from './tracker';

/** One line of a metrics file: the step and its metrics; a value that was NaN or infinite is null. */
export type MetricsRecord = { step: number } & Record<string, number | null>;

/** The files of a run's folder. */
export const RUN_FILES = Object.freeze({ metrics: 'metrics.jsonl', samples: 'samples.jsonl', config: 'config.json' } as const);

/** Appends JSON lines to a file, with a synchronous write each. */
class JsonLines {
  private readonly descriptor: number;

  /** @param kept the file's lines that stay; null: it starts afresh */
  constructor(file: string, kept: readonly object[] | null) {
    if (kept !== null) {
      // Steps after the checkpoint are about to be taken again. Written beside and renamed, so that a kill here loses nothing.
      writeFileSync(`${file}.draft`, kept.map((record) => `${JSON.stringify(record)}\n`).join(''));
      renameSync(`${file}.draft`, file);
    }
    this.descriptor = openSync(file, kept === null ? 'w' : 'a');
  }

  append(records: readonly object[]): void {
    if (records.length > 0) writeSync(this.descriptor, records.map((record, i) => `${jsonOf('JsonlTracker', record, i)}\n`).join(''));
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/**
 * Writes one line a step, `{"step":3,"reward/avg_raw_reward":0.41,…}`, with a synchronous write each: a process that is killed loses no
 * finished step. NaN and infinities, which JSON lacks, become null. Samples go to `samples.jsonl` beside it, a line each; the configuration,
 * where it is given, to `config.json`. `vantage report` reads the three.
 */
export class JsonlTracker implements Tracker {
  private metrics: JsonLines | null;
  /** Opened by the first sample. */
  private samples: JsonLines | null = null;

  /**
   * @param file the metrics file; its folder is created
   * @param options.resumedFrom keeps the lines up to this step and continues after them; without it the files start afresh
   * @param options.config the run's configuration
   */
  constructor(readonly file: string, private readonly options: { resumedFrom?: number; config?: object } = {}) {
    checkPath('JsonlTracker', file);
    checkFields('JsonlTracker', 'options', options);
    makeFolder(dirname(file));
    this.metrics = new JsonLines(file, this.kept(file, readMetrics));
    if (options.resumedFrom === undefined) rmSync(this.beside('samples'), { force: true });
    if (options.config !== undefined) writeFileSync(this.beside('config'), `${JSON.stringify(options.config, null, 2)}\n`);
  }

  log(step: number, metrics: Metrics): void {
    if (this.metrics === null) throw new DataError(`JsonlTracker: ${this.file} is closed`);
    checkMetrics('JsonlTracker', step, metrics);
    this.metrics.append([{ step, ...metrics }]);
  }

  logSamples(samples: readonly Sample[]): void {
    if (this.metrics === null) throw new DataError(`JsonlTracker: ${this.file} is closed`);
    checkList('JsonlTracker', 'samples', samples, 'an array of samples (step, group, prompt, tokens, ids, advantages, reward, length)', isSample);
    this.samples ??= new JsonLines(this.beside('samples'), this.kept(this.beside('samples'), readSamples));
    this.samples.append(samples);
  }

  close(): void {
    this.metrics?.close();
    this.samples?.close();
    this.metrics = this.samples = null;
  }

  private beside(name: keyof typeof RUN_FILES): string {
    return join(dirname(this.file), RUN_FILES[name]);
  }

  /** The records of an earlier run that stay, or null where the file starts afresh. */
  private kept<T extends { step: number }>(file: string, read: (file: string) => T[]): T[] | null {
    const { resumedFrom } = this.options;
    if (resumedFrom === undefined || !existsSync(file)) return null;
    return read(file).filter(({ step }) => step <= resumedFrom);
  }
}

/**
 * Reads a metrics file. A last line without its end, as a killed process leaves it, is passed over.
 * @throws DataError that names file and line where another line is no record.
 */
export function readMetrics(file: string): MetricsRecord[] {
  const isValue = (value: unknown) => value === null || typeof value === 'number';
  return readRecords(file, 'an object with a numeric "step", and numbers or null', (record): record is MetricsRecord => Number.isFinite(record.step) && Object.values(record).every(isValue));
}

/** Reads a file of samples. @throws DataError as `readMetrics` does */
export function readSamples(file: string): Sample[] {
  return readRecords(file, 'a sample (step, group, prompt, tokens, ids, advantages, reward, length)', (record): record is Record<string, unknown> & Sample => isSample(record));
}

const isList = (value: unknown, length: number, holds: (item: unknown) => boolean): boolean => Array.isArray(value) && value.length === length && value.every(holds);
const numberOrNull = (value: unknown): boolean => value === null || typeof value === 'number';

export function isSample(value: unknown): value is Sample {
  if (!isObject(value)) return false;
  const { step, group, prompt, tokens, ids, advantages, reward, length } = value as Sample;
  if (![step, length].every(Number.isInteger) || !isText(group) || !isText(prompt) || !Array.isArray(tokens)) return false;
  const lists = isList(tokens, tokens.length, isText) && isList(ids, tokens.length, Number.isInteger) && isList(advantages, tokens.length, numberOrNull);
  return lists && typeof reward === 'number';
}

/** The objects of a file of JSON lines. */
function readRecords<T>(file: string, expected: string, is: (record: Record<string, unknown>) => record is Record<string, unknown> & T): T[] {
  checkPath('reading', file);
  const lines = readBytes(file).toString('utf8').split('\n');
  lines.pop();
  return lines.map((line, index) => {
    let record: unknown;
    try {
      record = JSON.parse(line);
    } catch (error) {
      throw new DataError(`${file}:${index + 1}: expected a JSON object, got ${(error as Error).message}`);
    }
    if (typeof record !== 'object' || record === null || !is(record as Record<string, unknown>)) {
      throw new DataError(`${file}:${index + 1}: expected ${expected}, got ${line.length > 200 ? `${line.slice(0, 199)}…` : line}`);
    }
    return record as T;
  });
}
