/** Steps of the real loop: which metrics they leave, that they are finite, and that a seed gives them again. */
import { defaultDevice, memory } from '../../src/tensor';
import { Experiment, Trainer, type TrainerParts } from '../../src/trainer';
import { aCritic, history, smallConfig, withoutClock } from './helpers';

const always = [
  ...['avg_pass_at_4', 'avg_raw_reward', 'mean_positive_reward'].map((name) => `reward/${name}`),
  ...['avg_final_rewards', 'avg_raw_advantages', 'avg_raw_advantages_abs', 'kl_loss_coef'].map((name) => `loss/${name}`),
  ...['final_loss', 'policy_loss', 'policy_entropy', 'policy_lr', 'response_length', 'grad_norm', 'loss_metrics/clip_ratio'].map(
    (name) => `policy/${name}`,
  ),
  ...['min', 'max', 'avg', 'std'].map((name) => `generate/${name}_num_tokens`),
  ...['non_zero', 'zero'].map((name) => `generate/avg_tokens_${name}_rewards`),
  ...['epoch', 'global_step', 'tokens_per_second'].map((name) => `trainer/${name}`),
  ...[
    'step',
    'generate',
    'convert_to_training_input',
    'fwd_logprobs_values_reward',
    'compute_advantages_and_returns',
    'train_critic_and_policy',
  ].map((name) => `timing/${name}`),
];
const withReference = ['loss/avg_kl', 'loss/avg_kl_max', 'policy/policy_kl'];
const withCritic = ['critic_loss', 'values_mean', 'values_clipfrac', 'critic_lr', 'grad_norm'].map((name) => `critic/${name}`);
const evaluated = ['vantage_gmax', 'all'].flatMap((source) => ['avg_score', 'pass_at_1', 'mean_positive_reward'].map((name) => `eval/${source}/${name}`));

describe.each([
  { estimator: 'grpo', overrides: [], metrics: [] },
  { estimator: 'rloo', overrides: [], metrics: [] },
  {
    estimator: 'reinforce++',
    overrides: ['trainer.algorithm.use_kl_loss=true', 'trainer.algorithm.kl_estimator_type=k2'],
    metrics: withReference,
  },
  { estimator: 'gae', overrides: aCritic, metrics: withCritic },
])('three steps of $estimator', ({ estimator, overrides, metrics }) => {
  it('leave finite metrics under all their names', async () => {
    const records = await history([`trainer.algorithm.advantage_estimator=${estimator}`, ...overrides]);
    expect(records.map(({ step }) => step)).toEqual([0, 1, 2, 3]);
    for (const record of records)
      for (const [name, value] of Object.entries(record)) expect([name, Number.isFinite(value)]).toEqual([name, true]);
    for (const record of records.slice(1)) expect(Object.keys(record)).toEqual(expect.arrayContaining([...always, ...metrics]));
    // Before the training, at the interval, and at the end.
    for (const step of [0, 2, 3]) expect(Object.keys(records[step])).toEqual(expect.arrayContaining([...evaluated, 'timing/eval']));
    expect(records[1]).not.toHaveProperty('eval/all/avg_score');
    expect(records[3]['policy/policy_lr']).toBe(1e-3);
  });
});

describe('the times of a step', () => {
  // The size of the quickstart: steps of some hundred milliseconds.
  it('add up, but for a twentieth', async () => {
    const quickstart = [
      ...['hidden_size=64', 'num_layers=2', 'num_heads=4', 'num_kv_heads=4', 'intermediate_size=172'].map((key) => `trainer.policy.model.${key}`),
      ...['train_batch_size=32', 'policy_mini_batch_size=16', 'micro_train_batch_size_per_gpu=128', 'micro_forward_batch_size_per_gpu=256', 'max_training_steps=4'].map((key) => `trainer.${key}`),
      'generator.n_samples_per_prompt=16',
      'trainer.eval_interval=-1',
      'trainer.eval_before_train=false',
    ];
    const records = await history(quickstart);
    // The first step makes its plans.
    const times = records.slice(1).map((record) => Object.entries(record).filter(([name]) => name.startsWith('timing/')));
    const whole = times.flat().reduce((sum, [name, seconds]) => sum + (name === 'timing/step' ? seconds! : 0), 0);
    const parts = times.flat().reduce((sum, [name, seconds]) => sum + (name === 'timing/step' ? 0 : seconds!), 0);
    expect(parts / whole).toBeGreaterThan(0.95);
    expect(parts / whole).toBeLessThanOrEqual(1);
  });
});

