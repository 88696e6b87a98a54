import { spawn, type SpawnOptions } from 'node:child_process';
import { isSource, programFile } from '../../package';
import type { Probed } from './probe';

/** How a probe ended, with all it told before. */
export interface Ended {
  found: Probed;
  /** 'done', or why it is not: an error of its own, a signal or exit code, the time limit. */
  outcome: 'done' | 'error' | 'crashed' | 'timed out';
  /** What went wrong, in a few words. */
  reason: string | null;
}

/** Runs the probe of a device in a process of its own, which cannot take this one with it. Ends after `seconds`, whatever the probe does. */
export function runProbe(device: 'cpu' | 'cuda', { seconds, env = process.env }: { seconds: number; env?: NodeJS.ProcessEnv }): Promise<Ended> {
  // Where a default is asked for, it is this device.
  const options = { env: { ...env, VANTAGE_DEVICE: device }, stdio: ['ignore', 'ignore', 'pipe', 'pipe'] } satisfies SpawnOptions;
  const child = spawn(process.execPath, [...(isSource ? process.execArgv : []), programFile('cli/doctor/probe'), device], options);
  let [told, errors] = ['', ''];
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-2000)));
  (child.stdio[3] as NodeJS.ReadableStream).setEncoding('utf8').on('data', (text: string) => (told += text));
  return new Promise((resolve) => {
    const end = (outcome: Ended['outcome'], reason: string | null): void => {
      clearTimeout(timer);
      const found = readLines(told);
      const during = found.step === undefined || outcome === 'error' || outcome === 'done' ? '' : ` while ${found.step}`;
      resolve({ found, outcome, reason: reason === null ? null : reason + during });
    };
    const timer = setTimeout(() => {
      // A process that hangs in a driver may not even die: nobody waits for it.
      child.kill('SIGKILL');
      for (const stream of child.stdio) stream?.destroy();
      child.unref();
      end('timed out', `no answer within ${seconds} s`);
    }, seconds * 1000);
    child.on('error', ({ message }) => end('crashed', message));
    child.on('close', (code, signal) => {
      const { done, error } = readLines(told);
      if (error !== undefined) end('error', error);
      else if (done && code === 0) end('done', null);
      else {
        const last = errors.trim().split('\n').at(-1) ?? '';
        end('crashed', `its process ended with ${signal ?? `exit code ${code}`}${last === '' ? '' : ` (${last.slice(0, 200)})`}`);
      }
    });
  });
}

function readLines(text: string): Probed {
  // A crash may cut the last line.
  const lines = text.split('\n').slice(0, -1);
  return Object.assign({}, ...lines.map((line) => JSON.parse(line) as Probed)) as Probed;
}
