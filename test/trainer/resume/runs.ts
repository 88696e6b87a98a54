/** Runs that are compared with each other bit for bit: a tiny model, and everything that a step leaves. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Config, loadConfig } from '../../../src/config';
import { generateTask, writeJsonl } from '../../../src/data';
import { Environment, type EnvironmentStep } from '../../../src/environments';
import { Experiment, latestCheckpoint, Trainer, type TrainerParts, type Trajectory } from '../../../src/trainer';
import { type LossAndMetrics, Update } from '../../../src/trainer/update';
import { type Metrics, readMetrics } from '../../../src/tracking';

/** Of each kind of run one: with a critic, with an estimator that keeps a state, with the KL in the loss, with several update epochs. */
export const kinds: Record<string, string[]> = {
  grpo: ['trainer.algorithm.use_kl_loss=false'],
  'grpo, KL in the loss, two update epochs': ['trainer.update_epochs_per_batch=2', 'trainer.algorithm.kl_loss_coef=0.1', 'trainer.micro_train_batch_size_per_gpu=3'],
  'grpo, KL in the reward, warm-up': ['trainer.algorithm.use_kl_loss=false', 'trainer.algorithm.use_kl_in_reward=true', 'trainer.policy.optimizer_config.num_warmup_steps=9'],
  'gae with a critic': [
    'trainer.algorithm.advantage_estimator=gae',
    'trainer.critic.model={}',
    'trainer.critic.optimizer_config.lr=1e-2',
    'trainer.critic_mini_batch_size=2',
    'trainer.algorithm.use_kl_loss=false',
    'trainer.update_epochs_per_batch=2',
  ],
  spo: ['trainer.algorithm.advantage_estimator=spo', 'generator.n_samples_per_prompt=2', 'trainer.micro_train_batch_size_per_gpu=4', 'trainer.algorithm.use_kl_loss=false'],
};

/** Four batches an epoch, eight steps, evaluations that sample; as a tree for `loadConfig` or a file. */
export function tinyBase(folder: string): object {
  const { train, validation } = generateTask('gmax', { trainSize: 16, validationSize: 6 });
  writeJsonl(join(folder, 'train.jsonl'), train);
  writeJsonl(join(folder, 'validation.jsonl'), validation);
  const model = { hidden_size: 16, num_layers: 1, num_heads: 2, num_kv_heads: 1, intermediate_size: 32, initializer_range: 0.3 };
  return {
    data: { train_data: [join(folder, 'train.jsonl')], val_data: [join(folder, 'validation.jsonl')] },
    environment: { env_class: 'gmax' },
    generator: { n_samples_per_prompt: 3, sampling_params: { max_generate_length: 3 }, eval_sampling_params: { temperature: 1 } },
    trainer: {
      policy: { model, optimizer_config: { lr: 1e-2 } },
      tokenizer: 'word',
      max_prompt_length: 16,
      seed: 3,
      train_batch_size: 4,
      policy_mini_batch_size: 2,
      micro_train_batch_size_per_gpu: 6,
      micro_forward_batch_size_per_gpu: 12,
      epochs: 9,
      max_training_steps: 8,
      eval_interval: 3,
      eval_batch_size: 2,
      ckpt_interval: 2,
      ckpt_path: join(folder, 'checkpoints'),
      logger: ['jsonl'],
      stop_when: { metric: 'reward/avg_raw_reward', window: 4, value: 2 },
    },
  };
}

export function tinyConfig(folder: string, overrides: readonly string[] = []): Config {
  return loadConfig({ base: tinyBase(folder), overrides }).config;
}

/** Where `RecordingTrainer` leaves what was sampled: a line a step, the step first. */
const samplesFile = (folder: string): string => join(folder, 'samples.txt');

/** What is called before a step, in its middle, once its samples are there, and after it. */
interface Hooks {
  before?: () => void;
  within?: () => void;
  after?: (step: number) => void;
  /** Before the loss of each micro-batch of the policy. */
  micro?: () => void;
}

/** Keeps the samples of each step, and calls the hooks. */
export class RecordingTrainer extends Trainer {
  private seen: readonly Trajectory[] = [];

  constructor(
    parts: TrainerParts,
    private readonly folder: string,
    private readonly hooks: Hooks = {},
  ) {
    super(parts);
  }

