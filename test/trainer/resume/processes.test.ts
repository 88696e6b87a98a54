/** Processes that are interrupted and killed, and what they print; with one thread and with two. */
import { execSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { temporaryFolder } from '../helpers';
import { type Child, killAtRandom, linesIn, root, runChild } from './children';
import { kinds, remains, writeTinyConfig } from './runs';

const overrides = kinds['gae with a critic']!;
const folderWithConfig = (): string => {
  const folder = temporaryFolder();
  writeTinyConfig(folder);
  return folder;
};

let whole: object;
beforeAll(async () => {
  const folder = folderWithConfig();
  const { code, output } = await runChild(folder, { overrides, env: { VANTAGE_NUM_THREADS: '2' } });
  expect([code, output]).toEqual([0, expect.stringContaining('in 8 steps of gae')]);
  whole = remains(folder);
}, 60_000);

it.each([1])('killed at random times (seed %i), also in the middle of a save, it comes to the same end', async (seed) => {
  const folder = folderWithConfig();
  const { kills, processes } = await killAtRandom(folder, seed, 2, { overrides });
  expect(kills).toBe(processes - 1);
  expect(remains(folder)).toEqual(whole);
  expect(readdirSync(join(folder, 'checkpoints')).sort()).toEqual(['global_step_2', 'global_step_4', 'global_step_6', 'global_step_8', 'latest_ckpt_global_step.txt']);
}, 120_000);

it.each([['SIGINT', 130, 1], ['SIGTERM', 143, 2]] as const)('%s saves and leaves with %i; the command that it prints goes on, with the same bits on %i thread(s)', async (signal, code, threads) => {
  const folder = folderWithConfig();
  const env = { VANTAGE_TEST_PAUSE: '50', VANTAGE_NUM_THREADS: String(threads) };
  const meanwhile = async ({ kill, until }: Child): Promise<void> => {
    await until(() => linesIn(join(folder, 'samples.txt')) === 3);
    kill(signal);
  };
  const stopped = await runChild(folder, { overrides: [...overrides, 'trainer.resume_mode=null'], env, meanwhile });
  expect([stopped.code, stopped.signal]).toEqual([code, null]);
  expect(stopped.output).toContain(`${signal === 'SIGINT' ? 'Ctrl-C' : signal}: ending after this step; once more ends at once`);
  const step = Number(readFileSync(join(folder, 'checkpoints/latest_ckpt_global_step.txt'), 'utf8'));
  const command = /Go on with:\n {2}(.*)\n/.exec(stopped.output)![1]!;
  expect(command).toContain(`test/trainer/resume/child.ts ${folder} `);
  const output = execSync(command, { cwd: root, encoding: 'utf8', env: { ...process.env, VANTAGE_NUM_THREADS: '1' } });
  expect(output).toMatch(new RegExp(`^Resuming after step ${step} of 8 \\(epoch \\d, \\d of 4 batches taken; [\\d.]+ s so far\\): ${folder}/checkpoints/global_step_${step}\n`));
  expect(remains(folder)).toEqual(whole);
}, 120_000);

it('a second signal ends it at once, in the middle of a step, and what was saved stands', async () => {
  const folder = folderWithConfig();
  const env = { VANTAGE_TEST_PAUSE: '3000', VANTAGE_TEST_SIGNAL: '3' };
  let sent = 0;
  const meanwhile = async ({ kill, output, until }: Child): Promise<void> => {
    await until(() => output().includes('Ctrl-C'));
    await sleep(1000);
    sent = Date.now();
    kill('SIGINT');
  };
  const { code, signal } = await runChild(folder, { overrides, env, meanwhile });
  expect([code, signal]).toEqual([null, 'SIGINT']);
  expect(Date.now() - sent).toBeLessThan(1500);
  expect((await runChild(folder, { overrides })).code).toBe(0);
  expect(remains(folder)).toEqual(whole);
}, 120_000);

it('a run whose environment never answers waits for it, and ends with the second signal', async () => {
  const folder = folderWithConfig();
  const meanwhile = async ({ kill, output, until }: Child): Promise<void> => {
    await until(() => output().includes('asked'));
    await sleep(500);
    kill('SIGINT');
    await until(() => output().includes('Ctrl-C'));
    await sleep(500);
    kill('SIGINT');
  };
  const { code, signal, output } = await runChild(folder, { script: 'waiting.ts', meanwhile });
  expect([code, signal]).toEqual([null, 'SIGINT']);
  expect(output).toContain('Ctrl-C: ending after this step; once more ends at once');
}, 60_000);
