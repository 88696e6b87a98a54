/** verl's estimators. */
import { computeAdvantages, type AdvantageOptions, type Tensor } from 'vantage-rl';
import { only, type Adapter, type Inputs } from '../adapter';
import type { Case } from '../case';

function estimate(name: string, each: Case, inputs: Inputs, options: AdvantageOptions = {}): { advantages: Tensor; returns: Tensor } {
  const rewards = inputs.array('rewards');
  const { advantages, returns } = computeAdvantages(
    name,
    {
      rewards,
      masks: inputs.mask('mask', rewards),
      values: inputs.optional('values'),
      groupIds: each.inputs.group_ids,
      baselines: inputs.optional('reward_baselines'),
      oldLogProbs: inputs.optional('old_log_probs'),
      sumSquaredProbs: inputs.optional('sum_pi_squared'),
      importanceWeights: inputs.optional('rollout_is_weights'),
    },
    { convention: 'verl', gamma: each.params.gamma ?? 1, lambda: each.params.lambd ?? 1, ...options },
  );
  return { advantages, returns };
}

/** With one valid token or none verl raises in its whitening; the variance of one number is taken for 0 here. */
const tooFew = ({ expected, inputs }: Case) => (expected.throws && inputs.mask.flat().filter(Boolean).length < 2 ? 'whitening of fewer than two tokens: verl raises, ours gives 0' : null);

const noSpread = ({ params, expected }: Case) =>
  params.epsilon === 0 && expected.advantages?.flat().some((a: number) => !Number.isFinite(a)) ? 'equal rewards and no epsilon: verl divides 0 by 0, ours are 0' : null;

const scale = ({ params }: Case): AdvantageOptions => ({ normByStd: params.norm_by_std ?? true, epsilon: params.epsilon ?? 1e-6 });
const tail = ({ params }: Case): AdvantageOptions => ({ epsilon: params.epsilon ?? 1e-8, zeroTail: params.handle_zero_tail ?? true });

export const adapters: Adapter[] = [
  { library: 'verl', function: 'compute_gae_advantage_return', answer: (each, inputs) => estimate('gae', each, inputs), differs: tooFew },
  { library: 'verl', function: 'compute_grpo_outcome_advantage', answer: (each, inputs) => estimate('grpo', each, inputs, scale(each)), differs: noSpread },
  {
    library: 'verl',
    function: 'compute_grpo_vectorized_outcome_advantage',
    answer: (each, inputs) => estimate('grpo', each, inputs, { ...scale(each), minVariance: each.params.epsilon ?? 1e-6 }),
  },
  { library: 'verl', function: 'compute_grpo_passk_outcome_advantage', answer: (each, inputs) => estimate('grpo_passk', each, inputs, scale(each)) },
  { library: 'verl', function: 'compute_rloo_outcome_advantage', answer: (each, inputs) => estimate('rloo', each, inputs) },
  { library: 'verl', function: 'compute_rloo_vectorized_outcome_advantage', answer: (each, inputs) => estimate('rloo', each, inputs, { singleton: 'zero' }) },
  {
    library: 'verl',
    function: 'compute_opo_outcome_advantage',
    // A group without a valid token: verl divides by its length 0, and NaN stands in rows that hold nothing.
    answer(each, inputs) {
      const { advantages, returns } = estimate('opo', each, inputs);
      const masks = inputs.mask('mask');
      return { advantages: only(advantages, masks), returns: only(returns, masks) };
    },
  },
  { library: 'verl', function: 'compute_gpg_outcome_advantage', answer: (each, inputs) => estimate('gpg', each, inputs, { fNorm: each.params.f_norm ?? 1 }) },
  { library: 'verl', function: 'compute_remax_outcome_advantage', answer: (each, inputs) => estimate('remax', each, inputs) },
  {
    library: 'verl',
    function: 'compute_reinforce_plus_plus_outcome_advantage',
    answer: (each, inputs) => estimate('reinforce++', each, inputs),
    differs: tooFew,
  },
  {
    library: 'verl',
    function: 'compute_reinforce_plus_plus_baseline_outcome_advantage',
    // Its epsilon is a parameter without an effect.
    answer: (each, inputs) => estimate('reinforce++_baseline', each, inputs),
    differs: tooFew,
  },
  { library: 'verl', function: 'compute_optimal_token_baseline_advantage', answer: (each, inputs) => estimate('optimal_token_baseline', each, inputs, tail(each)) },
  {
    library: 'verl',
    function: 'compute_multi_turn_optimal_token_baseline_advantage',
    answer: (each, inputs) => estimate('tir_optimal_token_baseline', each, inputs, tail(each)),
  },
];