  protected override createUpdate(): Update {
    const micro = () => this.hooks.micro?.();
    class RecordedUpdate extends Update {
      protected override policyLoss(...given: Parameters<Update['policyLoss']>): LossAndMetrics {
        micro();
        return super.policyLoss(...given);
      }
    }
    return new RecordedUpdate(this.config, this.parts.models, { totalSteps: this.totalSteps, coefficients: this.coefficients });
  }

  protected override postprocessRewards(trajectories: Trajectory[]): Trajectory[] {
    this.seen = trajectories;
    this.hooks.within?.();
    return super.postprocessRewards(trajectories);
  }

  protected override async trainStep(): Promise<Metrics> {
    this.hooks.before?.();
    const metrics = await super.trainStep();
    const step = metrics['trainer/global_step']!;
    const samples = this.seen.map(({ groupId, responseIds, rolloutLogProbs, reward }) => [groupId, responseIds, rolloutLogProbs, reward]);
    appendFileSync(samplesFile(this.folder), `${step} ${JSON.stringify(samples)}\n`);
    this.hooks.after?.(step);
    return metrics;
  }
}

/** Random answers differ in this reward, so that every step teaches. */
class LetterSum extends Environment {
  step(action: string): EnvironmentStep {
    const sum = [...action].reduce((total, letter) => total + letter.charCodeAt(0), 0);
    return { observations: [], reward: (sum % 7) / 6, done: true };
  }
}

/** An experiment with `RecordingTrainer`, to be made by `main` or by hand. */
export function recording(folder: string, hooks?: Hooks): typeof Experiment {
  return class extends Experiment {
    override environment() {
      return LetterSum;
    }

    override trainer(parts: TrainerParts): Trainer {
      return new RecordingTrainer(parts, folder, hooks);
    }
  };
}

const isClock = (name: string): boolean => name.startsWith('timing/') || name === 'trainer/tokens_per_second';
const withoutClock = (record: object): object => Object.fromEntries(Object.entries(record).filter(([name]) => !isClock(name)));

/** The samples of each step; where a step was made twice, since a process was killed after it, both must be the same. */
function samplesOf(folder: string): Map<number, string> {
  const samples = new Map<number, string>();
  for (const line of readFileSync(samplesFile(folder), 'utf8').split('\n').slice(0, -1)) {
    const step = Number.parseInt(line, 10);
    const before = samples.get(step);
    if (before !== undefined && before !== line) throw new Error(`${folder}: step ${step} was made twice with other samples`);
    samples.set(step, line);
  }
  return samples;
}

/** All that a finished run leaves, but its timings: weights, optimizer, cursor, states, metrics, samples. */
export function remains(folder: string): object {
  const checkpoint = latestCheckpoint(join(folder, 'checkpoints'))!;
  // The sizes of files change with the digits of timings.
  const { config, seconds, files: listed, ...state } = JSON.parse(readFileSync(join(checkpoint, 'trainer_state.json'), 'utf8')) as Record<string, unknown>;
  const files = ['policy', 'critic'].flatMap((part) => ['model', 'optimizer'].map((name) => join(checkpoint, part, `${name}.safetensors`)));
  const lines = (file: string) => readFileSync(file, 'utf8').split('\n').slice(0, -1).map((line) => withoutClock(JSON.parse(line) as object));
  const estimator = join(checkpoint, 'advantage_estimator.json');
  return {
    state: { ...state, files: Object.keys(listed as object) },
    hasConfig: config !== undefined && typeof seconds === 'number',
    weights: Object.fromEntries(files.filter(existsSync).map((file) => [file.slice(checkpoint.length), readFileSync(file).toString('base64')])),
    estimator: existsSync(estimator) ? readFileSync(estimator, 'utf8') : null,
    history: lines(join(checkpoint, 'history.jsonl')),
    metrics: readMetrics(join(folder, 'metrics.jsonl')).map(withoutClock),
    samples: [...samplesOf(folder)].sort(([a], [b]) => a - b),
  };
}

/** Writes the configuration as a file that `main` reads. */
export function writeTinyConfig(folder: string): string {
  const file = join(folder, 'config.yaml');
  writeFileSync(file, JSON.stringify(tinyBase(folder)));
  return file;
}
