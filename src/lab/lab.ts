/** Is an estimator good? Its gradient estimates beside the exact gradient, where every sequence can be written down. */
import { type AdvantageOptions, createAdvantageEstimator, getAdvantageEstimator, listAdvantageEstimators } from '../advantages';
import { EstimatorError, showValue, VantageError } from '../errors';
import { checkName, checkNames, checkObject, checkValue, conventionNames, type ConventionName, resolveOptions, share, type Rule } from '../options';
import { tidy } from '../tensor';
import { LabSampler } from './batches';
import { labEnvironment, labEnvironmentNames, type LabEnvironment, type LabEnvironmentName, type LabEnvironmentOptions } from './environments';
import { gradientEstimates, type LabEstimator } from './gradients';
import { dot, gradientQuality, resampleCounts, type GradientQuality } from './statistics';
import { exactGradient, exactReturn, labObjectives, type LabObjective } from './tree';

/** What a lab can be repeated over. */
export type LabSweepKey = 'groupSize' | 'gamma' | 'lambda' | 'criticError';

/** Their least and greatest values. */
const sweepRanges = {
  groupSize: { low: 1, high: 1024, integer: true },
  gamma: share,
  lambda: share,
  criticError: { low: 0 },
} as const satisfies Record<LabSweepKey, Rule>;
export const labSweepKeys = Object.keys(sweepRanges) as LabSweepKey[];

/** What is measured, and how often. See {@link estimatorLab}. */
export interface EstimatorLabOptions extends LabEnvironmentOptions {
  /** Names, or names with options and perhaps a label; an option given here overrides that of the lab. Default: all that are registered. */
  estimators?: readonly (string | { name: string; options?: AdvantageOptions; label?: string })[];
  /** Default `terminal`. */
  environment?: LabEnvironmentName;
  /** Answers to each prompt in a batch. Default 8. */
  groupSize?: number;
  /** γ of the objective, of the critic and of the estimators. Default 1. */
  gamma?: number;
  /** λ of the estimators. Default 1. */
  lambda?: number;
  /** The critic's values are exact plus this times a standard normal number for each prefix. Default: the environment's (0.1 in `critic`, else 0). */
  criticError?: number;
  /** Whose gradient is exact: of `discounted` returns E[Σγ^t r_t] (default), of `undiscounted` ones, or `to_go`, the discounted policy gradient E[Σ_t ∇log π_t Σ_{s≥t} γ^{s−t} r_s]. With γ = 1 they are one. */
  objective?: LabObjective;
  /** The habits of a library, for all estimators: a preset of their options. Default: none. */
  convention?: ConventionName;
  /** Independent batches that are measured, 20 to 20,000. Default 400. */
  batches?: number;
  /** Batches that estimators with state see before. Default 20. */
  warmup?: number;
  /** The cosine to the exact gradient that `samplesToCosine` asks for. Default 0.9. */
  cosine?: number;
  /** Of the intervals. Default 0.95. */
  confidence?: number;
  /** The p-value below which a bias counts as found. Default 0.001. */
  significance?: number;
  /** Resamples of the bootstrap. Default 500. */
  resamples?: number;
  /** Of the sampled sequences and the bootstrap. Default 0. */
  seed?: number;
  /** Repeats all of it for each value. */
  sweep?: { key: LabSweepKey; values: readonly number[] };
  /** Called before each measurement, and at the end with `done` = `total`. */
  onProgress?: (progress: { done: number; total: number; label: string }) => void;
}

/** What was measured of one estimator at one value of the sweep. */
export interface LabResult {
  /** What it is called in tables and pictures. */
  label: string;
  /** Its registered name. */
  estimator: string;
  /** What it was made with. */
  options: AdvantageOptions;
  /** The value of the sweep; null without one. */
  at: number | null;
  /** Why nothing was measured: what the estimator said. */
  error: string | null;
  /** What was measured; null where there is an error. */
  quality: GradientQuality | null;
}

