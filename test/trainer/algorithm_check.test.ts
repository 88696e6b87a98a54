/** What is refused before anything runs, and what the configuration gives to estimator and loss. */
import { AdvantageEstimator, PolicyLoss, registerAdvantageEstimator, registerPolicyLoss, type Tensor, unregisterAdvantageEstimator, unregisterPolicyLoss } from '../../src';
import { type Config, loadConfig } from '../../src/config';
import { inputsOfRun, makeEstimator } from '../../src/trainer/advantage_step';
import { algorithmProblems } from '../../src/trainer/algorithm_check';
import { lossSettings } from '../../src/trainer/loss_settings';

const configOf = (...keys: string[]): Config => loadConfig({ overrides: keys.map((key) => (/^(trainer|generator)\./.test(key) ? key : `trainer.algorithm.${key}`)) }).config;
const problems = (...keys: string[]): string[] => {
  const config = configOf(...keys);
  return algorithmProblems(config, inputsOfRun(config));
};

describe('an estimator', () => {
  test('has its options from the configuration, of its convention and by themselves', () => {
    expect(makeEstimator(configOf('advantage_options={convention: nemo, epsilon: 1e-3}')).options).toMatchObject({ leaveOneOut: true, epsilon: 1e-3, normByStd: true });
    expect(makeEstimator(configOf('grpo_norm_by_std=false')).options.normByStd).toBe(false);
    expect(makeEstimator(configOf('grpo_norm_by_std=false', 'advantage_options.normByStd=true')).options.normByStd).toBe(true);
  });

  test.each([
    [['advantage_options.epsilom=1'], "trainer.algorithm.advantage_options: advantage estimator 'grpo': unknown option 'epsilom'. Did you mean 'epsilon'?"],
    [['advantage_options.constructor=1'], "unknown option 'constructor'"],
    [['advantage_options.epsilon=x'], 'option \'epsilon\': expected a number, 0 or more, got "x"'],
    [['advantage_options.convention=ver'], "option 'convention': expected "],
    [['advantage_options.lambda=0.5'], 'trainer.algorithm.advantage_options: expected no lambda, which is trainer.algorithm.lambd'],
    [['advantage_options.remask=1'], 'trainer.algorithm.advantage_options.remask: expected one of true, false, advantages, got 1'],
    [['advantage_options.gamma=0.5'], 'trainer.algorithm.advantage_options: expected no gamma, which is trainer.algorithm.gamma'],
    [['advantage_options.rewardOnMasked=x'], 'trainer.algorithm.advantage_options.rewardOnMasked: expected one of drop, keep, carry, error, got "x"'],
    [['advantage_estimator=gdpo'], "'gdpo' needs rewardComponents, which this run does not have (set trainer.algorithm.reward_components to metrics of the environment)"],
    [['advantage_estimator=distillation'], "'distillation' needs teacherLogProbs, which this run does not have (a subclass"],
    [
      ['advantage_estimator=pass_at_k', 'advantage_options.k=16', 'generator.n_samples_per_prompt=8'],
      "generator.n_samples_per_prompt: expected at least 16, the rows that 'pass_at_k' needs of a prompt with its options, got 8",
    ],
    [['advantage_options.singleton=error', 'generator.n_samples_per_prompt=1'], "expected at least 2, the rows that 'grpo' needs of a prompt"],
  ])('%j is refused', (keys, message) => {
    expect(problems(...keys)).toEqual([expect.stringContaining(message)]);
  });

  test.each([['advantage_options={k: 8}'], ['advantage_options={k: 16, smallGroups: zero}']])('pass_at_k takes eight rows of a prompt with %s', (options) => {
    expect(problems('advantage_estimator=pass_at_k', options, 'generator.n_samples_per_prompt=8')).toEqual([]);
  });

  test.each([['remax'], ['optimal_token_baseline'], ['tir_optimal_token_baseline'], ['grpo'], ['spo'], ['reinforce++'], ['raw_reward']])('%s has what it needs', (name) => {
    expect(problems(`advantage_estimator=${name}`)).toEqual([]);
  });

  test('of a class may need what only a subclass gives', () => {
    class Taught extends AdvantageEstimator {
      static override readonly requires = ['teacherLogProbs'] as const;
      computeAdvantages(rewards: Tensor): Tensor {
        return rewards;
      }
    }
    registerAdvantageEstimator('taught', Taught);
    try {
      const config = configOf('advantage_estimator=taught');
      expect(algorithmProblems(config, inputsOfRun(config))).toHaveLength(1);
      expect(algorithmProblems(config, [...inputsOfRun(config), 'teacherLogProbs'])).toEqual([]);
    } finally {
      unregisterAdvantageEstimator('taught');
    }
  });
});

