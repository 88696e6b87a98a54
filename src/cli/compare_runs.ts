/** Training runs as processes of their own: one that fails, or leaves memory behind, is none of the others' business. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { VantageError } from '../errors';
import { makeFolder } from '../folders';
import { programFile } from '../package';
import { firstReached, type Threshold } from '../tracking/comparison';
import { formatDuration } from '../tracking/format';
import { type MetricsRecord, readMetrics, RUN_FILES } from '../tracking/jsonl_tracker';

export interface Planned {
  estimator: string;
  seed: number;
  folder: string;
  overrides: readonly string[];
}

export interface Finished {
  estimator: string;
  seed: number;
  folder: string;
  /** Steps until the threshold; null where the run did not reach it. */
  steps: number | null;
  /** Seconds of these steps. */
  seconds: number | null;
  /** Steps that the run took. */
  taken: number;
  /** Why it failed, or null. */
  error: string | null;
  records: readonly MetricsRecord[];
}

export interface RunOptions {
  /** The arguments of `vantage train` before the overrides. */
  train: readonly string[];
  /** Processes at the same time. */
  jobs: number;
  threshold: Threshold;
}

/** What ends a comparison: each run ends after the step that is under way. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs everything planned; in its order. @throws VantageError where Ctrl-C ends it */
export async function runAll(plan: readonly Planned[], options: RunOptions): Promise<Finished[]> {
  const children = new Set<ChildProcess>();
  const finished: Finished[] = [];
  const progress = new Progress(plan.length);
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    for (const child of children) child.kill('SIGINT');
  };
  for (const signal of SIGNALS) process.on(signal, interrupt);
  try {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < plan.length && !interrupted) {
        const index = next++;
        progress.started(plan[index]);
        finished[index] = await runOne(plan[index], options, children);
        progress.finished(finished[index]);
      }
    };
    await Promise.all(Array.from({ length: Math.min(options.jobs, plan.length) }, worker));
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupt);
    progress.end();
  }
  if (!interrupted) return finished;
  process.exitCode = 130;
  throw new VantageError(`interrupted after ${finished.filter(Boolean).length} of ${plan.length} runs`);
}

/** What the addon takes of VANTAGE_NUM_THREADS at most (native/cpu/thread_pool.cpp). */
const MOST_THREADS = 256;

async function runOne({ estimator, seed, folder, overrides }: Planned, { train, jobs, threshold }: RunOptions, children: Set<ChildProcess>): Promise<Finished> {
  makeFolder(folder);
  const metrics = join(folder, RUN_FILES.metrics);
  rmSync(metrics, { force: true });
  // Each gets its share of the cores; the number of threads changes no result.
  const threads = String(Math.min(MOST_THREADS, Math.max(1, Math.floor(availableParallelism() / jobs))));
  const env = jobs > 1 ? { VANTAGE_NUM_THREADS: threads, ...process.env } : process.env;
  // A group of its own: a terminal sends Ctrl-C to a whole group, and with what is sent on from here that would be two, which end a run at once.
  const child = spawn(process.execPath, [...process.execArgv, programFile('cli/main'), 'train', ...train, ...overrides], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  children.add(child);
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-4000)));
  const ended = await new Promise<string | null>((resolve) => {
    child.on('error', ({ message }) => resolve(message));
    child.on('close', (code, signal) => resolve(code === 0 ? null : `ended with ${signal ?? `exit code ${code}`}`));
  });
  children.delete(child);
  const records = existsSync(metrics) ? readMetrics(metrics) : [];
  const steps = ended === null ? firstReached(records, threshold) : null;
  const until = records.filter(({ step }) => steps !== null && step <= steps).map((record) => record['timing/step'] ?? 0);
  const error = ended === null ? null : errors.trim().replace(/^vantage: /, '') || ended;
  const seconds = steps === null ? null : until.reduce((sum, value) => sum + value, 0);
  return { estimator, seed, folder, steps, seconds, taken: records.at(-1)?.step ?? 0, error, records };
}

/** A line for each run that has ended; on a terminal also what is running, on a line that is redrawn. */
class Progress {
  private readonly start = performance.now();
  private readonly running = new Set<string>();
  private done = 0;

  constructor(private readonly total: number) {}

  started({ estimator, seed }: Planned): void {
    this.running.add(`${estimator} seed ${seed}`);
    this.draw();
  }

  finished({ estimator, seed, steps, seconds, taken, error }: Finished): void {
    const name = `${estimator} seed ${seed}`;
    this.running.delete(name);
    this.done++;
    const how = error !== null ? 'failed' : steps !== null ? `reached after ${steps} steps, ${seconds?.toFixed(1)} s` : `not reached in ${taken} steps`;
    this.clear();
    process.stdout.write(`${String(this.done).padStart(String(this.total).length)}/${this.total}  ${name}: ${how}\n`);
    this.draw();
  }

  end(): void {
    this.clear();
  }

  private draw(): void {
    if (!process.stdout.isTTY || this.running.size === 0) return;
    const elapsed = (performance.now() - this.start) / 1000;
    const left = this.done === 0 ? '' : `  about ${formatDuration((elapsed / this.done) * (this.total - this.done))} left`;
    const line = `… ${[...this.running].join(', ')}${left}`;
    process.stdout.write(`\r${line.slice(0, (process.stdout.columns || 80) - 1)}\x1b[K`);
  }

  private clear(): void {
    if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  }
}
