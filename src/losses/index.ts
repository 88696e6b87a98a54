export * from './builtin';
export { klDivergence, type KlEstimator, type KlEstimatorAlias, klEstimators, type KlOptions } from './kl';
export { logitsPolicyLoss, type LogitsPolicyLossInputs, type LogitsPolicyLossOptions, type LogitsPolicyLossResult } from './logits_policy_loss';
export { type LossConvention, type PolicyLossOptions, type RatioLevel, type ResolvedOptions } from './options';
export {
  computePolicyLoss,
  getPolicyLoss,
  listPolicyLosses,
  type LossCorrection,
  type LossCorrectionInputs,
  policyLosses,
  PolicyLoss,
  type PolicyLossClass,
  type PolicyLossInputs,
  type PolicyLossResult,
  registerPolicyLoss,
  unregisterPolicyLoss,
} from './policy_loss';
export { type LossReduction, lossReductions, reduceLoss, type ReductionOptions, reductionDivisors } from './reduction';
export { rolloutWeights, type RolloutWeightOptions } from './rollout_weights';
export {
  maskedMean, type MaskedMeanOptions, maskedStandardize, maskedVariance, type MaskedVarianceOptions, type StandardizeOptions,
} from './statistics';
export { type TokenLosses, TokenPolicyLoss, type Tokens } from './token_loss';
export { valueLoss, type ValueLossInputs, type ValueLossOptions } from './value_loss';
