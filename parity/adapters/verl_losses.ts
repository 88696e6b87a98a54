/** verl's policy losses. */
import type { LossReduction, PolicyLossOptions, Tensor } from 'vantage-rl';
import type { Adapter, Inputs } from '../adapter';
import type { Case } from '../case';
import { lossAnswer, lossInputs } from './policy_loss';

type Params = Case['params'];

/** verl's names of reductions. An unknown one stays as it is, to be refused. */
const modes: Readonly<Record<string, LossReduction>> = {
  'token-mean': 'token_mean',
  'token-sum': 'token_sum',
  'seq-mean-token-sum': 'seq_mean_token_sum',
  'seq-mean-token-mean': 'sequence_mean',
};

/** Our options for verl's `agg_loss` over rows of `width` tokens. Its `seq-mean-token-sum-norm` divides the sum over all rows by one length, and by nothing else. */
export function verlReduction(params: Params, width: number, mode: string = params.loss_agg_mode ?? 'token-mean') {
  if (mode === 'seq-mean-token-sum-norm') return { reduction: 'token_sum', countEpsilon: 1e-8, scale: 1 / (params.loss_scale_factor ?? width) } as const;
  return {
    reduction: modes[mode] ?? (mode as LossReduction),
    emptyRows: 'leave_out',
    countEpsilon: 1e-8,
    totalTokens: params.batch_num_tokens ?? null,
    totalRows: params.global_batch_size ?? null,
    scale: params.dp_size ?? 1,
  } as const satisfies PolicyLossOptions;
}

const clip = ({ clip_ratio, clip_ratio_low, clip_ratio_high }: Params): PolicyLossOptions => ({
  epsClipLow: clip_ratio_low ?? clip_ratio ?? undefined,
  epsClipHigh: clip_ratio_high ?? clip_ratio ?? undefined,
});

interface Named {
  /** The reduction that the function always uses. */
  mode?: string;
  /** What `actor/pg_clipfrac`, `actor/ppo_kl` and `actor/pg_clipfrac_lower` are here; 0 where nothing is named. */
  metrics?: [clipped: string, kl?: string, lower?: string];
}

function answer(name: string, options: (params: Params) => PolicyLossOptions, { mode, metrics: names = [''] }: Named = {}) {
  const [clipped, kl = 'ppo_kl', lower = ''] = names;
  return (each: Case, inputs: Inputs) => {
    const given = { ...lossInputs(inputs), weights: inputs.optional('rollout_is_weights') ?? undefined };
    const all = { ...verlReduction(each.params, given.logProbs.shape[1]!, mode), ...options(each.params) };
    return lossAnswer(name, given, { convention: 'verl', ...all }, (metrics: Record<string, Tensor>) => ({
      'actor/pg_clipfrac': metrics[clipped] ?? 0,
      'actor/ppo_kl': metrics[kl],
      'actor/pg_clipfrac_lower': metrics[lower] ?? 0,
    }));
  };
}

const rows = 'seq-mean-token-mean';

export const adapters: Adapter[] = [
  {
    library: 'verl',
    function: 'compute_policy_loss_vanilla',
    answer: answer('dual_clip', (params) => ({ ...clip(params), clipRatioC: params.clip_ratio_c ?? 3 }), { metrics: ['clip_ratio', 'ppo_kl', 'clip_ratio_dual'] }),
  },
  { library: 'verl', function: 'compute_policy_loss_gspo', answer: answer('gspo', clip, { mode: rows, metrics: ['clip_ratio', 'old_kl'] }) },
  {
    library: 'verl',
    function: 'compute_policy_loss_sapo',
    answer: answer('sapo', ({ tau_pos, tau_neg }) => ({ tauPos: tau_pos, tauNeg: tau_neg }), { mode: rows }),
  },
  { library: 'verl', function: 'compute_policy_loss_gpg', answer: answer('gpg', () => ({})) },
  { library: 'verl', function: 'compute_policy_loss_reinforce', answer: (each, inputs) => reinforce(each, inputs) },
  {
    library: 'verl',
    function: 'compute_policy_loss_clip_cov',
    answer: answer(
      'clip_cov',
      (params) => ({ ...clip(params), clipCovRatio: params.clip_cov_ratio ?? undefined, clipCovLow: params.clip_cov_lb ?? undefined, clipCovHigh: params.clip_cov_ub ?? undefined }),
      { metrics: ['clip_ratio'] },
    ),
  },
  {
    library: 'verl',
    function: 'compute_policy_loss_kl_cov',
    answer: answer('kl_cov', ({ kl_cov_ratio, ppo_kl_coef }) => ({ klCovRatio: kl_cov_ratio ?? undefined, ppoKlCoef: ppo_kl_coef ?? undefined }), { metrics: ['', 'abs_kl'] }),
  },
  {
    library: 'verl',
    function: 'compute_policy_loss_geo_mean',
    answer: answer('geo_mean', (params) => ({ ...clip(params), emptyRows: 'count', totalRows: null, scale: 1, countEpsilon: 1e-8 }), {
      mode: rows,
      metrics: ['clip_ratio_high', 'ppo_kl', 'clip_ratio_low'],
    }),
  },
  {
    library: 'verl',
    function: 'compute_policy_loss_cispo',
    answer: answer(
      'cispo',
      (params) => {
        const { epsClipLow, epsClipHigh } = clip(params);
        return { cispoEpsClipLow: epsClipLow, cispoEpsClipHigh: epsClipHigh };
      },
      { metrics: ['clip_ratio'] },
    ),
  },
];

/** It has no old policy: what the sampler reported is the anchor of its metrics. */
function reinforce(each: Case, inputs: Inputs) {
  const given = { ...lossInputs(inputs), weights: inputs.optional('rollout_is_weights') ?? undefined };
  const options = verlReduction(each.params, given.logProbs.shape[1]!, each.params.loss_agg_mode ?? 'seq-mean-token-sum');
  return lossAnswer('reinforce', given, { convention: 'verl', ...options }, (metrics) => ({ 'actor/ppo_kl': metrics.ppo_kl }));
}
