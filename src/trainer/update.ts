/** What the models compute before an update, and the update itself. */
import type { Config, OptimizerConfig } from '../config';
import { ConfigError } from '../errors';
import { applyOffPolicyCorrection, computePolicyLoss, klDivergence, type LossCorrection, maskedMean, reductionDivisors, valueLoss } from '../losses';
import { type AdamW, learningRate, type Transformer, type ValueModel } from '../models';
import { tensor, type Tensor, tidy, where } from '../tensor';
import type { Metrics } from '../tracking';
import { Averages } from './averages';
import type { TrainingBatch } from './batch';
import { Coefficients } from './coefficients';
import { type LossSettings, lossSettings } from './loss_settings';
import { optimizerSteps, type TrainedPart, warmupProblem } from './schedule';

/** A model and what trains it. */
export interface Trained<Model> {
  /** The model. */
  model: Model;
  /** The optimizer of its parameters. */
  optimizer: AdamW;
}

/** The models of a run. */
export interface Models {
  /** The model that is trained. */
  policy: Trained<Transformer>;
  /** Where the estimator or the configuration asks for values. */
  critic: Trained<ValueModel> | null;
  /** The frozen policy of the KL terms. */
  reference: Transformer | null;
}

/** A scalar to differentiate, and what to record. */
export interface LossAndMetrics {
  /** The scalar. */
  loss: Tensor;
  /** Scalars to record, by name. */
  metrics: Record<string, Tensor>;
}

/** Options of {@link Update}. */
export interface UpdateOptions {
  /** Training steps of the whole run: what a falling learning rate goes by. */
  totalSteps?: number;
  /** The weights of the KL term and the entropy bonus; default: those of the configuration. */
  coefficients?: Coefficients;
}

/** The models' view of a batch and their optimization. A subclass overrides the protected methods. */
export class Update {
  private readonly settings: LossSettings;
  private readonly coefficients: Coefficients;
  private readonly correction: LossCorrection | undefined;

  /** @throws ConfigError, EstimatorError for options of the loss that are none, and a warm-up that is longer than the run */
  constructor(
    /** The run's configuration. */
    protected readonly config: Config,
    /** The models that it trains. */
    protected readonly models: Models,
    private readonly options: UpdateOptions = {},
  ) {
    this.settings = lossSettings(config);
    this.coefficients = options.coefficients ?? new Coefficients(config);
    this.correction = correctionOf(this.settings);
    for (const part of ['policy', 'critic'] as const) this.checkSchedule(part);
  }

  /**
   * Old log-probs, reference log-probs and values, [B,R] each, computed with the weights as they are: at the first optimizer step the
   * ratio of new to old probabilities is exactly 1.
   */
  computeInputs(batch: TrainingBatch): void {
    finish(this.inputs(batch));
  }

  /** The same, with a pause behind each micro-batch. */
  computeInputsWithPauses(batch: TrainingBatch, pause: () => Promise<void>): Promise<void> {
    return finishWithPauses(this.inputs(batch), pause);
  }

  private *inputs(batch: TrainingBatch): Generator<void, void> {
    const { policy, critic, reference } = this.models;
    batch.oldLogProbs = yield* this.forward(batch, (ids, start) => this.logProbs(policy.model, batch, ids, start).logProbs);
    batch.refLogProbs = reference && (yield* this.forward(batch, (ids, start) => this.logProbs(reference, batch, ids, start).logProbs));
    batch.values = critic && (yield* this.forward(batch, (ids, start) => critic.model.values(ids, start, { from: batch.shape.promptWidth })));
  }

  /**
   * Σ_a π(a)² of the distribution that each response token came from, [B,R].
   *
   * With z the logits over the temperature it is exp(lse(2z) − 2·lse(z)), and with ℓ_T the log-probability at temperature T, whatever the token, exp(2·ℓ_T − ℓ_{T/2}): two forward
   * passes, and no more of the logits in memory than one of them has.
   */
  sumSquaredProbs(batch: TrainingBatch): Float32Array {
    const { model } = this.models.policy;
    const { temperature } = this.config.generator.sampling_params;
    const sums = this.forward(batch, (ids, start) => {
      const at = (value: number) => this.logProbs(model, batch, ids, start, value).logProbs;
      return at(temperature).mul(2).sub(at(temperature / 2)).exp();
    });
    return finish(sums);
  }

  /** `update_epochs_per_batch` passes over the batch's minibatches, in their order, one optimizer step each: the critic's, then the policy's. */
  optimize(batch: TrainingBatch): Metrics {
    return finish(this.updates(batch));
  }

  /** The same, with a pause behind each micro-batch, in which the process hears what it is told. */
  optimizeWithPauses(batch: TrainingBatch, pause: () => Promise<void>): Promise<Metrics> {
    return finishWithPauses(this.updates(batch), pause);
  }