describe('a policy loss', () => {
  const settings = (...keys: string[]) => lossSettings(configOf(...keys));

  test.each([
    ['regular', 'token_mean', { epsClipLow: 0.2, epsClipHigh: 0.2, clipRatioC: null }],
    ['ppo', 'token_mean', { epsClipLow: 0.2, clipRatioC: null }],
    ['dual_clip', 'token_mean', { clipRatioC: 3 }],
    ['vanilla', 'token_mean', { clipRatioC: 3 }],
    ['geo_mean', 'token_mean', { epsClipLow: 0.4, epsClipHigh: 0.4 }],
    ['dapo', 'token_mean', { epsClipLow: 0.2, epsClipHigh: 0.28 }],
    ['grpo', 'sequence_mean', {}],
    ['bnpo', 'token_mean', {}],
    ['luspo', 'seq_mean_token_sum', { ratioLevel: 'sequence' }],
    ['kl_cov', 'token_mean', { klCovRatio: 0.2, ppoKlCoef: 1 }],
    ['clip_cov', 'token_mean', { clipCovRatio: 0.0002, clipCovLow: 1, clipCovHigh: 5 }],
    ['cispo', 'token_mean', { cispoEpsClipLow: 1, cispoEpsClipHigh: 4, anchor: 'old' }],
    ['sapo', 'token_mean', { tauPos: 1, tauNeg: 1.05 }],
    ['dppo', 'token_mean', { divergence: 'binary_tv', deltaLow: 0.2, deltaHigh: 0.2 }],
  ])('%s has its own defaults and reduction', (name, reduction, inForce) => {
    const found = settings(`policy_loss_type=${name}`, 'max_seq_len=8');
    expect(found.reduction).toBe(reduction);
    expect(found.inForce).toMatchObject(inForce);
    expect(found.options).toMatchObject({ reduction: 'token_sum', scale: 1 });
  });

  test.each([
    [['policy_loss_type=dapo', 'eps_clip_high=0.3', 'eps_clip_low=0.1'], { epsClipLow: 0.1, epsClipHigh: 0.3 }],
    [['policy_loss_type=vanilla', 'clip_ratio_c=5'], { clipRatioC: 5 }],
    [['policy_loss_type=sapo', 'sapo.tau_pos=2', 'sapo.tau_neg=3'], { tauPos: 2, tauNeg: 3 }],
    [['policy_loss_type=clip_cov', 'clip_cov={clip_ratio: 0.5, clip_cov_lb: 0, clip_cov_ub: 9}'], { clipCovRatio: 0.5, clipCovLow: 0, clipCovHigh: 9 }],
    [['policy_loss_type=kl_cov', 'kl_cov={kl_cov_frac: 0.5, ppo_kl_coef: 2}'], { klCovRatio: 0.5, ppoKlCoef: 2 }],
    [['policy_loss_type=cispo', 'cispo={cispo_eps_clip_low: null, cispo_eps_clip_high: 1, anchor: rollout}'], { cispoEpsClipLow: null, cispoEpsClipHigh: 1, anchor: 'rollout' }],
    [['policy_loss_type=dppo', 'dppo={dppo_type: binary_kl, delta_low: 0.1, delta_high: 0.3}'], { divergence: 'binary_kl', deltaLow: 0.1, deltaHigh: 0.3 }],
    [['policy_loss_type=sapo', 'sapo.tau_pos=2', 'policy_loss_options.tauPos=4'], { tauPos: 4 }],
    [['policy_loss_options={convention: trl, delta: 4}'], { logRatioMax: null, delta: 4 }],
  ])('%j', (keys, inForce) => {
    expect(settings(...keys).inForce).toMatchObject(inForce);
  });

  test('reduces as loss_reduction says, with the options of its convention', () => {
    expect(settings('policy_loss_type=grpo', 'loss_reduction=prompt_mean').reduction).toBe('prompt_mean');
    expect(settings('policy_loss_options.convention=verl').reductionOptions).toMatchObject({ countEpsilon: 1e-8, emptyRows: 'leave_out' });
    expect(settings('trainer.micro_train_batch_size_per_gpu=4', 'max_seq_len=9').reductionOptions).toMatchObject({ microBatchSize: 4, maxSeqLen: 9 });
  });

  test.each([
    [['policy_loss_options.epsCliphigh=1'], "unknown option 'epsCliphigh'. Did you mean 'epsClipHigh'?"],
    [['policy_loss_options.constructor=1'], "unknown option 'constructor'"],
    [['policy_loss_type=clip_cov', 'clip_cov={clip_cov_lb: 9, clip_cov_ub: 5}'], "policy loss 'clip_cov': option 'clipCovLow': expected at most clipCovHigh, 5, got 9"],
    [['policy_loss_options={logRatioMin: 1, logRatioMax: 0}'], "option 'logRatioMin': expected at most logRatioMax, 0, got 1"],
    [['policy_loss_options.microBatchSize=3'], 'expected no microBatchSize, which is trainer.micro_train_batch_size_per_gpu'],
    [['policy_loss_options.delta=-1'], "option 'delta': expected a number, 0 or more, or null, got -1"],
    [['policy_loss_options.reduction=token_mean'], 'expected no reduction, which is trainer.algorithm.loss_reduction'],
    [['policy_loss_options.totalTokens=3'], 'expected no totalTokens, which a run takes from its batches'],
    [['policy_loss_type=dr_grpo'], "trainer.algorithm.max_seq_len: expected a positive integer (policy loss 'dr_grpo' divides by it), got null"],
  ])('%j is refused', (keys, message) => {
    expect(problems(...keys)).toEqual([expect.stringContaining(message)]);
  });

  test.each([
    ['geo_mask_low=2', 'geo_mask_low: expected at most geo_mask_high=1.01, got 2'],
    ['product_mask_high=0.1', 'product_mask_low: expected at most product_mask_high=0.1, got 0.5'],
    ['outlier_token_is_threshold_low=3', null],
    ['{outlier_token_is_threshold_low: 3, outlier_token_is_threshold_high: 2}', 'outlier_token_is_threshold_low: expected at most outlier_token_is_threshold_high=2, got 3'],
    ['{token_mask_is_threshold_low: 3, token_mask_is_threshold_high: 2}', 'token_mask_is_threshold_low: expected at most token_mask_is_threshold_high=2, got 3'],
  ])('is corrected within bounds: %s', (keys, message) => {
    const found = problems(keys.startsWith('{') ? `off_policy_correction=${keys}` : `off_policy_correction.${keys}`);
    expect(found).toEqual(message === null ? [] : [`trainer.algorithm.off_policy_correction.${message}`]);
  });

  test('that is no TokenPolicyLoss cannot be corrected', () => {
    class Plain extends PolicyLoss {
      computeLoss({ logProbs, advantages, mask }: Parameters<PolicyLoss['computeLoss']>[0]) {
        return { loss: logProbs.mul(advantages).neg().sum(null, { mask }), metrics: {} };
      }
    }
    registerPolicyLoss('plain', Plain);
    try {
      expect(problems('policy_loss_type=plain')).toEqual([]);
      expect(lossSettings(configOf('policy_loss_type=plain', 'policy_loss_options.strength=3')).options).toEqual({ epsClipLow: 0.2, epsClipHigh: 0.2, strength: 3, reduction: 'token_sum', scale: 1 });
      expect(problems('policy_loss_type=plain', 'off_policy_correction.tis_ratio_type=token')).toEqual([expect.stringContaining("policy loss 'plain' cannot be corrected")]);
    } finally {
      unregisterPolicyLoss('plain');
    }
  });

  test('the keys of off_policy_correction are those of applyOffPolicyCorrection', () => {
    expect(settings().correction).toBeNull();
    const all = {
      tis_ratio_type: 'sequence',
      token_tis_ratio_clip_high: 3,
      sequence_tis_ratio_clip_high: 4,
      sequence_mask_metric: 'geometric',
      product_mask_low: 0.1,
      product_mask_high: 5,
      geo_mask_low: 0.9,
      geo_mask_high: 1.1,
      outlier_token_is_threshold_low: 1e-4,
      outlier_token_is_threshold_high: 100,
      token_mask_is_threshold_low: 0.2,
      token_mask_is_threshold_high: 6,
    };
    const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
    const expected = Object.fromEntries(Object.entries(all).map(([name, value]) => [camel(name), value]));
    const { config } = loadConfig({ base: { trainer: { algorithm: { off_policy_correction: all } } } });
    expect(lossSettings(config).correction).toEqual(expected);
    expect(algorithmProblems(config, inputsOfRun(config))).toEqual([]);
  });
});

