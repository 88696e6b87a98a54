/** Importance weights against the mismatch between the sampler and the policy that is trained. */
import { stopGradient, type Tensor, where } from '../tensor';
import { type Given, resolveOptions } from '../options';
import { checkNumber } from './check';
import { logRatios, type OffPolicyInputs, ratioOf, within } from './off_policy_ratios';
import { type StatisticsOptions, statisticsPresets, TokenStatistics } from './off_policy_statistics';

export const importanceLevels = ['token', 'sequence', 'geometric'] as const;
/** Whose ratio a token's weight is: its own, the product of its sequence's, or their geometric mean. @useDeclaredType */
export type ImportanceLevel = (typeof importanceLevels)[number];

/** What {@link ImportanceWeightOptions} may set. */
export interface ImportanceWeightSettings extends StatisticsOptions {
  /** What has a weight: each token its ratio, or each sequence the product or the geometric mean of its tokens' ratios. Default `token`. */
  level: ImportanceLevel;
  /** Bounds of a weight; null leaves a side open. Default null and 2. */
  low: number | null;
  /** The upper bound; null: none. */
  high: number | null;
  /** A weight out of bounds is brought to the bound (truncated importance sampling) or becomes 0 (masked; IcePop). Default `truncate`. */
  outside: 'truncate' | 'mask';
  /** Log-ratios are clamped to ± this before they are exponentiated; null: not. Default 20. */
  logRatioLimit: number | null;
  /** Divide the weights by their mean over tokens (or sequences). Default false. */
  normalize: boolean;
  /** What stands at masked positions: 0, the weight of ratio 1, or that of whatever the log-probs hold there. Default `zero`. */
  masked: 'zero' | 'neutral' | 'raw';
}

/** Options of {@link importanceWeights}. */
export type ImportanceWeightOptions = Given<ImportanceWeightSettings>;

/** What {@link importanceWeights} gives. */
export interface ImportanceWeights {
  /** [B,T]; constants. */
  weights: Tensor;
  /**
   * Of the ratios before the bounds, over tokens: `mean`, `max`, `min` (of sequences the extremes of their ratios), `ratio_fraction_high`, `ratio_fraction_low`; over
   * the rows' means: `seq_mean`, `seq_std`, `seq_max`, `seq_min`, `seq_max_deviation` (from 1), `seq_fraction_high`, `seq_fraction_low`. Of the ratios clipped to
   * `[low (or 1/high), high]`: `std` and `eff_sample_size`, as a share of the tokens. With `mask`: `oob_ratio`; normalised: `batch_norm_factor`.
   */
  metrics: Record<string, Tensor>;
}

const defaults: ImportanceWeightSettings = {
  level: 'token',
  low: null,
  high: 2,
  outside: 'truncate',
  logRatioLimit: 20,
  normalize: false,
  masked: 'zero',
  epsilon: 0,
  countMaskedRows: false,
};

const rules = {
  level: { choices: importanceLevels },
  outside: { choices: ['truncate', 'mask'] },
  masked: { choices: ['zero', 'neutral', 'raw'] },
  low: { like: null },
  high: { like: null },
  logRatioLimit: { low: 0, nullable: true },
  normalize: { choices: [true, false] },
} as const;

const presets = {
  skyrl: { ...statisticsPresets.skyrl, masked: 'raw' },
  verl: statisticsPresets.verl,
  trl: { masked: 'neutral', logRatioLimit: null, high: 3 },
  areal: { logRatioLimit: null },
} as const;

