import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTrackers, TensorBoardTracker } from '../../src/tracking';
import { parseMessage, type Fields } from './protobuf_reader';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-tensorboard-'))));
afterEach(() => rmSync(folder, { recursive: true }));

/** CRC-32C bit by bit. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** TensorFlow's unmasking: what the rotation and the constant undo. */
const unmask = (masked: number): number => {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

function readEvents(file: string): Fields[] {
  const bytes = readFileSync(file);
  const events: Fields[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(unmask(bytes.readUInt32LE(at + 8))).toBe(crc32c(bytes.subarray(at, at + 8)));
    const message = bytes.subarray(at + 12, at + 12 + length);
    expect(unmask(bytes.readUInt32LE(at + 12 + length))).toBe(crc32c(message));
    events.push(parseMessage(message));
    at += 16 + length;
  }
  return events;
}

/** step → { metric: value } */
const scalars = (events: Fields[]) =>
  events.flatMap((event) => {
    if (event[5] === undefined) return [];
    const values = (parseMessage(event[5][0] as Buffer)[1] ?? []).map((value) => parseMessage(value as Buffer));
    return [{ step: Number(event[2]?.[0] ?? 0), ...Object.fromEntries(values.map((value) => [String(value[1][0]), (value[2][0] as Buffer).readFloatLE()])) }];
  });

it('the check value of CRC-32C is that of its definition', () => expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283));

describe('TensorBoardTracker', () => {
  const large = 5_000_000_000;

  it('writes events that a reader of the format finds, each as soon as it is logged', () => {
    const tracker = new TensorBoardTracker(folder, { now: () => 1_700_000_000_500 });
    tracker.log(0, { 'eval/all/avg_score': 0.25 });
    expect(scalars(readEvents(tracker.file))).toEqual([{ step: 0, 'eval/all/avg_score': 0.25 }]);
    tracker.log(3, { 'reward/avg_raw_reward': 0.1, 'loss/ü': -1e-20, bad: NaN, worse: -Infinity });
    tracker.log(large, {});
    tracker.close();
    tracker.close();
    const events = readEvents(tracker.file);
    expect(String(events[0][3][0])).toBe('brain.Event:2');
    expect((events[1][1][0] as Buffer).readDoubleLE()).toBe(1_700_000_000.5);
    expect(scalars(events)[1]).toEqual({ step: 3, 'reward/avg_raw_reward': Math.fround(0.1), 'loss/ü': Math.fround(-1e-20), bad: NaN, worse: -Infinity });
    expect(scalars(events)[2]).toEqual({ step: large });
    expect(() => tracker.log(4, {})).toThrow('is closed');
  });

  it('starts afresh without touching the files of others, or marks where a resumed run begins again', () => {
    const foreign = join(folder, 'events.out.tfevents.1.other');
    writeFileSync(foreign, '');
    const first = new TensorBoardTracker(folder, { now: () => 1000 });
    first.close();
    const resumed = new TensorBoardTracker(folder, { resumedFrom: 7, now: () => 1000 });
    resumed.close();
    expect(resumed.file > first.file).toBe(true);
    const [, start] = readEvents(resumed.file);
    expect([Number(start[2][0]), Number(parseMessage(start[7][0] as Buffer)[1][0])]).toEqual([8, 1]);
    const afresh = new TensorBoardTracker(folder, { now: () => 2000 });
    afresh.close();
    expect(readdirSync(folder).map((name) => join(folder, name)).sort()).toEqual([afresh.file, foreign].sort());
  });

  it("is what trainer.logger's tensorboard makes, in a folder of its own", () => {
    const [tracker] = createTrackers(['tensorboard'], { directory: folder });
    expect(tracker).toBeInstanceOf(TensorBoardTracker);
    void tracker.close();
    expect(readdirSync(folder)).toEqual(['tensorboard']);
  });

  const python = process.env.PYTHON ?? 'python3';
  const present = spawnSync(python, ['-c', 'import tensorboard']).status === 0;
  if (!present) console.warn(`skipped: ${python} has no tensorboard (PYTHON names one that has)`);
  (present ? it : it.skip)("TensorBoard's own reader finds the same numbers", () => {
    const tracker = new TensorBoardTracker(folder);
    for (let step = 1; step <= 50; step++) tracker.log(step, { 'reward/avg_raw_reward': step / 50, 'policy/final_loss': -step });
    tracker.close();
    const resumed = new TensorBoardTracker(folder, { resumedFrom: 40, now: () => Date.now() + 2000 });
    resumed.log(41, { 'reward/avg_raw_reward': 5 });
    resumed.close();
    const script = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'tensors': 0}).Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))`;
    const read = JSON.parse(execFileSync(python, ['-c', script, folder], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
    const steps = Array.from({ length: 40 }, (_, i) => i + 1);
    expect(read['reward/avg_raw_reward']).toEqual([...steps.map((step) => [step, Math.fround(step / 50)]), [41, 5]]);
    expect(read['policy/final_loss']).toEqual(steps.map((step) => [step, -step]));
  });
});
