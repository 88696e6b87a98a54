import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError, RegistryError } from '../../src/errors';
import { ConsoleTracker, createTrackers, JsonlTracker, listTrackers, readMetrics, readSamples, type ConsoleStream, type Sample } from '../../src/tracking';
import { readsTypeScript } from '../programs';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-tracking-'))));
afterEach(() => rmSync(folder, { recursive: true }));

describe('createTrackers', () => {
  it('makes each named tracker once, in order', () => {
    const trackers = createTrackers(['jsonl', 'console', 'jsonl'], { directory: join(folder, 'new', 'run') });
    expect(trackers.map((tracker) => tracker.constructor)).toEqual([JsonlTracker, ConsoleTracker]);
    for (const tracker of trackers) tracker.close();
    expect(readdirSync(join(folder, 'new', 'run'))).toEqual(['metrics.jsonl']);
  });

  it('refuses an unknown name with what exists, and opens nothing', () => {
    expect(listTrackers()).toEqual(['console', 'jsonl', 'tensorboard', 'wandb']);
    const make = () => createTrackers(['jsonl', 'jsnol'], { directory: folder });
    expect(make).toThrow(RegistryError);
    expect(make).toThrow("Unknown logger 'jsnol'. Did you mean 'jsonl'? Registered: console, jsonl, tensorboard, wandb");
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('JsonlTracker', () => {
  const file = () => join(folder, 'metrics.jsonl');

  it('has each step in the file as soon as it is logged', () => {
    const tracker = new JsonlTracker(file());
    tracker.log(1, { 'reward/avg_raw_reward': 0.25, bad: NaN, worse: -Infinity });
    expect(readFileSync(file(), 'utf8')).toBe('{"step":1,"reward/avg_raw_reward":0.25,"bad":null,"worse":null}\n');
    tracker.log(2, { 'reward/avg_raw_reward': 0.5 });
    expect(readMetrics(file())).toEqual([
      { step: 1, 'reward/avg_raw_reward': 0.25, bad: null, worse: null },
      { step: 2, 'reward/avg_raw_reward': 0.5 },
    ]);
    tracker.close();
    tracker.close();
    expect(() => tracker.log(3, {})).toThrow(DataError);
  });

  it('starts afresh, or continues after the step that a run resumes from', () => {
    writeFileSync(file(), '{"step":1}\n{"step":2}\n{"step":3}\n{"step":4,"cut of');
    const resumed = new JsonlTracker(file(), { resumedFrom: 2 });
    resumed.log(3, { again: 1 });
    resumed.close();
    expect(readMetrics(file())).toEqual([{ step: 1 }, { step: 2 }, { step: 3, again: 1 }]);
    new JsonlTracker(file()).close();
    expect(readMetrics(file())).toEqual([]);
  });

  const sample = (step: number): Sample => {
    return { step, group: 'a', prompt: '3 4 =', tokens: ['4', ''], ids: [4, 12], advantages: [0.5, null], reward: 1, length: 2 };
  };

  it('keeps samples and the configuration beside the metrics, each sample at once', () => {
    const [samples, config] = ['samples.jsonl', 'config.json'].map((name) => join(folder, name));
    const tracker = new JsonlTracker(file(), { config: { trainer: { seed: 3 } } });
    expect(JSON.parse(readFileSync(config, 'utf8'))).toEqual({ trainer: { seed: 3 } });
    expect(readdirSync(folder)).not.toContain('samples.jsonl');
    tracker.logSamples([sample(1), sample(1)]);
    tracker.logSamples([]);
    expect(readSamples(samples)).toEqual([sample(1), sample(1)]);
    tracker.logSamples([sample(2)]);
    tracker.close();
    expect(() => tracker.logSamples([])).toThrow(DataError);
    const resumed = new JsonlTracker(file(), { resumedFrom: 1 });
    resumed.logSamples([sample(2)]);
    resumed.close();
    expect(readSamples(samples).map(({ step }) => step)).toEqual([1, 1, 2]);
    new JsonlTracker(file()).close();
    expect(readdirSync(folder)).not.toContain('samples.jsonl');
  });

  it.each([
    [{ advantages: [1] }],
    [{ tokens: [1, 2] }],
    [{ reward: null }],
    [{ step: '1' }],
    [{ ids: undefined }],
  ])('refuses a sample with %j', (wrong) => {
    writeFileSync(join(folder, 'samples.jsonl'), `${JSON.stringify({ ...sample(1), ...wrong })}\n`);
    expect(() => readSamples(join(folder, 'samples.jsonl'))).toThrow(/samples\.jsonl:1: expected a sample/);
  });

  it('a process that is killed has every step in the file', () => {
    const script = `
      const { JsonlTracker } = require(${JSON.stringify(join(__dirname, '../../src/tracking/jsonl_tracker.ts'))});
      const tracker = new JsonlTracker(${JSON.stringify(file())});
      for (let step = 1; ; step++) {
        tracker.log(step, { loss: step });
        if (step === 500) process.kill(process.pid, 'SIGKILL');
      }`;
    const { signal } = spawnSync(process.execPath, [...readsTypeScript, '-e', script], { cwd: join(__dirname, '../..') });
    expect(signal).toBe('SIGKILL');
    expect(readMetrics(file())).toEqual(Array.from({ length: 500 }, (_, i) => ({ step: i + 1, loss: i + 1 })));
  });

  it.each([
    ['{"step":1}\n{oops\n', /metrics\.jsonl:2: expected a JSON object/],
    ['{"step":1}\n{"loss":3}\n', /metrics\.jsonl:2: expected an object with a numeric "step", and numbers or null, got \{"loss":3\}/],
    ['{"step":1,"loss":"3"}\n', /metrics\.jsonl:1: expected an object with a numeric "step", and numbers or null, got \{"step":1,"loss":"3"\}/],
    ['{"step":1e999}\n', /metrics\.jsonl:1: expected an object with a numeric "step"/],
    ['null\n', /metrics\.jsonl:1: expected an object with a numeric "step", and numbers or null, got null/],
  ])('reports a malformed line with file and line', (content, message) => {
    writeFileSync(file(), content);
    expect(() => readMetrics(file())).toThrow(DataError);
    expect(() => readMetrics(file())).toThrow(message);
  });
});

/** A stream that keeps what is written, and a clock that is set by hand. */
function terminal(isTTY: boolean, columns = 100) {
  const stream: ConsoleStream & { text: string } = { text: '', isTTY, columns, write: (text) => void (stream.text += text) };
  const clock = { time: 0 };
  return { stream, clock, now: () => clock.time };
}

const metrics = (reward: number) => ({ 'reward/avg_raw_reward': reward, 'policy/final_loss': -0.0123, 'policy/grad_norm': 3 });

describe('ConsoleTracker without a terminal', () => {
  it('prints the first step, every tenth, and the last one', () => {
    const { stream, clock, now } = terminal(false);
    const tracker = new ConsoleTracker({ totalSteps: 25, stream, now });
    for (let step = 1; step <= 25; step++, clock.time += 100) tracker.log(step, metrics(step / 25));
    tracker.close();
    expect(stream.text.trimEnd().split('\n')).toEqual([
      'step  1/25  reward 0.0400  loss −0.0123',
      'step 11/25  reward 0.440  loss −0.0123  10.0 steps/s  0:01 left',
      'step 21/25  reward 0.840  loss −0.0123  10.0 steps/s  0:00 left',
      'step 25/25  reward 1.00  loss −0.0123  10.0 steps/s',
    ]);
  });

  it('says which step an evaluation is of, once it is not of this one', () => {
    const { stream, now } = terminal(false);
    const tracker = new ConsoleTracker({ totalSteps: 30, stream, now });
    tracker.log(0, { 'eval/all/avg_score': 0.125 });
    for (let step = 1; step <= 30; step++) tracker.log(step, { ...metrics(0.5), ...(step === 20 && { 'eval/all/avg_score': 0.75 }) });
    tracker.close();
    expect(stream.text.trimEnd().split('\n')).toEqual([
      'step  0/30  eval 0.125',
      'step 10/30  reward 0.500  loss −0.0123  eval 0.125 (step 0)',
      'step 20/30  reward 0.500  loss −0.0123  eval 0.750',
      'step 30/30  reward 0.500  loss −0.0123  eval 0.750 (step 20)',
    ]);
  });

  it('leaves the evaluation before training out of later steps where none will come', () => {
    const shown = (eval_interval: number): string[] => {
      const { stream } = terminal(false);
      const [tracker] = createTrackers(['console'], { directory: folder, totalSteps: 1, stream: stream as unknown as NodeJS.WriteStream, config: { trainer: { eval_interval } } });
      tracker!.log(0, { 'eval/all/avg_score': 0.125 });
      tracker!.log(1, { 'reward/avg_raw_reward': 0.5 });
      void tracker!.close();
      return stream.text.trimEnd().split('\n').map((line) => line.replace(/ {2}[^ ]+ steps\/s$/, ''));
    };
    expect(shown(-1)).toEqual(['step 0/1  eval 0.125', 'step 1/1  reward 0.500']);
    expect(shown(5)).toEqual(['step 0/1  eval 0.125', 'step 1/1  reward 0.500  eval 0.125 (step 0)']);
  });

  it('prints a slow run every five seconds, and where it stopped early', () => {
    const { stream, clock, now } = terminal(false);
    const tracker = new ConsoleTracker({ totalSteps: 1000, stream, now });
    for (let step = 1; step <= 6; step++, clock.time += 2500) tracker.log(step, metrics(0.5));
    tracker.close();
    tracker.close();
    expect(stream.text.match(/^step +\d+/gm)).toEqual(['step    1', 'step    3', 'step    5', 'step    6']);
    expect(stream.text).toContain('0.400 steps/s  41:25 left');
  });

  it('writes no control characters, and nothing at all for a run without steps', () => {
    const { stream, now } = terminal(false);
    new ConsoleTracker({ stream, now }).close();
    expect(stream.text).toBe('');
    const tracker = new ConsoleTracker({ stream, now });
    tracker.log(1, {});
    tracker.message('saved');
    tracker.close();
    expect(stream.text).toBe('step 1\nsaved\n');
  });
});

describe('ConsoleTracker on a terminal', () => {
  it('redraws one line at most ten times a second, shows the last step and ends the line', () => {
    const { stream, clock, now } = terminal(true);
    const tracker = new ConsoleTracker({ totalSteps: 100, stream, now });
    for (let step = 1; step <= 100; step++, clock.time += 25) tracker.log(step, metrics(0.5));
    tracker.close();
    const drawn = stream.text.split('\r').slice(1);
    expect(drawn).toHaveLength(26);
    expect(drawn.at(-1)).toBe(`step 100/100  ${'━'.repeat(28)}  reward 0.500  loss −0.0123  40.0 steps/s\x1b[K\n`);
    expect(stream.text.match(/\n/g)).toHaveLength(1);
  });

  it.each([100, 60, 40, 12, 1])('never fills a line of %d columns', (columns) => {
    const { stream, clock, now } = terminal(true, columns);
    const tracker = new ConsoleTracker({ totalSteps: 100, stream, now });
    for (let step = 1; step <= 50; step++, clock.time += 1000) tracker.log(step, metrics(0.5));
    tracker.close();
    const lines = stream.text.split('\r').slice(1).map((line) => line.replace(/\x1b\[K\n?/, ''));
    expect(lines).toHaveLength(50);
    for (const line of lines) expect(line.length).toBeLessThan(columns);
  });

  it('prints messages above the bar', () => {
    const { stream, now } = terminal(true);
    const tracker = new ConsoleTracker({ totalSteps: 2, stream, now });
    tracker.log(1, metrics(0.5));
    const bar = stream.text;
    tracker.message('checkpoint saved');
    expect(stream.text).toBe(`${bar}\r\x1b[Kcheckpoint saved\n${bar}`);
    tracker.close();
  });

  it('leaves the terminal clean on Ctrl-C and its listener behind on close', () => {
    const { stream, now } = terminal(true);
    const others = process.listeners('SIGINT');
    const heard = jest.fn();
    const tracker = new ConsoleTracker({ totalSteps: 2, stream, now });
    process.on('SIGINT', heard);
    tracker.log(1, metrics(0.5));
    process.emit('SIGINT');
    process.off('SIGINT', heard);
    expect(heard).toHaveBeenCalledTimes(1);
    expect(stream.text.endsWith('\x1b[K\n')).toBe(true);
    expect(process.listeners('SIGINT')).toEqual(others);
    tracker.close();
    expect(stream.text.match(/\n/g)).toHaveLength(1);
  });
});
