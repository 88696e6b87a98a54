/** What the models compute before an update, and the update itself. */
import type { Config, OptimizerConfig } from '../config';
import { computePolicyLoss, getPolicyLoss, klDivergence, maskedMean, type PolicyLossOptions, reductionDivisors, valueLoss } from '../losses';
import { type AdamW, learningRate, type Transformer, type ValueModel } from '../models';
import { tensor, type Tensor, tidy } from '../tensor';
import type { Metrics } from '../tracking';
import { Averages } from './averages';
import type { TrainingBatch } from './batch';

/** A model and what trains it. */
export interface Trained<Model> {
  model: Model;
  optimizer: AdamW;
}

export interface Models {
  policy: Trained<Transformer>;
  /** Where the estimator or the configuration asks for values. */
  critic: Trained<ValueModel> | null;
  /** The frozen policy of the KL terms. */
  reference: Transformer | null;
}

interface LossAndMetrics {
  loss: Tensor;
  metrics: Record<string, Tensor>;
}

/** The models' view of a batch and their optimization. */
export class Update {
  constructor(
    private readonly config: Config,
    private readonly models: Models,
  ) {}

  /**
   * Old log-probs, reference log-probs and values, [B,R] each, computed with the weights as they are: at the first optimizer step the
   * ratio of new to old probabilities is exactly 1.
   */
  computeInputs(batch: TrainingBatch): void {
    const { policy, critic, reference } = this.models;
    batch.oldLogProbs = this.forward(batch, (ids, start) => this.logProbs(policy.model, batch, ids, start).logProbs);
    batch.refLogProbs = reference && this.forward(batch, (ids, start) => this.logProbs(reference, batch, ids, start).logProbs);
    batch.values = critic && this.forward(batch, (ids, start) => critic.model.values(ids, start, { from: batch.shape.promptWidth }));
  }

  /** `update_epochs_per_batch` passes over the batch's minibatches, one optimizer step each: the critic's, then the policy's. */
  optimize(batch: TrainingBatch): Metrics {
    const { critic } = this.models;
    const { policy_mini_batch_size, critic_mini_batch_size } = this.config.trainer;
    return {
      ...(critic && this.passes(batch, critic_mini_batch_size, (from, to) => this.criticStep(critic, batch, from, to))),
      ...this.passes(batch, policy_mini_batch_size, (from, to) => this.policyStep(batch, from, to)),
    };
  }

