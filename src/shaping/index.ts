/** Rewards and batches on the way from a rollout to an estimator: penalties, transformations, filters. */
export { DynamicSamplingFilter, type DynamicSamplingFilterSettings, dynamicSamplingReplace, type DynamicSamplingReplaceSettings, type SampledBatch } from './dynamic_sampling';
export { overlongFilter, zeroVarianceFilter, type GroupId, type RowRewards } from './filters';
export { missingEosPenalty, overlongPenalty, stopProperlyPenalty, type OverlongPenaltyOptions, type OverlongPenaltySettings } from './lengths';
export { repetitionPenalty, type RepetitionPenaltyOptions, type RepetitionPenaltySettings } from './repetition';
export { klShapedRewards, transformRewards, type KlRewardOptions, type KlRewardSettings, type RewardTransformOptions, type RewardTransformSettings } from './rewards';
export type { RowNumbers } from './rows';
