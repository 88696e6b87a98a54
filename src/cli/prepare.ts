import { basename, join } from 'node:path';
import { generateTask, type PromptRow, readGsm8k, type TaskName, taskNames, writeJsonl, writeParquet } from '../data';
import { didYouMean } from '../errors';
import { type Command, parseCommandLine, print, unknownWord, UsageError } from './command';

const formats = ['parquet', 'jsonl'] as const;
const datasets = ['gsm8k', ...taskNames] as const;

/** Built-in environments that read GSM8K's rows. */
const gsm8kEnvironments = ['gsm8k', 'gsm8k_multi_turn'] as const;

const common = { output_dir: { type: 'string' }, format: { type: 'string', multiple: true } } as const;

export const prepare: Command = {
  summary: 'Makes train and validation files of a dataset',
  help: `Usage:
  vantage prepare gsm8k --input FILE [--input FILE …] --output_dir DIR [--env_class gsm8k]
      Turns GSM8K's files into rows: train.jsonl becomes train, test.jsonl becomes validation. --env_class gsm8k_multi_turn makes rows for several turns (train with
      generator.max_turns=N); any other name is that of an environment of your own.
  vantage prepare ${taskNames.join('|')} --output_dir DIR [--train_size 2048] [--validation_size 256] [--seed 42]
      Generates a small task: the largest of four digits, answered as "#### 9" (gmax) or "9" (max4); three digits sorted (sort3); an entry of a hidden table, which a
      tool looks up (lookup: two turns, trainer.tokenizer=word_tools).

Options:
  --output_dir DIR           where train.* and validation.* are written
  --format parquet|jsonl     one of the formats (both unless given)`,

  async run(argv) {
    const [dataset, ...rest] = argv;
    if (dataset === undefined || dataset.startsWith('-')) throw new UsageError(`prepare: expected a dataset: ${datasets.join(', ')}`);
    if (dataset === 'gsm8k') await prepareGsm8k(rest);
    else if (isTask(dataset)) await prepareTask(dataset, rest);
    else throw new UsageError(unknownWord('dataset', dataset, datasets));
  },
};

async function prepareGsm8k(argv: string[]): Promise<void> {
  const { values } = parseCommandLine({ args: argv, options: { ...common, input: { type: 'string', multiple: true }, env_class: { type: 'string' } } });
  const envClass = values.env_class ?? 'gsm8k';
  if (envClass.trim() === '') throw new UsageError(`--env_class: expected the name of an environment (${gsm8kEnvironments.join(', ')}), got '${envClass}'`);
  const { directory, write } = output(values);
  const inputs = values.input ?? [];
  if (inputs.length === 0) throw new UsageError('prepare gsm8k: expected --input FILE (train.jsonl, test.jsonl)');
  const splits = new Map<string, string>();
  for (const file of inputs) {
    const split = splitOf(file);
    if (splits.has(split)) throw new UsageError(`prepare gsm8k: expected one input for ${split}, got ${splits.get(split)} and ${file}`);
    splits.set(split, file);
  }
  // All inputs are read before anything is written: a malformed line leaves no half dataset.
  const read = [...splits].map(([split, file]) => ({ split, ...readGsm8k(file, split === 'train' ? 'train' : 'test', envClass) }));
  for (const { split, rows, truthsWithCommas } of read) {
    const files = await write(split, rows);
    print(`${split}: ${rows.length} rows, ${truthsWithCommas} truths carried commas (removed) → ${files.join(', ')}`);
  }
  if (!gsm8kEnvironments.some((name) => name === envClass)) {
    const nearest = didYouMean(envClass, gsm8kEnvironments);
    print(`The rows name the environment '${envClass}', which is not built in: it has to be registered before training.${nearest === null ? '' : ` Did you mean '${nearest}'?`}`);
  }
  print(`Ready in ${directory}`);
}

async function prepareTask(task: TaskName, argv: string[]): Promise<void> {
  const sizes = { train_size: { type: 'string' }, validation_size: { type: 'string' }, seed: { type: 'string' } } as const;
  const { values } = parseCommandLine({ args: argv, options: { ...common, ...sizes } });
  const { directory, write } = output(values);
  const generated = generateTask(task, {
    trainSize: integer('train_size', values.train_size),
    validationSize: integer('validation_size', values.validation_size),
    seed: integer('seed', values.seed),
  });
  for (const split of ['train', 'validation'] as const) {
    const files = await write(split, generated[split]);
    print(`${split}: ${generated[split].length} rows → ${files.join(', ')}`);
  }
  print(`Ready in ${directory}`);
}

function output({ output_dir, format = [...formats] }: { output_dir?: string; format?: string[] }) {
  if (!output_dir) throw new UsageError('prepare: expected --output_dir DIR');
  const wrong = format.find((name) => !formats.some((known) => known === name));
  if (wrong !== undefined) throw new UsageError(unknownWord('format', wrong, formats));
  const write = async (split: string, rows: PromptRow[]): Promise<string[]> => {
    const files = formats.filter((name) => format.includes(name)).map((name) => join(output_dir, `${split}.${name}`));
    for (const file of files) {
      if (file.endsWith('.parquet')) await writeParquet(file, rows);
      else writeJsonl(file, rows);
    }
    return files;
  };
  return { directory: output_dir, write };
}

/** The name of a GSM8K file says what it is for. */
function splitOf(file: string): 'train' | 'validation' {
  const name = basename(file).toLowerCase();
  if (name.startsWith('train')) return 'train';
  if (name.startsWith('test') || name.startsWith('validation')) return 'validation';
  throw new UsageError(`prepare gsm8k: expected a file named train.jsonl or test.jsonl (the name says the split), got ${file}`);
}

function integer(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`--${name}: expected an integer, 0 or more, got '${text}'`);
  return Number(text);
}

function isTask(name: string): name is TaskName {
  return taskNames.some((task) => task === name);
}
