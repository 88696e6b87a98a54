/** One step of the training, and one evaluation. */
import { type AdvantageEstimator, type AdvantageInputs } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { Config } from '../config';
import { checkConfig } from '../config/validate';
import { ConfigError, showValue } from '../errors';
import { DataLoader, inBatches, type PromptDataset, type PromptExample, type Tokenizer } from '../data';
import { bucket } from '../models/generate';
import { tidy } from '../tensor';
import type { Metrics, Tracker } from '../tracking';
import { baselinesOf, fillAdvantages, inputsOf, inRows, makeEstimator, requiresInput, rewardComponents } from './advantage_step';
import { TrainingBatch } from './batch';
import type { TrainerCallback } from './callbacks';
import { Coefficients } from './coefficients';
import { checkConvergence } from './convergence';
import { dumpBatch, dumpEvaluation } from './dumps';
import type { Interrupt } from './interrupt';
import { klPenalty } from './kl_penalty';
import { exportFolder } from './report';
import { evaluationMetrics, generationMetrics, informativeRows, scores } from './reward_metrics';
import type { Rollout } from './rollout';
import { sampleStep } from './sampling_step';
import { showErrors, showExample, showSamples } from './shown';
import { stream } from './streams';
import { Timing } from './timing';
import type { Trajectory } from './trajectory';
import { type Models, Update } from './update';

/** What a {@link Trainer} is made of. */
export interface TrainerParts {
  /** The run's configuration. */
  config: Config;
  /** What encodes prompts and decodes responses. */
  tokenizer: Tokenizer;
  /** The prompts to train on. */
  trainDataset: PromptDataset;
  /** null: no evaluation. */
  evalDataset: PromptDataset | null;
  /** Policy, critic and reference. */
  models: Models;
  /** What makes the trajectories of a batch. */
  rollout: Rollout;
  /** Closed by the trainer. */
  trackers: readonly Tracker[];
  /** Default: none. */
  callbacks?: readonly TrainerCallback[];
}

/** Training steps that a run takes at most. */
export function totalSteps(config: Config, prompts: number): number {
  checkConfig('totalSteps', config);
  if (!Number.isInteger(prompts) || prompts < 0) throw new ConfigError(`totalSteps: expected the number of prompts, got ${showValue(prompts)}`);
  const { trainer } = config;
  return Math.min(trainer.max_training_steps ?? Infinity, trainer.epochs * Math.floor(prompts / trainer.train_batch_size));
}

/** Prompts, responses, rewards, log-probs, advantages by the estimator's name, optimizer steps. */
export abstract class TrainingSteps {
  /** The run's configuration. */
  protected readonly config: Config;
  /** The order of the prompts. */
  protected readonly loader: DataLoader<PromptExample>;
  /** Losses and optimizer steps. */
  protected readonly update: Update;
  /** The advantage estimator of the run. */
  protected readonly estimator: AdvantageEstimator;
  /** The weights of the KL term and the entropy bonus. */
  protected readonly coefficients: Coefficients;
  /** Training steps that the run takes at most. */
  protected readonly totalSteps: number;
  /** Training steps done. */
  protected stepsDone = 0;
  /** @internal Hears signals while the run is under way. */
  protected interrupt: Interrupt | null = null;
  private readonly promptWidth: number;
  /** What the estimator gets beside the batch. */
  private moreInputs: Partial<AdvantageInputs> = {};

  constructor(
    /** What the trainer was made of. */
    protected readonly parts: TrainerParts,
  ) {
    const { config, trainDataset } = parts;
    this.config = config;
    this.totalSteps = totalSteps(config, trainDataset.length);
    this.loader = this.createLoader();
    this.coefficients = this.createCoefficients();
    this.update = this.createUpdate();
    this.estimator = this.createEstimator();
    this.promptWidth = trainDataset.examples.reduce((width, { promptIds }) => Math.max(width, promptIds.length), 1);
  }

  /** Training steps done. */
  get step(): number {
    return this.stepsDone;
  }

  /** The order of the prompts. These four are called once, before the fields of a subclass are there. */
  protected createLoader(): DataLoader<PromptExample> {
    const { train_batch_size: batchSize, seed } = this.config.trainer;
    return new DataLoader(this.parts.trainDataset.examples, { batchSize, seed });
  }

  /** The weights of the KL term and the entropy bonus. */
  protected createCoefficients(): Coefficients {
    return new Coefficients(this.config);
  }

