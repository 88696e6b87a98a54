/** TRL's policy losses. */
import type { PolicyLossOptions } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';
import { lossAnswer, lossInputs } from './policy_loss';

type Params = Case['params'];

/** What `loss_type` stands for: the loss, its reduction, and whether that knows of gradient accumulation. */
export const trlTypes: Readonly<Record<string, { reduction?: PolicyLossOptions['reduction']; perStep: boolean }>> = {
  grpo: { perStep: true },
  bnpo: { perStep: true },
  dr_grpo: { perStep: true },
  dapo: { perStep: false },
  luspo: { perStep: true },
  sapo: { reduction: 'sequence_mean', perStep: true },
  cispo: { reduction: 'token_mean', perStep: false },
  vespo: { reduction: 'token_mean', perStep: false },
};

/** The options that a loss of TRL's takes: those of its type only. */
export function trlOptions(type: string, params: Params): PolicyLossOptions {
  const level = params.importance_sampling_level ?? 'token';
  const number = (name: string): number | undefined => params[name] ?? undefined;
  const clip = { epsClipLow: params.epsilon_low, epsClipHigh: params.epsilon_high ?? params.epsilon_low, delta: params.delta ?? null, ratioLevel: level };
  switch (type) {
    case 'cispo':
      // Its upper bound is ε itself; there is no lower one.
      return { cispoEpsClipLow: null, cispoEpsClipHigh: (params.epsilon_high ?? params.epsilon_low) - 1, ratioLevel: level };
    case 'sapo':
      return { tauPos: number('sapo_temperature_pos'), tauNeg: number('sapo_temperature_neg'), ratioLevel: level };
    case 'vespo':
      return { kPos: number('vespo_k_pos'), lambdaPos: number('vespo_lambda_pos'), kNeg: number('vespo_k_neg'), lambdaNeg: number('vespo_lambda_neg'), ratioLevel: level, remask: false };
    case 'luspo':
      return { ...clip, remask: false };
    default:
      return clip;
  }
}

function answer({ params }: Case, inputs: Inputs): Answer {
  const type: string = params.loss_type;
  const found = trlTypes[type];
  if (!found) throw new Error(`loss_type: expected one of ${Object.keys(trlTypes).join(', ')}, got '${type}'`);
  const optional = (name: string) => inputs.optional(name) ?? undefined;
  const given = {
    ...lossInputs(inputs),
    weights: optional('importance_sampling_ratio'),
    rolloutLogProbs: optional('sampling_log_probs'),
    entropy: optional('entropies'),
  };
  const options: PolicyLossOptions = {
    convention: 'trl',
    ...trlOptions(type, params),
    ...(found.reduction && { reduction: found.reduction }),
    klCoef: params.beta ?? 0,
    klRatioWeighted: params.use_bias_correction_kl ?? false,
    offPolicyThreshold: params.off_policy_mask_threshold ?? null,
    topEntropyQuantile: params.top_entropy_quantile ?? 1,
    maxSeqLen: params.max_completion_length ?? null,
    totalTokens: found.perStep ? null : (params.num_items_in_batch ?? null),
    scale: found.perStep ? 1 / (params.gradient_accumulation_steps ?? 1) : (params.num_processes ?? 1),
  };
  return lossAnswer(type, given, options, (metrics) => ({
    kl: metrics.kl,
    'clip_ratio/low_mean': metrics.clip_ratio_low,
    'clip_ratio/high_mean': metrics.clip_ratio_high,
    'clip_ratio/region_mean': metrics.clip_ratio,
    'clip_ratio/low_min': metrics.clip_ratio_low_min,
    'clip_ratio/high_max': metrics.clip_ratio_high_max,
    cispo_clip_ratio: metrics.clip_ratio_gained,
    'vespo/phi_seq_mean': metrics.phi_mean,
  }));
}

/** TRL takes what has one column for one number a row, and counts every row of it. */
const oneColumn = ({ inputs }: Case) => inputs.mask?.[0]?.length === 1 && inputs.mask.some(([m]: number[]) => !m) ? 'with one column TRL counts what masked positions hold in its metrics' : null;

export const adapters: Adapter[] = [{ library: 'TRL', function: 'GRPOTrainer._compute_loss', answer, leftOut: { metrics: oneColumn } }];
