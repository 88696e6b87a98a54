import { join } from 'node:path';
import { configKeys, loadConfig, loadConfigFromArguments } from '../../src/config';
import { ConfigError } from '../../src/errors';
import { errorOf, folder, overridden, yamlFile } from './files';

describe('defaults', () => {
  const { config } = loadConfig();

  test('are those that users of SkyRL know', () => {
    expect(config.trainer).toMatchObject({
      epochs: 1,
      max_training_steps: null,
      train_batch_size: 1024,
      policy_mini_batch_size: 256,
      critic_mini_batch_size: 256,
      update_epochs_per_batch: 1,
      micro_train_batch_size_per_gpu: 1,
      micro_forward_batch_size_per_gpu: 1,
      max_prompt_length: 512,
      seed: 42,
      eval_batch_size: 1024,
      eval_before_train: true,
      eval_interval: 5,
      ckpt_interval: 10,
      max_ckpts_to_keep: -1,
    });
    const optimizer = {
      lr: 1e-6,
      adam_betas: [0.9, 0.999],
      weight_decay: 0.01,
      max_grad_norm: 1,
      num_warmup_steps: 0,
      scheduler: 'constant_with_warmup',
    };
    expect(config.trainer.policy.optimizer_config).toEqual(optimizer);
    expect(config.trainer.critic).toEqual({ model: null, optimizer_config: { ...optimizer, lr: 5e-6 } });
    expect(config.trainer.algorithm).toEqual({
      advantage_estimator: 'grpo',
      advantage_options: {},
      reward_components: [],
      kl_ctrl: { type: 'fixed', kl_target: 0.1, horizon: 10_000 },
      kl_estimator_type: 'k3',
      use_kl_in_reward: false,
      use_kl_loss: true,
      kl_loss_coef: 0.001,
      use_entropy_loss: false,
      entropy_loss_coef: 0.01,
      entropy_ctrl: { type: 'fixed', target: 0.2, delta: 0.005, min: 0, max: 1 },
      advantage_batch_normalize: false,
      policy_loss_type: 'regular',
      policy_loss_options: {},
      loss_reduction: null,
      grpo_norm_by_std: true,
      zero_variance_filter: false,
      lambd: 1,
      gamma: 1,
      eps_clip_low: null,
      eps_clip_high: null,
      clip_ratio_c: 3,
      value_clip: 0.2,
      max_seq_len: null,
      dynamic_sampling: { type: null, max_sample_batches: 30, min_replace_ratio: 0.3 },
      off_policy_correction: {
        tis_ratio_type: null,
        token_tis_ratio_clip_high: 2,
        sequence_tis_ratio_clip_high: 5,
        sequence_mask_metric: null,
        product_mask_low: 0.5,
        product_mask_high: 2,
        geo_mask_low: 0.99,
        geo_mask_high: 1.01,
        outlier_token_is_threshold_low: null,
        outlier_token_is_threshold_high: null,
        token_mask_is_threshold_low: null,
        token_mask_is_threshold_high: null,
      },
      sapo: { tau_pos: 1, tau_neg: 1.05 },
      clip_cov: { clip_ratio: 0.0002, clip_cov_lb: 1, clip_cov_ub: 5 },
      kl_cov: { kl_cov_frac: 0.2, ppo_kl_coef: 1 },
      cispo: { cispo_eps_clip_low: 1, cispo_eps_clip_high: 4, anchor: 'old' },
      dppo: { dppo_type: 'binary_tv', delta_low: 0.2, delta_high: 0.2 },
    });
    expect(config.generator).toEqual({
      n_samples_per_prompt: 5,
      max_turns: 1,
      max_input_length: null,
      sampling_params: { max_generate_length: 1024, temperature: 1, top_p: 1, min_p: 0, top_k: -1, stop: null },
      eval_sampling_params: { max_generate_length: 1024, temperature: 0, top_p: 1, min_p: 0, top_k: -1, stop: null },
      eval_n_samples_per_prompt: 1,
      zero_reward_on_non_stop: false,
      apply_overlong_filtering: false,
      max_concurrent_environments: 32,
      environment_timeout: null,
    });
    expect(config.environment).toEqual({ env_class: 'gsm8k' });
    expect(config.trainer.stop_when).toBeNull();
  });

  test('are not shared between configurations', () => {
    const first = loadConfig().config;
    first.trainer.policy.optimizer_config.adam_betas[0] = 0.1;
    first.trainer.logger.push('x');
    expect(loadConfig().config).toEqual(config);
  });
});

