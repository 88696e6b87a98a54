/** The loss of an optimizer step against plain loops in float64, with what the configuration adds to it. */
import { type Config, loadConfig } from '../../src/config';
import { AdamW, Transformer } from '../../src/models';
import { randomKey, tensor } from '../../src/tensor';
import { Coefficients, TrainingBatch, Update } from '../../src/trainer';
import { eightResponses, smallBase } from './helpers';

const architecture = {
  vocabSize: 14,
  hiddenSize: 32,
  numLayers: 1,
  numHeads: 2,
  numKvHeads: 1,
  intermediateSize: 64,
  ropeTheta: 1e4,
  rmsNormEps: 1e-6,
  tieWordEmbeddings: true,
  attentionBias: true,
  maxPositionEmbeddings: 64,
};
const [rows, width] = [8, 3];

interface Made {
  config: Config;
  update: Update;
  batch: TrainingBatch;
  policy: Transformer;
  /** ℓ of the policy as it is. */
  now: Float32Array;
  dispose: () => void;
}

/** A policy, its batch with old, rollout and reference log-probs that differ, and advantages. */
function make(overrides: readonly string[], options: ConstructorParameters<typeof Update>[2] = {}): Made {
  const sizes = ['trainer.train_batch_size=2', 'trainer.policy_mini_batch_size=2', 'trainer.micro_train_batch_size_per_gpu=8'];
  const { config } = loadConfig({ base: smallBase(), overrides: [...sizes, ...overrides] });
  const policy = Transformer.initialize(architecture, randomKey(1), { std: 0.3 });
  const reference = Transformer.initialize(architecture, randomKey(2), { std: 0.3 });
  const optimizer = new AdamW(policy.parameters, { lr: 1e-3 });
  const update = new Update(config, { policy: { model: policy, optimizer }, critic: null, reference }, options);
  const batch = new TrainingBatch(eightResponses(), { promptWidth: 4, responseWidth: width, padId: 13 });
  update.computeInputs(batch);
  const now = batch.oldLogProbs!;
  batch.oldLogProbs = now.map((value, i) => value + 0.1 * ((i % 7) - 3));
  batch.rolloutLogProbs.set(batch.oldLogProbs.map((value, i) => value - 0.3 * ((i % 5) - 2)));
  batch.advantages = Float32Array.from(batch.masks, (m, i) => m * ((i % 5) - 2));
  return { config, update, batch, policy, now, dispose: () => [policy, reference, optimizer].forEach((part) => part.dispose()) };
}

function using<T>(made: Made, body: (made: Made) => T): T {
  try {
    return body(made);
  } finally {
    made.dispose();
  }
}

const positions = Array.from({ length: rows * width }, (_, i) => i);
const length = (batch: TrainingBatch, row: number) => batch.masks.subarray(row * width, (row + 1) * width).reduce((a, b) => a + b, 0);
const clip = (x: number, low: number, high: number) => Math.min(high, Math.max(low, x));
const clipped = ({ batch, now }: Made, i: number) => {
  const ratio = Math.exp(now[i]! - batch.oldLogProbs![i]!);
  const a = batch.advantages![i]!;
  return -Math.min(ratio * a, clip(ratio, 0.8, 1.2) * a);
};

test('truncated importance sampling and masks weigh the tokens, under the reduction of the whole minibatch', () => {
  const overrides = [
    'trainer.algorithm.loss_reduction=prompt_mean',
    ...['tis_ratio_type=token', 'token_tis_ratio_clip_high=1.2', 'token_mask_is_threshold_low=0.6', 'sequence_mask_metric=product', 'product_mask_high=1.5', 'product_mask_low=0.1'].map((key) =>
      `trainer.algorithm.off_policy_correction.${key}`
    ),
  ];
  using(make(overrides), (made) => {
    const { batch, update } = made;
    const ratio = (i: number) => Math.exp(batch.oldLogProbs![i]! - batch.rolloutLogProbs[i]!);
    let [expected, masked, filled] = [0, 0, 0];
    for (let row = 0; row < rows; row++) {
      const kept = positions.filter((i) => Math.floor(i / width) === row && batch.masks[i] && ratio(i) >= 0.6);
      const product = kept.reduce((p, i) => p * ratio(i), 1);
      filled += Math.sign(kept.length);
      if (product > 1.5 || product < 0.1) masked++;
      else {
        const tokensOfPrompt = [0, 1, 2, 3].reduce((sum, k) => sum + length(batch, (row >> 2) * 4 + k), 0);
        for (const i of kept) expected += (Math.min(ratio(i), 1.2) * clipped(made, i)) / (2 * tokensOfPrompt);
      }
    }
    const metrics = update.policyStep(batch);
    expect(masked).toBeGreaterThan(0);
    expect(metrics['policy/policy_loss']).toBeCloseTo(expected, 5);
    expect(metrics['policy/loss_metrics/product_sequence_mask_masked_ratio']).toBeCloseTo(masked / filled, 6);
    expect(metrics).toHaveProperty(['policy/loss_metrics/tis_token_clip_high_ratio']);
  });
});