describe('a warm-up', () => {
  const size = ['trainer.train_batch_size=8', 'trainer.policy_mini_batch_size=4', 'trainer.critic_mini_batch_size=2', 'trainer.update_epochs_per_batch=3', 'trainer.critic.model={}'];
  const warm = (part: string, steps: number, ...more: string[]) => problems(...size, 'trainer.max_training_steps=2', `trainer.${part}.optimizer_config.num_warmup_steps=${steps}`, ...more);

  test.each([
    ['policy', 12, 'constant_with_warmup', 'at most the 12 optimizer steps of the run, got 13'],
    ['critic', 24, 'constant_with_warmup', 'at most the 24 optimizer steps of the run, got 25'],
    ['policy', 11, 'cosine', 'fewer than the 12 optimizer steps of the run (the rate falls behind them: cosine), got 12'],
    ['critic', 23, 'linear', 'fewer than the 24 optimizer steps of the run (the rate falls behind them: linear), got 24'],
  ])('of %s is over within the run: %i steps, %s', (part, steps, scheduler, message) => {
    const schedule = `trainer.${part}.optimizer_config.scheduler=${scheduler}`;
    expect(warm(part, steps, schedule)).toEqual([]);
    expect(warm(part, steps + 1, schedule)).toEqual([`trainer.${part}.optimizer_config.num_warmup_steps: expected ${message}`]);
  });

  test('of a run whose length the data say is looked at later, and that of a critic where there is one', () => {
    expect(warm('policy', 99, 'trainer.max_training_steps=null')).toEqual([]);
    expect(warm('critic', 99, 'trainer.critic.model=null')).toEqual([]);
  });
});

