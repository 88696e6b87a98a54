/** Batches of sampled sequences, as estimators see them. */
import type { AdvantageInput, AdvantageInputs } from '../advantages';
import { SmallRandom } from '../data/random';
import { tensor } from '../tensor';
import { uniform, type LabEnvironment } from './environments';
import { criticValues, enumerate, exactValues, softmaxPolicy, type Policy, type Tree } from './tree';

/** What batches are drawn from, and how large they are. */
export interface BatchSettings {
  groupSize: number;
  /** Of the critic's values. */
  gamma: number;
  criticError: number;
  seed: number;
}

/** The places where streams of random numbers begin: those of the measured batches, of the ones before them, and of resampling. */
export const STREAMS = { batches: 0, warmup: 2 ** 30, resampling: 2 ** 31 } as const;

type Numbers = Float32Array | Int32Array | Uint8Array;

/** An environment with all its sequences, its policy and its critic. */
export class LabSampler {
  readonly tree: Tree;
  readonly policy: Policy;
  /** Rows of a batch, and columns: the policy's tokens and the tool's. */
  readonly rows: number;
  readonly time: number;
  /** The last nodes of the sequences of least and of most reward. */
  readonly extremes: readonly [number, number];
  private readonly reference: Policy;
  private readonly exact: Float64Array;
  private readonly critic: Float64Array;
  private readonly greedy: Float64Array;

  constructor(readonly environment: LabEnvironment, readonly settings: BatchSettings) {
    const { vocabulary, logits, referenceLogits, prompts, length, toolTokens, seed } = environment;
    this.tree = enumerate(environment);
    this.policy = softmaxPolicy(logits, vocabulary);
    this.reference = softmaxPolicy(referenceLogits, vocabulary);
    this.exact = exactValues(this.tree, this.policy, settings.gamma);
    this.critic = criticValues(this.tree, this.exact, settings.criticError, seed);
    this.greedy = Float64Array.from({ length: prompts }, (_, prompt) => this.greedyReturn(prompt));
    this.rows = prompts * settings.groupSize;
    this.time = length + toolTokens;
    this.extremes = this.findExtremes();
  }

  /** [rows]: the last node of each sequence of a batch, prompt by prompt. Every batch has a stream of random numbers of its own, so that it is the same whatever else is drawn. */
  draw(batch: number): Int32Array {
    const { tree, policy: { probs, vocabulary }, settings: { groupSize, seed } } = this;
    const random = new SmallRandom(seed, batch);
    return Int32Array.from({ length: this.rows }, (_, row) => {
      let node = Math.floor(row / groupSize);
      while (tree.firstChild[node] >= 0) {
        let [a, left] = [0, uniform(random)];
        for (; a < vocabulary - 1; a++) {
          left -= probs[tree.state[node] * vocabulary + a];
          if (left < 0) break;
        }
        node = tree.firstChild[node] + a;
      }
      return node;
    });
  }

  /** Calls `visit` for each token of a sequence, from the last to the first: its node, and its column. */
  walk(leaf: number, visit: (node: number, column: number) => void): void {
    const { tree: { depth, parent }, environment: { toolAfter, toolTokens } } = this;
    for (let node = leaf; depth[node] > 0; node = parent[node]) visit(node, depth[node] - 1 + (depth[node] > toolAfter ? toolTokens : 0));
  }

  /**
   * The batch of these sequences. What every training run has is there, a critic's values included; the rest where it is required.
   * @param groupIds one a row
   */
  inputs(leaves: Int32Array, groupIds: Int32Array, requires: readonly AdvantageInput[]): AdvantageInputs {
    const { tree, policy, reference, time, environment: { toolAfter, toolTokens } } = this;
    const rows = leaves.length;
    const floats = () => new Float32Array(rows * time);
    const [rewards, values, oldLogProbs, refLogProbs] = [floats(), floats(), floats(), floats()];
    const masks = new Uint8Array(rows * time);
    const own = this.ownInputs(rows);
    const wanted = Object.entries(own).filter(([name]) => requires.includes(name as AdvantageInput));
    for (let row = 0; row < rows; row++) {
      this.walk(leaves[row], (node, column) => {
        const at = row * time + column;
        const cell = this.cellOf(node);
        masks[at] = 1;
        rewards[at] = tree.reward[node];
        values[at] = this.critic[tree.parent[node]];
        oldLogProbs[at] = policy.logProbs[cell];
        refLogProbs[at] = reference.logProbs[cell];
        for (const [, { token, array }] of wanted) if (token) array[at] = token(node);
        // The critic looks at the tool's tokens too; what it says there an estimator should not heed.
        if (tree.depth[node] === toolAfter) { for (let k = 1; k <= toolTokens; k++) values[at + k] = this.critic[node]; }
      });
      for (const [, { ofRow, array }] of wanted) ofRow?.(leaves[row], row, array);
    }
    const shaped = (array: Numbers) => tensor(array, { shape: [rows, time] });
    const inputs: AdvantageInputs = { rewards: shaped(rewards), masks: shaped(masks), values: shaped(values), groupIds, oldLogProbs: shaped(oldLogProbs), refLogProbs: shaped(refLogProbs) };
    return { ...inputs, rolloutLogProbs: inputs.oldLogProbs, ...Object.fromEntries(wanted.map(([name, { array, shape }]) => [name, tensor(array, { shape: shape ?? [rows, time] })])) };
  }

