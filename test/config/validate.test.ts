import { loadConfig, validateConfig, validateDatasetSize, type ValidationContext } from '../../src/config';
import { ConfigError } from '../../src/errors';
import { Registry } from '../../src/registry';

const context: ValidationContext = {
  estimators: ['grpo', 'gae', 'rloo'],
  policyLosses: ['regular', 'dual_clip'],
  environments: ['gsm8k', 'gmax'],
  tokenizers: ['byte', 'word'],
  loggers: ['console', 'jsonl', 'wandb'],
  unusableDevice: () => 'no driver',
  env: {},
};
const files = ['data.train_data=[train.parquet]', 'data.val_data=[validation.parquet]'];
function problem(...overrides: string[]): string {
  try {
    validateConfig(loadConfig({ overrides: [...files, ...overrides] }).config, context);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  return 'none';
}

test('a sound configuration passes', () => {
  expect(problem()).toBe('none');
  expect(problem('trainer.algorithm.advantage_estimator=gae', 'trainer.critic.model={}')).toBe('none');
  expect(problem('trainer.eval_interval=-1', 'data.val_data=[]')).toBe('none');
  expect(problem('trainer.algorithm.use_kl_in_reward=true', 'trainer.algorithm.use_kl_loss=false')).toBe('none');
  expect(problem('trainer.algorithm.loss_reduction=seq_mean_token_sum_norm', 'trainer.algorithm.max_seq_len=64')).toBe('none');
});

test('wandb needs a key, but for files only', () => {
  const { config } = loadConfig({ overrides: [...files, 'trainer.logger=wandb'] });
  const check = (env: Record<string, string>) => () => validateConfig(config, { ...context, env });
  expect(check({ WANDB_API_KEY: 'key' })).not.toThrow();
  expect(check({ WANDB_MODE: 'offline' })).not.toThrow();
  expect(check({ WANDB_MODE: 'online' })).toThrow('set it, or WANDB_MODE=offline to write files only');
});

test.each([
  ['trainer.algorithm.advantage_estimator=gpro', "Unknown advantage estimator 'gpro'. Did you mean 'grpo'? Registered: gae, grpo, rloo"],
  [
    'trainer.algorithm.policy_loss_type=dualclip',
    "Unknown policy loss 'dualclip'. Did you mean 'dual_clip'? Registered: dual_clip, regular",
  ],
  ['environment.env_class=gsm9k', "environment.env_class: Unknown environment 'gsm9k'. Did you mean 'gsm8k'?"],
  ['trainer.tokenizer=bytes', "trainer.tokenizer: Unknown tokenizer 'bytes'. Did you mean 'byte'?"],
  ['trainer.logger=[console, tensorbord]', "trainer.logger: Unknown logger 'tensorbord'. Registered: console, jsonl, wandb"],
  ['trainer.logger=wandb', "'wandb' needs the environment variable WANDB_API_KEY"],
  ['trainer.policy_mini_batch_size=300', 'trainer.policy_mini_batch_size: expected a divisor of trainer.train_batch_size=1024, got 300'],
  ['trainer.policy_mini_batch_size=2048', 'expected a divisor of trainer.train_batch_size=1024, got 2048'],
  [
    'trainer.micro_train_batch_size_per_gpu=7',
    'trainer.micro_train_batch_size_per_gpu: expected a divisor of trainer.policy_mini_batch_size × generator.n_samples_per_prompt = 1280, got 7',
  ],
  ['trainer.algorithm.advantage_estimator=gae', 'trainer.critic.model: expected a model'],
  [
    'trainer.algorithm.use_kl_in_reward=true',
    'trainer.algorithm.use_kl_in_reward: expected false while trainer.algorithm.use_kl_loss is true',
  ],
  ['trainer.algorithm.loss_reduction=seq_mean_token_sum_norm', 'trainer.algorithm.max_seq_len: expected a positive integer'],
  [
    'trainer.policy.model.num_heads=5',
    'trainer.policy.model.hidden_size, num_heads: expected hidden_size, a multiple of 2 × num_heads (rotary positions turn pairs), got 64 and 5; with hidden_size=64, num_heads=4 or 8; with num_heads=5, hidden_size=60 or 70',
  ],
  ['trainer.policy.model.num_heads=64', 'got 64 and 64; with hidden_size=64, num_heads=32; with num_heads=64, hidden_size=128'],
  ['trainer.policy.model.hidden_size=33', 'got 33 and 4; hidden_size=33 is odd, so no number of heads fits; with num_heads=4, hidden_size=32 or 40'],
  ['trainer.policy.model.num_kv_heads=3', 'trainer.policy.model.num_kv_heads: expected a divisor of num_heads=4, got 3'],
  [
    'trainer.policy.model.path=qwen',
    "trainer.policy.model.path: expected a model's folder with config.json (Hugging Face's layout, or a checkpoint's global_step_N/policy), got 'qwen'",
  ],
  ['trainer.critic.model.num_kv_heads=3', 'trainer.critic.model.num_kv_heads: expected a divisor'],
  ['trainer.ref.model.path=qwen', "trainer.ref.model.path: expected a model's folder with config.json"],
  ['generator.max_input_length=511', 'generator.max_input_length: expected at least trainer.max_prompt_length=512 (a longer prompt would get no answer), got 511'],
  ['data.train_data=[]', 'data.train_data: expected at least one file, got none'],
  ['data.val_data=[]', 'data.val_data: expected at least one file, or trainer.eval_interval=-1'],
  ['trainer.device=cuda', "trainer.device: 'cuda' cannot be used here: no driver"],
  ['trainer.resume_mode=from_path', 'trainer.resume_path: expected the folder of a checkpoint ({ckpt_path}/global_step_N), as trainer.resume_mode is from_path, got null'],
  ['trainer.resume_path=there', "trainer.resume_path: expected null unless trainer.resume_mode is from_path, got 'there' with latest"],
])('%s', (override, message) => {
  expect(problem(override)).toContain(message);
});

test("the critic's mini-batch matters only with a critic", () => {
  expect(problem('trainer.critic_mini_batch_size=300')).toBe('none');
  expect(problem('trainer.critic_mini_batch_size=300', 'trainer.critic.model={}')).toContain(
    'trainer.critic_mini_batch_size: expected a divisor',
  );
});

test('all problems are told at once', () => {
  const message = problem('data.train_data=[]', 'generator.max_input_length=2');
  expect(message).toMatch(/^2 problems in the configuration:\n {2}- .*\n {2}- .*$/);
});

test('names may be a registry, whose aliases count; needsValues asks for a critic', () => {
  const estimators = new Registry<object>('advantage estimator of this test');
  estimators.register('my_custom', {}, { aliases: ['mine'] });
  const { config } = loadConfig({ overrides: [...files, 'trainer.algorithm.advantage_estimator=mine'] });
  expect(() => validateConfig(config, { ...context, estimators })).not.toThrow();
  expect(() => validateConfig(config, { ...context, estimators, needsValues: () => true })).toThrow(
    "trainer.critic.model: expected a model ({} for one of the policy's shape), because trainer.algorithm.advantage_estimator=mine needs a critic",
  );
});

test('the dataset holds at least one batch', () => {
  const { config } = loadConfig();
  expect(() => validateDatasetSize(config, 1024)).not.toThrow();
  expect(() => validateDatasetSize(config, 1023)).toThrow('trainer.train_batch_size: expected at most the 1023 prompts');
  expect(() => validateDatasetSize(config, 0, 600)).toThrow('trainer.max_prompt_length: expected at least 600, the tokens of the shortest prompt of data.train_data, got 512');
});