test('clip_cov goes by the advantages, whatever the reduction divides by', () => {
  const overrides = [
    'trainer.algorithm.policy_loss_type=clip_cov',
    'trainer.algorithm.clip_cov.clip_ratio=1',
    'trainer.algorithm.clip_cov.clip_cov_lb=0.5',
    'trainer.algorithm.loss_reduction=seq_mean_token_sum_norm',
    'trainer.algorithm.max_seq_len=1000',
  ];
  using(make(overrides), (made) => {
    const { batch, now, update } = made;
    const valid = positions.filter((i) => batch.masks[i]);
    const mean = (of: (i: number) => number) => valid.reduce((sum, i) => sum + of(i), 0) / valid.length;
    const [meanA, meanL] = [mean((i) => batch.advantages![i]!), mean((i) => now[i]!)];
    const taken = valid.filter((i) => {
      const covariance = (batch.advantages![i]! - meanA) * (now[i]! - meanL);
      const ratio = Math.exp(now[i]! - batch.oldLogProbs![i]!);
      return covariance > 0.5 && covariance < 5 && !(clip(ratio, 0.8, 1.2) * batch.advantages![i]! < ratio * batch.advantages![i]!);
    });
    const expected = valid.filter((i) => !taken.includes(i)).reduce((sum, i) => sum + clipped(made, i), 0) / (rows * 1000);
    const metrics = update.policyStep(batch);
    expect(taken.length).toBeGreaterThan(0);
    expect(metrics['policy/loss_metrics/clip_ratio']).toBeCloseTo(taken.length / valid.length, 6);
    expect(metrics['policy/policy_loss']).toBeCloseTo(expected, 7);
  });
});

test.each(['k1', 'k3', 'k1+', 'k2+', 'k3+'])('the KL term by %s has the weight of the controller; straight-through changes the gradient alone', (type) => {
  const overrides = ['trainer.algorithm.use_kl_loss=true', `trainer.algorithm.kl_estimator_type=${type}`, 'trainer.algorithm.kl_loss_coef=0.5'];
  const run = (more: readonly string[] = []) =>
    using(make([...overrides, ...more]), ({ update, batch, now, config, policy }) => {
      const metrics = update.policyStep(batch);
      const d = positions.map((i) => now[i]! - batch.refLogProbs![i]!);
      const of = (x: number) => ({ k1: x, k2: (x * x) / 2, k3: Math.min(10, Math.exp(-x) - 1 + x) })[type.slice(0, 2)]!;
      const kl = positions.filter((i) => batch.masks[i]).reduce((sum, i) => sum + of(d[i]!), 0) / batch.tokens();
      return { metrics, kl, config, norm: metrics['policy/grad_norm']!, size: policy.size };
    });
  const { metrics, kl } = run();
  expect(metrics['policy/policy_kl']).toBeCloseTo(kl, 4);
  expect(metrics['policy/final_loss']! - metrics['policy/policy_loss']!).toBeCloseTo(0.5 * kl, 4);
  if (type === 'k3+' || type === 'k1+') {
    const plain = run([`trainer.algorithm.kl_estimator_type=${type.slice(0, 2)}`]);
    expect(plain.metrics['policy/policy_kl']).toBeCloseTo(metrics['policy/policy_kl']!, 5);
    expect(Math.abs(plain.norm - metrics['policy/grad_norm']!)).toBeGreaterThan(1e-3);
  }
});

test('klRatioWeighted and the clamps reach the KL term of a run', () => {
  const base = ['trainer.algorithm.use_kl_loss=true'];
  const kl = (options: string) =>
    using(make([...base, `trainer.algorithm.policy_loss_options=${options}`]), ({ update, batch, now }) => {
      const valid = positions.filter((i) => batch.masks[i]);
      const k3 = (i: number) => Math.min(10, Math.exp(batch.refLogProbs![i]! - now[i]!) - 1 + now[i]! - batch.refLogProbs![i]!);
      const ratio = (i: number) => Math.exp(now[i]! - batch.oldLogProbs![i]!);
      const mean = (of: (i: number) => number) => valid.reduce((sum, i) => sum + of(i), 0) / valid.length;
      return { got: update.policyStep(batch)['policy/policy_kl']!, weighted: mean((i) => k3(i) * ratio(i)), clamped: mean((i) => Math.min(k3(i), 0.1)) };
    });
  const weighted = kl('{klRatioWeighted: true}');
  expect(weighted.got).toBeCloseTo(weighted.weighted, 4);
  const clamped = kl('{klOutputClamp: 0.1}');
  expect(clamped.got).toBeCloseTo(clamped.clamped, 5);
});

