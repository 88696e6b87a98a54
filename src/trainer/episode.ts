/** One trajectory while it is made: its environment, and the tokens so far. */
import { type ChatMessage, encodeObservations, type PromptExample, type Tokenizer } from '../data';
import { checkMessages, checkMetrics, checkStep, type Environment } from '../environments';
import { EnvironmentError } from '../errors';
import { thrownText } from '../frames';
import type { StopReason } from '../models';
import { TimeoutError, within } from './concurrency';
import type { Trajectory, TrajectoryStop, Turn } from './trajectory';

export interface EpisodeSettings {
  tokenizer: Tokenizer;
  maxPromptLength: number;
  /** Tokens; a conversation over it gets no further answer. */
  maxInputLength: number;
  /** Seconds for one call of the environment; null: any. */
  timeout: number | null;
}

/** What an environment does is its own affair: an error or a timeout ends its trajectory only. What it returns must be what it has to be. */
export class Episode {
  private promptIds: readonly number[];
  private readonly responseIds: number[] = [];
  private readonly logProbs: number[] = [];
  private readonly turns: Turn[] = [];
  private stopReason: TrajectoryStop = 'stop';
  private error: string | undefined;
  private metrics: Record<string, number> = {};
  private open = true;

  constructor(
    private readonly example: PromptExample,
    private readonly environment: Environment,
    private readonly settings: EpisodeSettings,
  ) {
    this.promptIds = example.promptIds;
  }

  /** Whether the policy is to answer. */
  get isOpen(): boolean {
    return this.open;
  }

  get envClass(): string {
    return this.example.envClass;
  }

  /** What the policy reads: the very array of the dataset, where there is nothing but its prompt. */
  get ids(): readonly number[] {
    return this.responseIds.length === 0 ? this.promptIds : [...this.promptIds, ...this.responseIds];
  }

  /** Asks the environment for the prompt. @throws EnvironmentError for one that is too long */
  async begin(): Promise<void> {
    const { example, settings } = this;
    const given = await this.call(() => this.environment.init(example.prompt));
    if (given === undefined) return;
    checkMessages(example.envClass, 'init', given.value);
    // Encoded anew only where the environment changes what the policy sees.
    if (sameMessages(given.value, example.prompt)) return;
    const ids = settings.tokenizer.encodeChat(given.value);
    if (ids.length < 1 || ids.length > settings.maxPromptLength) {
      throw new EnvironmentError(`environment '${example.envClass}': init: expected a prompt of 1 to ${settings.maxPromptLength} tokens, got ${ids.length}`);
    }
    this.promptIds = ids;
  }

  /** Hands an answer of the policy to the environment. @throws EnvironmentError for a step that is none */
  async act(ids: readonly number[], logProbs: readonly number[], stopReason: StopReason, isLast: boolean): Promise<void> {
    const { tokenizer, maxInputLength } = this.settings;
    const turn = { start: this.responseIds.length, end: this.responseIds.length + ids.length, reward: 0 };
    this.turns.push(turn);
    this.responseIds.push(...ids);
    this.logProbs.push(...logProbs);
    this.stopReason = stopReason;
    const given = await this.call(() => this.environment.step(tokenizer.decode(ids)));
    if (given === undefined) return;
    const { observations, reward, done } = checkStep(this.example.envClass, given.value);
    turn.reward = reward;
    this.open = !done && !isLast;
    if (!this.open) return;
    const observed = this.encode(observations);
    // The chat form goes on after a finished answer.
    if (ids.at(-1) !== tokenizer.eosId) observed.unshift(tokenizer.eosId);
    if (this.promptIds.length + this.responseIds.length + observed.length > maxInputLength) {
      this.open = false;
      this.stopReason = 'length';
      return;
    }
    this.responseIds.push(...observed);
    for (const _ of observed) this.logProbs.push(0);
  }

  /** Ends the trajectory. To be called once. @throws EnvironmentError for metrics that are none */
  async close(): Promise<void> {
    const { stopReason, example } = this;
    const measured = await this.call(() => this.environment.metrics());
    await this.call(() => this.environment.close());
    // The trajectory was complete before: what its environment fails with now is told, but changes nothing of it.
    this.stopReason = stopReason;
    if (measured) this.metrics = checkMetrics(example.envClass, measured.value);
  }

  /** @param zeroOnNonStop whether rewards are 0 where the last answer did not end by itself */
  trajectory(zeroOnNonStop: boolean): Trajectory {
    const { example, promptIds, responseIds, logProbs, stopReason, error, metrics } = this;
    const turns = zeroOnNonStop && stopReason !== 'stop' ? this.turns.map((turn) => ({ ...turn, reward: 0 })) : this.turns;
    return {
      groupId: example.id,
      dataSource: example.dataSource,
      promptIds,
      responseIds,
      rolloutLogProbs: logProbs,
      turns,
      text: this.settings.tokenizer.decode(responseIds),
      stopReason,
      ...(error !== undefined && { error }),
      reward: turns.reduce((sum, { reward }) => sum + reward, 0),
      metrics,
    };
  }

  /** What the environment gives, or undefined where it failed. */
  private async call<Result>(work: () => Result | Promise<Result>): Promise<{ value: Result } | undefined> {
    try {
      return { value: await within(this.settings.timeout, work) };
    } catch (error) {
      this.open = false;
      this.stopReason = error instanceof TimeoutError ? 'timeout' : 'error';
      this.error ??= error instanceof TimeoutError ? error.message : thrownText(error, 'call');
      return undefined;
    }
  }

  private encode(observations: readonly ChatMessage[]): number[] {
    try {
      return encodeObservations(this.settings.tokenizer, observations);
    } catch (error) {
      throw new EnvironmentError(`environment '${this.example.envClass}': step: observations: ${(error as Error).message}`, { cause: error });
    }
  }
}

function sameMessages(a: readonly ChatMessage[], b: readonly ChatMessage[]): boolean {
  return a === b || (a.length === b.length && a.every(({ role, content }, i) => role === b[i]!.role && content === b[i]!.content));
}
