/** The training loop. */
import { DataError } from '../errors';
import type { Metrics, MetricsRecord } from '../tracking';
import { Callbacks } from './callbacks';
import { type CheckpointModels, estimatorFile, inFile, loadCheckpoint, readTrainerState, saveCheckpoint, stateFile } from './checkpoint';
import { restoreEstimator, saveEstimator } from './estimator_state';
import { Interrupt, Interrupted, type InterruptSignal } from './interrupt';
import { Progress } from './progress';
import { copyWeights } from './reference';
import { checkSameRun } from './resume';
import { datasetFingerprint } from './same_run';
import { Timing } from './timing';
import { type TrainerParts, TrainingSteps } from './training_step';

/** Why a run ended. */
export type EndReason = 'stop_when' | 'max_training_steps' | 'epochs' | 'interrupted' | 'callback';

/** How a run ended. */
export interface TrainingResult {
  /** Training steps done. */
  steps: number;
  /** Why it ended. */
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

/**
 * Runs the steps, and around them evaluation, checkpoints, callbacks and tracking. A subclass overrides the protected methods, also those of `TrainingSteps`.
 */
export class Trainer extends TrainingSteps {
  private readonly callbacks: Callbacks;
  private readonly progress: Progress;
  private checkpoint: string | null = null;
  /** Whether a step is under way, and not what stands around it. */
  private isInStep = false;
  /** The metrics of the step whose evaluation an interruption kept from the checkpoint. */
  private pending: Metrics | null = null;
  /** The fingerprint of the prompts, once it was asked for. */
  private dataset: string | null = null;

  /** @throws DataError where the dataset holds less than a batch; ConfigError, EstimatorError for options that the estimator or the loss does not have */
  constructor(parts: TrainerParts) {
    super(parts);
    const { config, callbacks = [] } = parts;
    this.progress = new Progress(config.trainer.stop_when);
    this.callbacks = new Callbacks(callbacks, { config, totalSteps: this.totalSteps, step: () => this.step, epoch: () => this.loader.epoch });
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
    inFile(stateFile(folder), () => this.loader.restore(state.data));
    restoreEstimator(this.estimatorName, this.estimator, state.estimator, estimatorFile(folder));
    inFile(stateFile(folder), () => this.coefficients.restore(state.coefficients));
    this.stepsDone = state.globalStep;
    this.checkpoint = folder;
    this.progress.restore(state.history, state.seconds);
    this.pending = state.evaluationPending ? this.progress.takeBack() : null;
  }

  /** Trains until the epochs or steps are done, `trainer.stop_when` holds, a callback asks for the end, or Ctrl-C (SIGTERM) asks to end after the step. */
  async train(): Promise<TrainingResult> {
    if (this.step === 0) this.progress.startClock();
    const interrupt = (this.interrupt = new Interrupt(() => this.underWay()));
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
        this.isInStep = true;
        const metrics = await this.trainStep();
        this.isInStep = false;
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

  /** What an interruption waits for, and what follows. */
  private underWay(): string {
    const saves = this.config.trainer.ckpt_interval > 0;
    if (this.step === 0 && !this.isInStep) return 'leaving before the first step; there is nothing to save yet';
    const what = this.isInStep ? `finishing step ${this.step + 1}` : `leaving after step ${this.step}`;
    return `${what}, ${saves ? 'then saving' : 'without a checkpoint (trainer.ckpt_interval is -1)'}`;
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
        version: 3,
        globalStep: this.step,
        seconds: this.progress.seconds,
        data: this.loader.state(),
        dataset: this.dataset ??= datasetFingerprint(this.parts.trainDataset),
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
