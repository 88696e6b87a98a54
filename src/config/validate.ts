/** The checks that relate several keys, or a key and what is registered. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isList, isText } from '../data/check';
import { ConfigError, showValue } from '../errors';
import { unknownName } from '../registry';
import { problemList } from './load';
import { type Config, type ModelConfig } from './schema';

/** @throws ConfigError for what is no configuration: `loadConfig` makes one */
export function checkConfig(who: string, config: unknown): asserts config is Config {
  const { trainer, data, environment, generator } = (config ?? {}) as Partial<Config>;
  const whole = [trainer, data, environment, generator, trainer?.algorithm].every((section) => typeof section === 'object' && section !== null);
  if (!whole) throw new ConfigError(`${who}: expected a configuration, as loadConfig gives it, got ${showValue(config)}`);
}

/** Names that exist: a list, or a registry. */
export type Names =
  | readonly string[]
  | {
    /** Whether a name, or an alias, is known. */
    has(name: string): boolean;
    /** The names. */
    list(): string[];
    /** Further names of one of them. */
    aliasesOf?(name: string): readonly string[];
  };

/** What a configuration may name. */
export interface ValidationContext {
  /** Advantage estimators. */
  estimators: Names;
  /** Policy losses. */
  policyLosses: Names;
  /** Environments. */
  environments: Names;
  /** Tokenizers. */
  tokenizers: Names;
  /** Trackers. */
  loggers: Names;
  /** Whether an estimator needs values, so a critic (`requires` has `values`). Without it, only `gae` does. */
  needsValues?: (estimator: string) => boolean;
  /** Why a device cannot be used here, or null. Without it, nothing is checked. */
  unusableDevice?: (device: string) => string | null;
  /** Further checks: what is wrong beside, each problem with its key. */
  problems?: (config: Config) => string[];
  /** Where WANDB_API_KEY and WANDB_MODE are looked up; the process's environment unless given. */
  env?: Record<string, string | undefined>;
}

/**
 * Checks a complete configuration against what is registered.
 * @throws ConfigError that names each key that is wrong and what would be right.
 */
export function validateConfig(config: Config, context: ValidationContext): void {
  checkConfig('validateConfig', config);
  for (const key of ['estimators', 'policyLosses', 'environments', 'tokenizers', 'loggers'] as const) {
    const names: unknown = (context as Partial<ValidationContext> | null)?.[key];
    const isRegistry = typeof names === 'object' && names !== null && 'has' in names && 'list' in names;
    if (!isRegistry && !isList(names, isText)) {
      throw new ConfigError(`validateConfig: ${key}: expected an array of names or a registry, got ${showValue(names)}`);
    }
  }
  const problems = [
    ...nameProblems(config, context),
    ...batchProblems(config),
    ...algorithmProblems(config, context),
    ...modelProblems('trainer.policy.model', config.trainer.policy.model),
    ...(config.trainer.critic.model ? modelProblems('trainer.critic.model', config.trainer.critic.model) : []),
    ...runProblems(config, context),
    ...(context.problems?.(config) ?? []),
  ];
  if (problems.length > 0) throw new ConfigError(problemList(problems));
}

/**
 * Checks that the prompts left in the dataset make at least one batch.
 * @param shortestDropped tokens of the shortest prompt that was too long, or null
 * @throws ConfigError
 */
export function validateDatasetSize(config: Config, prompts: number, shortestDropped: number | null = null): void {
  checkConfig('validateDatasetSize', config);
  for (const [name, value] of Object.entries({ prompts, shortestDropped })) {
    if (value !== null && !Number.isInteger(value)) throw new ConfigError(`validateDatasetSize: ${name}: expected an integer, got ${showValue(value)}`);
  }
  const { train_batch_size, max_prompt_length } = config.trainer;
  if (prompts === 0 && shortestDropped !== null) {
    throw new ConfigError(`trainer.max_prompt_length: expected at least ${shortestDropped}, the tokens of the shortest prompt of data.train_data, got ${max_prompt_length}`);
  }
  if (prompts < train_batch_size) {
    throw new ConfigError(
      `trainer.train_batch_size: expected at most the ${prompts} prompts that data.train_data holds ` +
        `(those over trainer.max_prompt_length=${max_prompt_length} are dropped), got ${train_batch_size}`,
    );
  }
}

function nameProblems({ trainer, environment }: Config, context: ValidationContext): string[] {
  const check = (key: string, kind: string, name: string, names: Names): string[] => {
    const exists = 'has' in names ? names.has(name) : names.includes(name);
    if (exists) return [];
    const custom = ' (a custom one is registered by its module: --load FILE, or in a script before main is called)';
    return [`${key}: ${unknownName(kind, name, 'has' in names ? names.list() : [...names].sort(), (each) => ('has' in names && names.aliasesOf?.(each)) || [])}${custom}`];
  };
  return [
    ...check('trainer.algorithm.advantage_estimator', 'advantage estimator', trainer.algorithm.advantage_estimator, context.estimators),
    ...check('trainer.algorithm.policy_loss_type', 'policy loss', trainer.algorithm.policy_loss_type, context.policyLosses),
    ...check('environment.env_class', 'environment', environment.env_class, context.environments),
    ...(trainer.tokenizer === null ? [] : check('trainer.tokenizer', 'tokenizer', trainer.tokenizer, context.tokenizers)),
    ...trainer.logger.flatMap((name) => check('trainer.logger', 'logger', name, context.loggers)),
  ];
}

