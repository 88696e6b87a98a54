/** Environments so small that every sequence of them can be written down. */
import { EstimatorError } from '../errors';
import { checkName, checkValue } from '../options';
import { SmallRandom } from '../data/random';

/** The kinds of environments of the estimator lab. */
export type LabEnvironmentName = 'terminal' | 'dense' | 'sparse' | 'tool' | 'critic' | 'ending';
export const labEnvironmentNames: readonly LabEnvironmentName[] = ['terminal', 'dense', 'sparse', 'tool', 'critic', 'ending'];

/** What stands behind a name: how large it is and what it pays. */
interface Kind {
  prompts: number;
  vocabulary: number;
  length: number;
  /** Token 0 ends the sequence. */
  ends?: boolean;
  /** A tool answers once, in the middle: the tokens of its answer, which the policy did not write. */
  toolTokens?: number;
  criticError?: number;
  /** The two components of the reward for the last of `tokens`; their sum is the reward. Rewards of a sequence add up to 0 … 1. */
  reward(tokens: readonly number[], of: { target: readonly number[]; length: number; isFinal: boolean; stake: number }): readonly [number, number];
}

const nothing = [0, 0] as const;
const matches = (tokens: readonly number[], target: readonly number[], from = 0, to = tokens.length): number => {
  let count = 0;
  for (let t = from; t < to; t++) if (tokens[t] === target[t]) count++;
  return count;
};

/** A token that is right pays more behind one that was right. */
const dense: Kind = {
  prompts: 4,
  vocabulary: 4,
  length: 5,
  reward(tokens, { target, length, stake }) {
    const t = tokens.length - 1;
    if (tokens[t] !== target[t]) return nothing;
    const paid = (stake * (t > 0 && tokens[t - 1] === target[t - 1] ? 1 : 0.5)) / length;
    return t % 2 === 0 ? [paid, 0] : [0, paid];
  },
};

const kinds: Readonly<Record<LabEnvironmentName, Kind>> = {
  terminal: {
    prompts: 4,
    vocabulary: 4,
    length: 4,
    reward(tokens, { target, length, isFinal, stake }) {
      if (!isFinal) return nothing;
      const half = length >> 1;
      const [first, second] = [matches(tokens, target, 0, half), matches(tokens, target, half)];
      return [(stake * first) / length + (1 - stake) / 2, (stake * second) / length];
    },
  },
  dense,
  sparse: {
    prompts: 4,
    vocabulary: 4,
    length: 4,
    reward(tokens, { target, length, isFinal }) {
      return isFinal && matches(tokens, target) >= length - 1 ? [0.5, 0.5] : nothing;
    },
  },
  tool: {
    prompts: 4,
    vocabulary: 3,
    length: 5,
    toolTokens: 2,
    reward(tokens, { target, length, isFinal, stake }) {
      const [t, half] = [tokens.length - 1, length >> 1];
      const own = t < half && tokens[t] === target[t] ? (0.3 * stake) / half : 0;
      // What comes of the tool's answer hangs on what it was asked.
      const end = isFinal ? (0.7 * stake * matches(tokens, target, 0, half) * (1 + matches(tokens, target, half))) / (half * (1 + length - half)) : 0;
      return [own, end];
    },
  },
  critic: { ...dense, criticError: 0.1 },
  ending: {
    prompts: 3,
    vocabulary: 4,
    length: 6,
    ends: true,
    reward(tokens, { target, length, isFinal, stake }) {
      if (!isFinal) return nothing;
      const written = tokens.length - (tokens[tokens.length - 1] === 0 ? 1 : 0);
      const share = written / length;
      const paid = (stake * matches(tokens, target) * (0.4 + 0.6 * share)) / Math.max(1, written);
      return [paid * share, paid * (1 - share)];
    },
  },
};

/** An environment with its policy: all that is fixed while estimators are measured. */
export interface LabEnvironment {
  name: LabEnvironmentName;
  prompts: number;
  vocabulary: number;
  /** Tokens that the policy writes at most. */
  length: number;
  /** Whether token 0 ends a sequence. */
  ends: boolean;
  /** The tool answers behind this many tokens, with so many of its own (0: there is none). */
  toolAfter: number;
  toolTokens: number;
  /** Of the critic, unless another is asked for. */
  criticError: number;
  /** States of the policy: prompt, position and last token. Each has `vocabulary` logits. */
  states: number;
  /** [states · vocabulary]: those of the policy, and of the reference policy. */
  logits: Float64Array;
  referenceLogits: Float64Array;
  seed: number;
  /** The two components of the reward for the last of `tokens`. */
  reward(prompt: number, tokens: readonly number[]): readonly [number, number];
}

