/** The training loop. */
import { type AdvantageEstimator, type AdvantageInputs } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { Config } from '../config';
import { DataLoader, inBatches, type PromptDataset, type PromptExample, type Tokenizer } from '../data';
import { tidy } from '../tensor';
import { ConsoleTracker, type Metrics, type MetricsRecord, type Tracker } from '../tracking';
import { baselinesOf, fillAdvantages, inputsOf, inRows, makeEstimator, requiresInput, rewardComponents } from './advantage_step';
import { TrainingBatch } from './batch';
import { Callbacks, type TrainerCallback } from './callbacks';
import { type CheckpointModels, estimatorFile, loadCheckpoint, saveCheckpoint, type TrainerState } from './checkpoint';
import { Coefficients } from './coefficients';
import { checkConvergence } from './convergence';
import { dumpBatch, dumpEvaluation } from './dumps';
import { restoreEstimator, saveEstimator } from './estimator_state';
import { Interrupt, turn } from './interrupt';
import { klPenalty } from './kl_penalty';
import { copyWeights } from './reference';
import { exportFolder } from './report';
import { evaluationMetrics, generationMetrics, informativeRows, scores } from './reward_metrics';
import type { Rollout, Trajectory } from './rollout';
import { sampleStep } from './sampling_step';
import { StopWhen } from './stop_when';
import { stream } from './streams';
import { Timing } from './timing';
import { type Models, Update } from './update';

export interface TrainerParts {
  config: Config;
  tokenizer: Tokenizer;
  trainDataset: PromptDataset;
  /** null: no evaluation. */
  evalDataset: PromptDataset | null;
  models: Models;
  rollout: Rollout;
  /** Closed by the trainer. */
  trackers: readonly Tracker[];
  /** Default: none. */
  callbacks?: readonly TrainerCallback[];
}

/** Why a run ended. */
export type EndReason = 'stop_when' | 'max_training_steps' | 'epochs' | 'interrupted' | 'callback';

export interface TrainingResult {
  /** Training steps done. */
  steps: number;
  reason: EndReason;
  seconds: number;
  /** What was logged, a record a step; step 0 is the evaluation before training. */
  history: MetricsRecord[];
  /** Folder of the last checkpoint; null where `trainer.ckpt_interval` is -1. */
  checkpoint: string | null;
}

/** Training steps that a run takes at most. */
export function totalSteps({ trainer }: Config, prompts: number): number {
  return Math.min(trainer.max_training_steps ?? Infinity, trainer.epochs * Math.floor(prompts / trainer.train_batch_size));
}

/**
 * Runs the steps: prompts, responses, rewards, log-probs, advantages by the estimator's name, optimizer steps; around them evaluation,
 * checkpoints and tracking. A subclass overrides the protected methods.
 */
export class Trainer {
  protected readonly config: Config;
  protected readonly loader: DataLoader<PromptExample>;
  protected readonly update: Update;
  protected readonly estimator: AdvantageEstimator;
  protected readonly coefficients: Coefficients;
  private readonly callbacks: Callbacks;
  private readonly history: MetricsRecord[] = [];
  private readonly stopWhen: StopWhen;
  private readonly promptWidth: number;
  private readonly totalSteps: number;
  /** What the estimator gets beside the batch. */
  private moreInputs: Partial<AdvantageInputs> = {};
  private stepsDone = 0;
  private checkpoint: string | null = null;

