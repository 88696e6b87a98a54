/** SkyRL's policy losses. */
import { applyOffPolicyCorrection, type LossCorrection, type PolicyLossOptions } from 'vantage-rl';
import type { Adapter, Inputs } from '../adapter';
import type { Case } from '../case';
import { skyrlCorrection, spreadOfOne } from './off_policy';
import { lossAnswer, lossInputs } from './policy_loss';

type Params = Case['params'];

function answer(name: string, options: (params: Params) => PolicyLossOptions) {
  return (each: Case, inputs: Inputs) => {
    const correcting = each.params.off_policy_correction;
    const correction: LossCorrection = ({ losses, ...given }) => {
      const { loss, mask, metrics } = applyOffPolicyCorrection(losses, given, skyrlCorrection(correcting));
      return { losses: loss, mask, metrics };
    };
    const given = { ...lossInputs(inputs), ...(correcting && { correction }) };
    return lossAnswer(name, given, { convention: 'skyrl', ...options(each.params) }, (metrics) => ({
      ...metrics,
      // Losses without a clip report 0.
      clip_ratio: metrics.clip_ratio ?? 0,
      importance_ratio: metrics.ratio_mean,
      'cispo/ratio_mean': metrics.ratio_mean,
      'cispo/ratio_clamped_mean': metrics.ratio_clamped_mean,
      'cispo/ratio_max': metrics.ratio_max,
      'cispo/ratio_min': metrics.ratio_min,
    }));
  };
}

const clip = ({ eps_clip_low, eps_clip_high }: Params): PolicyLossOptions => ({ epsClipLow: eps_clip_low ?? undefined, epsClipHigh: eps_clip_high ?? undefined });

const ppo = (name: string) => answer(name, (params) => ({ ...clip(params), ...(name === 'dual_clip' && { clipRatioC: params.clip_ratio_c ?? 3 }) }));

const dppo = answer('dppo', ({ dppo_type, delta_low, delta_high }) => ({ divergence: dppo_type, deltaLow: delta_low, deltaHigh: delta_high }));

const losses: Adapter[] = [
  { library: 'SkyRL', function: 'ppo_policy_loss', answer: (each, inputs) => ppo(each.params.policy_loss_type ?? each.name)(each, inputs) },
  { library: 'SkyRL', function: 'gspo_policy_loss', answer: answer('gspo', clip) },
  { library: 'SkyRL', function: 'sapo_policy_loss', answer: answer('sapo', ({ tau_pos, tau_neg }) => ({ tauPos: tau_pos, tauNeg: tau_neg })) },
  { library: 'SkyRL', function: 'rollout_is_policy_loss', answer: answer('rollout_is', clip) },
  { library: 'SkyRL', function: 'dppo_policy_loss', answer: dppo },
  {
    library: 'SkyRL',
    function: 'compute_policy_loss_cispo',
    answer: answer('cispo', ({ cispo_anchor, cispo_eps_clip_low, cispo_eps_clip_high }) => ({
      anchor: cispo_anchor ?? 'old',
      cispoEpsClipLow: cispo_eps_clip_low ?? undefined,
      cispoEpsClipHigh: cispo_eps_clip_high ?? undefined,
    })),
  },
  {
    library: 'SkyRL',
    function: 'compute_policy_loss_clip_cov',
    answer: answer('clip_cov', (params) => ({
      ...clip(params),
      clipCovRatio: params.clip_cov_ratio,
      clipCovLow: params.clip_cov_lb,
      clipCovHigh: params.clip_cov_ub,
    })),
  },
  {
    library: 'SkyRL',
    function: 'compute_policy_loss_kl_cov',
    answer: answer('kl_cov', ({ kl_cov_frac, ppo_kl_coef }) => ({ klCovRatio: kl_cov_frac, ppoKlCoef: ppo_kl_coef })),
  },
  { library: 'SkyRL', function: 'cross_entropy_loss', answer: answer('cross_entropy', () => ({})) },
  { library: 'SkyRL', function: 'importance_sampling_loss', answer: answer('importance_sampling', () => ({})) },
];

/** SkyRL takes what masked positions hold for the extremes of a batch without a valid token. */
const nothingValid = ({ inputs }: Case) => (inputs.mask && !inputs.mask.flat().some(Boolean) ? 'nothing valid: SkyRL reports the ratios of masked positions' : null);

/** Both correct for the sampler: SkyRL refuses one beside the other. */
const twice = ({ params, expected }: Case) =>
  expected.throws && params.cispo_anchor === 'rollout' && params.off_policy_correction?.tis_ratio_type
    ? 'truncated importance sampling beside the rollout anchor: SkyRL refuses it, ours applies both'
    : null;

export const adapters: Adapter[] = losses.map((each) => ({ ...each, differs: (given) => spreadOfOne(given) ?? twice(given), leftOut: { metrics: nothingValid } }));
