/** Registers the built-in policy losses. */
import { type PolicyLossClass, registerPolicyLoss } from '../policy_loss';
import { ClippedWeightPolicyLoss } from './cispo';
import { DualClipPolicyLoss, RegularPolicyLoss } from './clipped';
import { ClipCovariancePolicyLoss, KlCovariancePolicyLoss } from './covariance';
import { DivergencePolicyLoss } from './dppo';
import { GeometricMeanPolicyLoss } from './geo_mean';
import { BatchNormalizedPolicyLoss, DecoupledClipPolicyLoss, GroupRelativePolicyLoss, LengthUnbiasedPolicyLoss, UnbiasedLengthPolicyLoss } from './grpo_family';
import { SequencePolicyLoss } from './gspo';
import { CrossEntropyLoss, ImportanceSamplingLoss, PolicyGradientLoss, ReinforceLoss } from './reinforce';
import { RolloutWeightPolicyLoss } from './rollout_is';
import { SoftAdaptivePolicyLoss } from './sapo';
import { VariationalSequencePolicyLoss } from './vespo';

const losses: readonly (readonly [name: string, loss: PolicyLossClass, aliases?: readonly string[]])[] = [
  ['regular', RegularPolicyLoss, ['ppo']],
  ['dual_clip', DualClipPolicyLoss, ['vanilla']],
  ['gspo', SequencePolicyLoss],
  ['geo_mean', GeometricMeanPolicyLoss, ['gmpo']],
  ['cispo', ClippedWeightPolicyLoss],
  ['sapo', SoftAdaptivePolicyLoss],
  ['rollout_is', RolloutWeightPolicyLoss],
  ['dppo', DivergencePolicyLoss],
  ['clip_cov', ClipCovariancePolicyLoss],
  ['kl_cov', KlCovariancePolicyLoss],
  ['gpg', PolicyGradientLoss],
  ['reinforce', ReinforceLoss],
  ['importance_sampling', ImportanceSamplingLoss],
  ['cross_entropy', CrossEntropyLoss],
  ['vespo', VariationalSequencePolicyLoss],
  ['grpo', GroupRelativePolicyLoss],
  ['bnpo', BatchNormalizedPolicyLoss],
  ['dapo', DecoupledClipPolicyLoss],
  ['dr_grpo', UnbiasedLengthPolicyLoss],
  ['luspo', LengthUnbiasedPolicyLoss],
];

for (const [name, loss, aliases = []] of losses) registerPolicyLoss(name, loss, { aliases, keepExisting: true });

export {
  BatchNormalizedPolicyLoss,
  ClipCovariancePolicyLoss,
  ClippedWeightPolicyLoss,
  CrossEntropyLoss,
  DecoupledClipPolicyLoss,
  DivergencePolicyLoss,
  DualClipPolicyLoss,
  GeometricMeanPolicyLoss,
  GroupRelativePolicyLoss,
  ImportanceSamplingLoss,
  KlCovariancePolicyLoss,
  LengthUnbiasedPolicyLoss,
  PolicyGradientLoss,
  RegularPolicyLoss,
  ReinforceLoss,
  RolloutWeightPolicyLoss,
  SequencePolicyLoss,
  SoftAdaptivePolicyLoss,
  UnbiasedLengthPolicyLoss,
  VariationalSequencePolicyLoss,
};
