/** Liger-Kernel's policy losses: TRL's formulas. */
import { computePolicyLoss, type PolicyLossOptions } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';
import { lossAnswer, lossInputs } from './policy_loss';
import { trlOptions, trlTypes } from './trl_losses';

function answer({ params }: Case, inputs: Inputs): Answer {
  const type: string = params.loss_type;
  const found = trlTypes[type];
  if (!found) throw new Error(`loss_type: expected one of ${Object.keys(trlTypes).join(', ')}, got '${type}'`);
  const given = lossInputs(inputs);
  const options: PolicyLossOptions = {
    convention: 'trl',
    // Shares of tokens, also where the ratio is that of a row.
    rowMetrics: false,
    ...trlOptions(type, params),
    ...(found.reduction && { reduction: found.reduction }),
    klCoef: params.beta ?? 0,
    klRatioWeighted: params.use_bias_correction_kl ?? false,
    maxSeqLen: params.max_completion_length ?? null,
    totalTokens: found.perStep ? null : (params.num_items_in_batch ?? null),
  };
  const all = { ...given, weights: inputs.optional('importance_sampling_ratio') ?? undefined, refLogProbs: given.refLogProbs ?? given.logProbs.detach() };
  // Its shares of clipped tokens know nothing of δ.
  const { metrics: reported } = computePolicyLoss(type, all, options.delta === undefined ? options : { ...options, delta: null });
  return lossAnswer(type, all, options, (metrics) => ({
    kl: metrics.kl,
    clip_ratio: type === 'cispo' ? metrics.clip_ratio_gained : type === 'sapo' || type === 'vespo' ? 0 : reported.clip_ratio,
  }));
}

export const adapters: Adapter[] = [
  {
    library: 'Liger-Kernel',
    function: 'LigerFusedLinearGRPOFunction.ppo_loss_fn',
    answer,
    differs: ({ params, expected }) =>
      expected.throws && params.importance_sampling_level === 'sequence' && trlTypes[params.loss_type]
        ? 'the ratio of a sequence in losses that Liger refuses it in: ours take it'
        : null,
  },
];
