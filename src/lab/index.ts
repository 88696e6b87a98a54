/** The estimator lab: what advantage estimators are worth, measured against exact gradients. It is loaded when it is called: most programs that import the package never do. */
import type { ExactGradientCheck } from './check';
import type { LabEnvironmentName, LabEnvironmentOptions } from './environments';
import type { EstimatorLabOptions, LabReport } from './lab';

const lab = () => require('./lab') as typeof import('./lab');
const page = () => require('./page') as typeof import('./page');
const check = () => require('./check') as typeof import('./check');

/**
 * Measures what advantage estimators make of samples: bias and variance of the policy gradient, where the exact one is known.
 *
 * In an environment with a few prompts and a short vocabulary every sequence is enumerated, so that the return E[R] of a tabular softmax policy and its gradient ∇J, [states · vocabulary], are exact. Of each of many
 * independent batches of N = prompts · `groupSize` sequences the estimator's advantages give g = (1/N) Σ_i Σ_t A_it ∇log π(a_it): the negative gradient of the policy loss −A·ℓ, summed over tokens and averaged over
 * sequences. With μ = E[g] and Σ its covariance, a result says how far μ is from ∇J, whether a factor would mend that (`scale`) or the direction is another one (`turn`, `cosine`), how much g varies (`variance`, tr Σ),
 * and how many sequences' mean has the cosine `cosine` to ∇J. Intervals are bootstrapped over batches, that of `scale` is Student's t. All estimators see the same batches. Equal options give equal bits.
 *
 * An estimator that refuses the batches has an `error` in place of figures.
 *
 * @throws EstimatorError for options, of the lab or of an estimator, that are none, with the nearest name
 * @throws RegistryError for an estimator that is not registered
 * @example
 * const { results } = estimatorLab({ estimators: ['rloo', { name: 'gae', options: { whiten: false, lambda: 0.9 } }], environment: 'critic', batches: 100 });
 * for (const { label, quality } of results) console.log(label, quality?.cosine.value, quality?.variance.value);
 */
export function estimatorLab(options?: EstimatorLabOptions): LabReport {
  return lab().estimatorLab(options);
}

/**
 * One HTML page that needs no network. Without a sweep: how the cosine to the exact gradient grows with the number of sequences, and each figure with its interval; with one: each figure over the sweep. Below, the table.
 */
export function labPage(report: LabReport): string {
  return page().labPage(report);
}

/** Writes {@link labPage} into a file; its folder is made. */
export function writeLabPage(file: string, report: LabReport): void {
  page().writeLabPage(file, report);
}

/**
 * Compares the exact gradient of an environment's discounted return with finite differences, and with a Monte Carlo estimate that samples token by token and enumerates nothing.
 *
 * @throws EstimatorError for an unknown environment, and sizes and numbers out of range
 */
export function checkExactGradient(name: LabEnvironmentName, options?: LabEnvironmentOptions & { gamma?: number; samples?: number; seed?: number }): ExactGradientCheck {
  return check().checkExactGradient(name, options);
}

export type { ExactGradientCheck } from './check';
export type { LabEnvironmentName, LabEnvironmentOptions } from './environments';
export type { EstimatorLabOptions, LabReport, LabResult, LabSweepKey, LabTruth } from './lab';
export type { Estimated, GradientQuality, Verdict } from './statistics';
export type { LabObjective } from './tree';
