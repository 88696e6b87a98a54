/** The workbench: whether an estimator is right. */
export { assertEstimator, checkEstimator, listCheckProperties, type CheckedProperty, type CheckFinding, type CheckOptions, type CheckReport } from './check';
export type { CauseId } from './causes';
export type { EstimatorReference, ReferenceBatch } from './properties/reference';
export { checkText } from './report';
