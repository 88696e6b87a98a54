import type { Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';

/**
 * On-policy distillation (Lu, Thinking Machines Lab, On-Policy Distillation, 2025; Xiao et al., MiMo-V2-Flash Technical Report, 2026): the advantage of a token is ℓ_teacher − ℓ_student, the
 * negative of the sampled reverse divergence; rewards do not count. Metric: `gap`, its mean over the valid tokens (0 without one).
 */
export class Distillation extends AdvantageEstimator {
  static override readonly requires = ['teacherLogProbs', 'oldLogProbs'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = { scope: 'row', invariantTo: ['shift', 'scale'] };

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { teacherLogProbs, oldLogProbs }: AdvantageContext): AdvantageResult {
    const advantages = teacherLogProbs!.sub(oldLogProbs!).cast(rewards.dtype);
    return { advantages, metrics: { gap: advantages.mul(masks).sum().div(masks.sum().maximum(1)) } };
  }
}
