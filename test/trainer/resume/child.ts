/** A run in a process of its own, which the tests kill: `child.ts FOLDER [key=value …]`. VANTAGE_TEST_PAUSE: milliseconds to wait after each step. */
import { join } from 'node:path';
import { main } from '../../../src/trainer';
import { recording } from './runs';

const [folder, ...overrides] = process.argv.slice(2) as [string, ...string[]];
const pause = Number(process.env.VANTAGE_TEST_PAUSE ?? 0);
const wait = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);

void main(overrides, { config: join(folder, 'config.yaml'), experiment: recording(folder, pause > 0 ? wait : undefined) });
