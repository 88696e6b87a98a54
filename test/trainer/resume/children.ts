/** Runs in processes of their own, which are killed at any moment and started again. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SmallRandom } from '../../../src/data/random';
import { readsTypeScript } from '../../programs';

export const root = join(__dirname, '../../..');

export interface ChildOptions {
  overrides?: readonly string[];
  env?: Record<string, string>;
  /** Default `child.ts`. */
  script?: string;
  /** What is done with the process while it runs. */
  meanwhile?: (child: Child) => Promise<void>;
}

export interface Child {
  kill: (signal: NodeJS.Signals) => void;
  output: () => string;
  /** Waits until something holds, or the process has ended; looks every millisecond, so that the process has the processor. */
  until: (holds: () => boolean) => Promise<void>;
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** Runs `child.ts` on the configuration of a folder. */
export async function runChild(folder: string, { overrides = [], env = {}, script = 'child.ts', meanwhile }: ChildOptions = {}): Promise<Ended> {
  const argv = [...readsTypeScript, join(__dirname, script), folder, ...overrides];
  const child = spawn(process.execPath, argv, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (output += text.toString()));
  const ended = new Promise<Ended>((resolve) => child.once('close', (code, signal) => resolve({ code, signal, output })));
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds() && child.exitCode === null && child.signalCode === null) await sleep(1);
  };
  const [result] = await Promise.all([ended, meanwhile?.({ kill: (signal) => void child.kill(signal), output: () => output, until })]);
  return result;
}

/** Complete lines of a file that may not be there yet. */
export const linesIn = (file: string): number => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0);

/** Milliseconds before which a process has hardly read its files. */
const startUp = 500;

export interface Kills {
  /** Processes that were ended by SIGKILL. */
  kills: number;
  /** Of these, how many left a save that was under way. */
  duringSaves: number;
  processes: number;
}

/**
 * Starts a run again and again, and kills it by SIGKILL after a random time, until one comes to its end. Half of the kills aim at a save: they wait for its draft.
 * @param most as many kills at most; the process after the last one is left alone
 */
export async function killAtRandom(folder: string, seed: number, most: number, options: ChildOptions = {}): Promise<Kills> {
  const random = new SmallRandom(seed);
  const counts: Kills = { kills: 0, duringSaves: 0, processes: 0 };
  const path = join(folder, 'checkpoints');
  const drafts = (): boolean => Array.from({ length: 9 }, (_, step) => join(path, `global_step_${step}.draft`)).some((draft) => existsSync(draft));
  for (;;) {
    counts.processes++;
    const spared = counts.kills >= most;
    const wait = random.below(1500);
    const aims = random.below(2) === 0;
    const meanwhile = async ({ kill, until }: Child): Promise<void> => {
      const kills = Date.now() + startUp + wait;
      await until(() => (aims ? drafts() : Date.now() >= kills));
      kill('SIGKILL');
    };
    const { code, signal, output } = await runChild(folder, { ...options, ...(spared ? {} : { meanwhile }) });
    if (signal === 'SIGKILL') {
      counts.kills++;
      if (drafts()) counts.duringSaves++;
    } else if (code === 0) return counts;
    else throw new Error(`the run ended with ${code ?? signal}:\n${output}`);
  }
}
