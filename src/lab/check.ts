/** The exact gradient beside what knows nothing of how it was computed: differences of the exact return, and sampled sequences. */
import { SmallRandom } from '../data/random';
import { EstimatorError, showValue } from '../errors';
import { checkObject } from '../options';
import { labEnvironment, stateOf, uniform, type LabEnvironment, type LabEnvironmentName, type LabEnvironmentOptions } from './environments';
import { dot } from './statistics';
import { enumerate, exactGradient, exactReturn, softmaxPolicy } from './tree';

/** How the exact gradient compares. */
export interface ExactGradientCheck {
  /** How many numbers it has. */
  size: number;
  /** Its Euclidean norm. */
  norm: number;
  /** The largest difference from central differences (J(θ+h) − J(θ−h))/2h of the exact return, h = 1e-4. */
  finiteDifference: number;
  /** Of the mean of R ∇log π over sampled sequences; null without samples. */
  monteCarlo: {
    samples: number;
    /** ‖difference‖, and what it should be: √(tr Σ/samples). */
    error: number;
    expectedError: number;
    /** The largest difference of a number in units of its standard error, and the share of numbers within two of them. */
    largest: number;
    withinTwo: number;
  } | null;
}

const STEP = 1e-4;

export function checkExactGradient(name: LabEnvironmentName, options: LabEnvironmentOptions & { gamma?: number; samples?: number; seed?: number } = {}): ExactGradientCheck {
  checkObject('checkExactGradient', 'option', options);
  const { gamma = 1, samples = 0, seed = 0, ...sizes } = options;
  if (!(gamma >= 0 && gamma <= 1)) throw new EstimatorError(`checkExactGradient: option 'gamma': expected a number from 0 to 1, got ${showValue(gamma)}`);
  if (!(Number.isInteger(samples) && samples >= 0 && samples !== 1))
    throw new EstimatorError(`checkExactGradient: option 'samples': expected a whole number, 0 or at least 2, got ${showValue(samples)}`);
  if (!Number.isSafeInteger(seed)) throw new EstimatorError(`checkExactGradient: option 'seed': expected an integer, got ${showValue(seed)}`);
  const environment = labEnvironment(name, sizes);
  const { prompts, vocabulary, logits } = environment;
  const tree = enumerate(environment);
  const exact = exactGradient(tree, softmaxPolicy(logits, vocabulary), { gamma, objective: 'discounted', prompts });
  const returnAt = (i: number, step: number) => {
    const moved = logits.slice();
    moved[i] += step;
    return exactReturn(tree, softmaxPolicy(moved, vocabulary), gamma, prompts);
  };
  const finiteDifference = exact.reduce((most, g, i) => Math.max(most, Math.abs(g - (returnAt(i, STEP) - returnAt(i, -STEP)) / (2 * STEP))), 0);
  return { size: exact.length, norm: Math.sqrt(dot(exact, exact)), finiteDifference, monteCarlo: samples === 0 ? null : monteCarlo(environment, exact, { gamma, samples, seed }) };
}

function monteCarlo(environment: LabEnvironment, exact: Float64Array, { gamma, samples, seed }: { gamma: number; samples: number; seed: number }): NonNullable<ExactGradientCheck['monteCarlo']> {
  const { prompts, vocabulary, length, ends } = environment;
  const { probs } = softmaxPolicy(environment.logits, vocabulary);
  const random = new SmallRandom(seed, 3);
  const [sums, squares] = [new Float64Array(exact.length), new Float64Array(exact.length)];
  const firsts = new Int32Array(length);
  for (let k = 0; k < samples; k++) {
    const prompt = random.below(prompts);
    const tokens: number[] = [];
    let [total, discount] = [0, 1];
    while (tokens.length < length && !(ends && tokens.at(-1) === 0)) {
      const first = stateOf(environment, prompt, tokens.length, tokens.at(-1) ?? -1) * vocabulary;
      firsts[tokens.length] = first;
      let [a, left] = [0, uniform(random)];
      while (a < vocabulary - 1 && (left -= probs[first + a]) >= 0) a++;
      tokens.push(a);
      const [one, other] = environment.reward(prompt, tokens);
      total += discount * (one + other);
      discount *= gamma;
    }
    for (let t = 0; t < tokens.length; t++) {
      for (let a = 0; a < vocabulary; a++) {
        const at = firsts[t] + a;
        const g = total * ((a === tokens[t] ? 1 : 0) - probs[at]);
        sums[at] += g;
        squares[at] += g * g;
      }
    }
  }
  let [error2, variance, largest, within, counted] = [0, 0, 0, 0, 0];
  for (let i = 0; i < exact.length; i++) {
    const mean = sums[i] / samples;
    const ofMean = (squares[i] / samples - mean ** 2) / (samples - 1);
    error2 += (mean - exact[i]) ** 2;
    variance += ofMean;
    // A logit that no sampled sequence met has no error to compare with.
    if (!(ofMean > 0)) continue;
    const z = Math.abs(mean - exact[i]) / Math.sqrt(ofMean);
    largest = Math.max(largest, z);
    within += z <= 2 ? 1 : 0;
    counted++;
  }
  return { samples, error: Math.sqrt(error2), expectedError: Math.sqrt(variance), largest, withinTwo: within / Math.max(1, counted) };
}