/** What is exact at one value of the sweep. */
export interface LabTruth {
  /** The value of the sweep; null without one. */
  at: number | null;
  /** The expected return by the objective's γ, over the prompts. */
  expectedReturn: number;
  /** The gradient in the logits, its states by prompt, position and last token. */
  gradient: number[];
  /** Its Euclidean norm. */
  norm: number;
  /** Rows of a batch. */
  rows: number;
}

/** All that a lab measured, as plain JSON. */
export interface LabReport {
  /** Where: its name, its sizes, how many sequences it has, and the seed that drew its rewards and its policy. */
  environment: { name: LabEnvironmentName; prompts: number; vocabulary: number; length: number; sequences: number; seed: number };
  /** How: all options, with their defaults. */
  settings: Omit<Required<EstimatorLabOptions>, 'estimators' | 'environment' | 'sweep' | 'onProgress' | keyof LabEnvironmentOptions>;
  /** What was repeated, over which values; null where nothing was. */
  sweep: { key: LabSweepKey; values: readonly number[] } | null;
  /** What is exact, for each value of the sweep. */
  truth: LabTruth[];
  /** What was measured, value by value, estimator by estimator. */
  results: LabResult[];
}

const defaults = {
  estimators: undefined as EstimatorLabOptions['estimators'],
  environment: 'terminal' as LabEnvironmentName,
  prompts: undefined as number | undefined,
  vocabulary: undefined as number | undefined,
  length: undefined as number | undefined,
  environmentSeed: 0,
  groupSize: 8,
  gamma: 1,
  lambda: 1,
  criticError: undefined as number | undefined,
  objective: 'discounted' as LabObjective,
  batches: 400,
  warmup: 20,
  cosine: 0.9,
  confidence: 0.95,
  significance: 0.001,
  resamples: 500,
  seed: 0,
  sweep: undefined as EstimatorLabOptions['sweep'],
  onProgress: undefined as EstimatorLabOptions['onProgress'],
};

const rules: Readonly<Record<string, Rule>> = {
  ...sweepRanges,
  environment: { choices: labEnvironmentNames },
  objective: { choices: labObjectives },
  batches: { low: 20, high: 20_000, integer: true },
  warmup: { low: 0, high: 1e4, integer: true },
  cosine: { low: 0.01, high: 0.9999 },
  confidence: { low: 0.5, high: 0.9999 },
  significance: { low: 1e-12, high: 0.5 },
  resamples: { low: 50, high: 5000, integer: true },
  seed: { low: 0, high: Number.MAX_SAFE_INTEGER, integer: true },
};

const who = 'estimatorLab';

export function estimatorLab(options: EstimatorLabOptions = {}): LabReport {
  const resolved = resolveOptions(who, defaults, options, { rules });
  const { environment: name, prompts, vocabulary, length, environmentSeed, groupSize, gamma, lambda, objective, batches, warmup, cosine, confidence, significance, resamples, seed } = resolved;
  const environment = labEnvironment(name, { prompts, vocabulary, length, environmentSeed });
  const convention = options.convention ?? 'vantage';
  const settings = {
    groupSize,
    gamma,
    lambda,
    criticError: resolved.criticError ?? environment.criticError,
    objective,
    convention,
    batches,
    warmup,
    cosine,
    confidence,
    significance,
    resamples,
    seed,
  };
  const sweep = checkedSweep(resolved.sweep);
  const estimators = checkedEstimators(resolved.estimators ?? listAdvantageEstimators(), convention);
  const report = resolved.onProgress ?? (() => undefined);
  if (typeof report !== 'function') throw new EstimatorError(`${who}: option 'onProgress': expected a function, got ${showValue(report)}`);

  const points: (number | null)[] = sweep === null ? [null] : [...sweep.values];
  const total = points.length * estimators.length;
  // All that is measured is resampled alike, so that what differs between estimators is not the bootstrap.
  const counts = resampleCounts(batches, { resamples, seed });
  const truth: LabTruth[] = [];
  const results: LabResult[] = [];
  let sequences = 0;
  for (const at of points) {
    const here = at === null ? settings : { ...settings, [sweep!.key]: at };
    const sampler = new LabSampler(environment, here);
    sequences = sampler.tree.firstChild.reduce((count, first) => count + (first < 0 ? 1 : 0), 0);
    const exact = exactOf(sampler, environment, here);
    truth.push({ at, ...exact, gradient: Array.from(exact.gradient), rows: sampler.rows });
    for (const estimator of estimators) {
      report({ done: results.length, total, label: estimator.label });
      results.push(measured(sampler, estimator, { exact: exact.gradient, counts, at }, here));
    }
  }
  report({ done: total, total, label: '' });
  const sizes = { prompts: environment.prompts, vocabulary: environment.vocabulary, length: environment.length };
  return { environment: { name, ...sizes, sequences, seed: environmentSeed }, settings, sweep, truth, results };
}

