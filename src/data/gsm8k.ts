/** GSM8K (`question`, `answer` a line) as rows for training. */
import { markedAnswer } from '../environments/gsm8k';
import { DataError, showValue } from '../errors';
import { readJsonl } from './jsonl';
import type { PromptRow } from './rows';

const instruction = 'Let\'s think step by step and output the final answer after "####".';

/** What {@link readGsm8k} gives. */
export interface Gsm8kRows {
  /** A row for each problem. */
  rows: PromptRow[];
  /** Rows whose truth was written with commas, which were removed. */
  truthsWithCommas: number;
}

/**
 * Reads a GSM8K file. A row's prompt is the question, a space and the instruction; its truth is the number after `####`, without commas.
 * @param split what `extra_info.split` says: `train` or `test`
 * @param envClass the environment that the rows name; `gsm8k_multi_turn` has several turns
 * @throws DataError with `FILE:LINE` for malformed JSON, a missing field, or an answer without `#### number`
 */
export function readGsm8k(file: string, split: string, envClass = 'gsm8k'): Gsm8kRows {
  let truthsWithCommas = 0;
  const rows = readJsonl(file).map(({ value, line }, index) => {
    const place = `${file}:${line}`;
    const [question, answer] = ['question', 'answer'].map((field) => textField(value, field, place));
    const written = markedAnswer.exec(answer)?.[1];
    if (written === undefined) throw new DataError(`${place}: answer: expected '#### ' and a number, got ${showValue(answer)}`);
    if (written.includes(',')) truthsWithCommas++;
    return gsm8kRow(question, answer, written.replaceAll(',', ''), envClass, split, index);
  });
  return { rows, truthsWithCommas };
}

function gsm8kRow(question: string, answer: string, truth: string, envClass: string, split: string, index: number): PromptRow {
  return {
    data_source: 'openai/gsm8k',
    prompt: [{ role: 'user', content: `${question} ${instruction}` }],
    env_class: envClass,
    reward_spec: { method: 'rule', ground_truth: truth },
    extra_info: { split, index, answer, question },
  };
}

function textField(value: unknown, field: string, place: string): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DataError(`${place}: expected an object with question and answer, got ${showValue(value)}`);
  }
  const text = (value as Record<string, unknown>)[field];
  if (typeof text !== 'string') throw new DataError(`${place}: ${field}: expected text, got ${showValue(text)}`);
  return text;
}
