import { mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ConfigError, DataError } from '../../src/errors';
import { createTrackers, type Metrics, wandbMode, WandbTracker } from '../../src/tracking';
import { OfflineWandbClient } from '../../src/tracking/wandb_offline';
import { OnlineWandbClient } from '../../src/tracking/wandb_online';
import { parseMessage, type Fields } from './protobuf_reader';

let folder: string;
const before = { ...process.env };
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-wandb-'))));
afterEach(() => {
  rmSync(folder, { recursive: true });
  process.env = { ...before };
  jest.restoreAllMocks();
});

/** The records of a W&B file: LevelDB's log format in blocks of 32 KiB after a header of seven bytes, which counts. */
function readRecords(file: string): Fields[] {
  const bytes = readFileSync(file);
  expect([bytes.toString('latin1', 0, 4), bytes.readUInt16LE(4), bytes[6]]).toEqual([':W&B', 0xbee1, 0]);
  const records: Fields[] = [];
  let open: Buffer[] = [];
  for (let at = 7; at < bytes.length;) {
    const left = 32_768 - (at % 32_768);
    if (left < 7) {
      expect([...bytes.subarray(at, at + left)].every((byte) => byte === 0)).toBe(true);
      at += left;
      continue;
    }
    const [checksum, length, kind] = [bytes.readUInt32LE(at), bytes.readUInt16LE(at + 4), bytes[at + 6]];
    expect(7 + length).toBeLessThanOrEqual(left);
    const piece = bytes.subarray(at + 7, at + 7 + length);
    expect(crc32(bytes.subarray(at + 6, at + 7 + length))).toBe(checksum);
    expect(open.length === 0).toBe(kind === 1 || kind === 2);
    open.push(piece);
    if (kind === 1 || kind === 4) {
      records.push(parseMessage(Buffer.concat(open)));
      open = [];
    }
    at += 7 + length;
  }
  expect(open).toEqual([]);
  return records;
}

const items = (message: Fields): Record<string, unknown> =>
  Object.fromEntries((message[1] ?? []).map((each) => parseMessage(each as Buffer)).map((each) => [String(each[1][0]), JSON.parse(String(each[16][0]))]));

const run = { project: 'vantage', name: 'my run', config: { trainer: { seed: 3 }, data: ['a'] } };

describe('W&B offline', () => {
  it('writes the run, a record a step and the end, as soon as they come', () => {
    const client = new OfflineWandbClient(folder, run);
    client.log(1, { 'reward/avg_raw_reward': 0.5, bad: NaN });
    expect(readRecords(client.file)).toHaveLength(2);
    client.log(2, { 'reward/avg_raw_reward': 0.75 });
    client.finish();
    const records = readRecords(client.file);
    expect(records.map((record) => Number(record[1][0]))).toEqual([0, 1, 2, 3]);
    const start = parseMessage(records[0][17][0] as Buffer);
    expect([String(start[3][0]), String(start[8][0])]).toEqual(['vantage', 'my run']);
    expect(client.file).toContain(`offline-run-`);
    expect(client.file.endsWith(`-${start[1][0]}/run-${start[1][0]}.wandb`)).toBe(true);
    expect(items(parseMessage(start[4][0] as Buffer))).toEqual(run.config);
    const [first, second] = records.slice(1, 3).map((record) => parseMessage(record[2][0] as Buffer));
    expect(items(first)).toMatchObject({ 'reward/avg_raw_reward': 0.5, bad: 'NaN', _step: 1 });
    expect(items(second)).toMatchObject({ 'reward/avg_raw_reward': 0.75, _step: 2, _timestamp: expect.any(Number) });
    expect(Number(parseMessage(second[2][0] as Buffer)[1][0])).toBe(2);
    expect(Number(parseMessage(records[3][18][0] as Buffer)[1][0])).toBe(0);
  });

  it('cuts records at blocks, whatever their length', () => {
    const client = new OfflineWandbClient(folder, { ...run, config: { long: 'x'.repeat(100_000) } });
    const metrics = (step: number): Metrics => Object.fromEntries(Array.from({ length: step % 97 }, (_, i) => [`metric_${i}`, i]));
    for (let step = 1; step <= 400; step++) client.log(step, metrics(step));
    client.finish();
    const records = readRecords(client.file);
    expect(records).toHaveLength(402);
    for (let step = 1; step <= 400; step++) expect(items(parseMessage(records[step][2][0] as Buffer))).toMatchObject(metrics(step));
  });

  it('is what trainer.logger makes of wandb with WANDB_MODE=offline', () => {
    process.env.WANDB_MODE = 'offline';
    const [tracker] = createTrackers(['wandb'], { directory: folder, project: 'p', runName: 'r', config: {} }) as WandbTracker[];
    expect(tracker.client).toBeInstanceOf(OfflineWandbClient);
    void tracker.close();
    void tracker.close();
    expect(() => tracker.log(1, {})).toThrow(DataError);
    expect(readdirSync(join(folder, 'wandb'))).toHaveLength(1);
  });

  it('refuses another mode', () => {
    expect(wandbMode({})).toBe('online');
    expect(() => wandbMode({ WANDB_MODE: 'ofline' })).toThrow(ConfigError);
    expect(() => wandbMode({ WANDB_MODE: 'disabled' })).toThrow("WANDB_MODE: expected online or offline, got 'disabled'");
  });
});

describe('W&B online', () => {
  it('says what to install where the package is not there', () => {
    jest.spyOn(process, 'cwd').mockReturnValue(folder);
    const make = () => createTrackers(['wandb'], { directory: folder });
    expect(make).toThrow(ConfigError);
    expect(make).toThrow('npm install @wandb/sdk; or set WANDB_MODE=offline');
  });

  /** A package of the same surface, in the place where a user installs it. */
  function install(source: string): void {
    const place = join(folder, 'node_modules/@wandb/sdk');
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'package.json'), JSON.stringify({ name: '@wandb/sdk', version: '0.0.0', main: 'index.cjs' }));
    writeFileSync(join(place, 'index.cjs'), source);
    jest.spyOn(process, 'cwd').mockReturnValue(folder);
  }

  it('hands over the run and every row in order, and waits for the end', async () => {
    install(`
      const { appendFileSync } = require('node:fs');
      const note = (...what) => appendFileSync(${JSON.stringify(join(folder, 'seen.jsonl'))}, JSON.stringify(what) + '\\n');
      const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
      exports.wandb = {
        async init(options) {
          await pause();
          note('init', options);
          return { log: (data, step) => note('log', step, data), finish: async () => { await pause(); note('finish'); } };
        },
      };`);
    const client = new OnlineWandbClient(run);
    client.log(1, { loss: 3 });
    client.log(2, { loss: 2 });
    await client.finish();
    const seen = readFileSync(join(folder, 'seen.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    expect(seen).toEqual([['init', run], ['log', 1, { loss: 3 }], ['log', 2, { loss: 2 }], ['finish']]);
  });

  it.each([
    ["throw new Error('no route to host')", 'no route to host'],
    // What the package does where it does not reach the service.
    ['process.exit(1)', 'the client ended early'],
  ])('lets the run go on where the client ends by %s, and says so once', async (end, message) => {
    install(`exports.wandb = { init: async () => { ${end}; } };`);
    let errors = '';
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => ((errors += String(text)), true));
    const client = new OnlineWandbClient(run);
    client.log(1, { loss: 3 });
    await client.finish();
    expect(errors).toMatch(new RegExp(`^vantage: wandb: ${message}; the run goes on without it[^\\n]*\\n$`));
  });
});
