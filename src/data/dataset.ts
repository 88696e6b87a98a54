/** Prompts to train or evaluate on. */
import { extname } from 'node:path';
import { DataError, showValue } from '../errors';
import { checkFields, checkList, checkNumber, checkText, isText } from './check';
import { readBytes } from './files';
import { readJsonl } from './jsonl';
import { readParquet } from './parquet';
import { type AnyRow, type ChatMessage, checkRow } from './rows';
import type { Tokenizer } from './tokenizer';

/** One prompt, ready for generation. */
export interface PromptExample {
  /** Unique in the dataset: what groups the responses to one prompt. */
  id: string;
  /** The conversation that the policy answers. */
  prompt: ChatMessage[];
  /** The prompt's token ids; at least one. */
  promptIds: number[];
  /** Where the row comes from; evaluation metrics are grouped by it. */
  dataSource: string;
  /** The name of its environment. */
  envClass: string;
  /** The whole row, for the environment. */
  row: AnyRow;
}

/** Options of {@link PromptDataset.load}. */
export interface PromptDatasetOptions {
  /** Files of rows: .parquet, .jsonl (one row a line) or .json (a list of rows). */
  files: readonly string[];
  /** What encodes the prompts. */
  tokenizer: Tokenizer;
  /** Tokens; longer prompts are dropped. */
  maxPromptLength: number;
  /** The environment of rows that name none. */
  envClass: string;
}

/** The prompts of several files, in their order. */
export class PromptDataset {
  private constructor(
    /** The prompts that are short enough, in the files' order. */
    readonly examples: readonly PromptExample[],
    /** How many prompts were longer than `maxPromptLength` and left out. */
    readonly dropped: number,
    /** Tokens of the shortest of these; null where there are none. */
    readonly shortestDropped: number | null,
  ) {}

  /** How many prompts there are. */
  get length(): number {
    return this.examples.length;
  }

  /** Reads files of rows and encodes their prompts. @throws DataError that names the file and the row: unreadable files, malformed rows, prompts that the tokenizer cannot take */
  static async load(options: PromptDatasetOptions): Promise<PromptDataset> {
    const who = 'PromptDataset.load';
    checkFields(who, 'options', options, '{ files, tokenizer, maxPromptLength, envClass }');
    const { files, tokenizer, maxPromptLength, envClass } = options;
    checkList(who, 'files', files, 'names of files', isText);
    checkNumber(who, 'maxPromptLength', maxPromptLength);
    checkText(who, 'envClass', envClass);
    if (typeof tokenizer?.encodeChat !== 'function') throw new DataError(`${who}: tokenizer: expected a tokenizer, got ${showValue(tokenizer)}`);
    const examples: PromptExample[] = [];
    let dropped = 0;
    let shortestDropped = Infinity;
    let rowNumber = 0;
    for (const file of files) {
      for (const { value, place } of await readRows(file)) {
        const row = checkRow(value, place);
        const promptIds = encodePrompt(tokenizer, row.prompt, place);
        const id = String(rowNumber++);
        if (promptIds.length > maxPromptLength) {
          dropped++;
          shortestDropped = Math.min(shortestDropped, promptIds.length);
        } else {
          const { prompt, data_source = 'unknown', env_class = envClass } = row;
          examples.push({ id, prompt, promptIds, dataSource: data_source, envClass: env_class, row });
        }
      }
    }
    return new PromptDataset(examples, dropped, dropped === 0 ? null : shortestDropped);
  }
}

interface PlacedRow {
  value: unknown;
  /** `FILE:LINE`, or `FILE: row N` where rows have no lines. */
  place: string;
}

async function readRows(file: string): Promise<PlacedRow[]> {
  const numbered = (rows: readonly unknown[]) => rows.map((value, i) => ({ value, place: `${file}: row ${i + 1}` }));
  switch (extname(file).toLowerCase()) {
    case '.parquet':
      return numbered(await readParquet(file));
    case '.jsonl':
      return readJsonl(file).map(({ value, line }) => ({ value, place: `${file}:${line}` }));
    case '.json':
      return numbered(readJsonList(file));
    default:
      throw new DataError(`${file}: expected a .parquet, .jsonl or .json file`);
  }
}

function readJsonList(file: string): unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(readBytes(file).toString('utf8'));
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(`${file}: malformed JSON (${(error as Error).message})`, { cause: error });
  }
  if (!Array.isArray(value)) throw new DataError(`${file}: expected a list of rows (for one row a line, name the file .jsonl)`);
  return value;
}

function encodePrompt(tokenizer: Tokenizer, prompt: ChatMessage[], place: string): number[] {
  try {
    const ids = tokenizer.encodeChat(prompt);
    if (ids.length === 0) throw new DataError('prompt: expected at least one token, got none');
    return ids;
  } catch (error) {
    if (error instanceof DataError) throw new DataError(`${place}: ${error.message}`, { cause: error });
    throw error;
  }
}
