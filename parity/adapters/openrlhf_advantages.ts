/** OpenRLHF's estimators. Its rewards are one number a row: compared in groups, clipped, put on the last token less the divergence, and summed along time. */
import { computeAdvantages, Groups, outcomeRewards, type AdvantageOptions, type Tensor } from 'vantage-rl';
import { type Adapter, type Answer, type Inputs } from '../adapter';
import type { Case } from '../case';

/** What compares rows before time comes in, for each of its estimators. */
const baselines: Record<string, string> = { rloo: 'rloo', reinforce_baseline: 'dr_grpo', dr_grpo: 'dr_grpo', group_norm: 'grpo' };

function alongTime(name: string, rewards: Tensor, each: Case, inputs: Inputs, options: AdvantageOptions): { advantages: Tensor; returns: Tensor } {
  const { gamma, lambd } = each.params;
  return computeAdvantages(
    name,
    { rewards, masks: inputs.mask('mask', rewards), values: inputs.optional('values') },
    { convention: 'openrlhf', gamma: gamma ?? 1, lambda: lambd ?? 1, ...options },
  );
}

function shaped(each: Case, inputs: Inputs): Answer {
  const { params } = each;
  const scores = inputs.array('rewards');
  const masks = inputs.mask('mask');
  const groupIds = each.inputs.group_ids;
  const rewards = scores.expandDims(1);
  const compare = baselines[params.estimator];
  const compared = compare
    ? computeAdvantages(compare, { rewards, masks: inputs.mask('', rewards), groupIds }, { convention: 'openrlhf' }).advantages.squeeze(1)
    : scores;
  const [low, high] = params.reward_clip_range ?? [null, null];
  const divergence = inputs.array('kl').mul(Math.max(0, params.kl_coef));
  const tokens = outcomeRewards(compared.clamp(low, high), masks).sub(divergence);
  const whitening: AdvantageOptions = !compare || params.estimator === 'reinforce_baseline' ? { whitenByStd: !params.no_std_norm } : { whiten: 'none' };
  // What was compared is not discounted.
  const options = { ...whitening, ...(compare && { gamma: 1 }) };
  const { advantages, returns } = alongTime(params.estimator === 'gae' ? 'gae' : 'reinforce++', tokens, each, inputs, options);
  return { advantages, returns, total_reward: tokens.sum(1), group_reward_std: new Groups(groupIds, scores.size).std(scores) };
}

/** With one sample a prompt OpenRLHF divides by zero. */
const alone = ({ params }: Case): string | null => params.n_samples_per_prompt === 1 && ['rloo', 'group_norm'].includes(params.estimator) ? 'one sample a prompt: OpenRLHF gives NaN, ours 0' : null;

export const adapters: Adapter[] = [
  {
    library: 'OpenRLHF',
    function: 'RemoteExperienceMaker.get_advantages_and_returns',
    answer: (each, inputs) => ({ ...alongTime('gae', inputs.array('rewards'), each, inputs, { whiten: 'none' }) }),
  },
  {
    library: 'OpenRLHF',
    function: 'RemoteExperienceMaker.get_cumulative_returns',
    answer: (each, inputs) => ({ ...alongTime('reinforce++', inputs.array('rewards'), each, inputs, { whiten: 'none' }) }),
  },
  { library: 'OpenRLHF', function: 'RemoteExperienceMaker.compute_advantages_and_returns', answer: shaped, differs: alone },
];