type Settings = LabReport['settings'];

function exactOf({ tree, policy }: LabSampler, { prompts }: LabEnvironment, { gamma, objective }: Settings): { expectedReturn: number; gradient: Float64Array; norm: number } {
  const gradient = exactGradient(tree, policy, { gamma, objective, prompts });
  return { expectedReturn: exactReturn(tree, policy, objective === 'undiscounted' ? 1 : gamma, prompts), gradient, norm: Math.sqrt(dot(gradient, gradient)) };
}

function measured(sampler: LabSampler, estimator: LabEstimator, { exact, counts, at }: { exact: Float64Array; counts: Uint16Array; at: number | null }, settings: Settings): LabResult {
  const { gamma, lambda, batches, warmup, convention } = settings;
  const { name, label, options } = estimator;
  const given = { gamma, lambda, convention, ...options };
  try {
    const gradients = gradientEstimates(sampler, { name, label, options: given }, { batches, warmup });
    return { label, estimator: name, options, at, error: null, quality: gradientQuality(gradients, exact, counts, { ...settings, rows: sampler.rows }) };
  } catch (error) {
    if (!(error instanceof VantageError)) throw error;
    return { label, estimator: name, options, at, error: error.message, quality: null };
  }
}

function checkedEstimators(given: unknown, convention: ConventionName): LabEstimator[] {
  checkName(who, "option 'convention'", convention, conventionNames);
  if (!Array.isArray(given) || given.length === 0)
    throw new EstimatorError(`${who}: option 'estimators': expected names of advantage estimators, or {name, options?, label?}, got ${showValue(given)}`);
  return given.map((each: unknown): LabEstimator => {
    const spec = typeof each === 'string' ? { name: each } : (each as { name: string; options?: AdvantageOptions; label?: string });
    checkNames(`${who}: option 'estimators'`, 'key', spec as object, ['name', 'options', 'label']);
    const { name, options = {}, label } = spec;
    checkObject(`${who}: option 'estimators'`, 'option', options);
    getAdvantageEstimator(name);
    // Options that are none are the caller's mistake; what an estimator says of the batches is a result.
    if (Object.keys(options).length > 0) tidy(() => void createAdvantageEstimator(name, { convention, ...options }));
    const shown = Object.entries(options).map(([key, value]) => `${key}=${typeof value === 'string' ? value : showValue(value)}`);
    return { name, options, label: label ?? (shown.length === 0 ? name : `${name}:${shown.join(',')}`) };
  });
}

function checkedSweep(sweep: EstimatorLabOptions['sweep']): LabReport['sweep'] {
  if (sweep === undefined) return null;
  checkNames(`${who}: option 'sweep'`, 'key', sweep, ['key', 'values']);
  checkName(`${who}: option 'sweep'`, 'key', sweep.key, labSweepKeys);
  const { key, values } = sweep;
  if (!Array.isArray(values) || values.length === 0) throw new EstimatorError(`${who}: option 'sweep': expected values, an array of numbers, got ${showValue(values)}`);
  for (const value of values) checkValue(`${who}: option 'sweep': ${key}`, value, sweepRanges[key]);
  return { key, values: [...values] };
}
