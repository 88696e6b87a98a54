/** Small generated tasks in the GSM8K row layout, which a tiny transformer learns from random weights in seconds. */
import { DataError, showValue } from '../errors';
import { SmallRandom } from './random';
import type { PromptRow } from './rows';

/**
 * - `gmax`: the prompt `3 9 1 4 =`, the answer `#### 9`, rewarded by the GSM8K rule;
 * - `max4`: the same prompt, the answer `9`: one token.
 */
export const taskNames = ['gmax', 'max4'] as const;
export type TaskName = (typeof taskNames)[number];

export interface TaskOptions {
  /** Rows to train on. Default 2048. */
  trainSize?: number;
  /** Rows to evaluate on: different prompts, none of which is trained on. Default 256. */
  validationSize?: number;
  /** Default 42. */
  seed?: number;
}

const digits = 4;
const promptCount = 10 ** digits;

/**
 * Draws prompts without replacement; only a training set larger than what validation leaves of the 10,000 prompts repeats some of its own.
 * @throws DataError for sizes that cannot be
 */
export function generateTask(task: TaskName, options: TaskOptions = {}): { train: PromptRow[]; validation: PromptRow[] } {
  const { trainSize = 2048, validationSize = 256, seed = 42 } = options;
  checkInteger('trainSize', trainSize, 1, 10_000_000);
  checkInteger('validationSize', validationSize, 1, promptCount - 1);
  checkInteger('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  const order = new SmallRandom(seed).permutation(promptCount);
  const remaining = order.slice(validationSize);
  return {
    validation: order.slice(0, validationSize).map((number, index) => taskRow(task, number, 'test', index)),
    train: Array.from({ length: trainSize }, (_, index) => taskRow(task, remaining[index % remaining.length], 'train', index)),
  };
}

function taskRow(task: TaskName, number: number, split: string, index: number): PromptRow {
  const drawn = [...String(number).padStart(digits, '0')];
  const largest = drawn.reduce((a, b) => (a > b ? a : b));
  const question = `${drawn.join(' ')} =`;
  const answer = task === 'gmax' ? `#### ${largest}` : largest;
  return {
    data_source: `vantage/${task}`,
    prompt: [{ role: 'user', content: question }],
    env_class: task,
    reward_spec: { method: 'rule', ground_truth: largest },
    extra_info: { split, index, answer, question },
  };
}

function checkInteger(name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new DataError(`generateTask: ${name}: expected an integer from ${low} to ${high}, got ${showValue(value)}`);
  }
}
