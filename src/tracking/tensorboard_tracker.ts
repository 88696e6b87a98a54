import { closeSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { checkFields, checkPath } from '../data/check';
import { DataError, showValue } from '../errors';
import { makeFolder } from '../folders';
import { crc } from './crc';
import { bytesField, doubleField, floatField, integerField } from './protobuf';
import { checkMetrics, type Metrics, type Tracker } from './tracker';

const PREFIX = 'events.out.tfevents.';
/** Tells our event files from those that something else wrote into the same folder. */
const SUFFIX = '.vantage';

/**
 * Writes TensorBoard event files: `tensorboard --logdir FOLDER`. One event a step with all its metrics as scalars, under their names
 * (`reward/avg_raw_reward` is the card `avg_raw_reward` of the group `reward`); written at once, so that a process that is killed loses no
 * finished step. Values are float32; NaN and infinities stay what they are.
 *
 * A file is a sequence of records: length (uint64), CRC, the message `tensorflow.Event`, CRC.
 */
export class TensorBoardTracker implements Tracker {
  /** The event file that it writes. */
  readonly file: string;
  private descriptor: number | null;

  /**
   * @param folder created where it is missing
   * @param options.resumedFrom keeps earlier event files, and tells TensorBoard to forget their steps after this one; without it the event
   *   files that an earlier run wrote there are removed
   * @param options.now milliseconds since 1970
   */
  constructor(folder: string, private readonly options: { resumedFrom?: number; now?: () => number } = {}) {
    checkPath('TensorBoardTracker', folder);
    checkFields('TensorBoardTracker', 'options', options);
    const { now: clock, resumedFrom: last } = options;
    if (clock !== undefined && typeof clock !== 'function') throw new DataError(`TensorBoardTracker: now: expected a function, got ${showValue(clock)}`);
    if (last !== undefined && !Number.isInteger(last)) throw new DataError(`TensorBoardTracker: resumedFrom: expected a step, got ${showValue(last)}`);
    makeFolder(folder);
    const { resumedFrom } = options;
    if (resumedFrom === undefined) {
      for (const name of readdirSync(folder)) if (name.startsWith(PREFIX) && name.endsWith(SUFFIX)) rmSync(join(folder, name));
    }
    // TensorBoard reads the files of a folder in the order of their names.
    const name = (attempt: number) => `${PREFIX}${String(Math.floor(this.now())).padStart(10, '0')}.${hostname()}.${process.pid}.${attempt}${SUFFIX}`;
    const taken = new Set(readdirSync(folder));
    let attempt = 0;
    while (taken.has(name(attempt))) attempt++;
    this.file = join(folder, name(attempt));
    this.descriptor = openSync(this.file, 'wx');
    this.write([bytesField(3, 'brain.Event:2')]);
    // SessionLog { status: START }: what lies at this step and later is about to be logged again.
    if (resumedFrom !== undefined) this.write([integerField(2, resumedFrom + 1), bytesField(7, [integerField(1, 1)])]);
  }

  log(step: number, metrics: Metrics): void {
    checkMetrics('TensorBoardTracker', step, metrics);
    const values = Object.entries(metrics).map(([name, value]) => bytesField(1, [bytesField(1, name), floatField(2, value)]));
    this.write([integerField(2, step), bytesField(5, values)]);
  }

  close(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
  }

  /** Seconds since 1970. */
  private now(): number {
    const now: unknown = (this.options.now ?? Date.now)();
    if (typeof now !== 'number' || !Number.isFinite(now)) throw new DataError(`TensorBoardTracker: now: expected milliseconds since 1970, got ${showValue(now)}`);
    return now / 1000;
  }

  private write(fields: readonly Buffer[]): void {
    if (this.descriptor === null) throw new DataError(`TensorBoardTracker: ${this.file} is closed`);
    writeSync(this.descriptor, record(Buffer.concat([doubleField(1, this.now()), ...fields])));
  }
}

function record(message: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(message.length));
  return Buffer.concat([length, maskedCrc(length), message, maskedCrc(message)]);
}

/** Rotated and shifted by a constant, since the CRC of data that holds CRCs is weak. */
function maskedCrc(bytes: Uint8Array): Buffer {
  const value = crc('crc32c', bytes);
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((value >>> 15) | (value << 17)) + 0xa282ead8) >>> 0);
  return masked;
}
