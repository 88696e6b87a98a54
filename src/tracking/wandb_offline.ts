import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../folders';
import { crc } from './crc';
import { bytesField, integerField } from './protobuf';
import type { Metrics } from './tracker';
import type { WandbClient, WandbRun } from './wandb_tracker';

const BLOCK = 32_768;
const HEADER = 7;
/** The kinds of a piece: a record that fits is one full piece, a longer one is first, middle …, last. */
const [FULL, FIRST, MIDDLE, LAST] = [1, 2, 3, 4];

/**
 * Writes `wandb/offline-run-DATE-ID/run-ID.wandb`, the file that W&B's own offline mode leaves; `wandb sync` of their Python package uploads
 * it. Records are protobuf messages `wandb_internal.Record` in LevelDB's log format, written at once.
 */
export class OfflineWandbClient implements WandbClient {
  readonly file: string;
  private readonly descriptor: number;
  private readonly start = Date.now();
  private written = 0;
  private records = 0;

  /** @param directory the folder in which `wandb/` is made */
  constructor(directory: string, run: WandbRun) {
    const id = Array.from(randomBytes(8), (byte) => (byte % 36).toString(36)).join('');
    const date = new Date(this.start).toISOString().replace(/[-:]|\..*/g, '').replace('T', '_');
    const folder = join(directory, 'wandb', `offline-run-${date}-${id}`);
    makeFolder(folder);
    this.file = join(folder, `run-${id}.wandb`);
    this.descriptor = openSync(this.file, 'wx');
    this.write(Buffer.from([...Buffer.from(':W&B'), 0xe1, 0xbe, 0]));
    const config = Object.entries(run.config).map(([key, value]) => bytesField(1, item(key, value)));
    this.record(17, [bytesField(1, id), bytesField(3, run.project), bytesField(4, config), bytesField(8, run.name), bytesField(17, [integerField(1, Math.floor(this.start / 1000))])]);
  }

  log(step: number, metrics: Metrics): void {
    const now = Date.now();
    const row = { ...metrics, _step: step, _timestamp: now / 1000, _runtime: (now - this.start) / 1000 };
    const items = Object.entries(row).map(([key, value]) => bytesField(1, item(key, value)));
    this.record(2, [...items, bytesField(2, [integerField(1, step)])]);
  }

  finish(): void {
    this.record(18, [integerField(1, 0), integerField(2, Math.round((Date.now() - this.start) / 1000))]);
    closeSync(this.descriptor);
  }

  /** Appends a `Record` whose content is the message in `field`. */
  private record(field: number, message: readonly Buffer[]): void {
    let rest = Buffer.concat([integerField(1, this.records++), bytesField(field, message)]);
    for (let isFirst = true; isFirst || rest.length > 0; isFirst = false) {
      const left = BLOCK - (this.written % BLOCK);
      if (left < HEADER) this.write(Buffer.alloc(left));
      const room = BLOCK - (this.written % BLOCK) - HEADER;
      const piece = rest.subarray(0, room);
      rest = rest.subarray(piece.length);
      const kind = rest.length === 0 ? (isFirst ? FULL : LAST) : isFirst ? FIRST : MIDDLE;
      const header = Buffer.alloc(HEADER);
      header.writeUInt32LE(crc('crc32', Buffer.concat([Buffer.from([kind]), piece])));
      header.writeUInt16LE(piece.length, 4);
      header.writeUInt8(kind, 6);
      this.write(Buffer.concat([header, piece]));
    }
  }

  private write(bytes: Buffer): void {
    writeSync(this.descriptor, bytes);
    this.written += bytes.length;
  }
}

/** A `HistoryItem` or `ConfigItem`. JSON lacks NaN and infinities; W&B reads them as texts. */
function item(key: string, value: unknown): Buffer[] {
  const known = typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
  return [bytesField(1, key), bytesField(16, JSON.stringify(known ?? null))];
}
