/** Tokens and sequences that are too far from the sampler are left out of the loss. */
import { EstimatorError, showValue } from '../errors';
import { type Tensor, where } from '../tensor';
import { checkBound, checkName, checkNames, type Given, resolveOptions } from '../options';
import { floating } from './check';
import { logRatios, type LogRatios, type OffPolicyInputs, ratioOf, within } from './off_policy_ratios';
import { type StatisticsOptions, statisticsPresets, TokenStatistics } from './off_policy_statistics';

export const rejectionMetrics = ['ratio', 'k1', 'k2', 'k3', 'binary_kl'] as const;
export const rejectionAggregates = ['sum', 'mean', 'max', 'any'] as const;

/** A condition that tokens or sequences have to meet. */
export interface RejectionRule {
  /** What is kept or left out: each token by its own number, or each sequence by one number over its tokens. */
  level: 'token' | 'sequence';
  /**
   * ρ = π_old/π_rollout, or an estimate of the divergence between the two (see `divergence`), or the larger one of KL(p‖q) and KL(q‖p) of the coins
   * "this token or another" (`binary_kl`).
   */
  metric: (typeof rejectionMetrics)[number];
  /**
   * Sequences only: how the tokens' numbers become one. Ratios are aggregated as logarithms, so that `sum` is their product and `mean` their geometric mean.
   * `any`: no single token may be outside. Default `mean`.
   */
  aggregate?: (typeof rejectionAggregates)[number];
  /** What the number must not fall short of and not exceed; null (default): nothing. */
  low?: number | null;
  /** The upper bound; null: none. */
  high?: number | null;
}

/** What {@link RejectionOptions} may set. */
export interface RejectionSettings extends StatisticsOptions {
  /** Log-ratios are clamped to ± this; null: not. Default 20. */
  logRatioLimit: number | null;
  /**
   * Which divergence `k1`, `k2`, `k3` estimate: `rollout_from_old` (default) is KL(π_rollout‖π_old), whose samples the rollout is, so that k1 = −log ρ and
   * k3 = ρ − 1 − log ρ are unbiased; `old_from_rollout` swaps the two.
   */
  divergence: 'rollout_from_old' | 'old_from_rollout';
}

/** Options of {@link rejectionMask}. */
export type RejectionOptions = Given<RejectionSettings>;

/** What {@link rejectionMask} gives. */
export interface Rejection {
  /** The mask [B,T] without what was left out, of the mask's dtype. */
  mask: Tensor;
  /**
   * Of each rule, under its name (`token_k1`, `seq_mean_k3`): statistics of its number, `fraction_high` and `fraction_low` of what exceeds its bounds, and the shares of
   * tokens and sequences it leaves out; and `masked_fraction` and `seq_masked_fraction`, the shares of all rules together.
   */
  metrics: Record<string, Tensor>;
}

const ruleKeys: readonly (keyof RejectionRule)[] = ['level', 'metric', 'aggregate', 'low', 'high'];
const defaults: RejectionSettings = { logRatioLimit: 20, divergence: 'rollout_from_old', epsilon: 0, countMaskedRows: false };
const optionRules = { divergence: { choices: ['rollout_from_old', 'old_from_rollout'] }, logRatioLimit: { like: null } } as const;
const presets = { ...statisticsPresets, areal: { logRatioLimit: null, divergence: 'old_from_rollout' } } as const;

/**
 * The mask without the tokens and sequences that break one of the rules. Liu et al. 2025, "When Speed Kills Stability: Demystifying RL Collapse from the
 * Training-Inference Mismatch".
 *
 * A sequence without a valid token breaks no rule. NaN on a valid token breaks each.
 *
 * @throws EstimatorError for shapes that differ, unknown options and rules that are none
 */
export function rejectionMask(inputs: OffPolicyInputs, rules: readonly RejectionRule[], options: RejectionOptions = {}): Rejection {
  const who = 'rejectionMask';
  const settings = resolveOptions(who, defaults, options, { presets, rules: optionRules });
  if (!Array.isArray(rules)) throw new EstimatorError(`${who}: rules: expected a list of rules {level, metric, …}, got ${showValue(rules)}`);
  const ratios = logRatios(who, inputs);
  const statistics = new TokenStatistics(ratios.valid, ratios.count, settings);
  const metrics: Record<string, Tensor> = {};
  let kept = ratios.valid;
  for (const rule of rules as readonly RejectionRule[]) {
    checkNames(`${who}: rule`, 'key', rule, ruleKeys);
    const judged = judge(who, rule, inputs, ratios, settings);
    kept = kept.logicalAnd(judged.inside);
    for (const [key, value] of Object.entries(ruleMetrics(judged, ratios, statistics))) metrics[`${ruleName(rule)}_${key}`] = value;
  }
  const lost = ratios.valid.logicalAnd(kept.logicalNot());
  metrics.masked_fraction = statistics.mean(lost);
  metrics.seq_masked_fraction = statistics.shareOfRows(anyInRow(lost));
  return { mask: where(kept, inputs.mask, 0), metrics };
}

/** `token_k1`, `seq_mean_k3`. */
export function ruleName({ level, metric, aggregate = 'mean' }: RejectionRule): string {
  return level === 'token' ? `token_${metric}` : `seq_${aggregate}_${metric}`;
}

/** The settings that decide; the others only count. */
export type JudgeSettings = Pick<RejectionSettings, 'logRatioLimit' | 'divergence' | 'epsilon'>;

export interface Judged {
  /** bool, [B,T] for tokens and [B,1] for sequences. */
  inside: Tensor;
  /** Which of them exceed the upper bound and fall short of the lower one, bool. */
  over: Tensor;
  under: Tensor;
  /** The number that was compared, [B,T] or [B,1]. */
  statistic: Tensor;
  perRow: boolean;
  low: number | null;
  high: number | null;
}