function batchProblems({ trainer, generator }: Config): string[] {
  const { train_batch_size: batch, micro_train_batch_size_per_gpu: micro } = trainer;
  const samples = generator.n_samples_per_prompt;
  const minis = (['policy_mini_batch_size', 'critic_mini_batch_size'] as const).slice(0, trainer.critic.model ? 2 : 1);
  return minis.flatMap((key) => {
    const mini = trainer[key];
    const problems: string[] = [];
    if (batch % mini !== 0) problems.push(`trainer.${key}: expected a divisor of trainer.train_batch_size=${batch}, got ${mini}`);
    if ((mini * samples) % micro !== 0) {
      problems.push(
        `trainer.micro_train_batch_size_per_gpu: expected a divisor of trainer.${key} × generator.n_samples_per_prompt = ` +
          `${mini * samples}, got ${micro}`,
      );
    }
    return problems;
  });
}

function algorithmProblems({ trainer }: Config, { needsValues = (name) => name === 'gae' }: ValidationContext): string[] {
  const { algorithm, critic } = trainer;
  const problems: string[] = [];
  if (needsValues(algorithm.advantage_estimator) && critic.model === null) {
    problems.push(
      `trainer.critic.model: expected a model ({} for one of the policy's shape), because ` +
        `trainer.algorithm.advantage_estimator=${algorithm.advantage_estimator} needs a critic, got null`,
    );
  }
  if (algorithm.use_kl_in_reward && algorithm.use_kl_loss) {
    problems.push(
      'trainer.algorithm.use_kl_in_reward: expected false while trainer.algorithm.use_kl_loss is true (set one of them to false)',
    );
  }
  if (algorithm.loss_reduction === 'seq_mean_token_sum_norm' && algorithm.max_seq_len === null) {
    problems.push('trainer.algorithm.max_seq_len: expected a positive integer (seq_mean_token_sum_norm divides by it), got null');
  }
  return problems;
}

function modelProblems(key: string, model: ModelConfig): string[] {
  const problems: string[] = [];
  const { hidden_size, num_heads, num_kv_heads } = model;
  if (model.path !== null) return folderProblems(`${key}.path`, model.path);
  if (hidden_size % (2 * num_heads) !== 0) problems.push(headsProblem(key, hidden_size, num_heads));
  if (num_heads % num_kv_heads !== 0)
    problems.push(`${key}.num_kv_heads: expected a divisor of num_heads=${num_heads}, got ${num_kv_heads}`);
  return problems;
}

/** Which of the two is meant to be as it is, nobody knows: what fits either. */
function headsProblem(key: string, hiddenSize: number, numHeads: number): string {
  const unit = 2 * numHeads;
  const below = Math.floor(hiddenSize / unit) * unit;
  const widths = below > 0 ? `${below} or ${below + unit}` : `${unit}`;
  const heads = hiddenSize % 2 === 0 ? nearestDivisors(hiddenSize / 2, numHeads) : [];
  const ofWidth = heads.length === 0 ? `hidden_size=${hiddenSize} is odd, so no number of heads fits` : `with hidden_size=${hiddenSize}, num_heads=${heads.join(' or ')}`;
  return `${key}.hidden_size, num_heads: expected hidden_size, a multiple of 2 × num_heads (rotary positions turn pairs), got ${hiddenSize} and ${numHeads}; ${ofWidth}; with num_heads=${numHeads}, hidden_size=${widths}`;
}

/** The nearest divisors of a number below and above another one. */
function nearestDivisors(number: number, near: number): number[] {
  const most = Math.min(number, 10_000);
  const divisors = Array.from({ length: most }, (_, i) => i + 1).filter((divisor) => number % divisor === 0);
  return [divisors.findLast((divisor) => divisor < near), divisors.find((divisor) => divisor > near)].filter((divisor) => divisor !== undefined);
}

function runProblems({ data, trainer, generator }: Config, { env = process.env, unusableDevice }: ValidationContext): string[] {
  const problems: string[] = [];
  if (data.train_data.length === 0) problems.push('data.train_data: expected at least one file, got none');
  if (data.val_data.length === 0 && trainer.eval_interval > 0) {
    problems.push('data.val_data: expected at least one file, or trainer.eval_interval=-1 for no evaluation, got none');
  }
  const { resume_mode, resume_path } = trainer;
  if (resume_mode === 'from_path' && resume_path === null) {
    problems.push('trainer.resume_path: expected the folder of a checkpoint ({ckpt_path}/global_step_N), as trainer.resume_mode is from_path, got null');
  } else if (resume_mode !== 'from_path' && resume_path !== null) {
    problems.push(`trainer.resume_path: expected null unless trainer.resume_mode is from_path, got '${resume_path}' with ${resume_mode}`);
  }
  const { path } = trainer.ref.model;
  if (path !== null) problems.push(...folderProblems('trainer.ref.model.path', path));
  const unusable = trainer.device === null ? null : (unusableDevice?.(trainer.device) ?? null);
  if (unusable !== null) problems.push(`trainer.device: '${trainer.device}' cannot be used here: ${unusable}`);
  const { max_input_length } = generator;
  if (max_input_length !== null && max_input_length < trainer.max_prompt_length) {
    problems.push(
      `generator.max_input_length: expected at least trainer.max_prompt_length=${trainer.max_prompt_length} (a longer prompt would get no answer), got ${max_input_length}`,
    );
  }
  if (trainer.logger.includes('wandb') && env.WANDB_MODE !== 'offline' && !env.WANDB_API_KEY) {
    problems.push(
      "trainer.logger: 'wandb' needs the environment variable WANDB_API_KEY; set it, or WANDB_MODE=offline to write files only, or remove 'wandb'",
    );
  }
  return problems;
}

function folderProblems(key: string, path: string): string[] {
  if (existsSync(join(path, 'config.json'))) return [];
  return [`${key}: expected a model's folder with config.json (Hugging Face's layout, or a checkpoint's global_step_N/policy), got '${path}'`];
}
