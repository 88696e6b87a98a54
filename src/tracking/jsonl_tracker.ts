import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DataError } from '../errors';
import type { Metrics, Tracker } from './tracker';

/** One line of a metrics file: the step and its metrics; a value that was NaN or infinite is null. */
export type MetricsRecord = { step: number } & Record<string, number | null>;

/**
 * Writes one line a step, `{"step":3,"reward/avg_raw_reward":0.41,…}`, with a synchronous write each: a process that is killed loses no
 * finished step. NaN and infinities, which JSON lacks, become null.
 */
export class JsonlTracker implements Tracker {
  private descriptor: number | null;

  /**
   * @param file the metrics file; its folder is created
   * @param options.resumedFrom keeps the lines up to this step and continues after them; without it the file starts afresh
   */
  constructor(readonly file: string, options: { resumedFrom?: number } = {}) {
    mkdirSync(dirname(file), { recursive: true });
    const last = options.resumedFrom;
    if (last !== undefined && existsSync(file)) {
      // Steps after the checkpoint are about to be taken again. Written beside and renamed, so that a kill here loses nothing.
      const kept = readMetrics(file).filter((record) => record.step <= last);
      writeFileSync(`${file}.draft`, kept.map((record) => `${JSON.stringify(record)}\n`).join(''));
      renameSync(`${file}.draft`, file);
    }
    this.descriptor = openSync(file, last === undefined ? 'w' : 'a');
  }

  log(step: number, metrics: Metrics): void {
    if (this.descriptor === null) throw new DataError(`JsonlTracker: ${this.file} is closed`);
    writeSync(this.descriptor, `${JSON.stringify({ step, ...metrics })}\n`);
  }

  close(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
  }
}

/**
 * Reads a metrics file. A last line without its end, as a killed process leaves it, is passed over.
 * @throws DataError that names file and line where another line is no record.
 */
export function readMetrics(file: string): MetricsRecord[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  lines.pop();
  return lines.map((line, index) => {
    let record: unknown;
    try {
      record = JSON.parse(line);
    } catch (error) {
      throw new DataError(`${file}:${index + 1}: expected a JSON object, got ${(error as Error).message}`);
    }
    if (typeof (record as MetricsRecord | null)?.step !== 'number') {
      throw new DataError(`${file}:${index + 1}: expected an object with a numeric "step", got ${line}`);
    }
    return record as MetricsRecord;
  });
}