describe('what depends on another key', () => {
  test("the critic's shape is the policy's where it says nothing else", () => {
    const { model } = overridden('trainer.policy.model={hidden_size: 32, num_heads: 2}', 'trainer.critic.model.num_layers=1').trainer
      .critic;
    expect(model).toMatchObject({ hidden_size: 32, num_heads: 2, num_layers: 1, path: null });
  });

  test("the critic's folder is the policy's unless it is given", () => {
    const pathOf = (...overrides: string[]) => overridden('trainer.policy.model.path=folder', ...overrides).trainer.critic.model?.path;
    expect(pathOf('trainer.critic.model={}')).toBe('folder');
    expect(pathOf('trainer.critic.model.num_layers=2')).toBe('folder');
    expect(pathOf('trainer.critic.model.path=other')).toBe('other');
    expect(pathOf('trainer.critic.model={path: null, num_layers: 2}')).toBeNull();
  });

  test('an alias on the command line is refused by its key', () => {
    expect(() => overridden('trainer.run_name=*a')).toThrow(
      `command line: trainer.run_name: Unresolved alias (the anchor must be set before the alias): a (quote it to make it text: trainer.run_name='"…"')`,
    );
    expect(() => overridden('trainer.run_name=*a')).toThrow(ConfigError);
  });

  test('evaluation generates as many tokens as training, unless told otherwise', () => {
    const length = 'generator.sampling_params.max_generate_length=7';
    expect(overridden(length).generator.eval_sampling_params.max_generate_length).toBe(7);
    const both = overridden(length, 'generator.eval_sampling_params.max_generate_length=9');
    expect(both.generator.eval_sampling_params.max_generate_length).toBe(9);
  });

  test('evaluation ends answers at the stop texts of training, unless told otherwise', () => {
    const stop = 'generator.sampling_params.stop="</tool>"';
    expect(overridden(stop).generator.eval_sampling_params.stop).toEqual(['</tool>']);
    expect(overridden(stop, 'generator.eval_sampling_params.stop=null').generator.eval_sampling_params.stop).toBeNull();
    expect(overridden(stop, 'generator.eval_sampling_params.stop=[a, b]').generator.eval_sampling_params.stop).toEqual(['a', 'b']);
  });

  test('stop_when={} is the usual threshold', () => {
    expect(overridden('trainer.stop_when={}').trainer.stop_when).toEqual({ metric: 'reward/avg_raw_reward', window: 10, value: 0.9 });
  });
});

describe('overrides', () => {
  test('are YAML values', () => {
    const { data, trainer, environment } = overridden(
      'trainer.policy.optimizer_config.lr=1e-3',
      'trainer.max_training_steps=200',
      'trainer.algorithm.use_kl_loss=false',
      'data.train_data=[a.parquet, "b c.jsonl"]',
      'data.val_data=x=y.jsonl',
      'environment.env_class=gmax',
      'trainer.run_name="7"',
    );
    expect(trainer.policy.optimizer_config.lr).toBe(1e-3);
    expect([trainer.max_training_steps, trainer.run_name, trainer.algorithm.use_kl_loss]).toEqual([200, '7', false]);
    expect(data).toEqual({ train_data: ['a.parquet', 'b c.jsonl'], val_data: ['x=y.jsonl'] });
    expect(environment.env_class).toBe('gmax');
  });

  test('the last one wins, null takes a value back, a mapping changes only what it names', () => {
    expect(overridden('trainer.seed=1', 'trainer.seed=2').trainer.seed).toBe(2);
    expect(overridden('trainer.max_training_steps=3', 'trainer.max_training_steps=null').trainer.max_training_steps).toBeNull();
    expect(overridden('trainer.critic.model={num_layers: 1}', 'trainer.critic.model=null').trainer.critic.model).toBeNull();
    expect(overridden('trainer.critic.model={num_layers: 1}', 'trainer.critic.model={}').trainer.critic.model?.num_layers).toBe(1);
    const algorithm = overridden('trainer.algorithm.gamma=0.5', 'trainer.algorithm={lambd: 0.9}').trainer.algorithm;
    expect([algorithm.gamma, algorithm.lambd]).toEqual([0.5, 0.9]);
  });

  test.each(['trainer.seed', '=3', ''])('%p is no assignment', (override) => {
    expect(errorOf(() => overridden(override))).toBe(`command line: expected key=value, got '${override}'`);
  });

  test('broken YAML is reported with its key', () => {
    expect(errorOf(() => overridden('data.train_data=[a'))).toMatch(/^command line: data\.train_data: /);
  });
});

