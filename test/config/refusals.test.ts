/** What is said of a configuration that is none: the key, what was expected, what came, and where it stands. */
import { configKeys, loadConfig } from '../../src/config';
import { lossReductions } from '../../src/losses/reduction';
import { errorOf, overridden, yamlFile } from './files';

describe('files that are none of ours', () => {
  test('what is nested without end is refused in words', () => {
    for (const text of [`trainer: ${'['.repeat(20_000)}${']'.repeat(20_000)}`, `trainer: ${'{a: '.repeat(5000)}1${'}'.repeat(5000)}`]) {
      expect(errorOf(() => loadConfig({ file: yamlFile(text) }))).toMatch(/config-\d+\.yaml:1: it is nested too deep/);
    }
  });

  test('a key that comes twice', () => {
    expect(errorOf(() => loadConfig({ file: yamlFile('trainer:\n  seed: 1\n  epochs: 1\n  seed: 2\n') }))).toMatch(/config-\d+\.yaml:4: seed: is given twice in one mapping/);
    expect(errorOf(() => loadConfig({ file: yamlFile('trainer:\n  algorithm: { advantage_options: { a: 1, a: 2 } }\n') }))).toContain('.yaml:2: a: is given twice');
  });

  test('of many unknown keys the first ones are told', () => {
    const file = yamlFile(`trainer: {${Array.from({ length: 20_000 }, (_, i) => `k${i}: ${i}`).join(', ')}}`);
    const lines = errorOf(() => loadConfig({ file })).split('\n');
    expect(lines.length).toBe(52);
    expect(lines.at(-1)).toBe('  - and perhaps more');
  });
});

