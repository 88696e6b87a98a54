/** Advantage estimators: the base class, the registry, and the call that runs one. */
export { computeAdvantages, createAdvantageEstimator, type AdvantageInputs, type AdvantageOptions, type PackedAdvantageInputs } from './compute';
export type { Array2D } from './arrays';
export type { CommonOptions, Convention } from './conventions';
export {
  AdvantageEstimator,
  advantageInputs,
  type AdvantageContext,
  type AdvantageEstimatorClass,
  type AdvantageInput,
  type AdvantageResult,
  type EstimatorRead,
  type EstimatorDeclaration,
  type EstimatorDeclares,
  type EstimatorReads,
  type EstimatorState,
} from './estimator';
export { Groups, type GroupIds } from './groups';
export type { EstimatorOptions } from './options';
export { combineRewards, outcomeRewards } from './outcome';
export { getAdvantageEstimator, hasAdvantageEstimator, listAdvantageEstimators, registerAdvantageEstimator, unregisterAdvantageEstimator } from './registry';
export type { Advantages } from './result';
export { maskedWhiten } from './whiten';
export { normalize, type NormalizationLevel, type NormalizeOptions } from './normalize';
export * from './returns';
