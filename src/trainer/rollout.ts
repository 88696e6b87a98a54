/** From prompts to trajectories: sampled answers and the rewards that environments give them, turn by turn. */
import type { SamplingConfig } from '../config';
import type { PromptExample, Tokenizer } from '../data';
import type { EnvironmentClass } from '../environments';
import { makeEnvironment } from '../environments/make';
import { EnvironmentError } from '../errors';
import { bucket } from '../models/generate';
import { type Generation, generate, type Transformer } from '../models';
import type { RandomKey } from '../tensor';
import { forEachConcurrently } from './concurrency';
import { Episode } from './episode';
import { stopTest } from './stop_texts';
import { isFailed, type Trajectory } from './trajectory';

/** How a batch is sampled. */
export interface RolloutOptions {
  /** Responses to each prompt. */
  samples: number;
  /** Temperature, limits and stop texts. */
  sampling: SamplingConfig;
  /** The stream that the draws come from. */
  key: RandomKey;
}

/** What a {@link Rollout} is made of. */
export interface RolloutParts {
  /** The model that answers. */
  policy: Transformer;
  /** What encodes prompts and decodes responses. */
  tokenizer: Tokenizer;
  /** The class of an environment by the name that a row gives. */
  environment: (name: string) => EnvironmentClass;
  /** Tokens of a prompt, at most: an environment that begins with more fails. */
  maxPromptLength: number;
  /** Answers of the policy in one trajectory, at most. Default 1. */
  maxTurns?: number;
  /** Tokens; a conversation over it gets no further answer. Default `maxPromptLength`. */
  maxInputLength?: number;
  /** Whether rewards are 0 where the last answer did not end by itself. Default false. */
  zeroRewardOnNonStop?: boolean;
  /** Environments that run at the same time; -1: no limit, the default. */
  maxConcurrentEnvironments?: number;
  /** Seconds for one call of an environment; null, the default: any. */
  environmentTimeout?: number | null;
}

/** What the policy answers, a row each. */
export type Responses = Pick<Generation, 'responses' | 'logProbs' | 'stopReasons'>;

/** Keys of later turns: far from those of the tokens, which are folded from the same key. */
const firstTurnKey = 2 ** 32;

/** Generates with the policy in this process. */
export class Rollout {
  constructor(
    /** What it was made of. */
    protected readonly parts: RolloutParts,
  ) {}

  /**
   * The trajectories of each prompt, next to each other, in the order of the prompts. All that still go on are answered together, turn by turn. An environment that throws
   * or takes too long ends its own trajectory only.
   * @throws EnvironmentError naming the environment that returns what it must not, whose prompt is too long, or of which not one worked
   */
  async collect(examples: readonly PromptExample[], options: RolloutOptions): Promise<Trajectory[]> {
    const { tokenizer, maxPromptLength, maxTurns = 1, maxInputLength = maxPromptLength, environmentTimeout: timeout = null } = this.parts;
    const settings = { tokenizer, maxPromptLength, maxInputLength, timeout };
    const episodes: Episode[] = [];
    try {
      for (const example of examples) {
        const Class = this.parts.environment(example.envClass);
        for (let sample = 0; sample < options.samples; sample++) episodes.push(new Episode(example, makeEnvironment(example.envClass, Class, example.row, { maxTurns }), settings));
      }
      await this.forEach(episodes, (episode) => episode.begin());
      for (let turn = 0; turn < maxTurns; turn++) {
        const open = episodes.filter(({ isOpen }) => isOpen);
        if (open.length === 0) break;
        const prompts = open.map(({ ids }) => ids);
        const { responses, logProbs, stopReasons } = await this.respond(prompts, {
          ...options,
          // A row whose environment has failed is missing in its group.
          samples: open.length === episodes.length ? options.samples : 1,
          key: turn === 0 ? options.key : options.key.fold(firstTurnKey + turn),
        });
        await this.forEach(open, (episode, i) => episode.act(responses[i]!, logProbs[i]!, stopReasons[i]!, turn + 1 === maxTurns));
      }
    } finally {
      await this.forEach(episodes, (episode) => episode.close());
    }
    const trajectories = episodes.map((episode) => episode.trajectory(this.parts.zeroRewardOnNonStop ?? false));
    if (trajectories.length > 0 && trajectories.every(isFailed)) {
      throw new EnvironmentError(`environment '${episodes[0]!.envClass}': not one of ${episodes.length} trajectories worked; the first: ${trajectories[0]!.error}`);
    }
    return trajectories;
  }

  /** Samples an answer to each conversation; those of a group stand next to each other where there are several `samples`. */
  protected respond(prompts: readonly (readonly number[])[], { samples, sampling, key }: RolloutOptions): Responses | Promise<Responses> {
    const { policy, tokenizer } = this.parts;
    // Where no environment changed its prompt, a group's prompt is read once for all its responses.
    const shared = prompts.every((prompt, row) => prompt === prompts[row - (row % samples)]);
    // Of trajectories that still go on there is any number: a few numbers of rows, so that plans are found again. What is too much repeats the last one.
    const rows = prompts.concat(Array.from({ length: bucket(prompts.length) - prompts.length }, () => prompts.at(-1)!));
    const distinct = shared ? prompts.filter((_, row) => row % samples === 0) : rows;
    return generate(policy, distinct, {
      samplesPerPrompt: shared ? samples : 1,
      maxLength: sampling.max_generate_length,
      temperature: sampling.temperature,
      topP: sampling.top_p,
      topK: sampling.top_k,
      minP: sampling.min_p,
      eosId: tokenizer.eosId,
      padId: tokenizer.padId,
      isComplete: stopTest(tokenizer, sampling.stop),
      key,
    });
  }

  private forEach(episodes: readonly Episode[], work: (episode: Episode, index: number) => Promise<void>): Promise<void> {
    const { maxConcurrentEnvironments = -1 } = this.parts;
    return forEachConcurrently(episodes, maxConcurrentEnvironments === -1 ? Infinity : maxConcurrentEnvironments, work);
  }
}
