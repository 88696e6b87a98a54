/**
 * A run in a process of its own, which the tests kill: `child.ts FOLDER [key=value …]`.
 * VANTAGE_TEST_MICRO_PAUSE: milliseconds that each micro-batch waits; each is a line of `micro_batches.txt`.
 * VANTAGE_TEST_PAUSE: milliseconds that a step waits in its middle, deaf to signals. VANTAGE_TEST_SIGNAL: the step that begins with a SIGINT; only that one waits then.
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { main } from '../../../src/trainer';
import { recording } from './runs';

const [folder, ...overrides] = process.argv.slice(2) as [string, ...string[]];
const { VANTAGE_TEST_PAUSE: pause = '0', VANTAGE_TEST_SIGNAL: signalled, VANTAGE_TEST_MICRO_PAUSE: microPause } = process.env;
let step = 0;
const before = (): void => {
  step++;
  if (String(step) === signalled) process.kill(process.pid, 'SIGINT');
};
const wait = (milliseconds: string): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(milliseconds));
const within = (): void => {
  if (signalled === undefined || String(step) === signalled) wait(pause);
};
const micro = (): void => {
  if (microPause === undefined) return;
  appendFileSync(join(folder, 'micro_batches.txt'), '.\n');
  wait(microPause);
};

void main(overrides, { config: join(folder, 'config.yaml'), experiment: recording(folder, { before, within, micro }) });
