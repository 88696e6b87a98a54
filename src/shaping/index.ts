/** Rewards and batches on the way from a rollout to an estimator: penalties, transformations, filters. */
export { DynamicSamplingFilter, dynamicSamplingReplace, type SampledBatch } from './dynamic_sampling';
export { overlongFilter, zeroVarianceFilter, type GroupId, type RowRewards } from './filters';
export { missingEosPenalty, overlongPenalty, stopProperlyPenalty, type OverlongPenaltyOptions } from './lengths';
export { repetitionPenalty, type RepetitionPenaltyOptions } from './repetition';
export { klShapedRewards, transformRewards, type KlRewardOptions, type RewardTransformOptions } from './rewards';
export type { RowNumbers } from './rows';
