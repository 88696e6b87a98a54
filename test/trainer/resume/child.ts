/**
 * A run in a process of its own, which the tests kill: `child.ts FOLDER [key=value …]`.
 * VANTAGE_TEST_PAUSE: milliseconds that a step waits in its middle, deaf to signals. VANTAGE_TEST_SIGNAL: the step that begins with a SIGINT; only that one waits then.
 */
import { join } from 'node:path';
import { main } from '../../../src/trainer';
import { recording } from './runs';

const [folder, ...overrides] = process.argv.slice(2) as [string, ...string[]];
const { VANTAGE_TEST_PAUSE: pause = '0', VANTAGE_TEST_SIGNAL: signalled } = process.env;
let step = 0;
const before = (): void => {
  step++;
  if (String(step) === signalled) process.kill(process.pid, 'SIGINT');
};
const within = (): void => {
  if (signalled === undefined || String(step) === signalled) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(pause));
};

void main(overrides, { config: join(folder, 'config.yaml'), experiment: recording(folder, { before, within }) });