  /** One optimizer step of the policy on rows [from, to). */
  policyStep(batch: TrainingBatch, from = 0, to = batch.rows): Metrics {
    const { algorithm, policy } = this.config.trainer;
    const { model, optimizer } = this.models.policy;
    const options = { maxSeqLen: algorithm.max_seq_len };
    // Of the whole minibatch, so that the sums of its micro-batches add up to its reduction.
    const divisors = tidy(() => reductionDivisors(batch.tensor('masks', from, to), algorithm.loss_reduction, options).dataSync());
    const { lr, gradNorm, micro } = this.optimizerStep(
      optimizer,
      policy.optimizer_config,
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
  private policyLoss(model: Transformer, batch: TrainingBatch, divisor: Tensor, from: number, to: number): LossAndMetrics {
    const { algorithm } = this.config.trainer;
    const mask = batch.tensor('masks', from, to);
    const { logProbs, entropy } = this.logProbs(model, batch, batch.tensor('ids', from, to), batch.tensor('start', from, to));
    const policyLoss = computePolicyLoss(
      algorithm.policy_loss_type,
      {
        logProbs,
        oldLogProbs: batch.tensor('oldLogProbs', from, to),
        advantages: batch.tensor('advantages', from, to).div(divisor),
        mask,
        rolloutLogProbs: batch.tensor('rolloutLogProbs', from, to),
      },
      this.lossOptions(),
    );
    const reduce = (perToken: Tensor) => perToken.div(divisor).sum(null, { mask });
    const metrics: Record<string, Tensor> = { policy_loss: policyLoss.loss, entropy: entropy.sum(null, { mask }) };
    for (const [name, value] of Object.entries(policyLoss.metrics)) metrics[`loss_metrics/${name}`] = value;
    let { loss } = policyLoss;
    if (algorithm.use_kl_loss && batch.refLogProbs) {
      const kl = klDivergence(logProbs, batch.tensor('refLogProbs', from, to), algorithm.kl_estimator_type, mask);
      loss = loss.add(reduce(kl).mul(algorithm.kl_loss_coef));
      metrics.kl = kl.sum();
    }
    if (algorithm.use_entropy_loss) loss = loss.sub(reduce(entropy).mul(algorithm.entropy_loss_coef));
    return { loss, metrics: { ...metrics, final_loss: loss } };
  }

  /** What the configuration says to the policy loss; the divisors are in the advantages, so it is to add up only. */
  private lossOptions(): PolicyLossOptions {
    const { algorithm } = this.config.trainer;
    const given = { epsClipLow: algorithm.eps_clip_low, epsClipHigh: algorithm.eps_clip_high, reduction: 'token_sum' } as const;
    const options: PolicyLossOptions = algorithm.policy_loss_type === 'dual_clip' ? { ...given, clipRatioC: algorithm.clip_ratio_c } : given;
    const { options: own } = getPolicyLoss(algorithm.policy_loss_type);
    return own ? Object.fromEntries(Object.entries(options).filter(([name]) => name in own)) : options;
  }

  /** One optimizer step of the critic on rows [from, to). */
  private criticStep({ model, optimizer }: Trained<ValueModel>, batch: TrainingBatch, from: number, to: number): Metrics {
    const { critic, algorithm } = this.config.trainer;
    const { lr, gradNorm, micro } = this.optimizerStep(
      optimizer,
      critic.optimizer_config,
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
  private optimizerStep(
    optimizer: AdamW,
    { lr: full, scheduler, num_warmup_steps }: OptimizerConfig,
    ranges: Iterable<[from: number, to: number]>,
    compute: (from: number, to: number) => LossAndMetrics,
  ): { lr: number; gradNorm: number; micro: Metrics[] } {
    const lr = learningRate(optimizer.stepCount, { lr: full, schedule: scheduler, warmupSteps: num_warmup_steps });
    return tidy(() => {
      const parts = Array.from(ranges, ([from, to]) =>
        tidy(() => {
          const { loss, metrics } = compute(from, to);
          optimizer.accumulate(loss, Object.values(metrics));
          return metrics;
        }),
      );
      const { gradNorm } = optimizer.step({ lr });
      const micro = parts.map((metrics) => Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, value.item()])));
      return { lr, gradNorm, micro };
    });
  }

  private get microSize(): number {
    return this.config.trainer.micro_train_batch_size_per_gpu;
  }

  private passes(batch: TrainingBatch, miniBatchPrompts: number, step: (from: number, to: number) => Metrics): Metrics {
    const { trainer, generator } = this.config;
    const averages = new Averages();
    for (let epoch = 0; epoch < trainer.update_epochs_per_batch; epoch++) {
      for (const [from, to] of batch.ranges(miniBatchPrompts * generator.n_samples_per_prompt)) averages.add(step(from, to));
    }
    return averages.result();
  }

  private logProbs(model: Transformer, batch: TrainingBatch, ids: Tensor, start: Tensor) {
    return model.logProbs(ids, start, { from: batch.shape.promptWidth, temperature: this.config.generator.sampling_params.temperature });
  }

  /** `compute` on `micro_forward_batch_size_per_gpu` rows at a time: [B,R]. */
  private forward(batch: TrainingBatch, compute: (ids: Tensor, start: Tensor) => Tensor): Float32Array {
    const { responseWidth } = batch.shape;
    const result = new Float32Array(batch.rows * responseWidth);
    for (const [from, to] of batch.ranges(this.config.trainer.micro_forward_batch_size_per_gpu)) {
      result.set(
        tidy(() => compute(batch.tensor('ids', from, to), batch.tensor('start', from, to)).dataSync()),
        from * responseWidth,
      );
    }
    return result;
  }
}
