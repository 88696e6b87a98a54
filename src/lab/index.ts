/** The estimator lab: what advantage estimators are worth, measured against exact gradients. */
export { checkExactGradient, type ExactGradientCheck } from './check';
export type { LabEnvironmentName, LabEnvironmentOptions } from './environments';
export { estimatorLab, type EstimatorLabOptions, type LabReport, type LabResult, type LabSweepKey, type LabTruth } from './lab';
export { labPage, writeLabPage } from './page';
export type { Estimated, GradientQuality, Verdict } from './statistics';
export type { LabObjective } from './tree';
