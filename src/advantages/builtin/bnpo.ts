import { EstimatorError, showValue } from '../../errors';
import { where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { centreInGroups, declaredByGroups, singletonChoices, toEveryToken } from '../outcome';

interface BetaOptions {
  singleton: 'zero' | 'raw' | 'error';
  alpha: number | null;
  beta: number | null;
  maxWeight: number;
  minReward: number;
  maxReward: number;
}

/**
 * Beta normalisation (Xiao et al., BNPO: Beta Normalization Policy Optimization, 2025): every token of a row gets (R − p)/f(p), p the mean reward of the row's prompt, f(p) = p^(α−1)·(1 − p)^(β−1)/B(α,β)
 * the density of a Beta distribution. Rewards are 0 or 1, or between them; those from `minReward` to `maxReward` are brought there first.
 *
 * α = 1 + a/3 and β = 1 + b/3 give the least variance where the means of the batch's prompts come from Beta(a,b); a and b are estimated by moments, with m the mean of the prompts' means
 * and v their variance (ddof 1): a = (m(1 − m)/v − 1)·m, b = (m(1 − m)/v − 1)·(1 − m), neither below 0. Given as options, α = β = 1 is R − p, and α = β = 3/2 is (R − p)/√(p(1 − p)) times π/8.
 *
 * Where the moments say nothing, because there is one prompt or all have the same mean, α = β = 1. At p = 0 and p = 1 all rewards are p, and the advantage is 0. 1/f is at most `maxWeight`: with
 * means close together the density of one that lies apart is next to nothing. Prompts with one row (whose advantage is that of option singleton, divided by nothing) and rows without a valid token are left out of the moments.
 * Metrics: `alpha`, `beta`.
 *
 * Errors: rewards outside of [minReward, maxReward]; an α or β below 1.
 */
export class BetaNormalization extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = ({ singleton, alpha, beta, minReward, maxReward }) => ({
    ...declaredByGroups({ singleton }),
    ...((alpha === null || beta === null) && { scope: 'batch' }),
    invariantTo: [],
    rewardRange: { low: minReward as number, high: maxReward as number },
  });
  static override readonly options: Readonly<Record<string, unknown>> = {
    singleton: 'zero',
    /** Of the density. null: from the moments of the batch. */
    alpha: null,
    beta: null,
    maxWeight: 1e6,
    minReward: 0,
    maxReward: 1,
  };
  static override readonly choices = { singleton: singletonChoices };
  static override readonly ranges = { alpha: { low: 1, nullable: true }, beta: { low: 1, nullable: true } };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { singleton, alpha, beta, maxWeight, minReward, maxReward } = this.options as unknown as BetaOptions;
    if (!(maxReward > minReward && Number.isFinite(maxReward - minReward)))
      throw new EstimatorError(`option 'maxReward': expected a finite number above minReward, ${minReward}, got ${showValue(maxReward)}`);
    const totals = rewards.sum(1);
    checkRange(totals, minReward, maxReward);
    const scores = totals.cast('float64').sub(minReward).div(maxReward - minReward);
    const { centred, mean, alone } = centreInGroups(scores, groups!, { singleton, skipNaN: false, leaveOneOut: false });
    const estimated = moments(promptMeans(mean, alone, masks, groups!.index));
    const [a, b] = [alpha ?? estimated.alpha, beta ?? estimated.beta];
    const inside = mean.greater(0).logicalAnd(mean.less(1));
    const known = where(inside, mean, 0.5);
    const logWeight = known.log().mul(1 - a).add(known.neg().add(1).log().mul(1 - b)).add(logBeta(a, b));
    const weight = logWeight.minimum(Math.log(maxWeight)).exp();
    const advantages = where(alone, centred, where(inside, centred.mul(weight), 0));
    return { ...toEveryToken(advantages.cast(rewards.dtype), masks, remask), metrics: { alpha: a, beta: b } };
  }
}

function checkRange(totals: Tensor, least: number, most: number): void {
  for (const [row, total] of totals.dataSync().entries()) {
    if (!(total >= least && total <= most)) throw new EstimatorError(`expected rewards from ${least} to ${most} (minReward, maxReward), got ${total} in row ${row}`);
  }
}

/** The mean reward of each prompt that has at least two rows, and a token. */
function promptMeans(mean: Tensor, alone: Tensor, masks: Tensor, index: Tensor): number[] {
  const rows = { mean: mean.dataSync(), alone: alone.dataSync(), group: index.dataSync(), tokens: masks.sum(1).dataSync() };
  const means = new Map<number, number>();
  for (const [row, group] of rows.group.entries()) if (rows.tokens[row] && !rows.alone[row]) means.set(group, rows.mean[row]!);
  return [...means.values()];
}

/** α and β from the means of the prompts. */
function moments(means: readonly number[]): { alpha: number; beta: number } {
  const mean = means.reduce((sum, p) => sum + p, 0) / Math.max(1, means.length);
  const variance = means.reduce((sum, p) => sum + (p - mean) ** 2, 0) / Math.max(1, means.length - 1);
  // Equal means differ from their own mean by rounding alone.
  if (means.every((p) => p === means[0])) return { alpha: 1, beta: 1 };
  const total = Math.max(0, (mean * (1 - mean)) / variance - 1);
  return { alpha: 1 + (total * mean) / 3, beta: 1 + (total * (1 - mean)) / 3 };
}

/** log B(α,β). */
function logBeta(alpha: number, beta: number): number {
  return logGamma(alpha) + logGamma(beta) - logGamma(alpha + beta);
}

/** log Γ(x), x > 0: Stirling's series, at an x that the recurrence Γ(x + 1) = xΓ(x) has made large enough for 1e-14. */
function logGamma(x: number): number {
  let shift = 0;
  for (; x < 15; x++) shift += Math.log(x);
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / x;
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + series - shift;
}
