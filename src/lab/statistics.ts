/** From gradient estimates of many batches to what an estimator is worth: bias, variance, and what they cost. */
import { SmallRandom } from '../data/random';
import { STREAMS } from './batches';
import { gammaTail, normalTails, quantile, studentQuantile } from './distributions';

/** A number with the ends of its confidence interval. NaN where it is not defined, Infinity where there is no end. */
export interface Estimated {
  /** The estimate. */
  value: number;
  /** The lower end of the interval. */
  low: number;
  /** The upper end. */
  high: number;
}

/** What the measurement says of E[g] beside the exact gradient ∇J. */
export type Verdict = 'no bias found' | 'rescaled' | 'turned' | 'zero';

/** What was measured of an estimator; μ = E[g], Σ the covariance of g, both of one batch. */
export interface GradientQuality {
  /** ‖μ − ∇J‖. Bootstrap. */
  bias: Estimated;
  /** ‖μ − ∇J‖/‖∇J‖. Bootstrap. */
  relativeBias: Estimated;
  /** ⟨μ, ∇J⟩/‖∇J‖²: the factor by which the part of μ along ∇J is too long. An estimator that only rescales is ∇J times this. Student's t over the batches. */
  scale: Estimated;
  /** ‖μ − scale·∇J‖/‖∇J‖: what no factor mends. Bootstrap. */
  turn: Estimated;
  /** Of μ and ∇J: 1 for an estimator that only rescales. Bootstrap. */
  cosine: Estimated;
  /** The p-value of no bias at all. */
  unbiasedP: number;
  /** The p-value of a bias that is a factor alone. */
  rescaledP: number;
  /** What both say at the significance that was asked for. */
  verdict: Verdict;
  /** tr Σ. Bootstrap. */
  variance: Estimated;
  /** ‖μ‖/√(tr Σ). Bootstrap. */
  signalToNoise: Estimated;
  /** Sequences whose mean gradient has the wanted cosine to ∇J; Infinity: no number of them has. Bootstrap. */
  samplesToCosine: Estimated;
  /** The mean cosine to ∇J of means over as many of the measured sequences, drawn without replacement; NaN where they would be more than half of them. */
  cosineAtSamples: number;
}

export interface QualitySettings {
  /** Sequences of a batch. */
  rows: number;
  /** The wanted cosine. */
  cosine: number;
  /** Of intervals. */
  confidence: number;
  /** Below which p-value a bias counts as found. */
  significance: number;
  /** Of the subsets that a cosine is checked by. */
  seed: number;
}

/** Means over subsets of batches that a cosine is checked by, at least. */
const SUBSETS = 200;

/** [resamples · batches]: how often each resample of the bootstrap has each batch. */
export function resampleCounts(batches: number, { resamples, seed }: { resamples: number; seed: number }): Uint16Array {
  const random = new SmallRandom(seed, STREAMS.resampling);
  const counts = new Uint16Array(resamples * batches);
  for (let first = 0; first < counts.length; first += batches) for (let i = 0; i < batches; i++) counts[first + random.below(batches)]++;
  return counts;
}

/** Scalars of a (re)sampled mean ḡ: ⟨ḡ, ∇J⟩/‖∇J‖², ‖ḡ‖², ⟨ḡ, ḡ of all⟩, and tr Σ. */
interface Moments {
  scale: number;
  mean2: number;
  withMean: number;
  variance: number;
}

/** What is estimated by moments, each with an interval by the bootstrap. */
type Measured = Record<'bias' | 'turn' | 'cosine' | 'variance' | 'signalToNoise' | 'samplesToCosine', number>;

/**
 * @param gradients [batches · size], independent and equally distributed
 * @param exact [size]
 * @param counts of {@link resampleCounts}, the same for all that is compared
 */
