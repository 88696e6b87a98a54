/** What is fuzzed: for each part inputs that are right, made by the project's own writers, and a function that reads a folder as users make us read it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import {
  Experiment,
  generateTask,
  loadConfig,
  loadTokenizer,
  loadTransformer,
  loadValueModel,
  PromptDataset,
  randomKey,
  readSafetensors,
  saveHuggingFace,
  tensor,
  tidy,
  Trainer,
  Transformer,
  transformerConfig,
  ValueModel,
  WordTokenizer,
  writeJsonl,
  writeParquet,
  writeSafetensors,
} from '../../../src';
import { checkpointProblem } from '../../../src/trainer/checkpoint';
import { findResumption } from '../../../src/trainer/resume';
import { readRuns } from '../../../src/tracking/run_data';
import { writeReport } from '../../../src/tracking/report';
import { writeTokenizer } from '../../models/huggingface';
import type { Files, JsonPart } from './mutate';

export interface Part {
  /** Writes one input that is right into each of these folders. */
  seeds: readonly ((folder: string) => void | Promise<void>)[];
  /** Before the first input: what `read` needs. */
  prepare?(scratch: string): Promise<void>;
  /** Reads the input of a folder. */
  read(folder: string): void | Promise<void>;
}

const sizes = { vocabSize: 14, hiddenSize: 8, numLayers: 1, numHeads: 2, numKvHeads: 1, intermediateSize: 6, maxPositionEmbeddings: 32 };

const safetensors: Part = {
  seeds: [
    (folder) => tidy(() => writeSafetensors(join(folder, 'a.safetensors'), new Map([['x', tensor([[1, 2], [3, 4]])], ['y', tensor([1, 0, 1], { dtype: 'bool' })]]), { format: 'pt' })),
    (folder) => tidy(() => writeSafetensors(join(folder, 'a.safetensors'), new Map((['float64', 'bfloat16', 'int32', 'uint8'] as const).map((dtype) => [dtype, tensor([1, 2, 3], { dtype })])))),
    (folder) => {
      const header = Buffer.from('{"h":{"dtype":"F16","shape":[2,0,3],"data_offsets":[0,0]},"i":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}');
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      writeFileSync(join(folder, 'a.safetensors'), Buffer.concat([length, header, Buffer.from([0, 60])]));
    },
  ],
  read(folder) {
    const { tensors } = readSafetensors(join(folder, 'a.safetensors'));
    for (const x of tensors.values()) {
      x.dataSync();
      x.dispose();
    }
  },
};

const prompts = (count: number) => generateTask('lookup', { trainSize: count, validationSize: 1 }).train;
const dataset = async (file: string): Promise<void> => {
  await PromptDataset.load({ files: [file], tokenizer: new WordTokenizer(), maxPromptLength: 64, envClass: 'gmax' });
};

const data: Part = {
  seeds: [
    (folder) => writeJsonl(join(folder, 'rows.jsonl'), prompts(4)),
    (folder) => writeFileSync(join(folder, 'rows.json'), JSON.stringify(prompts(3), null, 1)),
  ],
  async read(folder) {
    for (const name of ['rows.jsonl', 'rows.json']) if (existsSync(join(folder, name))) await dataset(join(folder, name));
  },
};

const parquet: Part = {
  seeds: [
    (folder) => writeParquet(join(folder, 'rows.parquet'), prompts(3)),
    (folder) => writeParquet(join(folder, 'rows.parquet'), prompts(40).map((row, i) => ({ ...row, n: i * 1e9, x: i / 3, flag: i % 2 === 0, list: [i, i + 1], none: null }))),
  ],
  read: (folder) => dataset(join(folder, 'rows.parquet')),
};

const metrics: Part = {
  seeds: [
    (folder) => {
      const records = [0, 1, 2, 3].map((step) => ({ step, 'reward/avg_raw_reward': step / 4, 'policy/final_loss': step === 2 ? null : -step, 'eval/all/avg_score': 0.5 }));
      const sample = { step: 1, group: 'a', prompt: '3 9 =', tokens: ['9', ''], ids: [9, 12], advantages: [0.5, null], reward: 1, length: 2 };
      writeJsonl(join(folder, 'metrics.jsonl'), records);
      writeJsonl(join(folder, 'samples.jsonl'), [sample, { ...sample, step: 2, tokens: ['<b>', '\n'], advantages: [-1, 0], length: 5 }]);
      writeFileSync(join(folder, 'config.json'), JSON.stringify(loadConfig({ overrides: ['trainer.run_name=fuzz'] }).config));
    },
  ],
  read(folder) {
    const runs = readRuns([folder]);
    writeReport(join(folder, '..', 'report.html'), { title: 'fuzz', runs });
  },
};