  /** Losses, learning rates and optimizer steps. */
  protected createUpdate(): Update {
    return new Update(this.config, this.parts.models, { totalSteps: this.totalSteps, coefficients: this.coefficients });
  }

  /** It lives as long as the trainer, so that it may keep state. */
  protected createEstimator(): AdvantageEstimator {
    return makeEstimator(this.config);
  }

  /** One training step, without evaluation and checkpoint. */
  protected async trainStep(): Promise<Metrics> {
    const { trainer, generator } = this.config;
    const { epoch } = this.loader;
    const examples = new Map<string, PromptExample>();
    const timing = new Timing();
    const stepTiming = new Timing();
    const metrics = await stepTiming.timeAsync('step', async () => {
      const { trajectories, metrics: samplingMetrics } = await timing.timeAsync('generate', () => this.sample(examples));
      showErrors(this.parts, this.step, trajectories);
      await this.interrupt?.turn();
      const rewardMetrics = { ...this.rewardMetrics(trajectories), ...samplingMetrics };
      const processed = this.postprocessRewards(trajectories);
      const batch = timing.time('convert_to_training_input', () => this.makeBatch(processed, rewardMetrics));
      const baselines = await timing.timeAsync('generate', () => this.baselines(processed, examples));
      const pause = async () => this.interrupt?.turn();
      const klMetrics = await timing.timeAsync('fwd_logprobs_values_reward', async () => {
        await this.update.computeInputsWithPauses(batch, pause);
        this.moreInputs = { ...baselines, ...this.computedInputs(batch, processed) };
        return this.applyKlPenalty(batch);
      });
      const advantageMetrics = timing.time('compute_advantages_and_returns', () => this.computeAdvantages(batch));
      showSamples(this.parts, this.step + 1, batch);
      // Their rewards count in the baselines of the others, as in SkyRL.
      if (generator.apply_overlong_filtering) batch.keepStopped();
      const updateMetrics = await timing.timeAsync('train_critic_and_policy', () => this.update.optimizeWithPauses(batch, pause));
      checkConvergence(this.step + 1, updateMetrics);
      this.coefficients.update({ kl: klMetrics['loss/avg_kl'], sequences: batch.rows, entropy: updateMetrics['policy/policy_entropy'] });
      if (trainer.dump_data_batch) dumpBatch(exportFolder(this.config), this.step + 1, batch, processed, (ids) => this.parts.tokenizer.decode(ids));
      return {
        tokens: batch.ids.length - batch.masks.length - batch.start.reduce((sum, n) => sum + n, 0) + batch.tokens(),
        values: { ...rewardMetrics, ...generationMetrics(trajectories), ...klMetrics, ...advantageMetrics, ...updateMetrics },
      };
    });
    this.stepsDone++;
    const times = { ...stepTiming.metrics(), ...timing.metrics() };
    return {
      'trainer/epoch': epoch,
      'trainer/global_step': this.step,
      'trainer/tokens_per_second': metrics.tokens / times['timing/step'],
      ...metrics.values,
      ...times,
    };
  }

  /** Greedy (or as `generator.eval_sampling_params` say) responses to the validation prompts, scored. */
  protected async evaluate(): Promise<Metrics> {
    const { trainer, generator } = this.config;
    const examples = this.parts.evalDataset?.examples ?? [];
    const samples = generator.eval_n_samples_per_prompt;
    const key = stream(trainer.seed, 'evaluation').fold(this.step);
    const timing = new Timing();
    const trajectories: Trajectory[] = [];
    await timing.timeAsync('eval', async () => {
      for (const [i, batch] of [...inBatches(examples, trainer.eval_batch_size)].entries()) {
        await this.interrupt?.check();
        trajectories.push(
          ...(await this.parts.rollout.collect(batch, { samples, sampling: generator.eval_sampling_params, key: key.fold(i) })),
        );
      }
    });
    showErrors(this.parts, this.step, trajectories);
    showExample(this.parts, this.step, trajectories[0]);
    const metrics = evaluationMetrics(trajectories, samples);
    if (trainer.dump_eval_results) dumpEvaluation(exportFolder(this.config), this.step, trajectories, metrics, (ids) => this.parts.tokenizer.decode(ids));
    return { ...metrics, ...timing.metrics() };
  }

  /** What an override may change before the batch is made: rewards, or which responses they belong to. */
  protected postprocessRewards(trajectories: Trajectory[]): Trajectory[] {
    return trajectories;
  }