/** Compares each token's or sequence's number with a rule's bounds. @throws EstimatorError for a rule that is none */
export function judge(who: string, rule: RejectionRule, inputs: OffPolicyInputs, ratios: LogRatios, settings: JudgeSettings): Judged {
  const { level, metric, aggregate = 'mean', low = null, high = null } = rule;
  checkName(who, "rule: 'level'", level, ['token', 'sequence']);
  checkName(who, "rule: 'metric'", metric, rejectionMetrics);
  checkName(who, "rule: 'aggregate'", aggregate, rejectionAggregates);
  checkBound(who, 'low', low);
  checkBound(who, 'high', high);
  const perRow = level === 'sequence';
  const { logRatioLimit } = settings;
  const number = metric === 'ratio' ? (x: Tensor) => ratioOf(x, logRatioLimit) : (x: Tensor) => x;
  const token = metric === 'ratio' ? ratios.token : divergenceOf(metric, inputs, ratios, settings);
  const statistic = number(perRow ? aggregated(token, aggregate, ratios, settings.epsilon) : token);
  const least = perRow && aggregate === 'any' ? number(extremeOf(token, 'min', ratios)) : statistic;
  const over = high === null ? statistic.notEqual(statistic) : statistic.greater(high);
  const under = low === null ? least.notEqual(least) : least.less(low);
  return { inside: within(statistic, null, high).logicalAnd(within(least, low, null)), over, under, statistic, perRow, low, high };
}

/** k1, k2, k3 or the coins' divergence of each token, [B,T], 0 at masked positions. */
function divergenceOf(metric: Exclude<RejectionRule['metric'], 'ratio'>, inputs: OffPolicyInputs, ratios: LogRatios, { logRatioLimit, divergence }: JudgeSettings): Tensor {
  if (metric === 'binary_kl') return binaryDivergence(inputs, ratios.valid);
  const x = logRatioLimit === null ? ratios.token : ratios.token.clamp(-logRatioLimit, logRatioLimit);
  // log of (the other policy / the one whose samples these are taken to be)
  const log = divergence === 'rollout_from_old' ? x : x.neg();
  if (metric === 'k1') return log.neg();
  return metric === 'k2' ? log.square().mul(0.5) : log.expm1().sub(log);
}

/** max(KL(p‖q), KL(q‖p)) of coins with p = π_old and q = π_rollout, kept away from 0 and 1. */
function binaryDivergence({ oldLogProbs, rolloutLogProbs }: OffPolicyInputs, valid: Tensor): Tensor {
  const coin = (logProb: Tensor) => where(valid, floating(logProb).exp(), 0.5).clamp(1e-6, 1 - 1e-6);
  const [p, q] = [coin(oldLogProbs), coin(rolloutLogProbs)];
  const heads = p.log().sub(q.log());
  const tails = p.neg().log1p().sub(q.neg().log1p());
  const forward = p.mul(heads).add(p.neg().add(1).mul(tails));
  const backward = q.mul(heads).add(q.neg().add(1).mul(tails)).neg();
  return forward.maximum(backward);
}

function aggregated(token: Tensor, aggregate: NonNullable<RejectionRule['aggregate']>, ratios: LogRatios, epsilon: number): Tensor {
  if (aggregate === 'max' || aggregate === 'any') return extremeOf(token, 'max', ratios);
  const sum = token.sum(-1, { mask: ratios.valid, keepDims: true });
  return aggregate === 'sum' ? sum : sum.div(ratios.count.maximum(1).add(epsilon));
}

/** The largest or smallest number of each row, [B,1]; 0 where nothing is valid. */
function extremeOf(token: Tensor, side: 'max' | 'min', { valid, count }: LogRatios): Tensor {
  return where(count.greater(0), token[side](-1, { mask: valid, keepDims: true }), 0);
}

/** bool [B,1]: whether a row holds a position where `condition` [B,T] is true. */
export function anyInRow(condition: Tensor): Tensor {
  return condition.sum(-1, { keepDims: true }).greater(0);
}

function ruleMetrics({ inside, over, under, statistic, perRow, low, high }: Judged, { valid }: LogRatios, statistics: TokenStatistics): Record<string, Tensor> {
  const wide = statistic.broadcastTo([...valid.shape]);
  const filled = statistics.filledRows;
  const ofRow = perRow ? statistic : statistics.rowMean(statistic);
  const rows = statistics.ofRows(ofRow, filled);
  const lost = valid.logicalAnd(inside.logicalNot());
  const share = (condition: Tensor) => (perRow ? statistics.shareOfRows(condition, filled) : statistics.mean(condition));
  return {
    mean: statistics.mean(wide),
    std: statistics.std(wide.clamp(low, high)),
    max: perRow ? rows.max : statistics.max(statistic),
    min: perRow ? rows.min : statistics.min(statistic),
    fraction_high: share(over),
    fraction_low: share(under),
    seq_mean: rows.mean,
    seq_std: rows.std,
    seq_max: rows.max,
    seq_min: rows.min,
    seq_max_deviation: statistics.ofRows(ofRow.abs(), filled).max,
    seq_fraction_high: statistics.shareOfRows(high === null ? ofRow.notEqual(ofRow) : ofRow.greater(high), filled),
    seq_fraction_low: statistics.shareOfRows(low === null ? ofRow.notEqual(ofRow) : ofRow.less(low), filled),
    masked_fraction: statistics.mean(lost),
    seq_masked_fraction: statistics.shareOfRows(anyInRow(lost), filled),
  };
}
