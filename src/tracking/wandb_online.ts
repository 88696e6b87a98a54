import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { ConfigError } from '../errors';
import type { Metrics } from './tracker';
import type { WandbClient, WandbRun } from './wandb_tracker';

/** The client that Weights & Biases publishes; not among our dependencies. */
const PACKAGE = '@wandb/sdk';

/**
 * Runs the package in a thread: it ends the process where it does not reach the service, and on Ctrl-C at once, without the training's
 * checkpoint; in a thread it ends that thread.
 */
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const sdk = require(workerData.file);
const { init } = sdk.wandb ?? sdk.default ?? sdk;
const opened = init(workerData.run);
parentPort.on('message', async (message) => {
  const run = await opened;
  if (message.metrics) return run.log(message.metrics, message.step);
  await run.finish();
  parentPort.postMessage('finished');
  parentPort.close();
});`;

/**
 * Sends a run to Weights & Biases through the package `@wandb/sdk`, which the user installs. It connects while the training begins; where
 * that fails, the run goes on, and one line on stderr says so.
 */
export class OnlineWandbClient implements WandbClient {
  private readonly worker: Worker;
  private readonly ended: Promise<void>;
  private finished = false;

  /** @throws ConfigError where the package is not installed, with the command that installs it */
  constructor(run: WandbRun) {
    // Through JSON: what a thread is given must not hold functions.
    const workerData = { file: packageFile(), run: JSON.parse(JSON.stringify(run)) as WandbRun };
    this.worker = new Worker(THREAD, { eval: true, workerData, execArgv: [] });
    this.ended = new Promise((resolve) => {
      let reason = 'the client ended early';
      this.worker.on('message', () => (this.finished = true));
      this.worker.on('error', (error: Partial<Error> | null) => (reason = error?.message ?? String(error)));
      this.worker.on('exit', () => {
        if (!this.finished) warn(reason);
        resolve();
      });
    });
    // A training that ends by an error of its own does not wait for the service.
    this.worker.unref();
  }

  log(step: number, metrics: Metrics): void {
    this.worker.postMessage({ step, metrics: { ...metrics } });
  }

  async finish(): Promise<void> {
    this.worker.ref();
    this.worker.postMessage({});
    await this.ended;
  }
}

function warn(reason: string): void {
  process.stderr.write(`vantage: wandb: ${reason}; the run goes on without it (WANDB_MODE=offline keeps what \`wandb sync\` can send later)\n`);
}

/** The package of the working directory, else one beside ours. */
function packageFile(): string {
  for (const from of [join(process.cwd(), 'package.json'), __filename]) {
    try {
      return createRequire(from).resolve(PACKAGE);
    } catch {
      continue;
    }
  }
  throw new ConfigError(
    `trainer.logger: 'wandb' needs the package ${PACKAGE} to send a run: npm install ${PACKAGE}; or set WANDB_MODE=offline, which writes files that \`wandb sync\` sends`,
  );
}
