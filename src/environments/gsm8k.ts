/** Grade-school mathematics: the answer after `####` is compared with the truth as text. */
import type { AnyRow } from '../data/rows';
import { EnvironmentError, showValue } from '../errors';
import { Environment, type EnvironmentStep } from './environment';

/** A marked answer; its first group is the number as it was written. */
export const markedAnswer = /#### (-?[0-9.,]+)/;
const numbers = /-?[0-9.,]+/g;

export interface Gsm8kRewardOptions {
  /** `strict`: the first `#### number`; `flexible`: the last number anywhere that is more than a full stop. */
  method?: 'strict' | 'flexible';
  /** For an answer in the right form with the wrong value. */
  formatScore?: number;
  /** For the right answer. */
  score?: number;
}

/** The answer in a response, or null: `strict` is without commas and `$`, `flexible` as it stands. */
export function gsm8kAnswer(response: string, method: 'strict' | 'flexible' = 'strict'): string | null {
  if (method === 'strict') return markedAnswer.exec(response)?.[1].replace(/[,$]/g, '') ?? null;
  const found = response.match(numbers) ?? [];
  return found.findLast((number) => number !== '.') ?? found[0] ?? null;
}

/**
 * The GSM8K reward as SkyRL and verl compute it: `score` where the answer equals the truth *as text* (`#### 72.` is not 72), else
 * `formatScore` where there is an answer, else 0. The data and the `####` form: Cobbe et al. 2021, "Training Verifiers to Solve Math Word
 * Problems".
 */
export function gsm8kReward(response: string, groundTruth: string, options: Gsm8kRewardOptions = {}): number {
  const { method = 'strict', formatScore = 0, score = 1 } = options;
  const answer = gsm8kAnswer(response, method);
  if (answer === null) return 0;
  return answer === groundTruth ? score : formatScore;
}

/** The text that a row's `reward_spec` gives as the truth. @throws EnvironmentError */
export function groundTruth(name: string, row: AnyRow): string {
  const truth = (row.reward_spec as { ground_truth?: unknown } | null | undefined)?.ground_truth;
  if (typeof truth !== 'string') {
    throw new EnvironmentError(`environment '${name}': expected text as reward_spec.ground_truth, got ${showValue(truth)}`);
  }
  return truth;
}

/** One turn; the strict rule. */
export class Gsm8kEnvironment extends Environment {
  private readonly groundTruth: string;

  constructor(row: AnyRow) {
    super(row);
    this.groundTruth = groundTruth('gsm8k', row);
  }

  step(action: string): EnvironmentStep {
    return { observations: [], reward: gsm8kReward(action, this.groundTruth), done: true };
  }
}
