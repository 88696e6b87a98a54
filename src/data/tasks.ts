/** Small generated tasks in the GSM8K row layout, which a tiny transformer learns from random weights in seconds. */
import { DataError, showValue } from '../errors';
import { checkFields } from './check';
import { SmallRandom } from './random';
import type { PromptRow } from './rows';

interface Task {
  /** Digits of a prompt. */
  digits: number;
  /** What is right for these digits; `random` is the row's own. */
  solve(drawn: readonly string[], random: SmallRandom): { truth: string; answer: string; extra?: Record<string, unknown> };
}

const largest = (drawn: readonly string[]): string => drawn.reduce((a, b) => (a > b ? a : b));

const tasks = {
  gmax: { digits: 4, solve: (drawn) => ({ truth: largest(drawn), answer: `#### ${largest(drawn)}` }) },
  max4: { digits: 4, solve: (drawn) => ({ truth: largest(drawn), answer: largest(drawn) }) },
  sort3: {
    digits: 3,
    solve: (drawn) => {
      const sorted = [...drawn].sort().join(' ');
      return { truth: sorted, answer: sorted };
    },
  },
  lookup: {
    digits: 4,
    solve: (drawn, random) => {
      const table = Array.from({ length: 10 }, () => String(random.below(10)));
      const key = largest(drawn);
      const truth = table[Number(key)]!;
      return { truth, answer: `#### ${truth}`, extra: { table, key } };
    },
  },
} satisfies Record<string, Task>;

/**
 * - `gmax`: the prompt `3 9 1 4 =`, the answer `#### 9`, rewarded by the GSM8K rule;
 * - `max4`: the same prompt, the answer `9`: one token;
 * - `sort3`: the prompt `3 9 1 =`, the answer `1 3 9`; of 1,000 prompts only. Random weights are right in one of 2,700 answers: a policy needs thousands of
 *   answers a step;
 * - `lookup`: the prompt `3 9 1 4 =`; the call `<tool> 9 </tool>` is answered with what the row's hidden table (`extra_info.table`) holds under 9, say
 *   `<result> 5 </result>`, and then `#### 5` is right. Two turns, the tokenizer `word_tools`.
 */
export const taskNames = Object.freeze(['gmax', 'max4', 'sort3', 'lookup'] as const satisfies readonly (keyof typeof tasks)[]);
/** A name of {@link taskNames}. @useDeclaredType */
export type TaskName = (typeof taskNames)[number];

/** Options of {@link generateTask}. */
export interface TaskOptions {
  /** Rows to train on. Default 2048. */
  trainSize?: number;
  /** Rows to evaluate on: different prompts, none of which is trained on. Default 256. */
  validationSize?: number;
  /** Default 42. */
  seed?: number;
}

/**
 * Draws prompts without replacement; only a training set larger than what validation leaves of the 10,000 prompts (`sort3`: 1,000) repeats some of its own.
 * @throws DataError for sizes that cannot be
 */
export function generateTask(task: TaskName, options: TaskOptions = {}): { train: PromptRow[]; validation: PromptRow[] } {
  checkFields('generateTask', 'options', options, '{ trainSize, validationSize, seed }');
  const { trainSize = 2048, validationSize = 256, seed = 42 } = options;
  if (typeof task !== 'string' || !Object.hasOwn(tasks, task)) throw new DataError(`generateTask: expected one of ${taskNames.join(', ')}, got ${showValue(task)}`);
  const promptCount = 10 ** tasks[task].digits;
  checkInteger('trainSize', trainSize, 1, 10_000_000);
  checkInteger('validationSize', validationSize, 1, promptCount - 1);
  checkInteger('seed', seed, 0, Number.MAX_SAFE_INTEGER);
  const order = new SmallRandom(seed).permutation(promptCount);
  const remaining = order.slice(validationSize);
  const row = (number: number, split: string, index: number): PromptRow => taskRow(task, number, new SmallRandom(seed, number + 1), split, index);
  return {
    validation: order.slice(0, validationSize).map((number, index) => row(number, 'test', index)),
    train: Array.from({ length: trainSize }, (_, index) => row(remaining[index % remaining.length]!, 'train', index)),
  };
}

function taskRow(name: TaskName, number: number, random: SmallRandom, split: string, index: number): PromptRow {
  const task: Task = tasks[name];
  const drawn = [...String(number).padStart(task.digits, '0')];
  const { truth, answer, extra } = task.solve(drawn, random);
  const question = `${drawn.join(' ')} =`;
  return {
    data_source: `vantage/${name}`,
    prompt: [{ role: 'user', content: question }],
    env_class: name,
    reward_spec: { method: 'rule', ground_truth: truth },
    extra_info: { split, index, answer, question, ...extra },
  };
}

function checkInteger(name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new DataError(`generateTask: ${name}: expected an integer from ${low} to ${high}, got ${showValue(value)}`);
  }
}
