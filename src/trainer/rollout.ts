/** From prompts to trajectories: sampled responses and the rewards that environments give them. */
import type { SamplingConfig } from '../config';
import type { ChatMessage, PromptExample, Tokenizer } from '../data';
import { checkStep, type Environment, type EnvironmentClass } from '../environments';
import { EnvironmentError } from '../errors';
import { generate, type Transformer } from '../models';
import type { RandomKey } from '../tensor';

/** One response to one prompt. */
export interface Trajectory {
  /** The prompt's id: responses to one prompt are a group. */
  groupId: string;
  dataSource: string;
  /** At most the longest prompt of the dataset. */
  promptIds: readonly number[];
  /** The sampled tokens, the end token included where there is one; at least one. */
  responseIds: readonly number[];
  /** The sampler's log-probability of each response token, under the distribution that it was drawn from. */
  rolloutLogProbs: readonly number[];
  /** The response as text, as the environment saw it. */
  text: string;
  /** `stop`: the end token came; `length`: it did not within `max_generate_length`. */
  stopReason: 'stop' | 'length';
  reward: number;
  /** What the environment measured. */
  metrics: Record<string, number>;
}

export interface RolloutOptions {
  /** Responses to each prompt. */
  samples: number;
  sampling: SamplingConfig;
  key: RandomKey;
}

export interface RolloutParts {
  policy: Transformer;
  tokenizer: Tokenizer;
  /** The class of an environment by the name that a row gives. */
  environment: (name: string) => EnvironmentClass;
  maxPromptLength: number;
}

/** Generates with the policy in this process; one turn. */
export class Rollout {
  constructor(protected readonly parts: RolloutParts) {}

  /**
   * The responses to each prompt, next to each other, in the order of the prompts.
   * @throws EnvironmentError naming the environment whose step returns what it must not, or whose prompt is too long
   */
  async collect(examples: readonly PromptExample[], options: RolloutOptions): Promise<Trajectory[]> {
    const episodes = examples.flatMap((example) =>
      Array.from({ length: options.samples }, () => {
        const environment = new (this.parts.environment(example.envClass))(example.row);
        return { example, environment };
      }),
    );
    try {
      const prompts: (readonly number[])[] = [];
      for (const { example, environment } of episodes) prompts.push(await this.prompt(example, environment));
      const { responses, logProbs, stopReasons } = this.respond(prompts, options);
      const trajectories: Trajectory[] = [];
      for (const [i, { example, environment }] of episodes.entries()) {
        const text = this.parts.tokenizer.decode(responses[i]);
        const { reward } = checkStep(example.envClass, await environment.step(text));
        trajectories.push({
          groupId: example.id,
          dataSource: example.dataSource,
          promptIds: prompts[i],
          responseIds: responses[i],
          rolloutLogProbs: logProbs[i],
          text,
          stopReason: stopReasons[i],
          reward,
          metrics: environment.metrics(),
        });
      }
      return trajectories;
    } finally {
      for (const { environment } of episodes) await environment.close();
    }
  }

  /** Samples a response to each prompt; those of a group stand next to each other. */
  protected respond(prompts: readonly (readonly number[])[], { samples, sampling, key }: RolloutOptions) {
    const { policy, tokenizer } = this.parts;
    // Where no environment changed its prompt, a group's prompt is read once for all its responses.
    const shared = prompts.every((prompt, row) => prompt === prompts[row - (row % samples)]);
    const distinct = shared ? prompts.filter((_, row) => row % samples === 0) : prompts;
    return generate(policy, distinct, {
      samplesPerPrompt: shared ? samples : 1,
      maxLength: sampling.max_generate_length,
      temperature: sampling.temperature,
      topP: sampling.top_p,
      topK: sampling.top_k,
      minP: sampling.min_p,
      eosId: tokenizer.eosId,
      padId: tokenizer.padId,
      key,
    });
  }

  /** The prompt's tokens; encoded anew only where the environment changes what the policy sees. */
  private async prompt(example: PromptExample, environment: Environment): Promise<readonly number[]> {
    const messages = await environment.init(example.prompt);
    if (sameMessages(messages, example.prompt)) return example.promptIds;
    const ids = this.parts.tokenizer.encodeChat(messages);
    const { maxPromptLength } = this.parts;
    if (ids.length >= 1 && ids.length <= maxPromptLength) return ids;
    throw new EnvironmentError(
      `environment '${example.envClass}': init: expected a prompt of 1 to ${maxPromptLength} tokens, got ${ids.length}`,
    );
  }
}

function sameMessages(a: readonly ChatMessage[], b: readonly ChatMessage[]): boolean {
  return a === b || (a.length === b.length && a.every(({ role, content }, i) => role === b[i].role && content === b[i].content));
}
