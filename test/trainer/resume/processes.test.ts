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

it.each([2])('killed at random times (seed %i), also in the middle of a save, it comes to the same end', async (seed) => {
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
  const again = signal === 'SIGINT' ? 'press Ctrl-C again' : 'once more';
  expect(stopped.output).toMatch(new RegExp(`\\n${signal === 'SIGINT' ? 'Ctrl-C' : signal}: (finishing|leaving after) step \\d, then saving; ${again} to leave at once without saving\\n`));
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

it('a signal is heard between the micro-batches of an optimizer step, and a second one there ends it at once', async () => {
  const folder = folderWithConfig();
  // Twelve micro-batches of 0.2 s in the one optimizer step of the policy.
  const many = [...overrides, 'trainer.policy_mini_batch_size=4', 'trainer.micro_train_batch_size_per_gpu=1', 'trainer.update_epochs_per_batch=1', 'trainer.ckpt_interval=1'];
  const env = { VANTAGE_TEST_MICRO_PAUSE: '200' };
  const micros = join(folder, 'micro_batches.txt');
  const [heard, left] = [[0, 0], [0, 0]];
  const meanwhile = async ({ kill, output, until }: Child): Promise<void> => {
    await until(() => linesIn(micros) === 14);
    kill('SIGINT');
    await until(() => output().includes('Ctrl-C'));
    heard.splice(0, 2, linesIn(micros), linesIn(join(folder, 'samples.txt')));
    await sleep(400);
    kill('SIGINT');
    left.splice(0, 1, Date.now());
  };
  const { code, signal, output } = await runChild(folder, { overrides: many, env, meanwhile });
  left[1] = Date.now();
  expect(output).toContain('\nCtrl-C: finishing step 2, then saving; press Ctrl-C again to leave at once without saving\n');
  // Heard within step 2, many micro-batches before its end; and left within it.
  expect(heard[1]).toBe(1);
  expect(heard[0]).toBeLessThan(20);
  expect([code, signal]).toEqual([null, 'SIGINT']);
  expect(left[1] - left[0]!).toBeLessThan(1000);
  expect(linesIn(micros)).toBeLessThan(24);
  expect(readFileSync(join(folder, 'checkpoints/latest_ckpt_global_step.txt'), 'utf8')).toBe('1\n');
  expect((await runChild(folder, { overrides: [...many, 'trainer.max_training_steps=2'] })).output).toMatch(/^Resuming after step 1 of 2/);
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
  expect(output).toContain('Ctrl-C: leaving before the first step; there is nothing to save yet; press Ctrl-C again to leave at once without saving');
}, 60_000);