  private *updates(batch: TrainingBatch): Generator<void, Metrics> {
    const { critic } = this.models;
    const { policy_mini_batch_size, critic_mini_batch_size } = this.config.trainer;
    const ofCritic = critic && (yield* this.passes(batch, critic_mini_batch_size, (from, to) => this.criticUpdate(critic, batch, from, to)));
    return { ...ofCritic, ...(yield* this.passes(batch, policy_mini_batch_size, (from, to) => this.policyUpdate(batch, from, to))) };
  }

  /** One optimizer step of the policy on rows [from, to). */
  policyStep(batch: TrainingBatch, from = 0, to = batch.rows): Metrics {
    return finish(this.policyUpdate(batch, from, to));
  }

  private *policyUpdate(batch: TrainingBatch, from: number, to: number): Generator<void, Metrics> {
    const { model } = this.models.policy;
    const options = { ...this.settings.reductionOptions, groupIds: batch.groupIds.slice(from, to) };
    // Of the whole minibatch, so that the sums of its micro-batches add up to its reduction.
    const divisors = tidy(() => reductionDivisors(batch.tensor('masks', from, to), this.settings.reduction, options).dataSync());
    const { lr, gradNorm, micro } = yield* this.optimizerStep(
      'policy',
      batch.ranges(this.microSize, from, to),
      (first, end) => {
        const divisor = tensor(divisors.subarray(first - from, end - from), { shape: [end - first, 1], dtype: 'float32' });
        return this.policyLoss(model, batch, divisor, first, end);
      },
    );
    const total = (name: string) => micro.reduce((sum, metrics) => sum + metrics[name], 0);
    const tokens = Math.max(1, batch.tokens(from, to));
    const means = new Averages();
    for (const metrics of micro) means.add(metrics);
    const lossMetrics = Object.entries(means.result()).filter(([name]) => name.startsWith('loss_metrics/'));
    return {
      'policy/final_loss': total('final_loss'),
      'policy/policy_loss': total('policy_loss'),
      'policy/policy_entropy': total('entropy') / tokens,
      ...('kl' in micro[0] && { 'policy/policy_kl': total('kl') / tokens }),
      'policy/policy_lr': lr,
      'policy/grad_norm': gradNorm,
      'policy/response_length': tokens / (to - from),
      ...Object.fromEntries(lossMetrics.map(([name, value]) => [`policy/${name}`, value])),
    };
  }

  /** The loss of rows [from, to): the policy loss, the KL term and the entropy bonus, each a masked sum over `divisor`, [B,1]. */
  protected policyLoss(model: Transformer, batch: TrainingBatch, divisor: Tensor, from: number, to: number): LossAndMetrics {
    const { algorithm } = this.config.trainer;
    const { perToken, usesEntropy, options } = this.settings;
    const mask = batch.tensor('masks', from, to);
    const { logProbs, entropy } = this.logProbs(model, batch, batch.tensor('ids', from, to), batch.tensor('start', from, to));
    const advantages = batch.tensor('advantages', from, to);
    const policyLoss = computePolicyLoss(
      algorithm.policy_loss_type,
      {
        logProbs,
        oldLogProbs: batch.tensor('oldLogProbs', from, to),
        ...(perToken ? { advantages, divisors: divisor } : { advantages: advantages.div(divisor) }),
        mask,
        rolloutLogProbs: batch.tensor('rolloutLogProbs', from, to),
        ...(usesEntropy && { entropy }),
        ...(this.correction && { correction: this.correction }),
      },
      options,
    );
    const reduce = (perToken: Tensor) => perToken.div(divisor).sum(null, { mask });
    const metrics: Record<string, Tensor> = { policy_loss: policyLoss.loss, entropy: entropy.sum(null, { mask }) };
    for (const [name, value] of Object.entries(policyLoss.metrics)) metrics[`loss_metrics/${name}`] = value;
    let { loss } = policyLoss;
    if (algorithm.use_kl_loss && batch.refLogProbs) {
      const kl = this.divergence(logProbs, batch, mask, from, to);
      loss = loss.add(reduce(kl).mul(this.coefficients.kl));
      metrics.kl = kl.sum();
    }
    if (algorithm.use_entropy_loss) loss = loss.sub(reduce(entropy).mul(this.coefficients.entropy));
    return { loss, metrics: { ...metrics, final_loss: loss } };
  }

  /** KL of each token from the reference, [B,T]. */
  private divergence(logProbs: Tensor, batch: TrainingBatch, mask: Tensor, from: number, to: number): Tensor {
    const { ratioWeighted, ...bounds } = this.settings.kl;
    const kl = klDivergence(logProbs, batch.tensor('refLogProbs', from, to), this.config.trainer.algorithm.kl_estimator_type, mask, bounds);
    if (!ratioWeighted) return kl;
    return kl.mul(where(mask, logProbs.sub(batch.tensor('oldLogProbs', from, to)), 0).clamp(-20, 20).exp());
  }

