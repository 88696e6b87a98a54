import { EstimatorError } from '../../errors';
import { generalizedAdvantage, scan, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { truncatedGae } from '../returns';
import { trajectoryOf } from '../trajectory_of';
import { tokenWhitening, tokenWhiteningChoices, whitenTokens, type TokenWhitening } from '../whiten';

/** What a recurrence does at masked positions. */
export type Holes = 'carry' | 'ignore' | 'decay';

/** The values of the option `holes`. */
export const holesChoices = ['carry', 'ignore', 'decay'] as const;

/**
 * Generalised advantage estimation (Schulman, Moritz, Levine, Jordan, Abbeel, High-Dimensional Continuous Control Using Generalized Advantage Estimation, 2016):
 * δ_t = r_t + γV_{t+1} − V_t, A_t = δ_t + γλA_{t+1}, returns = A + V; the advantages are then whitened over the valid tokens.
 *
 * Masked positions are passed through: the recurrence runs as if they were not there. Where the run has `terminated`, `truncated` or `bootstrapValues`, episodes end at the
 * flags, and behind truncated tokens and behind the row stands its bootstrap value: see {@link truncatedGae}.
 */
export class GeneralizedAdvantageEstimation extends AdvantageEstimator {
  static override readonly requires = ['values'] as const;
  static override readonly reads: EstimatorReads = ['gamma', 'lambda', 'groupIds', 'terminated', 'truncated', 'bootstrapValues'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten === true || whiten === 'batch' ? 'batch' : whiten === 'group' ? 'group' : 'row' });
  static override readonly options = {
    ...tokenWhitening,
    /** `carry` passes masked positions through; `ignore` runs the recurrence over them, with their values, and their rewards where `rewardOnMasked` keeps these; in `decay` they hold 0, and cost a step of γλ. */
    holes: 'carry',
  };
  static override readonly choices = { ...tokenWhiteningChoices, holes: holesChoices };

  override readonly takesRawInputs = this.options.holes === 'ignore' ? 'values' : true;
  override readonly leavesZeros = this.options.holes === 'carry';

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const { gamma, lambda, groups } = context;
    const remask = context.remask !== false;
    const whitening = this.options as unknown as TokenWhitening;
    const holes = this.options.holes as Holes;
    if (hasEnds(context)) {
      if (holes !== 'carry') throw new EstimatorError(`holes is '${holes}', which knows no terminated, truncated and bootstrapValues: expected 'carry'`);
      const { advantages, returns } = truncatedGae(trajectoryOf(rewards, values, masks, context), { gamma, lambda, remask: context.remask === true });
      return { advantages: whitenTokens(advantages, masks, whitening, { groups, remask }), returns };
    }
    if (holes === 'carry' && context.remask === true) {
      const { advantages, returns, moments } = generalizedAdvantage(rewards, values!, masks, { gamma, lambda, moments: true });
      return { advantages: whitenTokens(advantages, masks, whitening, { groups, moments, remask }), returns, finiteIf: moments! };
    }
    const { advantages, returns } = recurrence(rewards, values!, masks, { gamma, lambda, holes });
    return { advantages: whitenTokens(advantages, masks, whitening, { groups, remask }), returns };
  }
}

const hasEnds = ({ terminated, truncated, bootstrapValues }: AdvantageContext): boolean => Boolean(terminated ?? truncated ?? bootstrapValues);

/** Advantages and returns [B,T] as a scan, with what the recurrence leaves at masked positions. λ may be one number a row, [B,1]. */
export function recurrence(
  rewards: Tensor,
  values: Tensor,
  masks: Tensor,
  { gamma, lambda, holes }: { gamma: number; lambda: number | Tensor; holes: Holes },
): { advantages: Tensor; returns: Tensor } {
  const [r, v] = holes === 'decay' ? [where(masks, rewards, 0), where(masks, values, 0)] : [rewards, values];
  const options = { reverse: true, init: [0, 0], ...(holes === 'carry' && { mask: masks }) } as const;
  const delta = (reward: Tensor, value: Tensor, nextValue: Tensor) => reward.add(nextValue.mul(gamma)).sub(value);
  const [advantages] = typeof lambda === 'number'
    ? scan([r, v], options, ([next, nextValue], [reward, value]) => [delta(reward, value, nextValue).add(next.mul(gamma * lambda)), value])
    : scan([r, v, lambda], options, ([next, nextValue], [reward, value, l]) => [delta(reward, value, nextValue).add(next.mul(l.mul(gamma))), value]);
  return { advantages, returns: advantages.add(v) };
}
