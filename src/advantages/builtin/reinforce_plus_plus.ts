import { discountedReturn, scan, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { tokenWhitening, tokenWhiteningChoices, whitenTokens, type TokenWhitening } from '../whiten';
import { holesChoices } from './gae';

/**
 * REINFORCE++ (Hu, REINFORCE++: A Simple and Efficient Approach for Aligning Large Language Models, 2025): G_t = r_t + γG_{t+1}, then whitened over the valid tokens of the batch; returns = G.
 * It is meant to be run with a k2 KL loss against a frozen reference.
 *
 * Masked positions are passed through: credit reaches the tokens before a hole.
 */
export class ReinforcePlusPlus extends AdvantageEstimator {
  static override readonly reads: EstimatorReads = ['gamma', 'groupIds'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten === true || whiten === 'batch' ? 'batch' : whiten === 'group' ? 'group' : 'row' });
  static override readonly options = {
    ...tokenWhitening,
    /** `carry` passes masked positions through; in `ignore` their rewards count, and each costs a step of γ; in `decay` it costs that, and their rewards do not count. */
    holes: 'carry',
    /** Start anew behind every masked token, so that no credit crosses it. */
    resetOnMask: false,
  };
  static override readonly choices = { ...tokenWhiteningChoices, holes: holesChoices };

  private readonly passesThrough = this.options.holes === 'carry' && !this.options.resetOnMask;
  override readonly takesRawInputs = this.options.holes !== 'ignore';
  override readonly leavesZeros = this.passesThrough;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const { gamma, groups } = context;
    const whitening = this.options as unknown as TokenWhitening;
    const remask = context.remask !== false;
    if (this.passesThrough && context.remask === true) {
      const { returns, moments } = discountedReturn(rewards, masks, { gamma, moments: true });
      return { advantages: whitenTokens(returns, masks, whitening, { groups, moments, remask }), returns, finiteIf: moments! };
    }
    const returns = this.returnsOf(rewards, masks, gamma);
    return { advantages: whitenTokens(returns, masks, whitening, { groups, remask }), returns };
  }

  private returnsOf(rewards: Tensor, masks: Tensor, gamma: number): Tensor {
    if (this.passesThrough) return scan([rewards], { reverse: true, mask: masks }, (next, [r]) => r.add(next.mul(gamma)));
    const counted = this.options.holes === 'ignore' ? rewards : where(masks, rewards, 0);
    if (!this.options.resetOnMask) return scan([counted], { reverse: true }, (next, [r]) => r.add(next.mul(gamma)));
    const [returns] = scan([counted, masks], { reverse: true, init: [0, 0] }, ([, next], [r, m]) => [r.add(next.mul(gamma)), r.add(next.mul(gamma)).mul(m)]);
    return returns;
  }
}