  /** The place of a token's logit, in [states · vocabulary]. */
  cellOf(node: number): number {
    return this.tree.state[this.tree.parent[node]] * this.environment.vocabulary + this.tree.token[node];
  }

  /** Inputs that are there only where an estimator requires them: what they hold at a token, or what a row puts into them. */
  private ownInputs(rows: number): Partial<Record<AdvantageInput, OwnInput>> {
    const { tree, policy, time, environment: { toolAfter, toolTokens } } = this;
    const floats = (size = rows * time) => new Float32Array(size);
    const turn = (node: number) => (toolTokens > 0 && tree.depth[node] > toolAfter ? 1 : 0);
    return {
      baselines: { array: floats(rows), shape: [rows], ofRow: (leaf, row, array) => (array[row] = this.greedy[tree.prompt[leaf]]) },
      sumSquaredProbs: { array: floats(), token: (node) => policy.sumSquaredProbs[tree.state[tree.parent[node]]] },
      turnIds: { array: new Int32Array(rows * time), token: turn },
      anchorIds: { array: new Int32Array(rows * time), token: (node) => this.prefixAt(node, turn(node) * toolAfter) },
      rewardComponents: {
        array: floats(rows * 2),
        shape: [rows, 2],
        ofRow: (leaf, row, array) => this.walk(leaf, (node) => [0, 1].forEach((k) => (array[2 * row + k] += tree.components[2 * node + k]))),
      },
      teacherLogProbs: { array: floats(), token: (node) => policy.logProbs[this.cellOf(node)] + this.improvement(node) },
      importanceWeights: { array: floats().fill(1) },
      policyDivergences: { array: floats(rows), shape: [rows] },
      terminated: { array: new Uint8Array(rows * time), token: (node) => (tree.firstChild[node] < 0 ? 1 : 0) },
      truncated: { array: new Uint8Array(rows * time) },
      bootstrapValues: { array: floats(rows), shape: [rows] },
    };
  }

  /** log π_T − log π of a teacher that is one step of improvement ahead, π_T(a) ∝ π(a)·exp Q(a). */
  private improvement(node: number): number {
    const { tree, policy: { probs, vocabulary }, exact, settings: { gamma } } = this;
    const parent = tree.parent[node];
    const q = (child: number) => tree.reward[child] + gamma * exact[child];
    let sum = 0;
    for (let a = 0; a < vocabulary; a++) sum += probs[tree.state[parent] * vocabulary + a] * Math.exp(q(tree.firstChild[parent] + a));
    return q(node) - Math.log(sum);
  }

  private findExtremes(): [number, number] {
    const { tree, environment: { prompts } } = this;
    const totals = new Float64Array(tree.nodes);
    let [least, most] = [-1, -1];
    for (let node = prompts; node < tree.nodes; node++) {
      totals[node] = totals[tree.parent[node]] + tree.reward[node];
      if (tree.firstChild[node] >= 0) continue;
      if (least < 0 || totals[node] < totals[least]) least = node;
      if (most < 0 || totals[node] > totals[most]) most = node;
    }
    return [least, most];
  }

  private prefixAt(node: number, depth: number): number {
    let at = node;
    while (this.tree.depth[at] > depth) at = this.tree.parent[at];
    return at;
  }

  /** Σ r of the sequence of the likeliest tokens. */
  private greedyReturn(prompt: number): number {
    const { tree, policy: { probs, vocabulary } } = this;
    let [node, total] = [prompt, 0];
    while (tree.firstChild[node] >= 0) {
      const row = probs.subarray(tree.state[node] * vocabulary, (tree.state[node] + 1) * vocabulary);
      node = tree.firstChild[node] + row.indexOf(row.reduce((most, x) => Math.max(most, x)));
      total += tree.reward[node];
    }
    return total;
  }
}

interface OwnInput {
  array: Numbers;
  /** Default: [rows, time]. */
  shape?: number[];
  token?(node: number): number;
  ofRow?(leaf: number, row: number, array: Numbers): void;
}