/** How many sequences, and prefixes of them, are enumerated at most. */
const MAXIMUM_SEQUENCES = 2 ** 19;

/** What is other than the environment's own. */
export interface LabEnvironmentOptions {
  /** 1 to 64. */
  prompts?: number;
  /** Tokens to choose from at each position, 3 to 8. */
  vocabulary?: number;
  /** Positions of a sequence, 2 to 6. */
  length?: number;
  /** Of the targets, the policy's logits and the critic's error. Default 0. */
  environmentSeed?: number;
}

/** @throws EstimatorError for an unknown name, and sizes that cannot be enumerated */
export function labEnvironment(name: LabEnvironmentName, options: LabEnvironmentOptions = {}): LabEnvironment {
  checkName('estimatorLab', "option 'environment'", name, labEnvironmentNames);
  const kind = kinds[name];
  const { prompts = kind.prompts, vocabulary = kind.vocabulary, length = kind.length, environmentSeed: seed = 0 } = options;
  const label = (option: string) => `estimatorLab: option '${option}'`;
  checkValue(label('prompts'), prompts, { low: 1, high: 64, integer: true });
  checkValue(label('vocabulary'), vocabulary, { low: 3, high: 8, integer: true });
  checkValue(label('length'), length, { low: 2, high: 6, integer: true });
  checkValue(label('environmentSeed'), seed, { low: 0, high: Number.MAX_SAFE_INTEGER, integer: true });
  const sequences = prompts * vocabulary ** length;
  if (sequences > MAXIMUM_SEQUENCES) {
    throw new EstimatorError(
      `estimatorLab: expected prompts · vocabulary^length of at most ${MAXIMUM_SEQUENCES}, as every sequence is enumerated, got ${prompts} · ${vocabulary}^${length} = ${sequences}`,
    );
  }
  const ends = kind.ends ?? false;
  const random = new SmallRandom(seed, 1);
  const lowest = ends ? 1 : 0;
  const targets = Array.from({ length: prompts }, () => Array.from({ length }, () => lowest + random.below(vocabulary - lowest)));
  const states = prompts * statesOfPrompt({ vocabulary, length, ends });
  const draw = () => Float64Array.from({ length: states * vocabulary }, () => 0.7 * normal(random));
  return {
    name,
    prompts,
    vocabulary,
    length,
    ends,
    toolAfter: length >> 1,
    toolTokens: kind.toolTokens ?? 0,
    criticError: kind.criticError ?? 0,
    states,
    logits: draw(),
    referenceLogits: draw(),
    seed,
    reward(prompt, tokens) {
      const isFinal = tokens.length === length || (ends && tokens[tokens.length - 1] === 0);
      // Prompts differ in what is at stake, so that their standard deviations differ.
      const stake = prompts === 1 ? 1 : 1 - (0.7 * prompt) / (prompts - 1);
      return kind.reward(tokens, { target: targets[prompt], length, isFinal, stake });
    },
  };
}

type Sizes = Pick<LabEnvironment, 'vocabulary' | 'length' | 'ends'>;

/** The first position, then each position behind each token that goes on. */
const statesOfPrompt = ({ vocabulary, length, ends }: Sizes): number => 1 + (length - 1) * (vocabulary - (ends ? 1 : 0));

/** The state in which the policy writes the token at `position` behind `last`. */
export function stateOf(environment: Sizes, prompt: number, position: number, last: number): number {
  const { vocabulary, ends } = environment;
  const first = prompt * statesOfPrompt(environment);
  return position === 0 ? first : first + 1 + (position - 1) * (vocabulary - (ends ? 1 : 0)) + last - (ends ? 1 : 0);
}

/** A number from 0 to 1, neither of them. */
export const uniform = (random: SmallRandom): number => (random.next() + 0.5) / 2 ** 32;

/** Box and Muller 1958. */
export function normal(random: SmallRandom): number {
  const radius = Math.sqrt(-2 * Math.log(uniform(random)));
  return radius * Math.cos(2 * Math.PI * uniform(random));
}
