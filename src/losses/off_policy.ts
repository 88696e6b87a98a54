/** Off-policy corrections as training runs use them: weights and rejection together. */
import { checkObject, type Given, resolveOptions, type Rule } from '../options';
import { type Tensor, where } from '../tensor';
import { checkSameShape } from './check';
import { offPolicyMetrics } from './off_policy_metrics';
import { logRatios, type OffPolicyInputs, ratioOf } from './off_policy_ratios';
import { judge, type JudgeSettings, rejectionMask, type RejectionOptions, type RejectionRule } from './off_policy_rejection';
import { type StatisticsOptions, statisticsPresets, TokenStatistics } from './off_policy_statistics';
import { importanceWeights, type ImportanceWeightOptions } from './off_policy_weights';

/** What {@link RolloutCorrectionOptions} may set. */
export interface RolloutCorrectionSettings extends StatisticsOptions {
  /** Importance weights; null (default): none. */
  weights: ImportanceWeightOptions | null;
  /** Rules that tokens and sequences have to meet. Default none. See also `parseRejectionRules`. */
  rules: readonly RejectionRule[];
  /** Options of the rules. */
  rejection: RejectionOptions;
}

/** Options of {@link rolloutCorrection}. */
export type RolloutCorrectionOptions = Given<RolloutCorrectionSettings>;

/** What {@link rolloutCorrection} gives. */
export interface RolloutCorrection {
  /** [B,T], or null where none were asked for. They are those of all tokens, rejected ones included. */
  weights: Tensor | null;
  /** The mask without what was rejected. */
  mask: Tensor;
  /** {@link offPolicyMetrics}, and under `rollout_is_` and `rollout_rs_` those of the weights and the rules. */
  metrics: Record<string, Tensor>;
}

/**
 * {@link importanceWeights}, {@link rejectionMask} and {@link offPolicyMetrics} of one batch.
 * @throws EstimatorError as these do
 */
export function rolloutCorrection(inputs: OffPolicyInputs, options: RolloutCorrectionOptions = {}): RolloutCorrection {
  const who = 'rolloutCorrection';
  checkObject(who, 'input', inputs, ['oldLogProbs', 'rolloutLogProbs', 'mask']);
  const defaults: RolloutCorrectionSettings = { weights: null, rules: [], rejection: {}, epsilon: 0, countMaskedRows: false };
  const { weights, rules, rejection, epsilon, countMaskedRows } = resolveOptions(who, defaults, options, { presets: statisticsPresets });
  const counting = { convention: options.convention, epsilon, countMaskedRows };
  const weighed = weights && importanceWeights(inputs, { ...counting, ...weights });
  const rejected = rules.length > 0 ? rejectionMask(inputs, rules, { ...counting, ...rejection }) : null;
  const prefixed = (prefix: string, metrics: Record<string, Tensor> = {}) => Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`${prefix}${key}`, value]));
  return {
    weights: weighed?.weights ?? null,
    mask: rejected ? rejected.mask : inputs.mask,
    metrics: { ...prefixed('rollout_is_', weighed?.metrics), ...prefixed('rollout_rs_', rejected?.metrics), ...offPolicyMetrics(inputs, counting) },
  };
}

/** What {@link OffPolicyCorrectionOptions} may set. */
export interface OffPolicyCorrectionSettings {
  /** Truncated importance sampling of tokens or sequences (the product of their ratios); null (default): none. */
  tisRatioType: 'token' | 'sequence' | null;
  /** The bound of a token's weight. */
  tokenTisRatioClipHigh: number;
  /** The bound of a sequence's weight. */
  sequenceTisRatioClipHigh: number;
  /** Leave out sequences whose product or geometric mean of ratios is out of bounds; null (default): none. */
  sequenceMaskMetric: 'product' | 'geometric' | null;
  /** The lower bound of the product of a sequence's ratios. */
  productMaskLow: number;
  /** Its upper bound. */
  productMaskHigh: number;
  /** The lower bound of their geometric mean. */
  geoMaskLow: number;
  /** Its upper bound. */
  geoMaskHigh: number;
  /** Leave out sequences that hold a token whose ratio is out of these bounds; null: open. */
  outlierTokenIsThresholdLow: number | null;
  /** Leaves out sequences with a token whose ratio is over this; null: none. */
  outlierTokenIsThresholdHigh: number | null;
  /** Leave out tokens whose ratio is out of these bounds; null: open. */
  tokenMaskIsThresholdLow: number | null;
  /** Leaves out tokens whose ratio is over this; null: none. */
  tokenMaskIsThresholdHigh: number | null;
  /** Log-ratios are clamped to ± this; null: not. */
  logRatioLimit: number | null;
  /** Statistics of ratios count masked positions, as 0; shares of sequences count those without a valid token. Default false. */
  countMasked: boolean;
  /** What the loss at masked positions is weighted with: 0, or the ratio that the log-probs give there. Default `zero`. */
  masked: 'zero' | 'raw';
}