  /** @throws DataError where the dataset holds less than a batch; ConfigError, EstimatorError for options that the estimator or the loss does not have */
  constructor(protected readonly parts: TrainerParts) {
    const { config, trainDataset, callbacks = [] } = parts;
    this.config = config;
    this.stopWhen = new StopWhen(config.trainer.stop_when);
    this.totalSteps = totalSteps(config, trainDataset.length);
    this.loader = this.createLoader();
    this.coefficients = this.createCoefficients();
    this.update = this.createUpdate();
    this.estimator = this.createEstimator();
    this.promptWidth = trainDataset.examples.reduce((width, { promptIds }) => Math.max(width, promptIds.length), 1);
    this.callbacks = new Callbacks(callbacks, { config, totalSteps: this.totalSteps, step: () => this.step, epoch: () => this.loader.epoch });
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

  /**
   * Goes on from a checkpoint of a run with this configuration: weights, optimizer, data and the estimator's state. The steps that follow are those, bit for bit, that the run would have made.
   *
   * @param folder of the checkpoint: `{ckpt_path}/global_step_N`
   * @throws DataError for files that cannot be read and data of another run; EstimatorError for a state that is not the estimator's
   */
  restore(folder: string): void {
    const { globalStep, data, recent, estimator, coefficients } = loadCheckpoint(folder, this.checkpointModels());
    this.loader.restore(data);
    restoreEstimator(this.estimatorName, this.estimator, estimator, estimatorFile(folder));
    if (coefficients) this.coefficients.restore(coefficients);
    this.stopWhen.restore(recent);
    this.stepsDone = globalStep;
  }

  /** Trains until the epochs or steps are done, `trainer.stop_when` holds, a callback asks for the end, or Ctrl-C asks to end after the step. */
  async train(): Promise<TrainingResult> {
    const start = performance.now();
    const { trainer } = this.config;
    const { callbacks, totalSteps: total } = this;
    const interrupt = new Interrupt();
    let reason: EndReason = 'epochs';
    try {
      await callbacks.emit('onTrainBegin');
      if (trainer.eval_before_train && this.step === 0 && this.parts.evalDataset) await this.log(await this.evaluateAndTell());
      let begun = -1;
      // With dynamic sampling the data may end before the steps do.
      while (this.step < total && this.loader.epoch < trainer.epochs && !callbacks.stops) {
        const { epoch } = this.loader;
        if (epoch !== begun) await callbacks.emit('onEpochBegin');
        begun = epoch;
        await callbacks.emit('onStepBegin');
        const metrics = await this.trainStep();
        await turn();
        await callbacks.emit('onStepEnd', metrics);
        const endsEpoch = this.loader.epoch !== epoch;
        if (endsEpoch) await this.endEpoch();
        if (this.stopWhen.holds(metrics)) reason = 'stop_when';
        else if (interrupt.requested) reason = 'interrupted';
        const isLast = (): boolean =>
          this.step === total || this.loader.epoch >= trainer.epochs || reason === 'stop_when' || reason === 'interrupted' || callbacks.stops;
        const wantsEvaluation = callbacks.take('evaluate') || this.isDue(trainer.eval_interval, isLast());
        if (wantsEvaluation && this.parts.evalDataset && reason !== 'interrupted') {
          const evaluation = await this.evaluateAndTell();
          Object.assign(metrics, evaluation);
          if (this.stopWhen.holds(evaluation)) reason = 'stop_when';
        }
        const savesNow = trainer.ckpt_interval > 0 && this.isDue(trainer.ckpt_interval, isLast() || endsEpoch);
        if (callbacks.take('save') || savesNow) {
          const timing = new Timing();
          const folder = timing.time('save_checkpoints', () => this.save());
          this.checkpoint = folder;
          await callbacks.emit('onSave', folder);
          Object.assign(metrics, timing.metrics());
        }
        await this.log(metrics);
        if (isLast()) break;
      }
    } finally {
      interrupt.remove();
      for (const tracker of this.parts.trackers) tracker.close();
    }
    if (reason === 'epochs' && callbacks.stops) reason = 'callback';
    else if (reason === 'epochs' && this.step === trainer.max_training_steps) reason = 'max_training_steps';
    const result = { steps: this.step, reason, seconds: (performance.now() - start) / 1000, history: this.history, checkpoint: this.checkpoint };
    await callbacks.emit('onTrainEnd', result);
    return result;
  }

  /** One training step, without evaluation and checkpoint. */
  protected async trainStep(): Promise<Metrics> {
    const { trainer } = this.config;
    const { epoch } = this.loader;
    const examples = new Map<string, PromptExample>();
    const timing = new Timing();
    const stepTiming = new Timing();
    const metrics = await stepTiming.timeAsync('step', async () => {
      const { trajectories, metrics: samplingMetrics } = await timing.timeAsync('generate', () => this.sample(examples));
      const rewardMetrics = { ...this.rewardMetrics(trajectories), ...samplingMetrics };
      const processed = this.postprocessRewards(trajectories);
      const batch = timing.time('convert_to_training_input', () => this.makeBatch(processed, rewardMetrics));
      const baselines = await timing.timeAsync('generate', () => this.baselines(processed, examples));
      const klMetrics = timing.time('fwd_logprobs_values_reward', () => {
        this.update.computeInputs(batch);
        this.moreInputs = { ...baselines, ...this.computedInputs(batch, processed) };
        return this.applyKlPenalty(batch);
      });
      const advantageMetrics = timing.time('compute_advantages_and_returns', () => this.computeAdvantages(batch));
      const updateMetrics = timing.time('train_critic_and_policy', () => this.update.optimize(batch));
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
        trajectories.push(
          ...(await this.parts.rollout.collect(batch, { samples, sampling: generator.eval_sampling_params, key: key.fold(i) })),
        );
      }
    });
    this.showExample(trajectories[0]);
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
    const batch = new TrainingBatch(trajectories, { promptWidth, responseWidth: generator.sampling_params.max_generate_length, padId });
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

  private isDue(interval: number, isLast: boolean): boolean {
    return interval > 0 && (this.step % interval === 0 || isLast);
  }

  private save(): string {
    const { ckpt_path, max_ckpts_to_keep, seed } = this.config.trainer;
    const state: TrainerState = {
      version: 1,
      globalStep: this.step,
      data: this.loader.state(),
      seed,
      recent: this.stopWhen.recent,
      coefficients: this.coefficients.state(),
      estimator: saveEstimator(this.estimatorName, this.estimator),
      config: this.config,
    };
    return saveCheckpoint(ckpt_path, this.checkpointModels(), state, max_ckpts_to_keep);
  }

  private checkpointModels(): CheckpointModels {
    const { policy, critic, reference } = this.parts.models;
    const moves = this.config.trainer.update_ref_every_epoch && reference;
    return { policy, ...(critic && { critic }), ...(moves && { ref: { model: reference, optimizer: null } }) };
  }

  private get estimatorName(): string {
    return canonicalName(this.config.trainer.algorithm.advantage_estimator);
  }

  private async endEpoch(): Promise<void> {
    const { policy, reference } = this.parts.models;
    if (this.config.trainer.update_ref_every_epoch && reference) copyWeights(policy.model, reference);
    await this.callbacks.emit('onEpochEnd');
  }

  private async evaluateAndTell(): Promise<Metrics> {
    const metrics = await this.evaluate();
    await this.callbacks.emit('onEvaluate', metrics);
    return metrics;
  }

  /** Keeps the metrics, and gives them to the trackers. */
  protected async log(metrics: Metrics): Promise<void> {
    await this.callbacks.emit('onLog', metrics);
    this.history.push({ step: this.step, ...metrics });
    for (const tracker of this.parts.trackers) tracker.log(this.step, metrics);
  }

  private showExample({ promptIds, text, reward }: Trajectory): void {
    const console = this.parts.trackers.find((tracker) => tracker instanceof ConsoleTracker);
    const line = (value: string) => JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
    console?.message(`example after step ${this.step}: ${line(this.parts.tokenizer.decode(promptIds))} → ${line(text)}, reward ${reward}`);
  }
}
