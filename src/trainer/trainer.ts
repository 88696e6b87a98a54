/** The training loop. */
import { type AdvantageEstimator, computeAdvantages, createAdvantageEstimator, getAdvantageEstimator } from '../advantages';
import { canonicalName } from '../advantages/registry';
import type { Config } from '../config';
import { DataLoader, inBatches, type PromptDataset, type Tokenizer } from '../data';
import { DataError, TrainingError } from '../errors';
import { klDivergence } from '../losses';
import { type Tensor, tidy, where } from '../tensor';
import { ConsoleTracker, type Metrics, type MetricsRecord, type Tracker } from '../tracking';
import { bucket } from '../models/generate';
import { TrainingBatch } from './batch';
import { type CheckpointModels, estimatorFile, loadCheckpoint, readTrainerState, saveCheckpoint } from './checkpoint';
import { restoreEstimator, saveEstimator } from './estimator_state';
import { Interrupt, Interrupted, type InterruptSignal } from './interrupt';
import { Progress } from './progress';
import { checkSameRun } from './resume';
import { evaluationMetrics, generationMetrics, informativeRows, scores } from './reward_metrics';
import type { Rollout } from './rollout';
import { datasetFingerprint } from './same_run';
import { samplesOf } from './samples';
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
}

/** Why a run ended. */
export type EndReason = 'stop_when' | 'max_training_steps' | 'epochs' | 'interrupted';

export interface TrainingResult {
  /** Training steps done. */
  steps: number;
  reason: EndReason;
  /** The signal that interrupted it, or null. */
  signal: InterruptSignal | null;
  /** Of all its parts, where it was interrupted and went on. */
  seconds: number;
  /** What was logged, a record a step, also before it was resumed; step 0 is the evaluation before training. */
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
  private readonly loader: DataLoader<PromptDataset['examples'][number]>;
  private readonly update: Update;
  private readonly estimator: AdvantageEstimator;
  private readonly progress: Progress;
  private readonly promptWidth: number;
  private step = 0;
  private checkpoint: string | null = null;
  private interrupt: Interrupt | null = null;
  /** The metrics of the step whose evaluation an interruption kept from the checkpoint. */
  private pending: Metrics | null = null;
  /** The fingerprint of the prompts, once it was asked for. */
  private dataset: string | null = null;

  /** @throws DataError where the dataset holds less than a batch */
  constructor(protected readonly parts: TrainerParts) {
    const { config, trainDataset } = parts;
    this.config = config;
    const { train_batch_size: batchSize, seed } = config.trainer;
    this.loader = new DataLoader(trainDataset.examples, { batchSize, seed });
    this.update = new Update(config, parts.models);
    this.estimator = makeEstimator(config);
    this.progress = new Progress(config.trainer.stop_when);
    this.promptWidth = trainDataset.examples.reduce((width, { promptIds }) => Math.max(width, promptIds.length), 1);
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
    this.step = state.globalStep;
    this.checkpoint = folder;
    this.progress.restore(state.history, state.seconds);
    this.pending = state.evaluationPending ? this.progress.takeBack() : null;
  }

  /** Trains until the epochs or steps are done, `trainer.stop_when` holds, or Ctrl-C (SIGTERM) asks to end after the step. */
  async train(): Promise<TrainingResult> {
    if (this.step === 0) this.progress.startClock();
    const total = totalSteps(this.config, this.parts.trainDataset.length);
    const interrupt = (this.interrupt = new Interrupt());
    let reason: EndReason | null = null;
    try {
      reason = await this.begin(total);
      while (reason === null && this.step < total) {
        const { epoch } = this.loader;
        const metrics = await this.trainStep();
        reason = await this.finishStep(metrics, total, this.loader.epoch !== epoch);
      }
    } finally {
      interrupt.remove();
      for (const tracker of this.parts.trackers) await tracker.close();
    }
    reason ??= this.config.trainer.max_training_steps === total ? 'max_training_steps' : 'epochs';
    const signal = reason === 'interrupted' ? interrupt.signal : null;
    const { seconds, history } = this.progress;
    return { steps: this.step, reason, signal, seconds, history, checkpoint: this.checkpoint };
  }