/** {@link OffPolicyInputs}; the sampler may have reported nothing. */
export type CorrectionInputs = Omit<OffPolicyInputs, 'rolloutLogProbs'> & { rolloutLogProbs?: Tensor | null };

/** Options of {@link applyOffPolicyCorrection}. */
export type OffPolicyCorrectionOptions = Given<OffPolicyCorrectionSettings>;

const correctionDefaults: OffPolicyCorrectionSettings = {
  tisRatioType: null,
  tokenTisRatioClipHigh: 2,
  sequenceTisRatioClipHigh: 5,
  sequenceMaskMetric: null,
  productMaskLow: 0.5,
  productMaskHigh: 2,
  geoMaskLow: 0.99,
  geoMaskHigh: 1.01,
  outlierTokenIsThresholdLow: null,
  outlierTokenIsThresholdHigh: null,
  tokenMaskIsThresholdLow: null,
  tokenMaskIsThresholdHigh: null,
  logRatioLimit: 20,
  countMasked: false,
  masked: 'zero',
};

const isBound: Rule = { like: null };
const correctionRules: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(Object.keys(correctionDefaults).filter((name) => /Low$|High$|Limit$/.test(name)).map((name) => [name, isBound])),
  tisRatioType: { choices: ['token', 'sequence', null] },
  sequenceMaskMetric: { choices: ['product', 'geometric', null] },
  countMasked: { choices: [true, false] },
  masked: { choices: ['zero', 'raw'] },
};

/** What {@link applyOffPolicyCorrection} gives. */
export interface OffPolicyCorrection {
  /** The tokens' losses [B,T] times the weights. */
  loss: Tensor;
  /** The mask [B,T] without what was left out. */
  mask: Tensor;
  /** [B,T], or null without truncated importance sampling; constants. */
  weights: Tensor | null;
  /** Scalars to record. */
  metrics: Record<string, Tensor>;
}

/**
 * The tokens' losses [B,T] and their mask corrected for samples of another policy, under the keys of `trainer.algorithm.off_policy_correction`: first the outlier
 * mask, then the token mask, then the weights, then the sequence mask, each over what is left. Without any of them, or without log-probs of the sampler, nothing
 * changes.
 *
 * Metrics: `is_ratio_mean`, `_std`, `_max`, `_min`; `tis_token_clip_high_ratio` or `tis_seq_clip_high_ratio`; `token_mask_ratio`;
 * `outlier_seq_`, `product_sequence_mask_` and `geo_sequence_mask_` with `masked_ratio`, `over_high_ratio`, `under_low_ratio`.
 *
 * @throws EstimatorError for shapes that differ and options: unknown, or of a wrong type
 */
