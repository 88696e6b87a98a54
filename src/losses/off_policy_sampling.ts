/** Rejection of a rule's offenders with the weights of what is left. */
import { type Given, resolveOptions } from '../options';
import { stopGradient, type Tensor, where } from '../tensor';
import { logRatios, type OffPolicyInputs, ratioOf } from './off_policy_ratios';
import { judge, type JudgeSettings, type RejectionRule } from './off_policy_rejection';
import { TokenStatistics } from './off_policy_statistics';

/** What {@link RejectionSamplingOptions} may set. */
export interface RejectionSamplingSettings extends RejectionRule {
  /** Out of bounds: leave the tokens or sequences out (`mask`, default), or bring their weights to the bounds (`clamp`). */
  action: 'mask' | 'clamp';
  aggregate: NonNullable<RejectionRule['aggregate']>;
  low: number | null;
  high: number | null;
  /** Log-ratios are clamped to ± this; null: not. */
  logRatioLimit: number | null;
  /** What the divergence of a token is estimated by. */
  divergence: JudgeSettings['divergence'];
}

/** Options of {@link rejectionSampling}. */
export type RejectionSamplingOptions = Given<RejectionSamplingSettings>;

/**
 * One {@link RejectionRule} with the weights that go with it, ρ_t = π_old/π_rollout, or for whole sequences judged by their ratio its geometric mean, 0 where the
 * resulting mask is 0. `clamp` leaves the mask as it is and brings the weights of what is out of bounds into [low (or 0), high].
 * `filteredFraction`: the share of valid tokens that were left out, or whose weight was changed.
 *
 * @throws EstimatorError for shapes that differ, unknown options and a rule that is none
 */
export function rejectionSampling(inputs: OffPolicyInputs, options: RejectionSamplingOptions = {}): { mask: Tensor; weights: Tensor; filteredFraction: Tensor } {
  const who = 'rejectionSampling';
  const defaults: RejectionSamplingSettings = {
    level: 'token',
    metric: 'ratio',
    aggregate: 'mean',
    low: null,
    high: 2,
    action: 'mask',
    logRatioLimit: 20,
    divergence: 'rollout_from_old',
  };
  const settings = resolveOptions(who, defaults, options, {
    presets: { areal: { logRatioLimit: null, divergence: 'old_from_rollout' } },
    rules: { action: { choices: ['mask', 'clamp'] } },
  });
  const { level, metric, low, high, action, logRatioLimit } = settings;
  const ratios = logRatios(who, inputs);
  const { inside } = judge(who, settings, inputs, ratios, { ...settings, epsilon: 0 });
  const raw = ratioOf(level === 'sequence' && metric === 'ratio' ? ratios.mean : ratios.token, logRatioLimit).broadcastTo([...ratios.token.shape]);
  const statistics = new TokenStatistics(ratios.valid, ratios.count, { epsilon: 0, countMaskedRows: false });
  const kept = action === 'mask' ? ratios.valid.logicalAnd(inside) : ratios.valid;
  const clamped = raw.clamp(low ?? 0, high);
  // A single token's weight is brought to the bounds whatever the metric was: its own bounds decide.
  const weights = action === 'mask' ? raw : level === 'token' ? clamped : where(inside, raw, clamped);
  return {
    mask: where(kept, inputs.mask, 0),
    weights: stopGradient(where(kept, weights, 0)),
    filteredFraction: statistics.mean(action === 'mask' ? kept.logicalNot() : weights.notEqual(raw)),
  };
}