const messages = [{ role: 'system', content: 'Be short.' }, { role: 'user', content: 'What is 3 + 9? Größe 日本' }];

const tokenizer: Part = {
  seeds: [
    (folder) => void writeTokenizer(folder, { mergeCount: 12 }),
    (folder) => {
      writeTokenizer(folder, { mergeCount: 8 });
      writeFileSync(
        join(folder, 'chat_template.jinja'),
        "{%- set ns = namespace(n=0) %}{%- macro turn(m) %}<|im_start|>{{ m.role | upper }}\n{{ m['content'] | trim }}<|im_end|>\n{% endmacro %}" +
          "{% for m in messages if m.role != 'x' %}{% set ns.n = ns.n + 1 %}{{ turn(m) }}{% else %}none{% endfor %}{{ range(1, 3) | join(',') }}{{ messages[:1] | tojson(indent=2) }}" +
          '{% if add_generation_prompt and ns.n > 0 %}<|im_start|>assistant\n{% endif %}',
      );
      writeFileSync(join(folder, 'special_tokens_map.json'), JSON.stringify({ eos_token: { content: '<|im_end|>' }, pad_token: '<|endoftext|>' }));
      writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [270, 268] }));
    },
  ],
  read(folder) {
    const loaded = loadTokenizer(folder);
    const ids = loaded.encodeChat(messages);
    loaded.decode([...ids, 0, 1, loaded.padId, loaded.eosId, 1e9, -1]);
    loaded.encode('a<|im_end|>b  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\r\n');
  },
};

const model: Part = {
  seeds: [
    (folder) => tidy(() => saveHuggingFace(folder, Transformer.initialize(transformerConfig(sizes), randomKey(1)))),
    (folder) => tidy(() => saveHuggingFace(folder, Transformer.initialize(transformerConfig({ ...sizes, tieWordEmbeddings: false }), randomKey(1)), { maxShardBytes: 2000, dtype: 'bfloat16' })),
    (folder) => tidy(() => saveHuggingFace(folder, ValueModel.initialize(transformerConfig(sizes), randomKey(2)))),
  ],
  read(folder) {
    const json = existsSync(join(folder, 'config.json')) ? readFileSync(join(folder, 'config.json'), 'utf8') : '';
    const loaded = json.includes('SequenceClassification') ? loadValueModel(folder) : loadTransformer(folder);
    loaded.dispose();
  },
};

const config: Part = {
  seeds: [
    (folder) =>
      writeFileSync(
        join(folder, 'config.yaml'),
        `# a run
defaults: &rate 1.0e-3
data: { train_data: [a.jsonl, "b c.parquet"], val_data: [] }
environment:
  env_class: gmax
generator:
  n_samples_per_prompt: 4
  sampling_params: { temperature: 0.7, top_p: 1 }
trainer:
  algorithm:
    advantage_estimator: "grpo"
    advantage_options: { gamma: 1, nested: { a: [1, 2, ~] } }
  policy: { optimizer_config: { lr: 1e-3 }, model: { hidden_size: 32 } }
  run_name: |
    two
    lines
  logger: [console, jsonl]
  seed: 0x10
`.replace('defaults: &rate 1.0e-3\n', ''),
      ),
    (folder) => writeFileSync(join(folder, 'config.yaml'), 'trainer: &t\n  seed: &s 3\n  epochs: *s\n  stop_when: { metric: "eval/all/avg_score", value: .5 }\n  logger: ["json\\u006c"]\n'),
    (folder) => writeFileSync(join(folder, 'config.yaml'), JSON.stringify(loadConfig().config, null, 1)),
  ],
  read: (folder) => void loadConfig({ file: join(folder, 'config.yaml') }),
};

/** The trainer whose `restore` reads checkpoints, and its configuration. */
let restoring: { trainer: Trainer; config: Experiment['config'] } | null = null;