  /** What comes before the next step: the evaluation before the first one, or the one that was interrupted. */
  private async begin(total: number): Promise<EndReason | null> {
    const { pending } = this;
    this.pending = null;
    if (pending !== null) return this.finishStep(pending, total, false);
    if (this.step > 0) return this.progress.holds ? 'stop_when' : null;
    if (!this.config.trainer.eval_before_train || !this.parts.evalDataset) return null;
    const evaluation = await this.evaluateUnlessInterrupted();
    if (evaluation === null) return 'interrupted';
    this.log(evaluation);
    return null;
  }

  /** Evaluation, checkpoint and log of a step that was made. @returns why the run ends with it, or null */
  private async finishStep(metrics: Metrics, total: number, endsEpoch: boolean): Promise<EndReason | null> {
    const { trainer } = this.config;
    await this.interrupt?.turn();
    let reason: EndReason | null = this.progress.isSolved(metrics) ? 'stop_when' : null;
    let isPending = false;
    if (this.isDue(trainer.eval_interval, this.step === total || reason === 'stop_when') && this.parts.evalDataset) {
      const evaluation = await this.evaluateUnlessInterrupted();
      isPending = evaluation === null;
      Object.assign(metrics, evaluation);
      if (isPending) reason = 'interrupted';
      else if (this.progress.isSolved(evaluation!)) reason = 'stop_when';
    }
    await this.interrupt?.turn();
    // A run whose steps are all done is not interrupted.
    if (this.interrupt?.requested && this.step < total) reason ??= 'interrupted';
    if (trainer.ckpt_interval > 0 && this.isDue(trainer.ckpt_interval, this.step === total || reason !== null || endsEpoch)) {
      const timing = new Timing();
      this.checkpoint = timing.time('save_checkpoints', () => this.save(metrics, isPending));
      Object.assign(metrics, timing.metrics());
    }
    this.log(metrics);
    return reason;
  }

  /** null: an interruption came before or within the evaluation. */
  private async evaluateUnlessInterrupted(): Promise<Metrics | null> {
    try {
      await this.interrupt?.check();
      return await this.evaluate();
    } catch (error) {
      if (error instanceof Interrupted) return null;
      throw error;
    }
  }

  /** One training step, without evaluation and checkpoint. */
  protected async trainStep(): Promise<Metrics> {
    const { trainer, generator } = this.config;
    const { epoch } = this.loader;
    const examples = this.loader.next();
    const key = stream(trainer.seed, 'training').fold(this.step);
    const timing = new Timing();
    const stepTiming = new Timing();
    const metrics = await stepTiming.timeAsync('step', async () => {
      const options = { samples: generator.n_samples_per_prompt, sampling: generator.sampling_params, key };
      const trajectories = await timing.timeAsync('generate', () => this.parts.rollout.collect(examples, options));
      this.showErrors(trajectories);
      await this.interrupt?.turn();
      const rewardMetrics = this.rewardMetrics(trajectories);
      const batch = timing.time('convert_to_training_input', () => this.makeBatch(this.postprocessRewards(trajectories), rewardMetrics));
      const klMetrics = timing.time('fwd_logprobs_values_reward', () => {
        this.update.computeInputs(batch);
        return this.applyKlPenalty(batch);
      });
      const advantageMetrics = timing.time('compute_advantages_and_returns', () => this.computeAdvantages(batch));
      this.logSamples(batch);
      // Their rewards count in the baselines of the others, as in SkyRL.
      if (generator.apply_overlong_filtering) batch.keepStopped();
      const updateMetrics = timing.time('train_critic_and_policy', () => this.update.optimize(batch));
      this.checkConvergence(updateMetrics);
      return {
        tokens: batch.ids.length - batch.masks.length - batch.start.reduce((sum, n) => sum + n, 0) + batch.tokens(),
        values: { ...rewardMetrics, ...generationMetrics(trajectories), ...klMetrics, ...advantageMetrics, ...updateMetrics },
      };
    });
    this.step++;
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
    this.showErrors(trajectories);
    this.showExample(trajectories[0]);
    return { ...evaluationMetrics(trajectories, samples), ...timing.metrics() };
  }

