/** How far the sampler is from the policy that is trained. */
import { type Given, resolveOptions } from '../options';
import { type Tensor, where } from '../tensor';
import { floating } from './check';
import { logRatios, type OffPolicyInputs, ratioOf } from './off_policy_ratios';
import { type StatisticsOptions, statisticsPresets, TokenStatistics } from './off_policy_statistics';

/** Options of {@link offPolicyMetrics}. */
export type OffPolicyMetricsOptions = Given<StatisticsOptions>;

const limit = 20;

/**
 * Scalars about the mismatch of π_old and π_rollout, x = log ρ = ℓ_old − ℓ_rollout:
 *
 * - `kl`, `k3_kl`: the mean of −x and of e^x − 1 − x over tokens, both estimates of KL(π_rollout‖π_old);
 * - `training_ppl`, `rollout_ppl`, `training_log_ppl`, `rollout_log_ppl`: (log) perplexities, means over sequences;
 * - `log_ppl_diff`, `log_ppl_abs_diff`, `log_ppl_diff_max`, `log_ppl_diff_min`, `ppl_ratio`: the sequences' mean −x, its size, extremes and exponential;
 * - `chi2_token`, `chi2_seq`: E[ρ²] − 1 over tokens and, with the product of a sequence's ratios, over sequences; log-ratios clamped to ±20 there.
 *
 * All are 0 (perplexities 0, χ² −1) where nothing is valid.
 *
 * @throws EstimatorError for shapes that differ and unknown options
 */
export function offPolicyMetrics(inputs: OffPolicyInputs, options: OffPolicyMetricsOptions = {}): Record<string, Tensor> {
  const who = 'offPolicyMetrics';
  const settings = resolveOptions<StatisticsOptions>(who, { epsilon: 0, countMaskedRows: false }, options, { presets: statisticsPresets });
  const { token, sum, valid, count } = logRatios(who, inputs);
  const statistics = new TokenStatistics(valid, count, settings);
  const rowMean = (logProbs: Tensor) => statistics.rowMean(where(valid, floating(logProbs), 0));
  const rows = (x: Tensor) => statistics.ofRows(x);
  const [training, rollout] = [rowMean(inputs.oldLogProbs), rowMean(inputs.rolloutLogProbs)];
  const difference = rollout.sub(training);
  const ofDifference = rows(difference);
  return {
    kl: statistics.mean(token.neg()),
    k3_kl: statistics.mean(token.expm1().sub(token)),
    training_ppl: rows(training.neg().exp()).mean,
    training_log_ppl: rows(training.neg()).mean,
    rollout_ppl: rows(rollout.neg().exp()).mean,
    rollout_log_ppl: rows(rollout.neg()).mean,
    log_ppl_diff: ofDifference.mean,
    log_ppl_abs_diff: rows(difference.abs()).mean,
    log_ppl_diff_max: ofDifference.max,
    log_ppl_diff_min: ofDifference.min,
    ppl_ratio: rows(difference.exp()).mean,
    chi2_token: statistics.mean(ratioOf(token, limit).square()).sub(1),
    chi2_seq: rows(ratioOf(sum, limit).square()).mean.sub(1),
  };
}
