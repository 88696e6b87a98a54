import { ConfigError, DataError, quoted, showValue } from '../errors';
import { checkMetrics, type Metrics, type Tracker, type TrackerOptions } from './tracker';
import { OfflineWandbClient } from './wandb_offline';
import { OnlineWandbClient } from './wandb_online';

/** What Weights & Biases is told of a run. */
export interface WandbRun {
  /** What W&B files the run under. */
  project: string;
  /** What the run is called there. */
  name: string;
  /** The run's configuration. */
  config: object;
}

/** One open run at Weights & Biases, or what stands for it. */
export interface WandbClient {
  /** Takes one row of the run's history; returns before it is sent. */
  log(step: number, metrics: Metrics): void;
  /** Sends or writes what is left, and ends the run. Never rejects because of a network. */
  finish(): void | Promise<void>;
}

/** Hands a run's metrics to Weights & Biases. */
export class WandbTracker implements Tracker {
  private closed = false;

  constructor(
    /** What sends the run, or keeps it on disk. */
    readonly client: WandbClient,
  ) {
    const { log, finish } = (client ?? {}) as Partial<WandbClient>;
    if (typeof log !== 'function' || typeof finish !== 'function') throw new DataError(`WandbTracker: expected a client with methods log and finish, got ${showValue(client)}`);
  }

  log(step: number, metrics: Metrics): void {
    if (this.closed) throw new DataError('WandbTracker: the run is finished');
    checkMetrics('WandbTracker', step, metrics);
    this.client.log(step, metrics);
  }

  close(): void | Promise<void> {
    if (this.closed) return;
    this.closed = true;
    return this.client.finish();
  }
}

/** `WANDB_MODE` as W&B's own clients read it. @throws ConfigError for another value */
export function wandbMode(env: Record<string, string | undefined> = process.env): 'online' | 'offline' {
  if (typeof env !== 'object' || env === null) throw new ConfigError(`wandbMode: expected variables of an environment, got ${showValue(env)}`);
  const mode = env.WANDB_MODE || 'online';
  if (mode === 'online' || mode === 'offline') return mode;
  throw new ConfigError(`WANDB_MODE: expected online or offline, got ${quoted(mode)} (to log nothing there, remove 'wandb' from trainer.logger)`);
}

/** The tracker that `WANDB_MODE` asks for. @throws ConfigError where the online client is not installed */
export function wandbTracker({ directory, project = 'vantage', runName = 'run', config = {} }: TrackerOptions): WandbTracker {
  const run: WandbRun = { project, name: runName, config };
  return new WandbTracker(wandbMode() === 'offline' ? new OfflineWandbClient(directory, run) : new OnlineWandbClient(run));
}