describe('YAML files', () => {
  const file = yamlFile(`# a run
trainer:
  seed: 7
  algorithm: { advantage_estimator: my_custom, gamma: 0.5 }
  policy:
    optimizer_config:
      lr: 0.001
data:
  train_data: [train.parquet]
`);

  test('lie above base and below overrides, and the origin of each value is known', () => {
    const base = { trainer: { seed: 1, epochs: 9 } };
    const { config, provenance } = loadConfig({ file, base, overrides: ['trainer.algorithm.gamma=0.25', 'trainer.critic.model={}'] });
    expect([config.trainer.seed, config.trainer.epochs, config.trainer.algorithm.gamma]).toEqual([7, 9, 0.25]);
    expect(config.trainer.algorithm.advantage_estimator).toBe('my_custom');
    const origins = [
      'trainer.seed',
      'trainer.epochs',
      'trainer.algorithm.gamma',
      'trainer.algorithm.advantage_estimator',
      'data.train_data',
    ];
    expect(origins.map((key) => provenance.get(key))).toEqual([`${file}:3`, 'base', 'command line', `${file}:4`, `${file}:9`]);
    expect(provenance.get('trainer.critic.model.num_layers')).toBe('command line');
    expect(provenance.get('trainer.algorithm.lambd')).toBe('default');
    expect([...provenance.keys()]).toEqual(configKeys());
  });

  test.each(['', '# nothing\n', '{}'])('%j is a file of defaults', (text) => {
    expect(loadConfig({ file: yamlFile(text) }).config).toEqual(loadConfig().config);
  });

  test('problems are named with file and line, all at once', () => {
    const wrong = yamlFile('trainer:\n  seed: 3\n  algorithm:\n    gama: 1\n    lambd: 7\n');
    expect(errorOf(() => loadConfig({ file: wrong, overrides: ['trainer.epochs=0'] }))).toBe(
      [
        '3 problems in the configuration:',
        `  - ${wrong}:4: trainer.algorithm.gama: unknown key. Did you mean trainer.algorithm.gamma?`,
        '  - command line: trainer.epochs: expected a positive integer, got 0',
        `  - ${wrong}:5: trainer.algorithm.lambd: expected a number from 0 to 1, got 7`,
      ].join('\n'),
    );
  });

  test.each([
    ['trainer: [1', ':1: '],
    ['a:\n  b: 1\n c: 2\n', ':3: '],
    ['trainer:\n  seed: 1\n  seed: 2\n', ':3: seed: is given twice in one mapping; keep one of them'],
    ['trainer: {}\n---\ntrainer: {}\n', ':2: expected one YAML document, got another one behind ---'],
    ['trainer:\n  <<: 3\n', ':2: <<: expected a mapping or a list of mappings (such as *NAME, the one marked &NAME), got 3'],
    ['trainer:\n  <<: { sed: 3 }\n', ':2: trainer.sed: unknown key. Did you mean trainer.seed?'],
    ['trainer: &t\n  policy:\n    <<: *t\n', ':3: '],
    ['- 1\n', ': expected a mapping of keys, got [1]'],
    ['trainer:\n', ':1: trainer: expected a mapping of keys, got null'],
    ['3: 4\n', ':1: 3: unknown key.'],
    ['[1]: 4\n', ':1: [1]: unknown key.'],
    ['trainer:\n  seed: *nowhere\n', ':2: '],
  ])('%j', (text, expected) => {
    const wrong = yamlFile(text);
    expect(errorOf(() => loadConfig({ file: wrong }))).toContain(wrong + expected);
  });

  test('an alias stands for the section that it names', () => {
    const shared = yamlFile('trainer:\n  policy:\n    model: &shape {num_layers: 3}\n  critic:\n    model: *shape\n');
    expect(loadConfig({ file: shared }).config.trainer.critic.model?.num_layers).toBe(3);
    const wrong = yamlFile('trainer:\n  critic: &o {optimizer_config: {lr: 1}, model: {layers: 1}}\n  policy: *o\n');
    expect(errorOf(() => loadConfig({ file: wrong }))).toContain(`${wrong}:3: trainer.policy.model.layers: unknown key`);
  });

  test('a merge key brings what the mapping itself does not say, the first of several mappings before the others', () => {
    const merged = yamlFile(
      [
        'trainer:',
        '  policy:',
        '    optimizer_config: &base { lr: 0.5, weight_decay: 0.25, num_warmup_steps: 3 }',
        '  critic:',
        '    optimizer_config:',
        '      lr: 0.125',
        '      <<: [{ weight_decay: 0.5 }, *base]',
        '  algorithm:',
        '    advantage_options: { <<: { epsilon: 1 }, ddof: 0, epsilon: 2 }',
        '',
      ].join('\n'),
    );
    const { config, provenance } = loadConfig({ file: merged });
    expect(config.trainer.critic.optimizer_config).toMatchObject({ lr: 0.125, weight_decay: 0.5, num_warmup_steps: 3 });
    expect(config.trainer.policy.optimizer_config).toMatchObject({ lr: 0.5, weight_decay: 0.25, num_warmup_steps: 3 });
    expect(config.trainer.algorithm.advantage_options).toEqual({ epsilon: 2, ddof: 0 });
    const origins = ['lr', 'weight_decay'].map((name) => provenance.get(`trainer.critic.optimizer_config.${name}`));
    expect(origins).toEqual([`${merged}:6`, `${merged}:7`]);
  });

  test('a file that cannot be read', () => {
    expect(errorOf(() => loadConfig({ file: join(folder, 'none.yaml') }))).toMatch(/none\.yaml: no such file$/);
    expect(errorOf(() => loadConfig({ file: folder }))).toBe(`${folder}: is a folder, expected a configuration in YAML`);
    expect(errorOf(() => loadConfig({ overrides: ['run.yaml'] }))).toBe("command line: expected key=value, got 'run.yaml' (a file comes behind -c: -c run.yaml)");
  });
});

