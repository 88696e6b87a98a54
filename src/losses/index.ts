export * from './builtin';
export { klDivergence, type KlEstimator, type KlEstimatorAlias, klEstimators, type KlOptions } from './kl';
export { AdaptiveEntropyCoefficient, type AdaptiveEntropySettings, topEntropyMask } from './entropy';
export { AdaptiveKlController, type AdaptiveKlSettings, createKlController, FixedKlController, type KlController, type KlControllerOptions } from './kl_controller';
export { logitsPolicyLoss, type LogitsPolicyLossInputs, type LogitsPolicyLossOptions, type LogitsPolicyLossResult } from './logits_policy_loss';
export type { PolicyLossOptions, RatioLevel, ResolvedOptions } from './options';
export {
  applyOffPolicyCorrection,
  type CorrectionInputs,
  type OffPolicyCorrection,
  type OffPolicyCorrectionOptions,
  type OffPolicyCorrectionSettings,
  rolloutCorrection,
  type RolloutCorrection,
  type RolloutCorrectionOptions,
  type RolloutCorrectionSettings,
} from './off_policy';
export { offPolicyMetrics, type OffPolicyMetricsOptions } from './off_policy_metrics';
export type { OffPolicyInputs } from './off_policy_ratios';
export { rejectionMask, type Rejection, type RejectionOptions, type RejectionRule, type RejectionSettings } from './off_policy_rejection';
export { parseRejectionRules } from './off_policy_rules';
export { rejectionSampling, type RejectionSamplingOptions, type RejectionSamplingSettings } from './off_policy_sampling';
export type { StatisticsOptions } from './off_policy_statistics';
export { type GammaSettings, gammaWeights, offPolicySequenceMask, type GammaWeightInputs, type GammaWeightOptions, type OffPolicySequenceInputs } from './off_policy_sequence';
export { importanceWeights, type ImportanceLevel, type ImportanceWeightOptions, type ImportanceWeights, type ImportanceWeightSettings } from './off_policy_weights';
export {
  computePolicyLoss,
  getPolicyLoss,
  listPolicyLosses,
  type LossCorrection,
  type LossCorrectionInputs,
  policyLosses,
  type PackedPolicyLossInputs,
  PolicyLoss,
  type PolicyLossClass,
  type PolicyLossInputs,
  type PolicyLossResult,
  registerPolicyLoss,
  unregisterPolicyLoss,
} from './policy_loss';
export { type LossReduction, lossReductions, reduceLoss, type ReductionOptions, reductionDivisors } from './reduction';
export { maskedMean, type MaskedMeanOptions, maskedStandardize, maskedVariance, type MaskedVarianceOptions, type StandardizeOptions } from './statistics';
export { type TokenLosses, TokenPolicyLoss, type Tokens } from './token_loss';
export { type PackedValueLossInputs, valueLoss, type ValueLossInputs, type ValueLossOptions } from './value_loss';
