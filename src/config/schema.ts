/**
 * The configuration tree: every key that has an effect, with its type, range and default. Names and defaults are SkyRL's where it has
 * the key; `trainer.{tokenizer,device,log_samples,stop_when}`, `trainer.algorithm.{advantage_options,policy_loss_options,reward_components,entropy_ctrl}`, the shape under `*.model` and `generator.{max_concurrent_environments,environment_timeout}` are ours. Checks that relate several keys: validate.ts.
 */
import { z } from 'zod';
import { algorithm } from './algorithm';
import { above, between, bool, nonNegativeInt, oneOf, positiveInt, positiveIntOrOff, section, temperature, text, textList } from './fields';

const data = section({
  /** Files of prompts to train on (.parquet, .json, .jsonl), relative to the working directory. */
  train_data: textList('files').default([]),
  /** Files of prompts to evaluate on. */
  val_data: textList('files').default([]),
});

const modelShape = {
  /** A folder of Hugging Face's layout, whose shape and weights count; null: random weights of the shape that follows (the Qwen2 family). */
  path: text().nullable(),
  hidden_size: positiveInt(),
  num_layers: positiveInt(),
  num_heads: positiveInt(),
  /** Key and value heads; fewer than `num_heads` is grouped-query attention. */
  num_kv_heads: positiveInt(),
  /** Width of the SwiGLU layer. */
  intermediate_size: positiveInt(),
  rope_theta: above(0),
  rms_norm_eps: above(0),
  /** Standard deviation of the random weights; null: what suits the width (0.02 at 1536, 0.1 at 64). */
  initializer_range: above(0).nullable(),
};

type Model = z.infer<z.ZodObject<typeof modelShape>>;

/** About 100k parameters: enough for the generated tasks, in seconds on two cores. */
const defaultModel: Model = {
  path: null,
  hidden_size: 64,
  num_layers: 2,
  num_heads: 4,
  num_kv_heads: 4,
  intermediate_size: 176,
  rope_theta: 10_000,
  rms_norm_eps: 1e-6,
  initializer_range: null,
};

const policyModel = section(modelShape)
  .partial()
  .transform((model): Model => ({ ...defaultModel, ...model }));

/** AdamW with decoupled weight decay, global gradient-norm clipping and a linear warm-up. */
const optimizerConfig = (lr: number) =>
  section({
    lr: above(0).default(lr),
    adam_betas: z
      .array(between(0, 1).lt(1, 'a number from 0 to below 1'), 'two numbers from 0 to below 1')
      .length(2, 'two numbers from 0 to below 1')
      .transform(([first, second]): [number, number] => [first, second])
      .default([0.9, 0.999]),
    weight_decay: between(0, Infinity).default(0.01),
    /** Gradients are scaled down to this norm. */
    max_grad_norm: above(0).default(1),
    /** Optimizer steps over which the rate rises in a straight line. */
    num_warmup_steps: nonNegativeInt().default(0),
    /** How the rate goes on after the warm-up: as it is, or down to 0 at the run's last optimizer step. */
    scheduler: oneOf(['constant_with_warmup', 'cosine', 'linear']).default('constant_with_warmup'),
  }).prefault({});

const trainer = section({
  epochs: positiveInt().default(1),
  /** Stops after that many steps, whatever is left of the epochs. */
  max_training_steps: positiveInt().nullable().default(null),
  /** Prompts a step. */
  train_batch_size: positiveInt().default(1024),
  /** Prompts an optimizer step of the policy. */
  policy_mini_batch_size: positiveInt().default(256),
  critic_mini_batch_size: positiveInt().default(256),
  /** Passes over a batch's minibatches, which are taken in order. */
  update_epochs_per_batch: positiveInt().default(1),
  /** The reference becomes the policy of the moment at each epoch's end. */
  update_ref_every_epoch: bool().default(false),
  /** Sequences a forward and backward pass; the gradients do not depend on it. */
  micro_train_batch_size_per_gpu: positiveInt().default(1),
  /** Sequences a forward pass without gradients. */
  micro_forward_batch_size_per_gpu: positiveInt().default(1),
  /** Tokens; longer prompts are dropped and counted. */
  max_prompt_length: positiveInt().default(512),
  seed: nonNegativeInt().default(42),
  /** Prompts an evaluation batch. */
  eval_batch_size: positiveInt().default(1024),
  eval_before_train: bool().default(true),
  eval_interval: positiveIntOrOff('no evaluation').default(5),
  ckpt_interval: positiveIntOrOff('never').default(10),
  ckpt_path: text().default('runs/checkpoints'),
  max_ckpts_to_keep: positiveIntOrOff('all').default(-1),
  /** `latest`: goes on from the newest checkpoint under `ckpt_path`, if there is one; `from_path`: from `resume_path`; null: starts afresh. */
  resume_mode: z.enum(['latest', 'from_path'], 'latest, from_path or null').nullable().default('latest'),
  /** The folder of a checkpoint: `{ckpt_path}/global_step_N`. */
  resume_path: text().nullable().default(null),
  /** Folder of what a run leaves (metrics, pictures); null: beside `ckpt_path`. */
  export_path: text().nullable().default(null),
  /** Writes every training batch to `{export_path}/dumped_data/global_step_N.jsonl`. */
  dump_data_batch: bool().default(false),
  /** Writes every evaluation to `{export_path}/dumped_evals/global_step_N/`. */
  dump_eval_results: bool().default(true),
  /** Several at once: console, jsonl, tensorboard, wandb, and what `registerTracker` adds. */
  logger: textList('loggers').default(['console', 'jsonl']),
  /** Responses a step that the loggers get token by token with their advantages (`samples.jsonl`), all to one prompt; 0: none. */
  log_samples: nonNegativeInt().default(4),
  /** What W&B files the run under; `run_name` is its name there and in reports. */
  project_name: text().default('vantage'),
  run_name: text().default('run'),
  /** Where models live and steps run; null: what VANTAGE_DEVICE says, else the CPU. */
  device: oneOf(['cpu', 'cuda']).nullable().default(null),
  /** A registered name (`byte` for any text, `word` for the generated tasks), or a folder with tokenizer.json; null: that of policy.model.path, else `byte`. */
  tokenizer: text().nullable().default(null),
  /** Ends the run once the mean of `metric` over the last `window` steps is at least `value`. */
  stop_when: section({
    metric: text().default('reward/avg_raw_reward'),
    window: positiveInt().default(10),
    value: z.number('a number').default(0.9),
  })
    .nullable()
    .default(null),
  policy: section({ model: policyModel.prefault({}), optimizer_config: optimizerConfig(1e-6) }).prefault({}),
  /** The value model; without `model` there is none. What it does not say is as the policy's (`model={}`: all), its folder too: a folder's shape counts, `path=null` makes random weights of the shape given. */
  critic: section({ model: section(modelShape).partial().nullable().default(null), optimizer_config: optimizerConfig(5e-6) }).prefault({}),
  /** The frozen reference of the KL terms; null: the policy's weights before the first step. */
  ref: section({ model: section({ path: text().nullable().default(null) }).prefault({}) }).prefault({}),
  algorithm: algorithm.prefault({}),
}).transform((value) => {
  const { model } = value.critic;
  return { ...value, critic: { ...value.critic, model: model && ({ ...value.policy.model, ...model } as Model) } };
});

