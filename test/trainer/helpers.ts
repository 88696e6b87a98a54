/** Small runs of the real loop in a folder of their own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, loadConfig } from '../../src/config';
import { Experiment, type Trajectory } from '../../src/trainer';
import type { Metrics, MetricsRecord } from '../../src/tracking';
import { smallBase as baseOf } from './small_runs';

const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-'));
  folders.push(folder);
  return folder;
}

/** Eight responses to two prompts, of all lengths up to 3. */
export function eightResponses(): Trajectory[] {
  return Array.from({ length: 8 }, (_, i) => ({
    groupId: String(i >> 2),
    dataSource: 'test',
    promptIds: i < 4 ? [3, 9, 1, 10] : [5, 10],
    responseIds: [11, i, 12].slice(0, 1 + (i % 3)),
    rolloutLogProbs: [-1, -2, -3].slice(0, 1 + (i % 3)),
    text: '',
    stopReason: 'stop',
    reward: i % 2,
    metrics: {},
  }));
}

/** Overrides that add a critic to `smallBase`. */
export const aCritic = ['trainer.critic.model={}', 'trainer.critic_mini_batch_size=4', 'trainer.critic.optimizer_config.lr=1e-3'];

/** {@link baseOf} a folder that goes when the tests have run. */
export function smallBase(folder = temporaryFolder()): object {
  return baseOf(folder);
}

export function smallConfig(overrides: readonly string[] = [], folder?: string): Config {
  return loadConfig({ base: smallBase(folder), overrides }).config;
}

/** The records of a run. */
export async function history(overrides: readonly string[] = [], Class: typeof Experiment = Experiment): Promise<MetricsRecord[]> {
  return (await new Class(smallConfig(overrides)).run()).history;
}

/** All but what depends on the clock. */
export function withoutClock(metrics: MetricsRecord | Metrics): Metrics {
  const kept = Object.entries(metrics).filter(([name]) => !name.startsWith('timing/') && name !== 'trainer/tokens_per_second');
  return Object.fromEntries(kept) as Metrics;
}
