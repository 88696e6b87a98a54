/** All sequences of an environment as a tree of prefixes, and what is exact because of it. */
import { normal, stateOf, type LabEnvironment } from './environments';
import { SmallRandom } from '../data/random';

/** Node p < prompts is the prompt p before its first token; every other node is a prefix, named by its last token. Parents come before children. */
export interface Tree {
  nodes: number;
  parent: Int32Array;
  prompt: Int32Array;
  /** Tokens of the prefix. */
  depth: Int32Array;
  /** The last token; −1 at roots. */
  token: Int32Array;
  /** The state in which the next token is written; −1 where the sequence has ended. */
  state: Int32Array;
  /** The first of `vocabulary` children that stand one after the other; −1 where the sequence has ended. */
  firstChild: Int32Array;
  /** The reward of the last token, and its two components, [2 · nodes]. */
  reward: Float64Array;
  components: Float64Array;
}

export function enumerate(environment: LabEnvironment): Tree {
  const { prompts, vocabulary, length, ends } = environment;
  let nodes = 0;
  for (let depth = 0, alive = prompts; depth <= length; depth++) {
    nodes += depth === 0 ? prompts : alive * vocabulary;
    if (depth > 0) alive *= vocabulary - (ends ? 1 : 0);
  }
  const ints = () => new Int32Array(nodes).fill(-1);
  const tree: Tree = {
    nodes,
    parent: ints(),
    prompt: ints(),
    depth: new Int32Array(nodes),
    token: ints(),
    state: ints(),
    firstChild: ints(),
    reward: new Float64Array(nodes),
    components: new Float64Array(2 * nodes),
  };
  for (let prompt = 0; prompt < prompts; prompt++) tree.prompt[prompt] = prompt;
  let next = prompts;
  for (let node = 0; node < nodes; node++) {
    const [prompt, depth, token] = [tree.prompt[node], tree.depth[node], tree.token[node]];
    if (depth === length || (ends && token === 0)) continue;
    const prefix = prefixOf(tree, node);
    tree.state[node] = stateOf(environment, prompt, depth, token);
    tree.firstChild[node] = next;
    for (let a = 0; a < vocabulary; a++, next++) {
      const components = environment.reward(prompt, [...prefix, a]);
      tree.parent[next] = node;
      tree.prompt[next] = prompt;
      tree.depth[next] = depth + 1;
      tree.token[next] = a;
      tree.reward[next] = components[0] + components[1];
      tree.components.set(components, 2 * next);
    }
  }
  return tree;
}

function prefixOf(tree: Tree, node: number): number[] {
  const tokens: number[] = [];
  for (let at = node; tree.depth[at] > 0; at = tree.parent[at]) tokens.unshift(tree.token[at]);
  return tokens;
}

/** The policy of some logits, by state and token: π and log π, [states · vocabulary], and Σπ², [states]. */
export interface Policy {
  vocabulary: number;
  probs: Float64Array;
  logProbs: Float64Array;
  sumSquaredProbs: Float64Array;
}

export function softmaxPolicy(logits: Float64Array, vocabulary: number): Policy {
  const states = logits.length / vocabulary;
  const [probs, logProbs, sumSquaredProbs] = [new Float64Array(logits.length), new Float64Array(logits.length), new Float64Array(states)];
  for (let state = 0; state < states; state++) {
    const row = logits.subarray(state * vocabulary, (state + 1) * vocabulary);
    const largest = row.reduce((most, x) => Math.max(most, x), -Infinity);
    const logSum = largest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
    for (let a = 0; a < vocabulary; a++) {
      const at = state * vocabulary + a;
      logProbs[at] = row[a] - logSum;
      probs[at] = Math.exp(logProbs[at]);
      sumSquaredProbs[state] += probs[at] ** 2;
    }
  }
  return { vocabulary, probs, logProbs, sumSquaredProbs };
}

/** [nodes]: V = E[Σ_k γ^k r_{t+k}] from each prefix on; 0 where the sequence has ended. */
export function exactValues(tree: Tree, { probs, vocabulary }: Policy, gamma: number): Float64Array {
  const values = new Float64Array(tree.nodes);
  for (let node = tree.nodes - 1; node >= 0; node--) {
    const first = tree.firstChild[node];
    if (first < 0) continue;
    for (let a = 0; a < vocabulary; a++) values[node] += probs[tree.state[node] * vocabulary + a] * (tree.reward[first + a] + gamma * values[first + a]);
  }
  return values;
}

/** E[Σ_t γ^t r_t] over prompts, each with the same probability, and the policy's sequences. */
export function exactReturn(tree: Tree, policy: Policy, gamma: number, prompts: number): number {
  return exactValues(tree, policy, gamma).subarray(0, prompts).reduce((sum, value) => sum + value, 0) / prompts;
}

/** What the gradient is of. */
/** Whose gradient is exact: see `objective` of the lab's options. */
export type LabObjective = 'discounted' | 'undiscounted' | 'to_go';
export const labObjectives: readonly LabObjective[] = ['discounted', 'undiscounted', 'to_go'];

/**
 * [states · vocabulary], the gradient in the logits by the policy gradient theorem (Sutton, McAllester, Singh, Mansour, 2000): Σ_x d(x) Σ_a ∇π(a|x) Q(x,a), x over the prefixes, d(x) their
 * probability, in `discounted` times γ^t. `discounted` is ∇E[Σ γ^t r_t], `undiscounted` ∇E[Σ r_t]. `to_go` is E[Σ_t ∇log π_t Σ_{s≥t} γ^{s−t} r_s], the g^γ of Schulman et al. 2016, which is what actor-critic
 * methods estimate and, but for γ = 1, no gradient.
 */
export function exactGradient(tree: Tree, policy: Policy, { gamma, objective, prompts }: { gamma: number; objective: LabObjective; prompts: number }): Float64Array {
  const { probs, vocabulary } = policy;
  const inner = objective === 'undiscounted' ? 1 : gamma;
  const outer = objective === 'discounted' ? gamma : 1;
  const values = exactValues(tree, policy, inner);
  const reach = new Float64Array(tree.nodes).fill(1 / prompts, 0, prompts);
  const gradient = new Float64Array(probs.length);
  for (let node = 0; node < tree.nodes; node++) {
    const first = tree.firstChild[node];
    if (first < 0) continue;
    for (let a = 0; a < vocabulary; a++) {
      const at = tree.state[node] * vocabulary + a;
      reach[first + a] = outer * reach[node] * probs[at];
      gradient[at] += reach[node] * probs[at] * (tree.reward[first + a] + inner * values[first + a] - values[node]);
    }
  }
  return gradient;
}

/** [nodes]: exact values plus `error` times a standard normal number for each prefix, fixed by the environment's seed: a critic that is wrong by as much. */
export function criticValues(tree: Tree, values: Float64Array, error: number, seed: number): Float64Array {
  const random = new SmallRandom(seed, 2);
  return values.map((value, node) => {
    const noise = normal(random);
    return tree.firstChild[node] < 0 ? 0 : value + error * noise;
  });
}
