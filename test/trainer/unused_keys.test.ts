/** Keys that were given and have no effect: which are refused, with what reason, and which are not. */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import {
  AdvantageEstimator,
  checkConfig,
  type Config,
  Experiment,
  PolicyLoss,
  registerAdvantageEstimator,
  registerPolicyLoss,
  registerTracker,
  type Tensor,
  type TrainerCallback,
  unregisterAdvantageEstimator,
  unregisterPolicyLoss,
} from '../../src';
import { loadConfig, type LoadConfigOptions } from '../../src/config';
import { ConfigError } from '../../src/errors';
import { GroupRelative } from '../../src/advantages/builtin/grpo';
import { describeConfig } from '../../src/trainer/print_config';
import { overriddenKeyNote, unusedKeys } from '../../src/trainer/unused_keys';
import { temporaryFolder } from './helpers';

const files = ['data.train_data=[train.jsonl]', 'data.val_data=[validation.jsonl]'];
const dotted = (keys: readonly string[]) => keys.map((key) => (/^(data|trainer|generator)\./.test(key) ? key : `trainer.algorithm.${key}`));

function messageOf(options: LoadConfigOptions, Class: new (config: Config) => Experiment = Experiment, callbacks: readonly TrainerCallback[] = []): string {
  const loaded = loadConfig(options);
  const experiment = new Class(loaded.config);
  experiment.callbacks.push(...callbacks);
  try {
    checkConfig(loaded, experiment);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  return 'none';
}
const problem = (...keys: string[]): string => messageOf({ overrides: [...files, ...dotted(keys)] });

describe('a key without an effect is refused', () => {
  /** What is set, then the key with the value that has no effect, the reason, and what would give it one. */
  const rows: [string[], string, string, string][] = [
    [['advantage_estimator=rloo'], 'lambd=0.9', 'advantage_estimator is rloo, which does not look at λ', 'choose an estimator that does: gae, n_step, td_lambda'],
    [['advantage_estimator=reinforce_plus_plus'], 'lambd=0.9', 'advantage_estimator is reinforce++, which does not look at λ', 'choose an estimator that does'],
    [[], 'gamma=0.9', 'advantage_estimator is grpo, which does not look at γ', 'choose an estimator that does: discounted_return, gae'],
    [['advantage_estimator=turn_discount', 'advantage_options.turnDiscount=0.5'], 'gamma=0.9', 'is turn_discount with advantage_options={"turnDiscount":0.5}, which does not look at γ', 'choose'],
    [[], 'reward_components=[format]', 'which does not look at several rewards', 'choose an estimator that does: gdpo'],
    [['advantage_estimator=rloo'], 'grpo_norm_by_std=false', 'is rloo, which does not have the option normByStd', 'choose an estimator that does: gdpo, gigpo, grpo,'],
    [['advantage_options.normByStd=true'], 'grpo_norm_by_std=false', 'trainer.algorithm.advantage_options.normByStd goes before it', 'take that one out'],
    [
      ['policy_loss_type=cispo'],
      'eps_clip_low=0.1',
      'policy_loss_type is cispo, which reads cispo.cispo_eps_clip_low, cispo.cispo_eps_clip_high, cispo.anchor',
      'choose a loss that does: bnpo, clip_cov',
    ],
    [['policy_loss_type=gpg'], 'eps_clip_high=0.1', 'policy_loss_type is gpg, which reads no such key', 'choose a loss that does'],
    [['policy_loss_options.epsClipHigh=0.4'], 'eps_clip_high=0.1', 'trainer.algorithm.policy_loss_options.epsClipHigh goes before it', 'take that one out'],
    [[], 'clip_ratio_c=4', 'policy_loss_type is regular, which reads eps_clip_low, eps_clip_high', 'choose a loss that does: dual_clip'],
    [[], 'sapo.tau_pos=2', 'policy_loss_type is regular', 'choose a loss that does: sapo'],
    [[], 'sapo.tau_neg=2', 'policy_loss_type is regular', 'sapo'],
    [['policy_loss_type=sapo', 'policy_loss_options.tauPos=4'], 'sapo.tau_pos=2', 'policy_loss_options.tauPos goes before it', 'take that one out'],
    [[], 'clip_cov.clip_ratio=0.1', 'policy_loss_type is regular', 'clip_cov'],
    [[], 'clip_cov.clip_cov_lb=0', 'policy_loss_type is regular', 'clip_cov'],
    [[], 'clip_cov.clip_cov_ub=9', 'policy_loss_type is regular', 'clip_cov'],
    [[], 'kl_cov.kl_cov_frac=0.1', 'policy_loss_type is regular', 'kl_cov'],
    [[], 'kl_cov.ppo_kl_coef=2', 'policy_loss_type is regular', 'kl_cov'],
    [[], 'cispo.cispo_eps_clip_low=0.5', 'policy_loss_type is regular', 'cispo'],
    [[], 'cispo.cispo_eps_clip_high=3', 'policy_loss_type is regular', 'cispo'],
    [[], 'cispo.anchor=rollout', 'policy_loss_type is regular', 'cispo'],
    [[], 'dppo.dppo_type=binary_kl', 'policy_loss_type is regular', 'dppo'],
    [[], 'dppo.delta_low=0.1', 'policy_loss_type is regular', 'dppo'],
    [[], 'dppo.delta_high=0.1', 'policy_loss_type is regular', 'dppo'],
    [[], 'max_seq_len=64', 'the reduction token_mean does not divide by it', 'set trainer.algorithm.loss_reduction=seq_mean_token_sum_norm'],
    [['policy_loss_type=grpo'], 'max_seq_len=64', 'the reduction sequence_mean does not divide by it', 'set'],
    [[], 'kl_ctrl.kl_target=1', 'trainer.algorithm.kl_ctrl.type=fixed', 'set trainer.algorithm.kl_ctrl.type=adaptive'],
    [[], 'kl_ctrl.horizon=1', 'trainer.algorithm.kl_ctrl.type=fixed', 'set trainer.algorithm.kl_ctrl.type=adaptive'],
    [['use_kl_loss=false'], 'kl_loss_coef=0.1', 'there is no KL term', 'set one of these to true'],
    [['use_kl_loss=false'], 'kl_estimator_type=k2', 'there is no reference policy', 'set one of these to true'],
    [[], 'entropy_loss_coef=0.1', 'there is no entropy bonus', 'set trainer.algorithm.use_entropy_loss=true'],
    [['use_entropy_loss=true'], 'entropy_ctrl.target=1', 'trainer.algorithm.entropy_ctrl.type=fixed', 'set trainer.algorithm.entropy_ctrl.type=adaptive'],
    [[], 'entropy_ctrl.delta=1', 'entropy_ctrl.type=fixed', 'adaptive'],
    [[], 'entropy_ctrl.min=0.1', 'entropy_ctrl.type=fixed', 'adaptive'],
    [[], 'entropy_ctrl.max=2', 'entropy_ctrl.type=fixed', 'adaptive'],
    [[], 'dynamic_sampling.max_sample_batches=3', 'there is no dynamic sampling', 'set it to filter or replace'],
    [[], 'dynamic_sampling.min_replace_ratio=0.5', 'there is no dynamic sampling', 'set it to filter or replace'],
    [['dynamic_sampling.type=filter'], 'dynamic_sampling.min_replace_ratio=0.5', 'dynamic_sampling.type is filter', 'set it to replace'],
    [[], 'off_policy_correction.token_tis_ratio_clip_high=3', 'tis_ratio_type is null', 'set it to token'],
    [['off_policy_correction.tis_ratio_type=token'], 'off_policy_correction.sequence_tis_ratio_clip_high=3', 'tis_ratio_type is token', 'set it to sequence'],
    [[], 'off_policy_correction.product_mask_low=0.1', 'sequence_mask_metric is null', 'set it to product'],
    [['off_policy_correction.sequence_mask_metric=geometric'], 'off_policy_correction.product_mask_high=3', 'sequence_mask_metric is geometric', 'set it to product'],
    [[], 'off_policy_correction.geo_mask_low=0.5', 'sequence_mask_metric is null', 'set it to geometric'],
    [['off_policy_correction.sequence_mask_metric=product'], 'off_policy_correction.geo_mask_high=2', 'sequence_mask_metric is product', 'set it to geometric'],
    [[], 'value_clip=0.5', 'there is no critic', "set trainer.critic.model={} for one of the policy's shape"],
    [[], 'trainer.critic_mini_batch_size=128', 'there is no critic', 'set trainer.critic.model={}'],
    [[], 'trainer.critic.optimizer_config.lr=1', 'there is no critic', 'set trainer.critic.model={}'],
    [['use_kl_loss=false'], 'trainer.ref.model.path=MODEL', 'there is no reference policy', 'set one of these to true'],
    [['trainer.policy.model.path=MODEL'], 'trainer.policy.model.num_layers=3', 'are those of the folder trainer.policy.model.path', 'set trainer.policy.model.path=null'],
    [['trainer.critic.model.path=MODEL'], 'trainer.critic.model.initializer_range=0.5', 'are those of the folder trainer.critic.model.path', 'set trainer.critic.model.path=null'],
    [['trainer.eval_interval=-1', 'trainer.eval_before_train=false'], 'trainer.eval_batch_size=8', 'there is no evaluation (trainer.eval_interval=-1, eval_before_train=false)', 'set one of these'],
    [['data.val_data=[]', 'trainer.eval_interval=-1'], 'generator.eval_n_samples_per_prompt=2', 'there is no evaluation (data.val_data is empty)', 'give data.val_data files'],
    [['trainer.eval_interval=-1', 'trainer.eval_before_train=false'], 'generator.eval_sampling_params.temperature=1', 'there is no evaluation', 'set one of these'],
    [['trainer.eval_interval=-1', 'trainer.eval_before_train=false'], 'trainer.stop_when.metric=eval/all/avg_score', 'there is no evaluation', 'set one of these'],
    [[], 'generator.eval_sampling_params.top_p=0.5', 'generator.eval_sampling_params.temperature=0', 'set a temperature above 0'],
    [[], 'generator.eval_sampling_params.min_p=0.5', 'generator.eval_sampling_params.temperature=0', 'set a temperature above 0'],
    [[], 'generator.eval_sampling_params.top_k=5', 'generator.eval_sampling_params.temperature=0', 'set a temperature above 0'],
    [['trainer.ckpt_interval=-1'], 'trainer.max_ckpts_to_keep=2', 'there are no checkpoints', 'set trainer.ckpt_interval'],
    [['trainer.logger=[console, tensorboard]'], 'trainer.log_samples=2', 'no logger of trainer.logger=[console, tensorboard] shows it', 'add jsonl'],
    [[], 'trainer.project_name=mine', 'no logger of trainer.logger=[console, jsonl] shows it', 'add wandb'],
    [[], 'generator.max_input_length=600', 'generator.max_turns=1', 'set generator.max_turns above 1'],
  ];
  const model = temporaryFolder();
  writeFileSync(join(model, 'config.json'), '{}');

  test.each(rows)('beside %j: %s', (others, key, because, remedy) => {
    const withModel = (each: string) => each.replace('MODEL', model);
    const message = problem(...[...others, key].map(withModel));
    const [name] = dotted([key]) as [string];
    expect(message).toContain(`command line: ${name.split('=')[0]}: expected its default, `);
    expect(message).toContain(because);
    expect(message).toMatch(new RegExp(`; got .*\\. Remove it, or .*${remedy.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`));
    expect(message).not.toMatch(/problems in the configuration/);
    // Without it nothing is wrong.
    expect(problem(...others.map(withModel))).toBe('none');
  });
});

test('says where the key was given, and all keys at once', () => {
  const file = join(temporaryFolder(), 'config.yaml');
  writeFileSync(file, 'trainer:\n  algorithm:\n    lambd: 0.5\n    clip_cov:\n      clip_cov_lb: 0\n');
  const message = messageOf({ base: { generator: { eval_sampling_params: { top_k: 3 } } }, file, overrides: [...files, 'trainer.algorithm.max_seq_len=9'] });
  expect(message).toMatch(/^4 problems in the configuration:\n/);
  expect(message).toContain(
    `  - ${file}:3: trainer.algorithm.lambd: expected its default, 1, as another value has no effect: trainer.algorithm.advantage_estimator is grpo, which does not look at λ; got 0.5. Remove it, or choose`,
  );
  expect(message).toContain(`  - ${file}:5: trainer.algorithm.clip_cov.clip_cov_lb: `);
  expect(message).toContain('  - command line: trainer.algorithm.max_seq_len: expected its default, null, ');
  expect(message).toContain('  - generator.eval_sampling_params.top_k: ');
});

test('a script checks its own object by checkConfig', () => {
  const load = (algorithm: object) => loadConfig({ base: { data: { train_data: ['train.jsonl'], val_data: ['validation.jsonl'] }, trainer: { algorithm } } });
  expect(() => checkConfig(load({ gamma: 0.5 }))).toThrow(/^trainer\.algorithm\.gamma: expected its default, 1, as another value has no effect: /);
  expect(() => checkConfig(load({ gamma: 1 }))).not.toThrow();
});

describe('is not refused:', () => {
  test.each([
    ['a default', ['lambd=1', 'clip_cov.clip_cov_lb=1', 'trainer.critic.optimizer_config.lr=5e-6', 'dynamic_sampling={type: null, max_sample_batches: 30}', 'reward_components=[]']],
    ['null, and what asks for nothing', [
      'use_kl_loss=false',
      'kl_loss_coef=0',
      'entropy_loss_coef=0',
      'value_clip=null',
      'trainer.log_samples=0',
      'trainer.logger=console',
      'cispo.cispo_eps_clip_low=null',
    ]],
    ["SkyRL's default", ['policy_loss_type=cispo', 'eps_clip_low=0.2', 'eps_clip_high=0.2', 'trainer.project_name=skyrl', 'generator.max_input_length=512']],
    ['what follows from another key', ['trainer.policy.model.num_layers=3', 'trainer.critic.model.num_layers=3', 'generator.eval_sampling_params.max_generate_length=1024']],
    ['a key that something reads', ['advantage_estimator=td_lambda', 'trainer.critic.model={}', 'trainer.critic.optimizer_config.lr=1', 'lambd=0.5', 'gamma=0.5', 'value_clip=0.5']],
    ['an option that decides', ['advantage_estimator=turn_level', 'gamma=0.5', 'grpo_norm_by_std=false']],
    ['the reduction of a loss', ['policy_loss_type=dr_grpo', 'max_seq_len=64']],
    ['a KL in the reward', ['use_kl_loss=false', 'use_kl_in_reward=true', 'kl_loss_coef=0.1', 'kl_estimator_type=k2', 'kl_ctrl={type: adaptive, kl_target: 1, horizon: 5}']],
    ['every section of its own', [
      'off_policy_correction={tis_ratio_type: sequence, sequence_tis_ratio_clip_high: 3, sequence_mask_metric: product, product_mask_low: 0.1}',
      'dynamic_sampling={type: replace, max_sample_batches: 3, min_replace_ratio: 0.5}',
    ]],
    ['the alias of a loss', ['policy_loss_type=vanilla', 'clip_ratio_c=4']],
    ['evaluations that sample', ['generator.eval_sampling_params={temperature: 1, top_p: 0.5, top_k: 3}', 'trainer.stop_when={metric: eval/all/avg_score}']],
  ])('%s', (_, keys) => {
    expect(problem(...keys)).toBe('none');
  });

  test('what custom estimators may look at, also those that extend a built-in one', () => {
    class Mine extends GroupRelative {}
    class Declared extends AdvantageEstimator {
      static override readonly reads = ['gamma'] as const;
      computeAdvantages(rewards: Tensor): Tensor {
        return rewards;
      }
    }
    registerAdvantageEstimator('test_mine', Mine);
    registerAdvantageEstimator('test_declared', Declared);
    try {
      expect(problem('advantage_estimator=test_mine', 'lambd=0.5', 'gamma=0.5', 'reward_components=[a]', 'grpo_norm_by_std=false')).toBe('none');
      expect(problem('advantage_estimator=test_declared', 'gamma=0.5')).toBe('none');
      expect(problem('advantage_estimator=test_declared', 'lambd=0.5')).toContain('advantage_estimator is test_declared, which does not look at λ');
    } finally {
      unregisterAdvantageEstimator('test_mine');
      unregisterAdvantageEstimator('test_declared');
    }
  });

  test('what custom losses and loggers get', () => {
    class Plain extends PolicyLoss {
      computeLoss({ logProbs, mask }: Parameters<PolicyLoss['computeLoss']>[0]) {
        return { loss: logProbs.sum(null, { mask }), metrics: {} };
      }
    }
    registerPolicyLoss('test_plain', Plain);
    registerTracker('test_tracker', () => ({ log: () => undefined, close: () => undefined }), { override: true });
    try {
      expect(problem('policy_loss_type=test_plain', 'eps_clip_low=0.1', 'eps_clip_high=0.1')).toBe('none');
      // It is given ε alone.
      expect(problem('policy_loss_type=test_plain', 'sapo.tau_pos=3')).toContain('policy_loss_type is test_plain, which reads eps_clip_low, eps_clip_high');
      expect(problem('trainer.logger=[test_tracker]', 'trainer.log_samples=9', 'trainer.project_name=mine')).toBe('none');
    } finally {
      unregisterPolicyLoss('test_plain');
    }
  });

  test('what an experiment of its own reads', () => {
    const overrides = [...files, 'trainer.critic.optimizer_config.lr=1', 'trainer.algorithm.value_clip=0.5', 'trainer.algorithm.lambd=0.5'];
    class WithCritic extends Experiment {
      override critic(...given: Parameters<Experiment['critic']>) {
        return super.critic(...given);
      }
    }
    expect(messageOf({ overrides }, WithCritic)).toMatch(/^command line: trainer\.algorithm\.lambd: /);
    class Reading extends WithCritic {
      override keysRead() {
        return ['trainer.algorithm'];
      }
    }
    expect(messageOf({ overrides }, Reading)).toBe('none');
  });

  test('how many checkpoints a callback may ask for', () => {
    const overrides = [...files, 'trainer.ckpt_interval=-1', 'trainer.max_ckpts_to_keep=2'];
    expect(messageOf({ overrides }, Experiment, [{ onStepEnd: (run) => run.save() }])).toBe('none');
  });

  test('what --print-config prints', () => {
    const model = temporaryFolder();
    writeFileSync(join(model, 'config.json'), '{}');
    for (
      const keys of [[], [`trainer.policy.model.path=${model}`, 'trainer.critic.model={}'], ['policy_loss_type=sapo', 'trainer.eval_interval=-1', 'trainer.eval_before_train=false']]
    ) {
      const loaded = loadConfig({ overrides: [...files, ...dotted(keys)] });
      const file = join(temporaryFolder(), 'printed.yaml');
      writeFileSync(file, describeConfig(loaded, unusedKeys(loaded).overridden, {}));
      expect(messageOf({ file })).toBe('none');
    }
  });

  test.each(['dual_clip, clip_ratio_c: 4', 'cispo, cispo: { cispo_eps_clip_low: 0.1, cispo_eps_clip_high: 3 }'])(
    'what --print-config prints where an override takes the effect of keys of the file: %s',
    (loss) => {
      const folder = temporaryFolder();
      const [file, printed] = [join(folder, 'config.yaml'), join(folder, 'printed.yaml')];
      writeFileSync(file, `trainer: { algorithm: { policy_loss_type: ${loss} } }`);
      const loaded = loadConfig({ file, overrides: [...files, 'trainer.algorithm.policy_loss_type=gspo'] });
      const text = describeConfig(loaded, unusedKeys(loaded).overridden, {});
      expect(text).toMatch(/^ +# \w+: [\d.]+ # .*config\.yaml.*; has no effect: /m);
      writeFileSync(printed, text);
      expect(messageOf({ file: printed })).toBe('none');
      expect(loadConfig({ file: printed }).config.trainer.algorithm.policy_loss_type).toBe('gspo');
    },
  );

  test('any key of the examples', () => {
    const examples = join(__dirname, '../../examples');
    const configs = readdirSync(examples, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.yaml'));
    expect(configs.length).toBeGreaterThan(3);
    for (const name of configs) {
      const loaded = loadConfig({ file: join(examples, name) });
      const shown = (() => {
        try {
          checkConfig(loaded);
          return '';
        } catch (error) {
          return (error as Error).message;
        }
      })();
      // Their own estimators, environments and tokenizers are not registered here.
      expect([name, shown.split('\n').filter((line) => line.includes('no effect'))]).toEqual([name, []]);
    }
  });
});

test('a key of the file whose effect an override takes is told, not refused; one that the override gives itself is refused', () => {
  const file = join(temporaryFolder(), 'config.yaml');
  writeFileSync(file, 'trainer:\n  algorithm:\n    advantage_estimator: gae\n    lambd: 0.9\n  critic:\n    model: {}\n');
  const loaded = loadConfig({ file, overrides: ['trainer.algorithm.advantage_estimator=rloo', 'trainer.critic.model=null'] });
  const { refused, overridden } = unusedKeys(loaded);
  expect(refused).toEqual([]);
  expect(overridden.map(overriddenKeyNote)).toEqual([`${file}:4: trainer.algorithm.lambd has no effect in this run: trainer.algorithm.advantage_estimator is rloo, which does not look at λ`]);
  expect(messageOf({ file, overrides: [...files, 'trainer.algorithm.advantage_estimator=rloo', 'trainer.critic.model=null', 'trainer.algorithm.lambd=0.8'] })).toMatch(
    /^command line: trainer\.algorithm\.lambd: /,
  );
});

test('a complete file of SkyRL, with its defaults, is taken', () => {
  const skyrl = parse(`
    data: { train_data: [train.parquet], val_data: [validation.parquet] }
    trainer:
      project_name: skyrl
      logger: [console]
      epochs: 1
      update_epochs_per_batch: 1
      train_batch_size: 1024
      policy_mini_batch_size: 256
      critic_mini_batch_size: 256
      micro_train_batch_size_per_gpu: 1
      eval_batch_size: 1024
      eval_before_train: true
      eval_interval: 5
      ckpt_interval: 10
      max_ckpts_to_keep: -1
      resume_mode: latest
      resume_path: null
      dump_data_batch: false
      dump_eval_results: true
      update_ref_every_epoch: false
      critic: { model: null, optimizer_config: { lr: 5.0e-6, adam_betas: [0.9, 0.999], weight_decay: 1.0e-2, max_grad_norm: 1.0, num_warmup_steps: 0, scheduler: constant_with_warmup } }
      ref: { model: { path: null } }
      algorithm:
        advantage_estimator: grpo
        kl_ctrl: { type: fixed, kl_target: 0.1, horizon: 10000 }
        kl_estimator_type: k3
        use_kl_in_reward: false
        use_kl_loss: true
        kl_loss_coef: 0.001
        use_entropy_loss: false
        entropy_loss_coef: 0.01
        advantage_batch_normalize: false
        policy_loss_type: regular
        loss_reduction: token_mean
        grpo_norm_by_std: true
        zero_variance_filter: false
        lambd: 1.0
        gamma: 1.0
        eps_clip_low: 0.2
        eps_clip_high: 0.2
        clip_ratio_c: 3.0
        value_clip: 0.2
        dynamic_sampling: { type: null, max_sample_batches: 30, min_replace_ratio: 0.3 }
        sapo: { tau_pos: 1.0, tau_neg: 1.05 }
        clip_cov: { clip_ratio: 0.0002, clip_cov_lb: 1.0, clip_cov_ub: 5.0 }
        kl_cov: { kl_cov_frac: 0.2, ppo_kl_coef: 1.0 }
        cispo: { cispo_eps_clip_low: 1, cispo_eps_clip_high: 4 }
    generator:
      n_samples_per_prompt: 5
      max_turns: 1
      max_input_length: 512
      sampling_params: { max_generate_length: 1024, temperature: 1.0, top_p: 1.0, min_p: 0.0, top_k: -1 }
      eval_sampling_params: { max_generate_length: 1024, temperature: 0.0, top_p: 1.0, min_p: 0.0, top_k: -1 }
      eval_n_samples_per_prompt: 1
  `) as object;
  expect(messageOf({ base: skyrl })).toBe('none');
  for (const loss of ['cispo', 'sapo', 'clip_cov', 'gspo', 'gpg']) expect(messageOf({ base: skyrl, overrides: [`trainer.algorithm.policy_loss_type=${loss}`] })).toBe('none');
});
