export { type RunContext, type TrainerCallback } from './callbacks';
export { TrainingBatch, type BatchShape } from './batch';
export { type CheckpointModels, latestCheckpoint, loadCheckpoint, saveCheckpoint, type TrainerState } from './checkpoint';
export { Coefficients, type CoefficientsState, type Measured } from './coefficients';
export { Experiment, main, type MainOptions } from './experiment';
export { type Responses, Rollout, type RolloutOptions, type RolloutParts } from './rollout';
export { type EndReason, totalSteps, Trainer, type TrainerParts, type TrainingResult } from './trainer';
export type { Trajectory, TrajectoryStop, Turn } from './trajectory';
export { type LossAndMetrics, type Models, type Trained, Update, type UpdateOptions } from './update';
