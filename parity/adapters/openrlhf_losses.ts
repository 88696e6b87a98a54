/** OpenRLHF's policy losses. */
import { importanceWeights, maskedMean, type ImportanceWeightOptions, type OffPolicyInputs, type PolicyLossOptions, type Tensor } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';
import { lossAnswer, lossInputs } from './policy_loss';
import { openrlhfReduction } from './reductions';

/** OpenRLHF's `vllm_is_correction_type`: weights within bounds, 0 outside of them, or 0 for rows whose geometric mean lies outside of them. */
function rolloutWeights(name: string, inputs: OffPolicyInputs, [low, high]: [number, number]): Tensor {
  const weigh = (options: ImportanceWeightOptions) => importanceWeights(inputs, { logRatioLimit: null, ...options }).weights;
  switch (name) {
    case 'tis':
      return weigh({ low, high });
    case 'icepop':
      return weigh({ low, high, outside: 'mask' });
    case 'seq-mask-tis':
    case 'seq_mask_tis':
      return weigh({ high: null }).mul(weigh({ level: 'geometric', low, high, outside: 'mask' }).notEqual(0));
    default:
      throw new Error(`vllm_is_correction_type: expected tis, icepop or seq-mask-tis, got '${name}'`);
  }
}

function answer({ params }: Case, inputs: Inputs): Answer {
  const given = lossInputs(inputs);
  const options: PolicyLossOptions = {
    convention: 'openrlhf',
    epsClipLow: params.clip_eps_low,
    epsClipHigh: params.clip_eps_high,
    clipRatioC: params.dual_clip ?? null,
    // A ratio of sequences goes with a mean of sequences.
    ...openrlhfReduction(params, (params.token_level_loss ?? true) && params.policy_loss_type !== 'gspo'),
  };
  const corrects = params.enable_vllm_is_correction ?? false;
  if (params.policy_loss_type === 'gspo') {
    // With the correction on, its ratio is that to the sampler.
    const oldLogProbs = corrects ? given.rolloutLogProbs! : given.oldLogProbs;
    const ppo_kl = maskedMean(given.oldLogProbs.sub(given.logProbs.detach()), given.mask);
    return lossAnswer('gspo', { ...given, oldLogProbs }, { ...options, ratioLevel: 'sequence', logRatioMax: null }, ({ clip_ratio }) => ({ clip_ratio, ppo_kl }));
  }
  if (!corrects) return lossAnswer('regular', given, options, ({ clip_ratio, old_kl }) => ({ clip_ratio, ppo_kl: old_kl }));
  const sampled = { oldLogProbs: given.oldLogProbs, rolloutLogProbs: inputs.array('rollout_log_probs'), mask: given.mask };
  const weights = rolloutWeights(params.vllm_is_correction_type ?? 'tis', sampled, params.vllm_is_truncated_threshold);
  const vllm_kl = maskedMean(sampled.rolloutLogProbs.sub(sampled.oldLogProbs), given.mask);
  return lossAnswer('regular', { ...given, weights }, options, ({ clip_ratio, old_kl }) => ({ clip_ratio, ppo_kl: old_kl, vllm_kl }));
}

export const adapters: Adapter[] = [{ library: 'OpenRLHF', function: 'PolicyLoss.forward', answer }];