const sampling = {
  /** Keeps the fewest tokens whose probabilities reach this sum. */
  top_p: above(0, 1).default(1),
  /** Drops tokens below this share of the likeliest one's probability. */
  min_p: between(0, 1).default(0),
  /** Keeps this many tokens. */
  top_k: positiveIntOrOff('all').default(-1),
};

const stop = () => textList('texts').nullable();

const generator = section({
  /** Responses to each training prompt: the size of a group. */
  n_samples_per_prompt: positiveInt().default(5),
  /** Answers of the policy in one trajectory, at most: observations of the environment stand between them. */
  max_turns: positiveInt().default(1),
  /** Tokens; a conversation over it gets no further answer. null: `trainer.max_prompt_length`. */
  max_input_length: positiveInt().nullable().default(null),
  sampling_params: section({
    /** Tokens of one answer. */
    max_generate_length: positiveInt().default(1024),
    ...sampling,
    temperature: temperature({ greedy: false }).default(1),
    /** Texts that end an answer, of which they are a part. */
    stop: stop().default(null),
  }).prefault({}),
  /** Temperature 0 takes the likeliest token. `max_generate_length` and `stop` are those of `sampling_params` where they are not given. */
  eval_sampling_params: section({
    max_generate_length: positiveInt().optional(),
    ...sampling,
    temperature: temperature({ greedy: true }).default(0),
    stop: stop().optional(),
  }).prefault({}),
  eval_n_samples_per_prompt: positiveInt().default(1),
  /** Rewards of a response whose last answer did not end by itself are 0. */
  zero_reward_on_non_stop: bool().default(false),
  /** A response whose last answer did not end by itself is in no loss; its reward still counts in the baseline of its group. */
  apply_overlong_filtering: bool().default(false),
  /** Environments that run (`init`, `step`, `close`) at the same time. */
  max_concurrent_environments: positiveIntOrOff('no limit').default(32),
  /** Seconds that an environment may take for one call; null: any. Over it, its trajectory ends and is in no loss. */
  environment_timeout: above(0).nullable().default(null),
}).transform(({ eval_sampling_params: own, ...rest }) => {
  const { max_generate_length, stop } = rest.sampling_params;
  return { ...rest, eval_sampling_params: { ...own, max_generate_length: own.max_generate_length ?? max_generate_length, stop: own.stop === undefined ? stop : own.stop } };
});

/** The whole tree, with the types of its parts. */
const tree = section({
  data: data.prefault({}),
  trainer: trainer.prefault({}),
  generator: generator.prefault({}),
  environment: section({
    /** The environment of rows that name none. */
    env_class: text().default('gsm8k'),
  }).prefault({}),
});

/** A complete configuration: every key with its value. */
export type Config = z.infer<typeof tree>;

/** The zod schema of {@link Config}: parses a nested object of keys, fills in the defaults, refuses what it does not know. {@link loadConfig} reads files and overrides through it. */
export const configSchema: z.ZodType<Config> = tree;

/** The shape of one model (`trainer.policy.model`). */
export type ModelConfig = Config['trainer']['policy']['model'];
/** The settings of one optimizer (`trainer.policy.optimizer_config`). */
export type OptimizerConfig = Config['trainer']['policy']['optimizer_config'];
/** How responses are sampled (`generator.sampling_params`). */
export type SamplingConfig = Config['generator']['sampling_params'];