describe('mappings of options', () => {
  const key = 'trainer.algorithm.advantage_options';

  test('take any name, one by one or together, later ones over earlier ones, and the origin of each is known', () => {
    const file = yamlFile('trainer:\n  algorithm:\n    advantage_options:\n      epsilon: 1e-4\n      convention: trl\n');
    const { config, provenance } = loadConfig({ file, overrides: [`${key}.epsilon=1e-5`, `${key}={ddof: 0}`] });
    expect(config.trainer.algorithm.advantage_options).toEqual({ epsilon: 1e-5, convention: 'trl', ddof: 0 });
    expect(['epsilon', 'convention', 'ddof'].map((name) => provenance.get(`${key}.${name}`))).toEqual(['command line', `${file}:5`, 'command line']);
    expect(provenance.get(key)).toBe('default');
  });

  test('take values of any kind, and are mappings', () => {
    expect(overridden(`${key}.weights=[1, 2]`).trainer.algorithm.advantage_options).toEqual({ weights: [1, 2] });
    expect(errorOf(() => overridden(`${key}=3`))).toContain(`${key}: expected a mapping of options, got 3`);
  });
});

describe('loadConfigFromArguments', () => {
  test('reads -c, --config and overrides in any order', () => {
    const file = yamlFile('trainer: {seed: 5}');
    for (
      const argv of [
        ['-c', file, 'trainer.epochs=2'],
        ['trainer.epochs=2', `--config=${file}`],
      ]
    ) {
      const { trainer } = loadConfigFromArguments(argv).config;
      expect([trainer.seed, trainer.epochs]).toEqual([5, 2]);
    }
  });

  test.each([[['--confg', 'x']], [['-c']]])('%j is an error', (argv) => {
    expect(() => loadConfigFromArguments(argv)).toThrow(ConfigError);
  });
});
