/** Runs an estimator over batches and turns its advantages into estimates of the policy gradient. */
import { type AdvantageInput, type AdvantageOptions, computeAdvantages, createAdvantageEstimator, type EstimatorState, getAdvantageEstimator } from '../advantages';
import { tidy } from '../tensor';
import { type LabSampler, STREAMS } from './batches';

/** An estimator with its options, under the name it is shown by. */
export interface LabEstimator {
  name: string;
  options: AdvantageOptions;
  label: string;
}

/** Tokens of one call at most, where an estimator takes many batches at once. */
const TOKENS_A_CALL = 2 ** 17;
/** Batches that are compared with the same ones by themselves before many are taken at once, and afterwards. */
const PROBES = 3;

/**
 * [batches · states · vocabulary]: of each batch g = (1/N) Σ_i Σ_t A_it ∇log π(a_it), N the rows of a batch: the negative gradient of the loss −(1/N) Σ A ℓ.
 *
 * An estimator that carries state (`saveState`) first sees `warmup` batches; each measured batch begins with the state that these left. Any other one begins anew with each batch.
 */
export function gradientEstimates(sampler: LabSampler, estimator: LabEstimator, { batches, warmup }: { batches: number; warmup: number }): Float64Array {
  const size = sampler.policy.probs.length;
  const gradients = new Float64Array(batches * size);
  const state = stateAfter(sampler, estimator, warmup);
  const draw = (batch: number) => sampler.draw(STREAMS.batches + batch);
  const alone = (leaves: Int32Array) => advantagesOf(sampler, estimator, [leaves], state)[0];
  const atOnce = state === null && isSeparable(sampler, estimator, Array.from({ length: Math.min(PROBES, batches) }, (_, batch) => draw(batch)))
    ? Math.max(1, Math.floor(TOKENS_A_CALL / (sampler.rows * sampler.time)))
    : 1;
  for (let first = 0; first < batches; first += atOnce) {
    const drawn = Array.from({ length: Math.min(atOnce, batches - first) }, (_, k) => draw(first + k));
    let advantages = advantagesOf(sampler, estimator, drawn, state);
    // Some batches of each call are computed once more by themselves: what was not seen in the probes is seen here.
    const places = Array.from({ length: atOnce === 1 ? 0 : PROBES }, (_, k) => Math.floor(((k + 1) * (drawn.length - 1)) / PROBES));
    if (places.some((k) => !same(advantages[k], alone(drawn[k])))) advantages = drawn.map(alone);
    for (const [k, leaves] of drawn.entries()) accumulate(sampler, leaves, advantages[k], gradients.subarray((first + k) * size, (first + k + 1) * size));
  }
  return gradients;
}

/** Of each batch its advantages, [rows · time], from one call; group ids are those of prompts, and with several batches those of a batch's prompts. */
function advantagesOf(sampler: LabSampler, estimator: LabEstimator, drawn: readonly Int32Array[], state: EstimatorState): Float32Array[] {
  const { rows, time, environment: { prompts }, settings: { groupSize } } = sampler;
  const leaves = drawn.length === 1 ? drawn[0] : Int32Array.from(drawn.flatMap((each) => Array.from(each)));
  const groupIds = Int32Array.from(leaves, (_, row) => Math.floor(row / rows) * prompts + Math.floor((row % rows) / groupSize));
  const all = tidy(() => {
    const instance = state === null ? estimator.name : resumed(estimator, state);
    const inputs = sampler.inputs(leaves, groupIds, requiredBy(estimator.name));
    return Float32Array.from(computeAdvantages(instance, inputs, state === null ? estimator.options : {}).advantages.dataSync());
  });
  return drawn.map((_, k) => all.subarray(k * rows * time, (k + 1) * rows * time));
}

const requiredBy = (name: string): readonly AdvantageInput[] => getAdvantageEstimator(name).requires ?? [];

function resumed({ name, options }: LabEstimator, state: EstimatorState): ReturnType<typeof createAdvantageEstimator> {
  const instance = createAdvantageEstimator(name, options);
  instance.restoreState(state);
  return instance;
}

/** What an estimator knows after some batches; null for one that keeps nothing. */
function stateAfter(sampler: LabSampler, { name, options }: LabEstimator, warmup: number): EstimatorState {
  const instance = createAdvantageEstimator(name, options);
  const { rows, settings: { groupSize } } = sampler;
  const groupIds = Int32Array.from({ length: rows }, (_, row) => Math.floor(row / groupSize));
  for (let batch = 0; batch < warmup; batch++) {
    tidy(() => void computeAdvantages(instance, sampler.inputs(sampler.draw(STREAMS.warmup + batch), groupIds, requiredBy(name))));
    if (typeof instance.saveState !== 'function' || instance.saveState() === null) return null;
  }
  // Through text, as a checkpoint has it: no batch changes what the next one begins with.
  return warmup === 0 ? null : (JSON.parse(JSON.stringify(instance.saveState())) as EstimatorState);
}

/**
 * Whether a batch gets the same advantages, to the bit, whatever other batches stand beside it: none of its numbers is then a statistic of a batch, and many can be computed at once. The neighbours
 * are other batches, and batches of nothing but the worst sequence there is, or the best one, whose statistics are as different as they can be.
 */
function isSeparable(sampler: LabSampler, estimator: LabEstimator, drawn: readonly Int32Array[]): boolean {
  const neighbours = sampler.extremes.map((leaf) => new Int32Array(sampler.rows).fill(leaf));
  const [first, ...rest] = drawn;
  const alone = new Map<Int32Array, Float32Array>();
  const pairs = [[first, first], neighbours, ...[...rest, ...neighbours].flatMap((other) => [[first, other], [other, first]])];
  const keepsTo = (pair: readonly Int32Array[]): boolean => {
    const got = advantagesOf(sampler, estimator, pair, null);
    return pair.every((each, k) => {
      if (!alone.has(each)) alone.set(each, advantagesOf(sampler, estimator, [each], null)[0]);
      return same(got[k], alone.get(each)!);
    });
  };
  try {
    return pairs.every(keepsTo);
  } catch {
    // An estimator may refuse such a batch, and no other.
    return false;
  }
}

function same(a: Float32Array, b: Float32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Adds a batch's gradient: with S[x,a] the sum of the advantages of the tokens a that were written in state x, g[x,a] = (S[x,a] − π(a|x) Σ_b S[x,b])/N. */
function accumulate(sampler: LabSampler, leaves: Int32Array, advantages: Float32Array, gradient: Float64Array): void {
  const { policy: { probs, vocabulary }, time } = sampler;
  for (let row = 0; row < leaves.length; row++) sampler.walk(leaves[row], (node, column) => (gradient[sampler.cellOf(node)] += advantages[row * time + column]));
  for (let first = 0; first < gradient.length; first += vocabulary) {
    let sum = 0;
    for (let a = 0; a < vocabulary; a++) sum += gradient[first + a];
    for (let a = 0; a < vocabulary; a++) gradient[first + a] = (gradient[first + a] - probs[first + a] * sum) / leaves.length;
  }
}