describe('coefficients and the reference', () => {
  test.each([
    [['kl_ctrl.type=adaptive', 'use_kl_loss=false'], "trainer.algorithm.kl_ctrl.type: 'adaptive' needs use_kl_loss or use_kl_in_reward"],
    [['kl_ctrl.type=adaptive', 'kl_loss_coef=0'], 'trainer.algorithm.kl_loss_coef: expected a number above 0 to begin with'],
    [['entropy_ctrl.type=adaptive'], "trainer.algorithm.entropy_ctrl.type: 'adaptive' needs use_entropy_loss"],
    [['entropy_ctrl={type: adaptive, max: 0.005}', 'use_entropy_loss=true'], 'trainer.algorithm.entropy_ctrl, entropy_loss_coef: AdaptiveEntropyCoefficient: coefficient: expected a number'],
    [['entropy_ctrl={type: adaptive, min: 0.5, max: 0.1}', 'use_entropy_loss=true'], 'trainer.algorithm.entropy_ctrl, entropy_loss_coef: AdaptiveEntropyCoefficient: min: expected a number'],
    [['trainer.update_ref_every_epoch=true', 'use_kl_loss=false'], 'trainer.update_ref_every_epoch: expected false, as nothing uses a reference policy'],
  ])('%j is refused', (keys, message) => {
    expect(problems(...keys)).toEqual([expect.stringContaining(message)]);
  });
});
