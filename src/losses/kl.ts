/** Estimates of the KL divergence between the policy and a reference, from sampled tokens. */
import { didYouMean, EstimatorError, showValue } from '../errors';
import { checkNames } from '../options';
import { withAliases } from '../registry';
import { stopGradient, type Tensor, where } from '../tensor';
import { checkNumber, checkSameShape } from './check';

/** The estimates themselves, in the order of the kernels that know them by number. */
export const plainKlEstimators = ['k1', 'abs', 'k2', 'k3'] as const;
export type PlainKlEstimator = (typeof plainKlEstimators)[number];

/** The names of `trainer.algorithm.kl_estimator_type`. */
export const klEstimators = Object.freeze([...plainKlEstimators, 'k1+', 'k2+', 'k3+'] as const);
/** A name of {@link klEstimators}. @useDeclaredType */
export type KlEstimator = (typeof klEstimators)[number];

/** Other names in use. */
export const klEstimatorAliases = { kl: 'k1', mse: 'k2', low_var_kl: 'k3' } as const;
/** Names of the same in other libraries: `kl` is `k1`, `mse` is `k2`, `low_var_kl` is `k3`. @useDeclaredType */
export type KlEstimatorAlias = keyof typeof klEstimatorAliases;

/** Options of {@link klDivergence}. */
export interface KlOptions {
  /** The log-ratio is clamped to ± this, without gradient beyond; null for no bound. Default 20 for `k3`, else null. */
  inputClamp?: number | null;
  /** The estimate is clamped to ± this, without gradient beyond; null for no bound. Default 10 for `k3`, else null. */
  outputClamp?: number | null;
  /** Factors on the estimates before `outputClamp`, of the log-probs' shape: importance weights where the tokens are another policy's. */
  weights?: Tensor | null;
}

/**
 * The divergence of each token, [B,T], with d = ℓ − ℓ_ref:
 *
 * - `k1` (`kl`) = d: unbiased, of high variance, its gradient is not that of the divergence;
 * - `abs` = |d|;
 * - `k2` (`mse`) = d²/2: biased, its gradient is that of the divergence;
 * - `k3` (`low_var_kl`) = e^x − x − 1 with x = −d: unbiased and never negative; x is clamped to ±20 and the result to ±10, without gradient beyond;
 * - `k1+`, `k2+`, `k3+`: straight-through, the value of the one named and the gradient of `k2`.
 *
 * Where the mask is 0 the result and its gradient are 0, even if a log-prob is NaN or infinite there. Schulman 2020, "Approximating KL
 * divergence"; the gradients: Tang and Munos 2025, "On a few pitfalls in KL divergence gradient estimation for RL".
 *
 * @throws EstimatorError for shapes that differ, another estimator, unknown options, and bounds that are none
 */
export function klDivergence(logProbs: Tensor, refLogProbs: Tensor, type: KlEstimator | KlEstimatorAlias, mask?: Tensor, options: KlOptions = {}): Tensor {
  checkNames('klDivergence', 'option', options, ['inputClamp', 'outputClamp', 'weights']);
  const { weights } = options;
  checkSameShape('klDivergence', { logProbs, refLogProbs }, { mask, weights });
  const name: KlEstimator = typeof type === 'string' && Object.hasOwn(klEstimatorAliases, type) ? klEstimatorAliases[type as KlEstimatorAlias] : (type as KlEstimator);
  if (!klEstimators.includes(name)) {
    const aliases = Object.entries(klEstimatorAliases);
    const nearest = typeof type === 'string' ? didYouMean(type, [...klEstimators, ...Object.keys(klEstimatorAliases)]) : null;
    const known = klEstimators.map((each) => withAliases(each, aliases.flatMap(([alias, stands]) => (stands === each ? [alias] : []))));
    throw new EstimatorError(`klDivergence: type: expected one of ${known.join(', ')}, got ${showValue(type)}${nearest === null ? '' : `. Did you mean '${nearest}'?`}`);
  }
  const valid = mask?.notEqual(0);
  // Each estimate of 0 is 0.
  const clean = (x: Tensor) => (valid ? where(valid, x, 0) : x);
  const difference = clean(logProbs.sub(refLogProbs));
  const factors = weights ? clean(weights) : null;
  const estimated = (plain: PlainKlEstimator) => bounded(difference, plain, factors, options);
  if (!name.endsWith('+')) return estimated(name as PlainKlEstimator);
  const passed = estimated('k2');
  return passed.sub(stopGradient(passed)).add(stopGradient(estimated(name.slice(0, -1) as PlainKlEstimator)));
}

function bounded(difference: Tensor, type: PlainKlEstimator, weights: Tensor | null, { inputClamp, outputClamp }: KlOptions): Tensor {
  const input = inputClamp === undefined ? (type === 'k3' ? 20 : null) : inputClamp;
  const output = outputClamp === undefined ? (type === 'k3' ? 10 : null) : outputClamp;
  for (const [key, bound] of Object.entries({ inputClamp: input, outputClamp: output })) {
    if (bound !== null) checkNumber('klDivergence', key, bound, 0);
  }
  const kl = estimate(input === null ? difference : difference.clamp(-input, input), type);
  const weighted = weights ? kl.mul(weights) : kl;
  return output === null ? weighted : weighted.clamp(-output, output);
}

function estimate(difference: Tensor, type: PlainKlEstimator): Tensor {
  switch (type) {
    case 'k1':
      return difference;
    case 'abs':
      return difference.abs();
    case 'k2':
      return difference.square().mul(0.5);
    case 'k3': {
      const x = difference.neg();
      return x.expm1().sub(x);
    }
  }
}
