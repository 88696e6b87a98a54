/** Returns and advantages of classical reinforcement learning, as functions over tensors [batch, time]. */
export { discountedReturns, lambdaReturns, nStepReturns, qLambdaReturns, td0Returns, td1Returns } from './lambda_returns';
export { importanceCorrectedErrors, offPolicyReturns, retraceReturns, type OffPolicyReturnInputs } from './off_policy_returns';
export type { ImportanceRatios, LambdaOptions, ReturnOptions, TrajectoryInputs } from './trajectory';
export { truncatedGae } from './truncated_gae';
export { vtraceEstimates, type VtraceEstimateOptions, type VtraceEstimates } from './vtrace_estimates';