export function gradientQuality(gradients: Float64Array, exact: Float64Array, counts: Uint16Array, settings: QualitySettings): GradientQuality {
  const { rows, confidence, significance, seed } = settings;
  const size = exact.length;
  const batches = gradients.length / size;
  const all = Array.from({ length: batches }, (_, b) => gradients.subarray(b * size, (b + 1) * size));
  const once = new Uint16Array(batches).fill(1);
  const mean = meanOf(all, once);
  const length2 = dot(exact, exact);
  const ofBatch = {
    along: Float64Array.from(all, (g) => dot(g, exact) / length2),
    squares: Float64Array.from(all, (g) => dot(g, g)),
    withMean: Float64Array.from(all, (g) => dot(g, mean)),
  };
  const momentsOf = (weights: Uint16Array): Moments => {
    const sampled = meanOf(all, weights);
    const mean2 = dot(sampled, sampled);
    const [scale, square, withMean] = [dot(weights, ofBatch.along) / batches, dot(weights, ofBatch.squares) / batches, dot(weights, ofBatch.withMean) / batches];
    return { scale, mean2, withMean, variance: Math.max(0, square - mean2) * (batches / (batches - 1)) };
  };
  const moments = momentsOf(once);
  const { scale, mean2, variance } = moments;
  const varianceAlong = ofBatch.along.reduce((sum, x) => sum + (x - scale) ** 2, 0) / (batches - 1);
  // The squared length of a mean is too large by the variance of the mean: once for what was measured, once more for each resample of it.
  const noise = variance / batches;
  const noiseAcross = Math.max(0, variance - varianceAlong * length2) / batches;
  const measure = (of: Moments, times: number): Measured => {
    const signal2 = Math.max(0, of.mean2 - times * noise);
    const across2 = Math.max(0, of.mean2 - of.scale ** 2 * length2 - times * noiseAcross);
    return {
      bias: Math.sqrt(Math.max(0, of.mean2 - 2 * of.scale * length2 + length2 - times * noise)),
      turn: Math.sqrt(across2 / length2),
      cosine: signal2 === 0 ? NaN : Math.max(-1, Math.min(1, of.scale * Math.sqrt(length2 / signal2))),
      variance: of.variance,
      signalToNoise: Math.sqrt(signal2 / of.variance),
      samplesToCosine: rows * batchesToCosine(settings.cosine, of.scale ** 2 * length2 * Math.sign(of.scale), signal2, of.variance),
    };
  };
  const measured = measure(moments, 1);

  const resamples = counts.length / batches;
  const resampled: Measured[] = [];
  // ‖ḡ* − ḡ‖², and its part across ∇J: what the squared bias would be if there were none.
  const [null2, nullAcross2] = [new Float64Array(resamples), new Float64Array(resamples)];
  for (let k = 0; k < resamples; k++) {
    const of = momentsOf(counts.subarray(k * batches, (k + 1) * batches));
    resampled.push(measure(of, 2));
    null2[k] = of.mean2 - 2 * of.withMean + mean2;
    nullAcross2[k] = null2[k] - (of.scale - scale) ** 2 * length2;
  }
  const interval = (key: keyof Measured): Estimated => {
    const known = Float64Array.from(resampled, (values) => values[key]).filter((x) => !Number.isNaN(x)).sort();
    if (known.length === 0) return { value: measured[key], low: NaN, high: NaN };
    return { value: measured[key], low: quantile(known, (1 - confidence) / 2), high: quantile(known, (1 + confidence) / 2) };
  };
  const bias = interval('bias');
  const samplesToCosine = interval('samplesToCosine');
  const half = studentQuantile(confidence, batches - 1) * Math.sqrt(varianceAlong / batches);
  // Of two questions, each with its own power: whether ‖μ − ∇J‖ is 0, and whether the factor is 1 (Bonferroni).
  const unbiasedP = Math.min(1, 2 * Math.min(tailOf(null2, mean2 - 2 * scale * length2 + length2, length2), tailsOfScale(scale, varianceAlong / batches)));
  const rescaledP = tailOf(nullAcross2, mean2 - scale ** 2 * length2, length2);
  const over = ({ value, low, high }: Estimated): Estimated => ({ value: value / Math.sqrt(length2), low: low / Math.sqrt(length2), high: high / Math.sqrt(length2) });
  return {
    bias,
    relativeBias: over(bias),
    scale: { value: scale, low: scale - half, high: scale + half },
    turn: interval('turn'),
    cosine: interval('cosine'),
    unbiasedP,
    rescaledP,
    verdict: mean2 === 0 && variance === 0 ? 'zero' : rescaledP < significance ? 'turned' : unbiasedP < significance ? 'rescaled' : 'no bias found',
    variance: interval('variance'),
    signalToNoise: interval('signalToNoise'),
    samplesToCosine,
    cosineAtSamples: meanCosine(all, exact, samplesToCosine.value / rows, new SmallRandom(seed, STREAMS.resampling + 1)),
  };
}