test('coefficients that were moved are in force', () => {
  const overrides = [
    'trainer.algorithm.use_kl_loss=true',
    'trainer.algorithm.use_entropy_loss=true',
    'trainer.algorithm.entropy_ctrl={type: adaptive, target: 100, delta: 0.2}',
    'trainer.algorithm.kl_ctrl={type: adaptive, horizon: 10}',
    'trainer.algorithm.kl_loss_coef=0.5',
  ];
  const { config } = loadConfig({ base: smallBase(), overrides });
  const coefficients = new Coefficients(config);
  coefficients.update({ kl: 10, sequences: 10, entropy: 1 });
  expect([coefficients.kl, coefficients.entropy]).toEqual([0.5 * 1.2, 0.01 + 0.2]);
  using(make(overrides, { coefficients }), ({ update, batch }) => {
    const metrics = update.policyStep(batch);
    const added = metrics['policy/final_loss']! - metrics['policy/policy_loss']!;
    expect(added).toBeCloseTo(0.6 * metrics['policy/policy_kl']! - 0.21 * metrics['policy/policy_entropy']!, 4);
  });
  const again = new Coefficients(config);
  again.restore(JSON.parse(JSON.stringify(coefficients.state())) as ReturnType<Coefficients['state']>);
  expect([again.kl, again.entropy]).toEqual([coefficients.kl, coefficients.entropy]);
});

test('topEntropyQuantile looks at the entropy of the policy', () => {
  const loss = (quantile: number) => using(make([`trainer.algorithm.policy_loss_options.topEntropyQuantile=${quantile}`]), ({ update, batch }) => update.policyStep(batch)['policy/policy_loss']!);
  expect(loss(0.3)).not.toBeCloseTo(loss(1), 4);
});

test.each([1, 0.7])('Σπ² of the tokens, at temperature %d, is that of the logits', (temperature) => {
  using(make([`generator.sampling_params.temperature=${temperature}`, 'trainer.micro_forward_batch_size_per_gpu=3']), ({ update, batch, policy }) => {
    const got = update.sumSquaredProbs(batch);
    const columns = 4 + width;
    const ids = tensor(batch.ids, { shape: [rows, columns] });
    const hidden = policy.hidden(ids.slice([0, 0], [rows, columns - 1]), tensor(batch.start), { from: 3 });
    const logits = policy.logits(hidden).cast('float64').div(temperature).dataSync();
    for (const i of positions.filter((i) => batch.masks[i])) {
      const row = logits.subarray(i * 14, (i + 1) * 14);
      const exps = Array.from(row, (z) => Math.exp(z - Math.max(...row)));
      const sum = exps.reduce((a, b) => a + b, 0);
      expect(Math.abs(got[i]! - exps.reduce((s, e) => s + (e / sum) ** 2, 0))).toBeLessThan(1e-5);
    }
  });
});

describe('schedules', () => {
  const rates = (overrides: readonly string[], totalSteps: number) =>
    using(make(overrides, { totalSteps }), ({ update, batch }) => Array.from({ length: totalSteps }, () => update.optimize(batch)['policy/policy_lr']!));

  test.each(
    [
      ['linear', (p: number) => 1 - p],
      ['cosine', (p: number) => 0.5 * (1 + Math.cos(Math.PI * p))],
      ['constant_with_warmup', () => 1],
    ] as const,
  )('%s over the optimizer steps of the run, behind the warm-up', (scheduler, left) => {
    const settings = ['trainer.policy.optimizer_config.lr=0.01', `trainer.policy.optimizer_config.scheduler=${scheduler}`, 'trainer.policy.optimizer_config.num_warmup_steps=2'];
    const expected = [1 / 3, 2 / 3, left(0), left(1 / 3), left(2 / 3)].map((share) => 0.01 * share);
    rates(settings, 5).forEach((rate, i) => expect(rate).toBeCloseTo(expected[i]!, 8));
  });

  test('a warm-up as long as the run is refused where the rate falls', () => {
    const settings = ['trainer.policy.optimizer_config.scheduler=cosine', 'trainer.policy.optimizer_config.num_warmup_steps=6'];
    expect(() => make([...settings, 'trainer.update_epochs_per_batch=2'], { totalSteps: 3 })).toThrow(
      'trainer.policy.optimizer_config.num_warmup_steps: expected fewer than the 6 optimizer steps of the run',
    );
  });
});