function smallRun(folder: string, changes: readonly string[]): Experiment['config'] {
  writeJsonl(join(folder, 'train.jsonl'), generateTask('gmax', { trainSize: 8, validationSize: 1 }).train);
  const tiny = ['hidden_size=8', 'num_layers=1', 'num_heads=2', 'num_kv_heads=1', 'intermediate_size=6'].map((each) => `trainer.policy.model.${each}`);
  return loadConfig({
    overrides: [
      ...tiny,
      `data.train_data=[${JSON.stringify(join(folder, 'train.jsonl'))}]`,
      'data.val_data=[]',
      'environment.env_class=gmax',
      'generator.n_samples_per_prompt=2',
      'generator.sampling_params.max_generate_length=2',
      'trainer.tokenizer=word',
      'trainer.algorithm.advantage_estimator=spo',
      'trainer.algorithm.kl_ctrl.type=adaptive',
      'trainer.train_batch_size=4',
      'trainer.policy_mini_batch_size=4',
      'trainer.critic_mini_batch_size=4',
      'trainer.max_training_steps=2',
      'trainer.eval_interval=-1',
      'trainer.eval_before_train=false',
      'trainer.ckpt_interval=2',
      'trainer.logger=[]',
      `trainer.ckpt_path=${join(folder, 'checkpoints')}`,
      ...changes,
    ],
  }).config;
}

const checkpoint: Part = {
  seeds: [
    async (folder) => {
      const scratch = `${folder}.run`;
      mkdirSync(scratch, { recursive: true });
      await new Experiment(smallRun(scratch, [])).run();
      copyFolder(join(scratch, 'checkpoints'), folder);
    },
  ],
  /** An experiment that has come as far as its trainer, and waits. */
  prepare(scratch) {
    mkdirSync(scratch, { recursive: true });
    return new Promise((resolve, reject) => {
      const held = smallRun(scratch, ['trainer.max_training_steps=4']);
      class Waiting extends Trainer {
        override train(): Promise<never> {
          restoring = { trainer: this, config: held };
          resolve();
          return new Promise(() => {});
        }
      }
      class Held extends Experiment {
        override trainer(parts: ConstructorParameters<typeof Trainer>[0]): Trainer {
          return new Waiting(parts);
        }
      }
      new Held(held).run().catch(reject);
    });
  },
  read(folder) {
    const { trainer, config: held } = restoring!;
    const found = findResumption({ ...held, trainer: { ...held.trainer, ckpt_path: folder, resume_mode: 'latest' } });
    if (found !== null) trainer.restore(found.folder);
    // What `latest` passes over is read all the same where it is asked for by name.
    const named = join(folder, 'global_step_2');
    checkpointProblem(named);
    if (found === null && existsSync(named)) trainer.restore(named);
  },
};

export const parts = { safetensors, data, parquet, metrics, tokenizer, model, config, checkpoint } satisfies Record<string, Part>;
export type PartName = keyof typeof parts;

function copyFolder(from: string, to: string): void {
  for (const [name, bytes] of readFolder(from)) {
    mkdirSync(join(to, name, '..'), { recursive: true });
    writeFileSync(join(to, name), bytes);
  }
}

/** The files below a folder, by their path from there. */
export function readFolder(folder: string): Map<string, Uint8Array> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  const files = names.map((name) => join(folder, name)).filter((file) => statSync(file).isFile());
  return new Map(files.map((file) => [relative(folder, file), new Uint8Array(readFileSync(file))]));
}

/** Where a file holds JSON: all of it, or the header of a safetensors file. */
export function jsonOf(name: string, bytes: Uint8Array): JsonPart | null {
  const text = (part: Uint8Array) => Buffer.from(part).toString('utf8');
  if (/\.jsonl?$/.test(name) || (name.endsWith('.yaml') && bytes[0] === 0x7b)) return { text: text(bytes), replace: (changed) => new Uint8Array(Buffer.from(changed)) };
  if (!name.endsWith('.safetensors') || bytes.length < 8) return null;
  const length = Number(Buffer.from(bytes).readBigUInt64LE(0));
  if (length > bytes.length - 8) return null;
  return {
    text: text(bytes.subarray(8, 8 + length)),
    replace(changed) {
      const header = Buffer.from(changed);
      const head = Buffer.alloc(8);
      head.writeBigUInt64LE(BigInt(header.length));
      return new Uint8Array(Buffer.concat([head, header, bytes.subarray(8 + length)]));
    },
  };
}

/** Puts an input into a folder, in the place of what is there. */
export function writeFolder(folder: string, files: Files): void {
  for (const name of existsSync(folder) ? readFolder(folder).keys() : []) if (!files.has(name)) rmSync(join(folder, name));
  for (const [name, bytes] of files) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    writeFileSync(join(folder, name), bytes);
  }
}