/**
 * How many batches' mean has the wanted cosine c to ∇J: with M of them cos ≈ ⟨μ, ∇J⟩/(‖∇J‖·√(‖μ‖² + tr Σ/M)), so that M = tr Σ/(s²/c² − ‖μ‖²), s the length of μ along ∇J. Infinity where
 * μ itself has no such cosine.
 *
 * @param along2 s², negative where μ points away from ∇J
 */
export function batchesToCosine(cosine: number, along2: number, signal2: number, variance: number): number {
  // A cosine cannot exceed 1, whatever rounding and noise say.
  const room = along2 / cosine ** 2 - Math.max(signal2, along2);
  return along2 > 0 && room > 0 ? variance / room : Infinity;
}

/** The p-value of a factor of 1. */
const tailsOfScale = (scale: number, variance: number): number => (variance === 0 ? (Math.abs(scale - 1) < 1e-6 ? 1 : 0) : normalTails((scale - 1) / Math.sqrt(variance)));

/** P(X ≥ x), X a gamma variable with the mean and the variance of the resampled numbers (Satterthwaite 1946, for sums of squares in unequal directions). */
function tailOf(resampled: Float64Array, x: number, unit: number): number {
  const mean = resampled.reduce((sum, each) => sum + each, 0) / resampled.length;
  const variance = resampled.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (resampled.length - 1);
  // What does not vary has no bias beyond rounding, or one for certain: advantages are of single precision.
  if (!(mean > 1e-12 * unit)) return x > 1e-10 * unit ? 0 : 1;
  return gammaTail(mean ** 2 / variance, (x * mean) / variance);
}

function meanOf(all: readonly Float64Array[], counts: Uint16Array): Float64Array {
  const mean = new Float64Array(all[0].length);
  let total = 0;
  for (let b = 0; b < all.length; b++) {
    const count = counts[b];
    if (count === 0) continue;
    total += count;
    const g = all[b];
    for (let i = 0; i < mean.length; i++) mean[i] += count * g[i];
  }
  for (let i = 0; i < mean.length; i++) mean[i] /= total;
  return mean;
}

/** The mean cosine of means over disjoint subsets of so many batches; in as many orders as make enough of them. */
function meanCosine(all: readonly Float64Array[], exact: Float64Array, wanted: number, random: SmallRandom): number {
  if (!(wanted <= all.length / 2)) return NaN;
  const count = Math.max(1, Math.ceil(wanted));
  const length = Math.sqrt(dot(exact, exact));
  let [sum, subsets] = [0, 0];
  while (subsets < SUBSETS) {
    const order = random.permutation(all.length);
    for (let first = 0; first + count <= all.length; first += count, subsets++) {
      const mean = meanOf(order.slice(first, first + count).map((b) => all[b]), new Uint16Array(count).fill(1));
      const size = Math.sqrt(dot(mean, mean));
      sum += size === 0 ? 0 : dot(mean, exact) / (size * length);
    }
  }
  return sum / subsets;
}

export function dot(a: Float64Array | Uint16Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
