import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ConfigError } from '../errors';
import type { Metrics } from './tracker';
import type { WandbClient, WandbRun } from './wandb_tracker';

/** The client that Weights & Biases publishes; not among our dependencies. */
const PACKAGE = '@wandb/sdk';

/** The part of the package that is used. */
interface Sdk {
  init(options: { project: string; name: string; config: object; settings?: object }): Promise<SdkRun>;
}

interface SdkRun {
  log(data: Record<string, unknown>, step?: number): void;
  finish(): Promise<void>;
}

/**
 * Sends a run to Weights & Biases through the package `@wandb/sdk`, which the user installs. It connects while the training begins; where
 * that fails, the run goes on, and one line on stderr says so.
 */
export class OnlineWandbClient implements WandbClient {
  private readonly run: Promise<SdkRun | null>;
  private failed = false;

  /** @throws ConfigError where the package is not installed, with the command that installs it */
  constructor(run: WandbRun) {
    const load = loader();
    this.run = this.open(load, run);
  }

  log(step: number, metrics: Metrics): void {
    void this.run.then((run) => run?.log({ ...metrics }, step)).catch((error: unknown) => this.warn(error));
  }

  async finish(): Promise<void> {
    try {
      await (await this.run)?.finish();
    } catch (error) {
      this.warn(error);
    }
  }

  private async open(load: () => Promise<Sdk>, run: WandbRun): Promise<SdkRun | null> {
    const before = process.listeners('SIGINT');
    try {
      const sdk = await load();
      return await sdk.init({ project: run.project, name: run.name, config: run.config });
    } catch (error) {
      this.warn(error);
      return null;
    } finally {
      // The package ends the process on Ctrl-C at once; the training ends after the step, with a checkpoint, and closes the run itself.
      for (const listener of process.listeners('SIGINT')) {
        if (!before.includes(listener) && /exitHandler/.test(String(listener))) process.off('SIGINT', listener);
      }
    }
  }

  private warn(error: unknown): void {
    if (this.failed) return;
    this.failed = true;
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`vantage: wandb: ${reason}; the run goes on without it (WANDB_MODE=offline keeps what \`wandb sync\` can send later)\n`);
  }
}

/** How to load the package: the one of the working directory, else one beside ours. */
function loader(): () => Promise<Sdk> {
  for (const from of [join(process.cwd(), 'package.json'), __filename]) {
    let file: string;
    try {
      file = createRequire(from).resolve(PACKAGE);
    } catch {
      continue;
    }
    return async () => {
      const module = createRequire(from)(file) as Sdk & { default?: Sdk; wandb?: Sdk };
      return module.wandb ?? module.default ?? module;
    };
  }
  throw new ConfigError(
    `trainer.logger: 'wandb' needs the package ${PACKAGE} to send a run: npm install ${PACKAGE}; or set WANDB_MODE=offline, which writes files that \`wandb sync\` sends`,
  );
}
