import { DualClipPolicyLoss, RegularPolicyLoss } from './clipped';
import { registerPolicyLoss } from './policy_loss';

export { DualClipPolicyLoss, RegularPolicyLoss } from './clipped';
export { klDivergence, type KlEstimator, klEstimators } from './kl';
export { logitsPolicyLoss, type LogitsPolicyLossInputs, type LogitsPolicyLossOptions, type LogitsPolicyLossResult } from './logits_policy_loss';
export {
  computePolicyLoss,
  getPolicyLoss,
  listPolicyLosses,
  policyLosses,
  PolicyLoss,
  type PolicyLossClass,
  type PolicyLossInputs,
  type PolicyLossOptions,
  type PolicyLossResult,
  registerPolicyLoss,
  unregisterPolicyLoss,
} from './policy_loss';
export { type LossReduction, lossReductions, maskedMean, reduceLoss, type ReductionOptions, reductionDivisors } from './reduction';
export { valueLoss, type ValueLossInputs, type ValueLossOptions } from './value_loss';

registerPolicyLoss('regular', RegularPolicyLoss, { keepExisting: true });
registerPolicyLoss('dual_clip', DualClipPolicyLoss, { keepExisting: true });