  /** What an override may change before the batch is made: rewards, or which responses they belong to. */
  protected postprocessRewards(trajectories: Trajectory[]): Trajectory[] {
    return trajectories;
  }

  /** Subtracts the KL from the reference from the tokens' rewards, where `use_kl_in_reward` asks for it. */
  protected applyKlPenalty(batch: TrainingBatch): Metrics {
    const { use_kl_in_reward, kl_loss_coef, kl_estimator_type } = this.config.trainer.algorithm;
    if (batch.refLogProbs === null) return { 'loss/kl_loss_coef': kl_loss_coef };
    const kl = tidy(() =>
      klDivergence(batch.tensor('oldLogProbs'), batch.tensor('refLogProbs'), kl_estimator_type, batch.tensor('masks')).dataSync(),
    );
    if (use_kl_in_reward) batch.rewards.forEach((reward, i) => (batch.rewards[i] = reward - kl_loss_coef * kl[i]));
    const sums = Array.from({ length: batch.rows }, (_, row) => rowSum(kl, row, batch.shape.responseWidth));
    const lengths = Array.from({ length: batch.rows }, (_, row) => Math.max(1, batch.tokens(row, row + 1)));
    const means = sums.map((sum, row) => sum / lengths[row]);
    return {
      'loss/avg_kl': average(means),
      'loss/avg_kl_max': average(Array.from(means.keys(), (row) => rowMax(kl, row, batch.shape.responseWidth))),
      'loss/kl_loss_coef': kl_loss_coef,
    };
  }

  /** Advantages and returns by the estimator's name, `advantage_batch_normalize` included. */
  protected computeAdvantages(batch: TrainingBatch): Metrics {
    const { algorithm } = this.config.trainer;
    return tidy(() => {
      const masks = batch.tensor('masks');
      const inputs = {
        rewards: batch.tensor('rewards'),
        masks,
        groupIds: batch.groupIds,
        oldLogProbs: batch.tensor('oldLogProbs'),
        rolloutLogProbs: batch.tensor('rolloutLogProbs'),
        turnIds: batch.tensor('turnIds'),
        ...(batch.values && { values: batch.tensor('values') }),
        ...(batch.refLogProbs && { refLogProbs: batch.tensor('refLogProbs') }),
      };
      const result = computeAdvantages(this.estimator, inputs, { gamma: algorithm.gamma, lambda: algorithm.lambd });
      const advantages = algorithm.advantage_batch_normalize ? whiten(result.advantages, masks) : result.advantages;
      batch.advantages = advantages.dataSync() as Float32Array;
      batch.returns = result.returns.dataSync() as Float32Array;
      const tokens = Math.max(1, batch.tokens());
      return {
        'loss/avg_final_rewards': batch.rewards.reduce((sum, reward) => sum + reward, 0) / batch.rows,
        'loss/avg_raw_advantages': batch.advantages.reduce((sum, a, i) => sum + a * batch.masks[i], 0) / tokens,
        'loss/avg_raw_advantages_abs': batch.advantages.reduce((sum, a, i) => sum + Math.abs(a) * batch.masks[i], 0) / tokens,
        ...Object.fromEntries(Object.entries(result.metrics).map(([name, value]) => [`advantages/${name}`, value])),
      };
    });
  }

