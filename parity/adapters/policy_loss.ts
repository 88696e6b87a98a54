/** What the adapters of policy losses share. */
import { computePolicyLoss, gradients, type PolicyLossInputs, type PolicyLossOptions, type Tensor } from 'vantage-rl';
import type { Answer, Inputs } from '../adapter';

/** The inputs that the libraries have in common; advantages of rows are given to each of their tokens. */
export function lossInputs(inputs: Inputs): PolicyLossInputs {
  const logProbs = inputs.array('log_probs');
  const advantages = inputs.array('advantages');
  const optional = (name: string) => inputs.optional(name) ?? undefined;
  return {
    logProbs,
    oldLogProbs: inputs.optional('old_log_probs') ?? logProbs.detach(),
    advantages: advantages.ndim === 1 ? advantages.expandDims(1).broadcastTo([...logProbs.shape]) : advantages,
    mask: inputs.mask('mask', logProbs),
    rolloutLogProbs: optional('rollout_log_probs'),
    refLogProbs: optional('ref_log_probs'),
  };
}

/** Loss, gradient, and the metrics by the library's names. */
export function lossAnswer(
  name: string,
  inputs: PolicyLossInputs,
  options: PolicyLossOptions,
  metricsOf: (metrics: Record<string, Tensor>) => Record<string, unknown>,
): Answer {
  const { loss, metrics } = computePolicyLoss(name, inputs, options);
  const [gradient] = gradients(loss, [inputs.logProbs], { allowUnused: true });
  return { loss, grad_log_probs: gradient, metrics: metricsOf(metrics) };
}