  /** Measures the KL from the reference, and subtracts it from the tokens' rewards where `use_kl_in_reward` asks for it. `loss/avg_kl` is what an adaptive coefficient goes by. */
  protected applyKlPenalty(batch: TrainingBatch): Metrics {
    return klPenalty(batch, this.config, this.coefficients.kl);
  }

  /** What the estimator is given. An override that adds an input names it in `Experiment.advantageInputs` too. */
  protected advantageInputs(batch: TrainingBatch): AdvantageInputs {
    return inputsOf(batch, this.config, this.moreInputs);
  }

  /** Advantages and returns by the estimator's name, `advantage_batch_normalize` included. */
  protected computeAdvantages(batch: TrainingBatch): Metrics {
    return tidy(() => fillAdvantages(this.estimator, batch, this.advantageInputs(batch), this.config));
  }

  /** The responses of a step; `examples` gets the prompts that were taken from the data, by id. */
  private sample(examples: Map<string, PromptExample>) {
    const { seed } = this.config.trainer;
    const { n_samples_per_prompt: samples, sampling_params: sampling } = this.config.generator;
    return sampleStep({
      config: this.config,
      step: this.step,
      next: () => {
        const batch = this.loader.next();
        for (const example of batch) examples.set(example.id, example);
        return batch;
      },
      collect: (batch, attempt) => {
        const key = attempt === 0 ? stream(seed, 'training').fold(this.step) : stream(seed, 'resampling').fold(this.step).fold(attempt);
        return this.parts.rollout.collect(batch, { samples, sampling, key });
      },
    });
  }

  /** For estimators that compare with a greedy answer to each prompt (`remax`). */
  private async baselines(trajectories: readonly Trajectory[], examples: ReadonlyMap<string, PromptExample>): Promise<Partial<AdvantageInputs>> {
    if (!requiresInput(this.estimatorName, 'baselines')) return {};
    const sampling = { ...this.config.generator.sampling_params, temperature: 0 };
    const key = stream(this.config.trainer.seed, 'baselines').fold(this.step);
    const prompts = [...new Set(trajectories.map(({ groupId }) => groupId))].map((id) => examples.get(id)!);
    const greedy = await this.parts.rollout.collect(prompts, { samples: 1, sampling, key });
    return { baselines: baselinesOf(trajectories, this.postprocessRewards(greedy)) };
  }

  /** Inputs that only some estimators ask for. */
  private computedInputs(batch: TrainingBatch, trajectories: readonly Trajectory[]): Partial<AdvantageInputs> {
    const { reward_components: names } = this.config.trainer.algorithm;
    return {
      ...(names.length > 0 && { rewardComponents: rewardComponents(trajectories, names) }),
      ...(requiresInput(this.estimatorName, 'sumSquaredProbs') && { sumSquaredProbs: inRows(this.update.sumSquaredProbs(batch), batch.shape.responseWidth) }),
    };
  }

  private rewardMetrics(trajectories: readonly Trajectory[]): Metrics {
    const { mean, meanPositive, passAtN } = scores(trajectories);
    const n = this.config.generator.n_samples_per_prompt;
    return { [`reward/avg_pass_at_${n}`]: passAtN, 'reward/avg_raw_reward': mean, 'reward/mean_positive_reward': meanPositive };
  }

  /** Trajectories as arrays, without what `zero_variance_filter` leaves out. */
  protected makeBatch(trajectories: readonly Trajectory[], metrics: Metrics): TrainingBatch {
    const { trainer, generator } = this.config;
    const { padId } = this.parts.tokenizer;
    // An environment may give a longer prompt than the dataset has.
    const promptWidth = trajectories.reduce((width, { promptIds }) => Math.max(width, promptIds.length), this.promptWidth);
    // Several turns seldom fill what they may: a few widths, so that plans are found again.
    const longest = trajectories.reduce((width, { responseIds }) => Math.max(width, responseIds.length), 1);
    const responseWidth = generator.max_turns === 1 ? generator.sampling_params.max_generate_length : bucket(longest);
    const batch = new TrainingBatch(trajectories, { promptWidth, responseWidth, padId });
    if (trainer.algorithm.zero_variance_filter) {
      const kept = informativeRows(
        trajectories.map(({ reward }) => reward),
        batch.groupIds,
      );
      batch.keepRows(kept);
      metrics['reward/num_zero_variance_filtered'] = new Set(batch.groupIds).size - new Set(kept.map((row) => batch.groupIds[row])).size;
    }
    return batch;
  }

  /** The estimator's canonical name. */
  protected get estimatorName(): string {
    return canonicalName(this.config.trainer.algorithm.advantage_estimator);
  }
}
