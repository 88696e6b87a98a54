/** The training loop. */
import { type AdvantageEstimator, type AdvantageInputs } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { Config } from '../config';
import { DataLoader, inBatches, type PromptDataset, type PromptExample, type Tokenizer } from '../data';
import { DataError } from '../errors';
import { bucket } from '../models/generate';
import { tidy } from '../tensor';
import type { Metrics, MetricsRecord, Tracker } from '../tracking';
import { baselinesOf, fillAdvantages, inputsOf, inRows, makeEstimator, requiresInput, rewardComponents } from './advantage_step';
import { TrainingBatch } from './batch';
import { Callbacks, type TrainerCallback } from './callbacks';
import { type CheckpointModels, estimatorFile, loadCheckpoint, readTrainerState, saveCheckpoint } from './checkpoint';
import { Coefficients } from './coefficients';
import { checkConvergence } from './convergence';
import { dumpBatch, dumpEvaluation } from './dumps';
import { restoreEstimator, saveEstimator } from './estimator_state';
import { Interrupt, Interrupted, type InterruptSignal } from './interrupt';
import { klPenalty } from './kl_penalty';
import { Progress } from './progress';
import { copyWeights } from './reference';
import { exportFolder } from './report';
import { checkSameRun } from './resume';
import { evaluationMetrics, generationMetrics, informativeRows, scores } from './reward_metrics';
import type { Rollout } from './rollout';
import { datasetFingerprint } from './same_run';
import { sampleStep } from './sampling_step';
import { showErrors, showExample, showSamples } from './shown';
import { stream } from './streams';
import { Timing } from './timing';
import type { Trajectory } from './trajectory';
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
  /** What interrupted it; null where nothing did. */
  signal: InterruptSignal | null;
  /** Of training, also before it was resumed. */
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
  private readonly progress: Progress;
  private readonly promptWidth: number;
  private readonly totalSteps: number;
  /** What the estimator gets beside the batch. */
  private moreInputs: Partial<AdvantageInputs> = {};
  private stepsDone = 0;
  private checkpoint: string | null = null;
  private interrupt: Interrupt | null = null;
  /** The metrics of the step whose evaluation an interruption kept from the checkpoint. */
  private pending: Metrics | null = null;
  /** The fingerprint of the prompts, once it was asked for. */
  private dataset: string | null = null;

  /** @throws DataError where the dataset holds less than a batch; ConfigError, EstimatorError for options that the estimator or the loss does not have */
  constructor(protected readonly parts: TrainerParts) {
    const { config, trainDataset, callbacks = [] } = parts;
    this.config = config;
    this.progress = new Progress(config.trainer.stop_when);
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
   * Goes on from a checkpoint of a run with this configuration and these prompts. The steps that follow are those, bit for bit, that the run would have made.
   *
   * @param folder of the checkpoint: `{ckpt_path}/global_step_N`
   * @throws ConfigError for the checkpoint of another run; DataError for files that cannot be read and other prompts; EstimatorError for a state that is not the estimator's
   */
  restore(folder: string): void {
    const state = readTrainerState(folder);
    checkSameRun(folder, state, this.config);
    const { trainDataset } = this.parts;
    if (state.dataset !== (this.dataset ??= datasetFingerprint(trainDataset))) {
      throw new DataError(`data.train_data: expected the ${state.data.size} prompts that ${folder} was trained on, got others (${trainDataset.length} prompts)`);
    }
    loadCheckpoint(folder, this.checkpointModels());
    this.loader.restore(state.data);
    restoreEstimator(this.estimatorName, this.estimator, state.estimator, estimatorFile(folder));
    this.coefficients.restore(state.coefficients);
    this.stepsDone = state.globalStep;
    this.checkpoint = folder;
    this.progress.restore(state.history, state.seconds);
    this.pending = state.evaluationPending ? this.progress.takeBack() : null;
  }

  /** Trains until the epochs or steps are done, `trainer.stop_when` holds, a callback asks for the end, or Ctrl-C (SIGTERM) asks to end after the step. */
  async train(): Promise<TrainingResult> {
    if (this.step === 0) this.progress.startClock();
    const interrupt = (this.interrupt = new Interrupt());
    let reason: EndReason | null = null;
    try {
      await this.callbacks.emit('onTrainBegin');
      reason = await this.begin();
      let begun = -1;
      while (reason === null && !this.isOver) {
        const { epoch } = this.loader;
        if (epoch !== begun) await this.callbacks.emit('onEpochBegin');
        begun = epoch;
        await this.callbacks.emit('onStepBegin');
        const metrics = await this.trainStep();
        await this.callbacks.emit('onStepEnd', metrics);
        const endsEpoch = this.loader.epoch !== epoch;
        if (endsEpoch) await this.endEpoch();
        reason = await this.finishStep(metrics, endsEpoch);
      }
    } finally {
      interrupt.remove();
      for (const tracker of this.parts.trackers) await tracker.close();
    }
    reason ??= this.step === this.config.trainer.max_training_steps ? 'max_training_steps' : 'epochs';
    const signal = reason === 'interrupted' ? interrupt.signal : null;
    const { seconds, history } = this.progress;
    const result = { steps: this.step, reason, signal, seconds, history, checkpoint: this.checkpoint };
    await this.callbacks.emit('onTrainEnd', result);
    return result;
  }

  /** Whether all steps are done. With dynamic sampling the data may end before the steps do. */
  private get isOver(): boolean {
    return this.step >= this.totalSteps || this.loader.epoch >= this.config.trainer.epochs;
  }

  /** What comes before the next step: the evaluation before the first one, or the one that was interrupted. */
  private async begin(): Promise<EndReason | null> {
    const { pending } = this;
    this.pending = null;
    if (pending !== null) return this.finishStep(pending, false);
    if (this.step > 0) return this.progress.holds ? 'stop_when' : null;
    if (this.config.trainer.eval_before_train && this.parts.evalDataset) {
      const evaluation = await this.evaluateUnlessInterrupted();
      if (evaluation === null) return 'interrupted';
      await this.log(evaluation);
    }
    return this.callbacks.stops ? 'callback' : null;
  }

  /** Evaluation, checkpoint and log of a step that was made. @returns why the run ends with it, or null */
  private async finishStep(metrics: Metrics, endsEpoch: boolean): Promise<EndReason | null> {
    const { trainer } = this.config;
    const { callbacks } = this;
    await this.interrupt?.turn();
    let reason: EndReason | null = this.progress.isSolved(metrics) ? 'stop_when' : callbacks.stops ? 'callback' : null;
    let isPending = false;
    const wantsEvaluation = callbacks.take('evaluate') || this.isDue(trainer.eval_interval, this.isOver || reason !== null);
    if (wantsEvaluation && this.parts.evalDataset) {
      const evaluation = await this.evaluateUnlessInterrupted();
      isPending = evaluation === null;
      Object.assign(metrics, evaluation);
      if (isPending) reason = 'interrupted';
      else if (this.progress.isSolved(evaluation!)) reason = 'stop_when';
    }
    await this.interrupt?.turn();
    // A run whose steps are all done is not interrupted.
    if (this.interrupt?.requested && !this.isOver) reason ??= 'interrupted';
    if (callbacks.stops) reason ??= 'callback';
    const savesNow = trainer.ckpt_interval > 0 && this.isDue(trainer.ckpt_interval, this.isOver || reason !== null || endsEpoch);
    if (callbacks.take('save') || savesNow) {
      const timing = new Timing();
      this.checkpoint = timing.time('save_checkpoints', () => this.save(metrics, isPending));
      await callbacks.emit('onSave', this.checkpoint);
      Object.assign(metrics, timing.metrics());
    }
    await this.log(metrics);
    return reason;
  }

  /** null: an interruption came before or within the evaluation. */
  private async evaluateUnlessInterrupted(): Promise<Metrics | null> {
    try {
      await this.interrupt?.check();
      const metrics = await this.evaluate();
      await this.callbacks.emit('onEvaluate', metrics);
      return metrics;
    } catch (error) {
      if (error instanceof Interrupted) return null;
      throw error;
    }
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
      const klMetrics = timing.time('fwd_logprobs_values_reward', () => {
        this.update.computeInputs(batch);
        this.moreInputs = { ...baselines, ...this.computedInputs(batch, processed) };
        return this.applyKlPenalty(batch);
      });
      const advantageMetrics = timing.time('compute_advantages_and_returns', () => this.computeAdvantages(batch));
      showSamples(this.parts, this.step + 1, batch);
      // Their rewards count in the baselines of the others, as in SkyRL.
      if (generator.apply_overlong_filtering) batch.keepStopped();
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

  private isDue(interval: number, isLast: boolean): boolean {
    return interval > 0 && (this.step % interval === 0 || isLast);
  }

  /** @param metrics of the step, which are not logged yet */
  private save(metrics: Metrics, evaluationPending: boolean): string {
    const { ckpt_path, max_ckpts_to_keep, seed } = this.config.trainer;
    return saveCheckpoint(
      ckpt_path,
      this.checkpointModels(),
      {
        version: 2,
        globalStep: this.step,
        seconds: this.progress.seconds,
        data: this.loader.state(),
        dataset: (this.dataset ??= datasetFingerprint(this.parts.trainDataset)),
        seed,
        coefficients: this.coefficients.state(),
        evaluationPending,
        estimator: saveEstimator(this.estimatorName, this.estimator),
        history: [...this.progress.history, { step: this.step, ...metrics }],
        config: this.config,
      },
      max_ckpts_to_keep,
    );
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

  /** Keeps the metrics, and gives them to the trackers. */
  protected async log(metrics: Metrics): Promise<void> {
    await this.callbacks.emit('onLog', metrics);
    this.progress.add(this.step, metrics);
    for (const tracker of this.parts.trackers) tracker.log(this.step, metrics);
  }
}
