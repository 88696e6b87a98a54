/** Grade-school mathematics: the answer after `####` is compared with the truth as text. */
import type { AnyRow } from '../data/rows';
import { EnvironmentError, showValue } from '../errors';
import { Environment, type EnvironmentSettings, type EnvironmentStep } from './environment';

/** A marked answer; its first group is the number as it was written. */
export const markedAnswer = /#### (-?[0-9.,]+)/;
const numbers = /-?[0-9.,]+/g;

/** Options of {@link gsm8kReward}. */
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
  if (typeof response !== 'string') throw new EnvironmentError(`gsm8kAnswer: expected the response as text, got ${showValue(response)}`);
  if (method !== 'strict' && method !== 'flexible') throw new EnvironmentError(`gsm8kAnswer: expected method 'strict' or 'flexible', got ${showValue(method)}`);
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
  if (typeof options !== 'object' || options === null) throw new EnvironmentError(`gsm8kReward: expected options {method, formatScore, score}, got ${showValue(options)}`);
  const { method = 'strict', formatScore = 0, score = 1 } = options;
  const answer = gsm8kAnswer(response, method);
  if (answer === null) return 0;
  return answer === groundTruth ? score : formatScore;
}

/** The text that a row's `reward_spec` gives as the truth. @throws EnvironmentError */
export function groundTruth(name: string, row: AnyRow): string {
  const truth = (row?.reward_spec as { ground_truth?: unknown } | null | undefined)?.ground_truth;
  if (typeof truth !== 'string') {
    throw new EnvironmentError(`environment '${name}': expected text as reward_spec.ground_truth, got ${showValue(truth)}`);
  }
  return truth;
}

/** One turn; the strict rule. */
export class Gsm8kEnvironment extends Environment {
  private readonly groundTruth: string;

  constructor(row: AnyRow, settings?: EnvironmentSettings) {
    super(row, settings);
    this.groundTruth = groundTruth('gsm8k', row);
  }

  step(action: string): EnvironmentStep {
    return { observations: [], reward: gsm8kReward(action, this.groundTruth), done: true };
  }
}

/** Of the reward of a trajectory, what well-formed wrong answers may add up to. */
const formatScore = 0.2;

/**
 * Several turns, as SkyRL has them: 1 for the right answer, which ends the trajectory; 0.2/turns for a wrong one in the right form; 0 otherwise. After all but the last turn
 * the policy is told to go on. Turns: `generator.max_turns`, else the row's `extra_info.max_turns`, else 5.
 */
export class Gsm8kMultiTurnEnvironment extends Environment {
  private readonly groundTruth: string;
  private readonly maxTurns: number;
  private turns = 0;

  constructor(row: AnyRow, settings?: EnvironmentSettings) {
    super(row, settings);
    this.groundTruth = groundTruth('gsm8k_multi_turn', row);
    this.maxTurns = settings?.maxTurns ?? (row.extra_info as { max_turns?: number } | null | undefined)?.max_turns ?? 5;
    if (!Number.isInteger(this.maxTurns) || this.maxTurns < 1) throw new EnvironmentError(`environment 'gsm8k_multi_turn': expected maxTurns, a positive integer, got ${showValue(this.maxTurns)}`);
  }

  step(action: string): EnvironmentStep {
    this.turns++;
    const reward = gsm8kReward(action, this.groundTruth, { formatScore: formatScore / this.maxTurns });
    const left = this.maxTurns - this.turns;
    const done = reward === 1 || left <= 0;
    return { observations: done ? [] : [{ role: 'user', content: this.feedback(left) }], reward, done };
  }

  override metrics(): Record<string, number> {
    return { turns: this.turns };
  }

  private feedback(left: number): string {
    if (left === 1) return 'That is not the right answer. Give only the final number now, as "#### NUMBER".';
    return 'That is not the right answer. Think again, step by step, and end with a number as "#### NUMBER".';
  }
}
