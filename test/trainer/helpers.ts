/** Small runs of the real loop in a folder of their own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, loadConfig } from '../../src/config';
import { generateTask, writeJsonl } from '../../src/data';
import { Experiment, type Trajectory } from '../../src/trainer';
import type { Metrics, MetricsRecord } from '../../src/tracking';

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

/** A run of `gmax` with a tiny model: 8 prompts × 4 samples, two optimizer steps a batch. */
export function smallBase(folder = temporaryFolder()): object {
  const { train, validation } = generateTask('gmax', { trainSize: 64, validationSize: 16 });
  writeJsonl(join(folder, 'train.jsonl'), train);
  writeJsonl(join(folder, 'validation.jsonl'), validation);
  const model = { hidden_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 2, intermediate_size: 64, initializer_range: 0.1 };
  return {
    data: { train_data: [join(folder, 'train.jsonl')], val_data: [join(folder, 'validation.jsonl')] },
    environment: { env_class: 'gmax' },
    generator: { n_samples_per_prompt: 4, sampling_params: { max_generate_length: 3 } },
    trainer: {
      algorithm: { use_kl_loss: false },
      policy: { model, optimizer_config: { lr: 1e-3 } },
      tokenizer: 'word',
      max_prompt_length: 16,
      seed: 0,
      train_batch_size: 8,
      policy_mini_batch_size: 4,
      micro_train_batch_size_per_gpu: 16,
      micro_forward_batch_size_per_gpu: 32,
      max_training_steps: 3,
      eval_interval: 2,
      ckpt_interval: -1,
      ckpt_path: join(folder, 'checkpoints'),
      logger: ['jsonl'],
    },
  };
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
