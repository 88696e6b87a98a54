/** What the templates of `vantage new` have in common. Each is one text for TypeScript and JavaScript: what only TypeScript has stands in `ts`. */

/** How a template fills its text. */
export interface TemplateNames {
  /** Under which it is registered, and the stem of its files. */
  name: string;
  className: string;
  /** Of the files that are written. */
  extension: 'ts' | 'mjs';
  /** Of the file as an import names it: TypeScript's is that of its output. */
  imported: 'js' | 'mjs';
  /** Its text in TypeScript, nothing in JavaScript. */
  ts: (text: string) => string;
}

/** The texts of what is written. The configuration is {@link configText}'s. */
export interface Template {
  /** The class, which registers itself. */
  source: string;
  test: string;
  /** The entry point. */
  train: string;
  config: string;
}

/** Where the run of a template keeps its data and its results. */
export const runFolder = (name: string): string => `runs/${name}`;

/** A small run, on one core seconds for ten steps. `algorithm` holds the lines of `trainer.algorithm`. */
export function configText(name: string, parts: { title: string; environment: string; answerLength: string; algorithm: readonly string[] }): string {
  return `# ${parts.title}, from random weights (about 100k parameters).
# Any key can be changed on the command line: trainer.max_training_steps=20 trainer.seed=3

data:
  train_data: [${runFolder(name)}/data/train.jsonl] # written by the entry point
  val_data: [${runFolder(name)}/data/validation.jsonl]

environment:
  env_class: ${parts.environment}

generator:
  n_samples_per_prompt: 8
  sampling_params:
    max_generate_length: ${parts.answerLength}
    temperature: 1.0

trainer:
  algorithm:
${parts.algorithm.map((line) => `    ${line}`).join('\n')}
    use_kl_loss: false
    use_entropy_loss: true
    entropy_loss_coef: 0.01

  policy:
    model:
      hidden_size: 64
      num_layers: 2
      num_heads: 4
      num_kv_heads: 4
      intermediate_size: 172
      initializer_range: 0.1 # at this width the usual 0.02 keeps the attention flat for long
    optimizer_config:
      lr: 1.0e-3

  tokenizer: word # digits, "=", "####"
  max_prompt_length: 16
  seed: 0

  # 64 prompts × 8 responses a step, in four optimizer steps of 128 responses
  train_batch_size: 64
  policy_mini_batch_size: 16
  micro_train_batch_size_per_gpu: 128
  micro_forward_batch_size_per_gpu: 512

  epochs: 100
  max_training_steps: 400
  stop_when: # the mean reward of ten steps in a row
    metric: reward/avg_raw_reward
    window: 10
    value: 0.9

  eval_interval: 20
  ckpt_path: ${runFolder(name)}/checkpoints
  ckpt_interval: -1
  resume_mode: null # each run starts afresh, and keeps an earlier one aside
  run_name: ${JSON.stringify(name)}
`;
}

/** The entry point of what trains on the generated task `gmax`. */
export function gmaxTrain({ name, imported }: TemplateNames, kind: string): string {
  const data = `${runFolder(name)}/data`;
  return `// Run it in this folder. Keys of config.yaml may follow: trainer.max_training_steps=20
import { generateTask, main, writeJsonl } from 'vantage-rl';
import './${name}.${imported}'; // registers the ${kind}, before main checks the configuration, which names it

// The largest of four digits. In place of it: a .jsonl or .parquet file of your own in config.yaml, under data.
const { train, validation } = generateTask('gmax');
writeJsonl('${data}/train.jsonl', train);
writeJsonl('${data}/validation.jsonl', validation);

void main(process.argv.slice(2), { config: 'config.yaml' });
`;
}
