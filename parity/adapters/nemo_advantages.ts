/** NeMo-RL's estimators. Their rewards are one number a row. */
import { combineRewards, computeAdvantages, klDivergence, outcomeRewards, tensor, zerosLike, type AdvantageOptions, type Tensor } from 'vantage-rl';
import { type Adapter, type Answer, type Inputs } from '../adapter';
import type { Case } from '../case';

/** Its divergences are clamped: the log-ratio to ±20, the estimate to ±10. As limits of the log-ratio alone: */
const limits: Record<string, number> = { k1: 10, abs: 10, k2: Math.sqrt(20), k3: 20 };

/** The log-ratio of policy and reference, within the limits; null where the divergence takes no part. */
function logRatio({ params }: Case, inputs: Inputs): Tensor | null {
  const [policy, reference] = [inputs.optional('log_probs'), inputs.optional('ref_log_probs')];
  if (!params.use_kl_in_reward || !policy || !reference) return null;
  const limit = limits[params.kl_type] ?? 20;
  return policy.sub(reference).clamp(-limit, limit);
}

function grpo(each: Case, inputs: Inputs): Answer {
  const scores = inputs.array('rewards');
  const masks = inputs.mask('mask');
  const { leave_one_out: leaveOneOut = true, normalize_rewards: normByStd = true } = each.params;
  const rewards = outcomeRewards(scores, masks);
  const { advantages } = computeAdvantages('grpo', { rewards, masks, groupIds: each.inputs.group_ids }, { convention: 'nemo', leaveOneOut, normByStd });
  return { advantages };
}

/** Components by name, in the order of their names, or as rows [batch][component]. */
function componentsOf(each: Case, inputs: Inputs): Tensor {
  const given = each.inputs.reward_components as unknown;
  if (Array.isArray(given)) {
    const rows = inputs.array('reward_components');
    return rows.shape[0] === each.inputs.group_ids.length ? rows : rows.transpose();
  }
  const named = Object.entries(given as Record<string, number[]>).sort(([a], [b]) => (a < b ? -1 : 1));
  return tensor(named.map(([, values]) => values), { dtype: inputs.dtype }).transpose();
}

function gdpo(each: Case, inputs: Inputs): Answer {
  const rewardComponents = componentsOf(each, inputs);
  const masks = inputs.mask('mask');
  const { leave_one_out: leaveOneOut = true, normalize_rewards: normByStd = true, reward_weights: weights } = each.params;
  const options: AdvantageOptions = { convention: 'nemo', leaveOneOut, normByStd, ...(weights && { weights }) };
  const { advantages } = computeAdvantages('gdpo', { rewards: outcomeRewards(combineRewards(rewardComponents), masks), masks, rewardComponents, groupIds: each.inputs.group_ids }, options);
  return { advantages };
}

function gae(each: Case, inputs: Inputs): Answer {
  const { params } = each;
  const masks = inputs.mask('mask');
  const ratio = logRatio(each, inputs);
  const outcome = outcomeRewards(inputs.array('rewards'), masks);
  const rewards = ratio ? outcome.sub(klDivergence(ratio, zerosLike(ratio), params.kl_type).mul(Math.max(0, params.kl_coef))) : outcome;
  const decoupled = (params.lambd_value ?? null) !== null || (params.lambd_policy ?? null) !== null || params.length_adaptive_alpha > 0;
  const { advantages, returns } = computeAdvantages(
    decoupled ? 'vapo_gae' : 'gae',
    { rewards, values: inputs.array('values'), masks },
    {
      convention: 'nemo',
      gamma: params.gamma,
      lambda: params.lambd ?? 1,
      whiten: Boolean(params.normalize_advantages),
      ...(decoupled && { lambdaValue: params.lambd_value ?? null, lambdaPolicy: params.lambd_policy ?? null, lengthAdaptiveAlpha: params.length_adaptive_alpha ?? 0 }),
    },
  );
  return { advantages, returns };
}

function reinforcePlusPlus(each: Case, inputs: Inputs): Answer {
  const { params } = each;
  const masks = inputs.mask('mask');
  const ratio = logRatio(each, inputs);
  const { advantages } = computeAdvantages(
    params.minus_baseline ? 'reinforce++_baseline' : 'raw_reward',
    { rewards: outcomeRewards(inputs.array('rewards'), masks), masks, groupIds: each.inputs.group_ids, ...(ratio && { oldLogProbs: ratio, refLogProbs: zerosLike(ratio) }) },
    { convention: 'nemo', ...(ratio && { klCoef: params.kl_coef, klEstimator: params.kl_type }) },
  );
  return { advantages };
}

/** The variance of one number is 0/0: NaN where the number is 0. */
const varianceOfOne = ({ expected }: Case) => expected.advantages?.flat().some(Number.isNaN) ? 'whitening of fewer than two tokens: NeMo-RL gives NaN, ours 0' : null;

export const adapters: Adapter[] = [
  { library: 'NeMo-RL', function: 'GRPOAdvantageEstimator.compute_advantage', answer: grpo },
  { library: 'NeMo-RL', function: 'GDPOAdvantageEstimator.compute_advantage', answer: gdpo },
  { library: 'NeMo-RL', function: 'GeneralizedAdvantageEstimator.compute_advantage', answer: gae, differs: varianceOfOne },
  { library: 'NeMo-RL', function: 'ReinforcePlusPlusAdvantageEstimator.compute_advantage', answer: reinforcePlusPlus },
];
