/** What is exact in a lab environment, in plain loops over every sequence: nothing of src/lab but what an environment is (its sizes, logits, states and rewards). */
import { stateOf, type LabEnvironment } from '../../src/lab/environments';

/** A finished sequence of a prompt: its tokens, the states they were written in, their rewards, and its probability given the prompt. */
export interface Sequence {
  prompt: number;
  tokens: number[];
  states: number[];
  rewards: number[];
  probability: number;
}

export function softmax(logits: readonly number[]): number[] {
  const weights = logits.map((x) => Math.exp(x));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}

const rowOf = ({ logits, vocabulary }: LabEnvironment, state: number): number[] => Array.from(logits.slice(state * vocabulary, (state + 1) * vocabulary));

/** Counts through all words of full length, and cuts each at its end; a word that was cut is one sequence. */
export function sequences(environment: LabEnvironment): Sequence[] {
  const { prompts, vocabulary, length, ends } = environment;
  const found: Sequence[] = [];
  for (let prompt = 0; prompt < prompts; prompt++) {
    const seen = new Set<string>();
    for (let word = 0; word < vocabulary ** length; word++) {
      const tokens: number[] = [];
      for (let t = 0, rest = word; t < length; t++, rest = Math.floor(rest / vocabulary)) {
        tokens.push(rest % vocabulary);
        if (ends && tokens[t] === 0) break;
      }
      if (seen.has(tokens.join())) continue;
      seen.add(tokens.join());
      const states = tokens.map((_, t) => stateOf(environment, prompt, t, t === 0 ? -1 : tokens[t - 1]!));
      const rewards = tokens.map((_, t) => environment.reward(prompt, tokens.slice(0, t + 1)).reduce((a, b) => a + b));
      const probability = tokens.reduce((p, a, t) => p * softmax(rowOf(environment, states[t]!))[a]!, 1);
      found.push({ prompt, tokens, states, rewards, probability });
    }
  }
  return found;
}

/** Σ_t w_t ∇log π(a_t), [states · vocabulary]. */
export function score(environment: LabEnvironment, { tokens, states }: Sequence, weight: (t: number) => number): number[] {
  const gradient = new Array<number>(environment.logits.length).fill(0);
  for (let t = 0; t < tokens.length; t++) {
    const probs = softmax(rowOf(environment, states[t]!));
    for (let a = 0; a < environment.vocabulary; a++) gradient[states[t]! * environment.vocabulary + a]! += weight(t) * ((a === tokens[t] ? 1 : 0) - probs[a]!);
  }
  return gradient;
}

/** E[Σ_t γ^t r_t], each prompt with the same probability. */
export function expectedReturn(environment: LabEnvironment, gamma: number): number {
  return sequences(environment).reduce((sum, { probability, rewards }) => sum + (probability * rewards.reduce((all, r, t) => all + gamma ** t * r, 0)) / environment.prompts, 0);
}

/** E[Σ_t w_t ∇log π(a_t)] over prompts and sequences. */
export function expectedScore(environment: LabEnvironment, weight: (sequence: Sequence, t: number) => number): number[] {
  const gradient = new Array<number>(environment.logits.length).fill(0);
  for (const sequence of sequences(environment)) {
    const own = score(environment, sequence, (t) => weight(sequence, t));
    for (let i = 0; i < own.length; i++) gradient[i]! += (sequence.probability / environment.prompts) * own[i]!;
  }
  return gradient;
}

/** The policy gradient by REINFORCE's formula: of `discounted` and `undiscounted` returns the whole return weighs every token; `to_go` weighs it by what comes. */
export function exactGradient(environment: LabEnvironment, gamma: number, objective: 'discounted' | 'undiscounted' | 'to_go'): number[] {
  const total = (rewards: readonly number[], from: number, discount: number) => rewards.slice(from).reduce((sum, r, k) => sum + discount ** k * r, 0);
  return expectedScore(environment, ({ rewards }, t) => {
    if (objective === 'to_go') return total(rewards, t, gamma);
    return total(rewards, 0, objective === 'discounted' ? gamma : 1);
  });
}

/** b* = E[‖s‖²R]/E[‖s‖²], s = Σ_t ∇log π(a_t): of all constants the one whose (R − b)s varies least (Greensmith, Bartlett, Baxter 2004); and tr Cov of (R − b)s for any b. */
export function constantBaselines(environment: LabEnvironment): { optimal: number; mean: number; variance(baseline: number): number } {
  const all = sequences(environment).map((sequence) => {
    const s = score(environment, sequence, () => 1);
    return { p: sequence.probability / environment.prompts, R: sequence.rewards.reduce((a, b) => a + b, 0), norm2: s.reduce((sum, x) => sum + x * x, 0) };
  });
  const gradient2 = exactGradient(environment, 1, 'discounted').reduce((sum, x) => sum + x * x, 0);
  const mean = (f: (each: (typeof all)[number]) => number) => all.reduce((sum, each) => sum + each.p * f(each), 0);
  return {
    optimal: mean(({ R, norm2 }) => R * norm2) / mean(({ norm2 }) => norm2),
    mean: mean(({ R }) => R),
    variance: (b) => mean(({ R, norm2 }) => (R - b) ** 2 * norm2) - gradient2,
  };
}