describe('keys that do not exist', () => {
  test.each([
    ['trainer.algoritm.gamma=1', 'trainer.algoritm.gamma: unknown key. Did you mean trainer.algorithm.gamma?'],
    ['trainer.algorithm.adv_estimator=gae', 'trainer.algorithm.adv_estimator: unknown key. Did you mean trainer.algorithm.advantage_estimator?'],
    ['trainer.algorithm.loss_reduction=token-mean', `trainer.algorithm.loss_reduction: expected one of ${lossReductions.join(', ')}, got "token-mean". Did you mean 'token_mean'?`],
    ['trainer.foo.bar=1', 'trainer.foo.bar: unknown key. Below trainer there are: '],
    ['trainer.train_batchsize=1', 'trainer.train_batchsize: unknown key. Did you mean trainer.train_batch_size?'],
    ['advantage_estimator=gae', 'advantage_estimator: unknown key. Did you mean trainer.algorithm.advantage_estimator?'],
    ['trainer.seed.x=1', 'trainer.seed.x: unknown key.'],
    ['constructor=1', 'constructor: unknown key. Below the top there are: data, trainer, generator, environment'],
    ['__proto__.polluted=1', '__proto__.polluted: unknown key.'],
    ['generator.async_engine=true', 'generator.async_engine is known but not supported yet'],
    ['trainer.algorithm.use_tis=true', 'trainer.algorithm.use_tis has made room for trainer.algorithm.off_policy_correction.tis_ratio_type=token'],
    ['trainer.algorithm.advantage_options.grpo.epsilon=1', 'trainer.algorithm.advantage_options.grpo.epsilon: unknown key.'],
    ['trainer.algorithm.advantage_options.__proto__=1', 'trainer.algorithm.advantage_options.__proto__: unknown key.'],
    ['trainer.algorithm.advantage_options.=1', 'trainer.algorithm.advantage_options.: unknown key.'],
  ])('%s', (override, message) => {
    expect(errorOf(() => overridden(override))).toContain(`command line: ${message}`);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('values of the wrong type or range', () => {
  test.each([
    ['trainer.device=tpu', 'trainer.device: expected one of cpu, cuda, got "tpu"'],
    ['generator.sampling_params.stop=[3]', 'generator.sampling_params.stop[0]: expected text, got 3'],
    ['generator.max_concurrent_environments=0', 'generator.max_concurrent_environments: expected a positive integer, or -1 for no limit, got 0'],
    ['generator.environment_timeout=0', 'generator.environment_timeout: expected a number above 0, got 0'],
    ['trainer.seed=-1', 'trainer.seed: expected an integer, 0 or more, got -1'],
    ['trainer.seed=1.5', 'trainer.seed: expected an integer, 0 or more, got 1.5'],
    ['trainer.train_batch_size=many', 'trainer.train_batch_size: expected a positive integer, got "many"'],
    ['trainer.max_ckpts_to_keep=0', 'trainer.max_ckpts_to_keep: expected a positive integer, or -1 for all, got 0'],
    ['trainer.eval_interval=0', 'trainer.eval_interval: expected a positive integer, or -1 for no evaluation, got 0'],
    ['trainer.eval_before_train=1', 'trainer.eval_before_train: expected true or false, got 1'],
    ['trainer.run_name=7', 'trainer.run_name: expected text, got 7 (a number; quote it to make it text: trainer.run_name=\'"7"\')'],
    ['generator.sampling_params.stop=9', 'generator.sampling_params.stop: expected a list of texts, got 9 (a number; quote it to make it text: generator.sampling_params.stop=\'"9"\')'],
    ['trainer.logger=true', 'trainer.logger: expected a list of loggers, got true (true or false; quote it to make it text: trainer.logger=\'"true"\')'],
    ['trainer.logger=[console, 3]', 'trainer.logger[1]: expected text, got 3'],
    ['data.train_data={a: 1}', 'data.train_data: expected a list of files, got {"a":1}'],
    ['trainer.policy.optimizer_config.lr=0', 'trainer.policy.optimizer_config.lr: expected a number above 0, got 0'],
    ['trainer.policy.optimizer_config.adam_betas=[0.9]', 'adam_betas: expected two numbers from 0 to below 1, got [0.9]'],
    ['trainer.policy.optimizer_config.adam_betas=[0.9, 1]', 'adam_betas[1]: expected a number from 0 to below 1, got 1'],
    ['trainer.algorithm.loss_reduction=mean', 'expected one of token_mean, token_mean_legacy, sequence_mean, seq_mean_token_sum, seq_mean_token_sum_norm, prompt_mean, token_sum, got "mean"'],
    ['trainer.algorithm.kl_estimator_type=k4', 'trainer.algorithm.kl_estimator_type: expected one of k1, abs, k2, k3, k1+, k2+, k3+, got "k4"'],
    ['trainer.algorithm.gamma=.nan', 'trainer.algorithm.gamma: expected a number from 0 to 1, got NaN'],
    ['trainer.policy.optimizer_config.max_grad_norm=.inf', 'max_grad_norm: expected a number above 0, got Infinity'],
    ['generator.sampling_params.temperature=0', 'generator.sampling_params.temperature: expected a number from 0.000001 to 1000000, got 0'],
    ['generator.sampling_params.temperature=1e300', 'generator.sampling_params.temperature: expected a number from 0.000001 to 1000000, got 1e+300'],
    ['generator.eval_sampling_params.temperature=1e-9', 'generator.eval_sampling_params.temperature: expected a number from 0.000001 to 1000000, or 0 for the likeliest token, got 1e-9'],
    ['generator.sampling_params.top_p=0', 'generator.sampling_params.top_p: expected a number above 0 and at most 1, got 0'],
    ['generator.sampling_params.top_k=0', 'generator.sampling_params.top_k: expected a positive integer, or -1 for all, got 0'],
    ['trainer.algorithm=3', 'trainer.algorithm: expected a mapping of keys, got 3'],
    ['trainer.policy.model=[1]', 'trainer.policy.model: expected a mapping of keys, got [1]'],
  ])('%s', (override, message) => {
    const error = errorOf(() => overridden(override));
    expect(error).toMatch(/^command line: /);
    expect(error).toContain(message);
  });
});

test.each(configKeys())('%s: what no key takes is refused by its name', (key) => {
  const base = key.split('.').reduceRight<unknown>((value, name) => ({ [name]: value }), 1n) as object;
  expect(errorOf(() => loadConfig({ base }))).toMatch(new RegExp(`^${key.replaceAll('.', '\\.')}(\\[0\\])?: expected .+, got `));
});