  /** A loss or gradient that is not finite has spoilt the weights: no later step can mend them. */
  private checkConvergence(metrics: Metrics): void {
    for (const part of ['policy', 'critic'] as const) {
      for (const name of [part === 'policy' ? 'policy/final_loss' : 'critic/critic_loss', `${part}/grad_norm`]) {
        const value = metrics[name];
        if (value === undefined || Number.isFinite(value)) continue;
        throw new TrainingError(`step ${this.step + 1}: ${name} is ${value}: the training has diverged; lower trainer.${part}.optimizer_config.lr, and start again or from a checkpoint`);
      }
    }
  }

  private rewardMetrics(trajectories: readonly Trajectory[]): Metrics {
    const { mean, meanPositive, passAtN } = scores(trajectories);
    const n = this.config.generator.n_samples_per_prompt;
    return { [`reward/avg_pass_at_${n}`]: passAtN, 'reward/avg_raw_reward': mean, 'reward/mean_positive_reward': meanPositive };
  }

  private makeBatch(trajectories: readonly Trajectory[], metrics: Metrics): TrainingBatch {
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
        klController: null,
        evaluationPending,
        estimator: saveEstimator(this.estimatorName, this.estimator),
        history: [...this.progress.history, { step: this.step, ...metrics }],
        config: this.config,
      },
      max_ckpts_to_keep,
    );
  }

  private checkpointModels(): CheckpointModels {
    const { policy, critic } = this.parts.models;
    return critic ? { policy, critic } : { policy };
  }

  private get estimatorName(): string {
    return canonicalName(this.config.trainer.algorithm.advantage_estimator);
  }

  private log(metrics: Metrics): void {
    this.progress.add(this.step, metrics);
    for (const tracker of this.parts.trackers) tracker.log(this.step, metrics);
  }

  private logSamples(batch: TrainingBatch): void {
    const trackers = this.parts.trackers.filter((tracker) => tracker.logSamples);
    if (trackers.length === 0) return;
    const samples = samplesOf(batch, this.parts.tokenizer, { step: this.step + 1, count: this.config.trainer.log_samples });
    for (const tracker of trackers) tracker.logSamples?.(samples);
  }

  private showErrors(trajectories: readonly Trajectory[]): void {
    const errors = trajectories.flatMap(({ error }) => error ?? []);
    const console = this.parts.trackers.find((tracker) => tracker instanceof ConsoleTracker);
    if (errors.length > 0) console?.message(`after step ${this.step}: ${errors.length} of ${trajectories.length} environments failed, the first: ${errors[0]}`);
  }

  private showExample({ promptIds, text, reward }: Trajectory): void {
    const console = this.parts.trackers.find((tracker) => tracker instanceof ConsoleTracker);
    const line = (value: string) => JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
    console?.message(`example after step ${this.step}: ${line(this.parts.tokenizer.decode(promptIds))} → ${line(text)}, reward ${reward}`);
  }
}

/** The estimator of the configuration; it lives as long as the trainer, so that it may keep state. */
function makeEstimator({ trainer: { algorithm } }: Config): AdvantageEstimator {
  const name = algorithm.advantage_estimator;
  const takesNormByStd = 'normByStd' in (getAdvantageEstimator(name).options ?? {});
  return createAdvantageEstimator(name, takesNormByStd ? { normByStd: algorithm.grpo_norm_by_std } : {});
}

/** (A − μ) / √max(σ², 1e-8) over the batch's tokens, ddof 0. */
function whiten(advantages: Tensor, mask: Tensor): Tensor {
  const variance = advantages.var(null, { mask, ddof: 0 });
  return where(mask, advantages.sub(advantages.mean(null, { mask })).mul(variance.maximum(1e-8).rsqrt()), 0);
}

function rowSum(values: ArrayLike<number>, row: number, width: number): number {
  let sum = 0;
  for (let i = row * width; i < (row + 1) * width; i++) sum += values[i];
  return sum;
}

function rowMax(values: ArrayLike<number>, row: number, width: number): number {
  let max = -Infinity;
  for (let i = row * width; i < (row + 1) * width; i++) max = Math.max(max, values[i]);
  return max;
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