  /** One optimizer step of the critic on rows [from, to). */
  private *criticUpdate({ model }: Trained<ValueModel>, batch: TrainingBatch, from: number, to: number): Generator<void, Metrics> {
    const { algorithm } = this.config.trainer;
    const { lr, gradNorm, micro } = yield* this.optimizerStep(
      'critic',
      batch.ranges(this.microSize, from, to),
      (first, end) => {
        const mask = batch.tensor('masks', first, end);
        const values = model.values(batch.tensor('ids', first, end), batch.tensor('start', first, end), { from: batch.shape.promptWidth });
        const targets = { oldValues: batch.tensor('values', first, end), returns: batch.tensor('returns', first, end) };
        const { loss, clipFraction } = valueLoss({ values, ...targets, mask }, { valueClip: algorithm.value_clip });
        const metrics = { critic_loss: loss, values_mean: maskedMean(values, mask), values_clipfrac: clipFraction };
        return { loss: loss.mul((end - first) / (to - from)), metrics };
      },
    );
    const means = new Averages();
    for (const metrics of micro) means.add(metrics);
    const named = Object.entries(means.result()).map(([name, value]) => [`critic/${name}`, value]);
    return { ...Object.fromEntries(named), 'critic/critic_lr': lr, 'critic/grad_norm': gradNorm };
  }

  /** One optimizer step whose gradients are the sum over micro-batches; `micro` holds the metrics of each. */
  private *optimizerStep(
    part: TrainedPart,
    ranges: Iterable<[from: number, to: number]>,
    compute: (from: number, to: number) => LossAndMetrics,
  ): Generator<void, { lr: number; gradNorm: number; micro: Metrics[] }> {
    const { optimizer } = this.models[part]!;
    const lr = this.learningRate(part, optimizer.stepCount);
    // No `tidy` spans a pause: what else runs there would make its tensors in it.
    const parts: Record<string, Tensor>[] = [];
    try {
      for (const [from, to] of ranges) {
        if (parts.length > 0) yield;
        const metrics = tidy(() => {
          const { loss, metrics } = compute(from, to);
          optimizer.accumulate(loss, Object.values(metrics));
          return metrics;
        });
        parts.push(metrics);
      }
      const { gradNorm } = tidy(() => optimizer.step({ lr }));
      const micro = parts.map((metrics) => Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, value.item()])));
      return { lr, gradNorm, micro };
    } finally {
      for (const metrics of parts) for (const value of Object.values(metrics)) value.dispose();
    }
  }

  /** The rate of an optimizer step, counted from 0. */
  protected learningRate(part: TrainedPart, step: number): number {
    const { lr, scheduler, num_warmup_steps }: OptimizerConfig = this.config.trainer[part].optimizer_config;
    return learningRate(step, { lr, schedule: scheduler, warmupSteps: num_warmup_steps, totalSteps: this.optimizerSteps(part) });
  }

  /** Optimizer steps of the whole run; undefined where nobody said how long it is. */
  private optimizerSteps(part: TrainedPart): number | undefined {
    const { totalSteps } = this.options;
    return totalSteps && optimizerSteps(this.config, part, totalSteps);
  }

  private checkSchedule(part: TrainedPart): void {
    const { totalSteps } = this.options;
    const problem = this.models[part] && totalSteps ? warmupProblem(this.config, part, totalSteps) : null;
    if (problem !== null) throw new ConfigError(problem);
  }

  private get microSize(): number {
    return this.config.trainer.micro_train_batch_size_per_gpu;
  }

  private *passes(batch: TrainingBatch, miniBatchPrompts: number, step: (from: number, to: number) => Generator<void, Metrics>): Generator<void, Metrics> {
    const { trainer, generator } = this.config;
    const averages = new Averages();
    for (let epoch = 0; epoch < trainer.update_epochs_per_batch; epoch++) {
      for (const [from, to] of batch.ranges(miniBatchPrompts * generator.n_samples_per_prompt)) {
        averages.add(yield* step(from, to));
        yield;
      }
    }
    return averages.result();
  }

  private logProbs(model: Transformer, batch: TrainingBatch, ids: Tensor, start: Tensor, temperature = this.config.generator.sampling_params.temperature) {
    return model.logProbs(ids, start, { from: batch.shape.promptWidth, temperature });
  }

  /** `compute` on `micro_forward_batch_size_per_gpu` rows at a time: [B,R]. */
  private *forward(batch: TrainingBatch, compute: (ids: Tensor, start: Tensor) => Tensor): Generator<void, Float32Array> {
    const { responseWidth } = batch.shape;
    const result = new Float32Array(batch.rows * responseWidth);
    for (const [from, to] of batch.ranges(this.config.trainer.micro_forward_batch_size_per_gpu)) {
      result.set(
        tidy(() => compute(batch.tensor('ids', from, to), batch.tensor('start', from, to)).dataSync()),
        from * responseWidth,
      );
      yield;
    }
    return result;
  }
}

/** Runs work that offers pauses without one. */
function finish<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

async function finishWithPauses<T>(work: Generator<void, T>, pause: () => Promise<void>): Promise<T> {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    await pause();
  }
}

function correctionOf({ correction: options }: LossSettings): LossCorrection | undefined {
  if (options === null) return undefined;
  return ({ losses, ...inputs }) => {
    const { loss, mask, metrics } = applyOffPolicyCorrection(losses, inputs, options);
    return { losses: loss, mask, metrics };
  };
}