export function applyOffPolicyCorrection(loss: Tensor, inputs: CorrectionInputs, options: OffPolicyCorrectionOptions = {}): OffPolicyCorrection {
  const who = 'applyOffPolicyCorrection';
  const settings = resolveOptions(who, correctionDefaults, options, { presets: { skyrl: { countMasked: true, masked: 'raw' } }, rules: correctionRules });
  const { tisRatioType, sequenceMaskMetric, logRatioLimit, countMasked } = settings;
  checkObject(who, 'input', inputs, ['oldLogProbs', 'rolloutLogProbs', 'mask']);
  checkSameShape(who, { loss, oldLogProbs: inputs.oldLogProbs, mask: inputs.mask }, { rolloutLogProbs: inputs.rolloutLogProbs });

  const bounds = (low: number | null, high: number | null) => ({ low, high });
  const outlier = bounds(settings.outlierTokenIsThresholdLow, settings.outlierTokenIsThresholdHigh);
  const token = bounds(settings.tokenMaskIsThresholdLow, settings.tokenMaskIsThresholdHigh);
  const isOpen = ({ low, high }: { low: number | null; high: number | null }) => low === null && high === null;
  if (!inputs.rolloutLogProbs || (tisRatioType === null && sequenceMaskMetric === null && isOpen(outlier) && isOpen(token))) {
    return { loss: settings.masked === 'raw' ? loss : where(inputs.mask.notEqual(0), loss, 0), mask: inputs.mask, weights: null, metrics: {} };
  }

  let current: OffPolicyInputs = { oldLogProbs: inputs.oldLogProbs, rolloutLogProbs: inputs.rolloutLogProbs, mask: inputs.mask };
  const metrics: Record<string, Tensor> = ratioMetrics(who, current, logRatioLimit, countMasked);
  const judging: JudgeSettings = { logRatioLimit, divergence: 'rollout_from_old', epsilon: 0 };
  const reject = (rule: RejectionRule, report: (found: ReturnType<typeof judge>, share: (rows: Tensor) => Tensor) => void) => {
    const ratios = logRatios(who, current);
    const statistics = new TokenStatistics(ratios.valid, ratios.count, { epsilon: 0, countMaskedRows: countMasked });
    const found = judge(who, rule, current, ratios, judging);
    report(found, (x) => (rule.level === 'token' ? statistics.mean(x) : statistics.shareOfRows(x)));
    current = { ...current, mask: where(found.inside, current.mask, 0) };
  };
  const rejectSequences = (name: string, rule: Omit<RejectionRule, 'level' | 'metric'>) =>
    reject({ level: 'sequence', metric: 'ratio', ...rule }, ({ inside, over, under }, share) => {
      metrics[`${name}_masked_ratio`] = share(inside.logicalNot());
      metrics[`${name}_over_high_ratio`] = share(over);
      metrics[`${name}_under_low_ratio`] = share(under);
    });

  if (!isOpen(outlier)) rejectSequences('outlier_seq', { aggregate: 'any', ...outlier });
  if (!isOpen(token)) reject({ level: 'token', metric: 'ratio', ...token }, ({ inside }, share) => (metrics.token_mask_ratio = share(inside.logicalNot())));
  let weights: Tensor | null = null;
  if (tisRatioType !== null) {
    const high = tisRatioType === 'token' ? settings.tokenTisRatioClipHigh : settings.sequenceTisRatioClipHigh;
    const weighed = importanceWeights(current, { level: tisRatioType, high, logRatioLimit, masked: settings.masked, countMaskedRows: countMasked });
    weights = weighed.weights;
    metrics[tisRatioType === 'token' ? 'tis_token_clip_high_ratio' : 'tis_seq_clip_high_ratio'] = weighed.metrics.ratio_fraction_high!;
  }
  if (sequenceMaskMetric === 'product') rejectSequences('product_sequence_mask', { aggregate: 'sum', low: settings.productMaskLow, high: settings.productMaskHigh });
  if (sequenceMaskMetric === 'geometric') rejectSequences('geo_sequence_mask', { aggregate: 'mean', low: settings.geoMaskLow, high: settings.geoMaskHigh });
  const weighted = weights ? loss.mul(weights) : loss;
  return { loss: settings.masked === 'raw' ? weighted : where(inputs.mask.notEqual(0), weighted, 0), mask: current.mask, weights, metrics };
}

function ratioMetrics(who: string, inputs: OffPolicyInputs, limit: number | null, countMasked: boolean): Record<string, Tensor> {
  const { valid, count, token } = logRatios(who, inputs);
  const ratio = ratioOf(token, limit);
  const statistics = new TokenStatistics(valid, count, { epsilon: 0, countMaskedRows: countMasked });
  const seen = countMasked ? where(valid, ratio, 0).reshape([valid.size, 1]) : ratio.reshape([valid.size, 1]);
  const { std, max, min } = statistics.ofRows(seen, countMasked ? valid.reshape([valid.size, 1]).greaterEqual(0) : valid.reshape([valid.size, 1]));
  return { is_ratio_mean: statistics.mean(ratio), is_ratio_std: std, is_ratio_max: max, is_ratio_min: min };
}
