/** Which responses a step trains on: those to one batch of prompts, or with dynamic sampling to as many as it takes. */
import type { Config } from '../config';
import type { PromptExample } from '../data';
import { TrainingError } from '../errors';
import { DynamicSamplingFilter, dynamicSamplingReplace, type SampledBatch } from '../shaping';
import type { Metrics } from '../tracking';
import type { Trajectory } from './trajectory';

export interface Sampled {
  /** `n_samples_per_prompt` to each of `train_batch_size` prompts, those of a prompt next to each other. */
  trajectories: Trajectory[];
  metrics: Metrics;
}

export interface SamplingParts {
  config: Config;
  /** The training step, from 0. */
  step: number;
  /** Takes the next prompts from the data. */
  next: () => readonly PromptExample[];
  /** The responses to prompts; `attempt` counts from 0 in each step. */
  collect: (examples: readonly PromptExample[], attempt: number) => Promise<Trajectory[]>;
}

/**
 * The responses of one step. Whatever it takes from the data counts as taken: what is left over is dropped, so that a run that goes on behind the step needs the
 * loader's state only.
 *
 * @throws TrainingError where `max_sample_batches` do not hold enough prompts whose responses differ in reward
 */
export async function sampleStep(parts: SamplingParts): Promise<Sampled> {
  switch (parts.config.trainer.algorithm.dynamic_sampling.type) {
    case 'filter':
      return filtered(parts);
    case 'replace':
      return replaced(parts);
    default:
      return { trajectories: await parts.collect(parts.next(), 0), metrics: {} };
  }
}

/** Batch after batch, until enough prompts are informative. */
async function filtered(parts: SamplingParts): Promise<Sampled> {
  const { trainer, generator } = parts.config;
  const filter = new DynamicSamplingFilter<Trajectory>({ trainBatchSize: trainer.train_batch_size, samplesPerPrompt: generator.n_samples_per_prompt });
  const seen = new Seen();
  for (;;) {
    const wantsMore = filter.add(await seen.sample(parts));
    const found = filter.promptsCollected;
    if (!wantsMore) return { trajectories: [...filter.take().samples], metrics: seen.metrics(found) };
    seen.checkLimit(parts, `${found} of trainer.train_batch_size=${trainer.train_batch_size} prompts`);
  }
}

/** One batch whose uninformative prompts make room for the others, once these are enough. */
async function replaced(parts: SamplingParts): Promise<Sampled> {
  const { trainer, generator } = parts.config;
  const { min_replace_ratio: minReplaceRatio } = trainer.algorithm.dynamic_sampling;
  const seen = new Seen();
  for (;;) {
    const batch = await seen.sample(parts);
    // A draw of its own at each step and attempt.
    const seed = trainer.seed + 1_000_003 * parts.step + 7919 * seen.batches;
    const { samples, keepSampling, rows } = dynamicSamplingReplace(batch, { samplesPerPrompt: generator.n_samples_per_prompt, minReplaceRatio, seed });
    if (!keepSampling) {
      const replacedRows = rows.filter((row, place) => row !== place).length;
      const informative = trainer.train_batch_size - replacedRows / generator.n_samples_per_prompt;
      return { trajectories: [...samples], metrics: { ...seen.metrics(informative), 'dynamic_sampling/replaced_prompts': replacedRows / generator.n_samples_per_prompt } };
    }
    seen.checkLimit(parts, `more than min_replace_ratio=${minReplaceRatio} of the prompts of a batch`);
  }
}

/** What a step has sampled, used or not. */
class Seen {
  batches = 0;
  private prompts = 0;
  private responses = 0;
  private reward = 0;

  async sample({ next, collect }: SamplingParts): Promise<SampledBatch<Trajectory>> {
    const examples = next();
    const samples = await collect(examples, this.batches++);
    const rewards = samples.map(({ reward }) => reward);
    this.prompts += examples.length;
    this.responses += samples.length;
    this.reward += rewards.reduce((sum, reward) => sum + reward, 0);
    return { groupIds: samples.map(({ groupId }) => groupId), rewards, samples };
  }

  checkLimit({ config, step }: SamplingParts, wanted: string): void {
    const { max_sample_batches: limit } = config.trainer.algorithm.dynamic_sampling;
    if (limit === -1 || this.batches < limit) return;
    throw new TrainingError(
      `step ${step + 1}: trainer.algorithm.dynamic_sampling: expected responses that differ in reward for ${wanted}, and did not find them in ` +
        `max_sample_batches=${limit} batches (mean reward ${
          (this.reward / this.responses).toFixed(3)
        }); raise it (-1: no limit) or generator.n_samples_per_prompt, or take prompts of another difficulty`,
    );
  }

  metrics(informative: number): Metrics {
    return {
      'dynamic_sampling/batches': this.batches,
      'dynamic_sampling/sampled_prompts': this.prompts,
      'dynamic_sampling/informative_prompts': informative,
      // Of all responses, where reward/avg_raw_reward is that of those that are trained on.
      'dynamic_sampling/avg_raw_reward': this.reward / this.responses,
    };
  }
}