/**
 * Weights w [B,T] for losses of samples that another policy drew, from ρ_t = π_old/π_rollout:
 *
 * - `token`: w_t = ρ_t (biased, of low variance);
 * - `sequence`: w = Π_t ρ_t (unbiased, of high variance);
 * - `geometric`: w = (Π_t ρ_t)^(1/n);
 *
 * brought into [low, high] or set to 0 outside of it. Token and sequence truncated importance sampling: Ionides 2008, "Truncated Importance Sampling";
 * Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training". `level: 'token', outside: 'mask'` is IcePop (Ling Team 2025,
 * "Every Step Evolves").
 *
 * Masked positions have no effect and weight 0; a row without a valid token weighs 0, and its ratio counts as 1. Weights are constants for the gradient.
 *
 * @throws EstimatorError for shapes that differ, and for options: unknown, of a wrong type, bounds in the wrong order
 */
export function importanceWeights(inputs: OffPolicyInputs, options: ImportanceWeightOptions = {}): ImportanceWeights {
  const who = 'importanceWeights';
  const settings = resolveOptions(who, defaults, options, { presets, rules });
  const { level, low, high, outside, logRatioLimit, normalize, masked } = settings;
  if (low !== null) checkNumber(who, 'low', low, 0, high ?? Infinity);
  if (high !== null) checkNumber(who, 'high', high, Number.MIN_VALUE);

  const ratios = logRatios(who, inputs);
  const logRatio = level === 'token' ? (masked === 'raw' ? ratios.raw : ratios.token) : level === 'sequence' ? ratios.sum : ratios.mean;
  const ratio = ratioOf(logRatio, logRatioLimit);
  const bounded = outside === 'truncate' ? ratio.clamp(low, high) : where(within(ratio, low, high), ratio, 0);
  const statistics = new TokenStatistics(ratios.valid, ratios.count, settings);
  const wide = bounded.broadcastTo([...ratios.token.shape]);
  const metrics = ratioMetrics(logRatio, ratio.broadcastTo([...ratios.token.shape]), statistics, settings);
  const mean = level === 'token' ? statistics.mean(wide) : statistics.ofRows(statistics.rowMean(wide), statistics.filledRows).mean;
  const factor = normalize ? where(mean.greater(1e-8), mean, 1) : null;
  const weights = factor ? wide.div(factor) : wide;
  return {
    weights: stopGradient(masked === 'zero' ? where(ratios.valid, weights, 0) : weights),
    metrics: { ...metrics, ...(factor && { batch_norm_factor: factor }) },
  };
}

function ratioMetrics(logRatio: Tensor, ratio: Tensor, statistics: TokenStatistics, settings: ImportanceWeightSettings): Record<string, Tensor> {
  const { level, logRatioLimit } = settings;
  const high = settings.high ?? Infinity;
  // Without a lower bound a ratio counts as low where its inverse would count as high.
  const low = settings.low ?? 1 / high;
  const log = level === 'token' ? null : statistics.ofRows(logRatio);
  const clipped = ratio.clamp(low, high);
  const rowMeans = statistics.rowMean(ratio);
  const rows = statistics.ofRows(rowMeans);
  return {
    mean: statistics.mean(ratio),
    std: statistics.std(clipped),
    max: log ? ratioOf(log.max, logRatioLimit) : statistics.max(ratio),
    min: log ? log.min.exp() : statistics.min(ratio),
    ratio_fraction_high: log ? statistics.shareOfRows(logRatio.greater(Math.log(high))) : statistics.mean(ratio.greater(high)),
    ratio_fraction_low: log ? statistics.shareOfRows(logRatio.less(Math.log(low))) : statistics.mean(ratio.less(low)),
    eff_sample_size: statistics.effectiveSampleSize(clipped),
    seq_mean: rows.mean,
    seq_std: rows.std,
    seq_max: rows.max,
    seq_min: rows.min,
    seq_max_deviation: statistics.ofRows(rowMeans.sub(1).abs()).max,
    seq_fraction_high: statistics.shareOfRows(rowMeans.greater(high)),
    seq_fraction_low: statistics.shareOfRows(rowMeans.less(low)),
    ...(settings.outside === 'mask' && { oob_ratio: statistics.mean(within(ratio, settings.low, settings.high).logicalNot()) }),
  };
}
