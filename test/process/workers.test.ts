/** The addon in workers, in several at once, and at the ends of processes. */
import { spawn } from 'node:child_process';
import { createContext, runInContext } from 'node:vm';
import { join } from 'node:path';
import { tensor } from '../../src';
import { readsTypeScript } from '../programs';

const root = join(__dirname, '../..');

function play(scene: string): Promise<{ code: number | null; signal: NodeJS.Signals | null; output: string; errors: string }> {
  const child = spawn(process.execPath, [...readsTypeScript, join(__dirname, 'scenes.ts'), scene], { cwd: root });
  let [output, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, output, errors })));
}

async function result<T>(scene: string): Promise<T> {
  const { code, signal, output, errors } = await play(scene);
  expect({ code, signal, errors }).toEqual({ code: 0, signal: null, errors: '' });
  return JSON.parse(output) as T;
}

test('four workers and the main thread compute estimators at once, with the same bits', async () => {
  const { own, others, codes } = await result<{ own: string; others: string[]; codes: number[] }>('concurrent');
  expect(others).toEqual([own, own, own, own]);
  expect(codes).toEqual([0, 0, 0, 0]);
}, 120_000);

test('workers that are ended while they compute leave the engine as it was', async () => {
  const { same, bytes } = await result<{ same: boolean; bytes: number }>('terminated');
  expect(same).toBe(true);
  expect(bytes).toBeLessThan(2 ** 20);
}, 120_000);

test('a process.exit within a worker ends the worker alone', async () => {
  expect(await result('exitInWorker')).toEqual({ code: 3, sum: 6 });
}, 60_000);

test.each(['exitInStep', 'exitInEstimator', 'exitWithWork', 'exitInFinalizer', 'exitBesideWorker'])('%s: the process ends with its code', async (scene) => {
  const { code, signal, errors } = await play(scene);
  expect({ code, signal, errors }).toEqual({ code: 7, signal: null, errors: '' });
}, 60_000);

test('a process that is done ends by itself', async () => {
  expect(await result('natural')).toBe(64);
}, 60_000);

test('arrays of another realm are taken, or refused with a message', () => {
  const context = createContext({});
  expect(tensor(runInContext('[[1, 2], [3, 4]]', context) as number[][]).sum().item()).toBe(10);
  expect(tensor(runInContext('Float64Array.of(1, 2, 3)', context) as Float64Array).dtype).toBe('float64');
  expect(tensor(runInContext('Float64Array.of(1, 2, 3)', context) as Float64Array).sum().item()).toBe(6);
  expect(tensor([1, 2, 3]).sum(0, runInContext('({ keepDims: true })', context) as object).shape).toEqual([1]);
  expect(() => tensor(runInContext('({})', context) as number[])).toThrow(/expected numbers/);
});