describe('a run', () => {
  it('gives the same metrics bit for bit for the same seed, and others for another', async () => {
    const run = async (seed: number) => (await history([`trainer.seed=${seed}`, 'trainer.algorithm.advantage_estimator=gae', ...aCritic])).map(withoutClock);
    const first = await run(7);
    expect(await run(7)).toEqual(first);
    expect(await run(8)).not.toEqual(first);
  });

  it('begins each batch at a ratio of 1: exactly on the CPU, to rounding where a matrix product depends on the number of rows', async () => {
    const records = await history([
      'trainer.policy_mini_batch_size=8',
      'trainer.micro_train_batch_size_per_gpu=8',
      'trainer.micro_forward_batch_size_per_gpu=5',
    ]);
    for (const record of records.slice(1)) {
      const of = (name: string) => record[`policy/loss_metrics/${name}`];
      const ratios = [of('clip_ratio'), of('approx_kl'), of('ratio_min'), of('ratio_mean'), of('ratio_max')] as number[];
      if (defaultDevice() === 'cpu') expect(ratios).toEqual([0, 0, 1, 1, 1]);
      else for (const [i, one] of [0, 0, 1, 1, 1].entries()) expect(Math.abs(ratios[i]! - one)).toBeLessThan(1e-5);
    }
  });

  it('keeps no memory from step to step', async () => {
    const counts: number[][] = [];
    class Counting extends Trainer {
      protected override async trainStep() {
        const metrics = await super.trainStep();
        counts.push([memory().tensors, memory().bytes]);
        return metrics;
      }
    }
    class Counted extends Experiment {
      override trainer(parts: TrainerParts) {
        return new Counting(parts);
      }
    }
    const before = memory().bytes;
    await history(
      [
        'trainer.max_training_steps=6',
        'trainer.algorithm.use_kl_loss=true',
        'trainer.algorithm.advantage_estimator=gae',
        ...aCritic,
      ],
      Counted,
    );
    expect(counts).toHaveLength(6);
    expect(new Set(counts.slice(1).map(String)).size).toBe(1);
    expect(memory().bytes).toBeLessThanOrEqual(before);
  });

  it('subtracts the KL from the rewards, once the policy has left the reference', async () => {
    const kl = ['trainer.algorithm.use_kl_in_reward=true', 'trainer.algorithm.kl_estimator_type=k2', 'trainer.algorithm.kl_loss_coef=0.5'];
    const [, first, second] = await history(kl);
    expect(first['loss/avg_kl']).toBe(0);
    expect(first['loss/avg_final_rewards']).toBeCloseTo(first['reward/avg_raw_reward']!, 6);
    expect(second['loss/avg_kl']).toBeGreaterThan(0);
    expect(second['loss/avg_kl_max']).toBeGreaterThanOrEqual(second['loss/avg_kl']!);
    expect(second['loss/avg_final_rewards']).toBeLessThan(second['reward/avg_raw_reward']!);
    expect(second).not.toHaveProperty('policy/policy_kl');
  });

  it('counts and leaves out groups without variance, and whitens the advantages of the others', async () => {
    const records = await history([
      'trainer.algorithm.zero_variance_filter=true',
      'trainer.algorithm.advantage_batch_normalize=true',
      'trainer.max_training_steps=4',
    ]);
    const filtered = records.slice(1).map((record) => record['reward/num_zero_variance_filtered']!);
    expect(filtered.every((count) => count >= 0 && count <= 8)).toBe(true);
    // A policy that hardly ever answers right leaves most of the eight groups without variance.
    expect(Math.max(...filtered)).toBeGreaterThan(0);
    for (const record of records.slice(1)) expect(Math.abs(record['loss/avg_raw_advantages']!)).toBeLessThan(1e-5);
  });

  it('ends where stop_when holds, or with its epochs', async () => {
    const stopped = await new Experiment(smallConfig(['trainer.stop_when={metric: generate/max_num_tokens, window: 2, value: 1}'])).run();
    expect([stopped.reason, stopped.steps]).toEqual(['stop_when', 2]);
    // Evaluations come at steps 2 and 4.
    const evaluated = await new Experiment(
      smallConfig(['trainer.stop_when={metric: eval/all/avg_score, window: 2, value: 0}', 'trainer.max_training_steps=5']),
    ).run();
    expect([evaluated.reason, evaluated.steps]).toEqual(['stop_when', 4]);
    const misspelt = new Experiment(smallConfig(['trainer.stop_when.metric=reward/avg_raw_rewards'])).run();
    await expect(misspelt).rejects.toThrow(
      "trainer.stop_when.metric: expected a metric of this run, got 'reward/avg_raw_rewards'. Did you mean 'reward/avg_raw_reward'? Metrics: trainer/epoch,",
    );
    const whole = await new Experiment(smallConfig(['trainer.max_training_steps=null', 'trainer.train_batch_size=32'])).run();
    expect([whole.reason, whole.steps]).toEqual(['epochs', 2]);
  });

  it.each(['sequence_mean', 'seq_mean_token_sum_norm'])(
    'trains with the loss reduction %s and several passes over a batch',
    async (reduction) => {
      const records = await history([
        `trainer.algorithm.loss_reduction=${reduction}`,
        'trainer.algorithm.max_seq_len=3',
        'trainer.update_epochs_per_batch=2',
        'trainer.algorithm.policy_loss_type=dual_clip',
      ]);
      for (const record of records.slice(1)) expect(Number.isFinite(record['policy/final_loss'])).toBe(true);
    },
  );
});
