/** OpenRLHF's policy losses. */
import { maskedMean, rolloutWeights, type PolicyLossOptions, type RolloutWeightOptions } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';
import { lossAnswer, lossInputs } from './policy_loss';
import { openrlhfReduction } from './reductions';

const corrections: Readonly<Record<string, RolloutWeightOptions['type']>> = { tis: 'truncate', icepop: 'mask', 'seq-mask-tis': 'sequence_mask', seq_mask_tis: 'sequence_mask' };

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
  const [low, high] = params.vllm_is_truncated_threshold as [number, number];
  const name: string = params.vllm_is_correction_type ?? 'tis';
  const type = corrections[name];
  if (!type) throw new Error(`vllm_is_correction_type: expected tis, icepop or seq-mask-tis, got '${name}'`);
  const { weights, kl } = rolloutWeights(given.oldLogProbs, inputs.array('rollout_log_probs'), given.mask, { type, low, high });
  return lossAnswer('regular', { ...given, weights }, options, ({ clip_ratio, old_kl }) => ({ clip_ratio, ppo_kl: old_kl, vllm_kl: kl }));
}

export const adapters: Adapter[] = [{ library: 'OpenRLHF', function: 'PolicyLoss.forward', answer }];
