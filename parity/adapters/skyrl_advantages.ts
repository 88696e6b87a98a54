/** SkyRL's estimators. */
import { computeAdvantages, type AdvantageOptions } from 'vantage-rl';
import { type Adapter, type Answer, type Inputs } from '../adapter';
import type { Case } from '../case';

function estimate(name: string, each: Case, inputs: Inputs, options: AdvantageOptions = {}): Answer {
  const rewards = inputs.array('rewards');
  const masks = inputs.mask('mask', rewards);
  const { advantages, returns } = computeAdvantages(
    name,
    { rewards, values: inputs.optional('values'), masks, groupIds: each.inputs.group_ids },
    { convention: 'skyrl', gamma: each.params.gamma ?? 1, lambda: each.params.lambd ?? 1, ...options },
  );
  return { advantages, returns };
}

/** With one valid token or none SkyRL raises in its whitening; the variance of one number is taken for 0 here. */
const tooFew = ({ expected, inputs }: Case) => (expected.throws && inputs.mask.flat().filter(Boolean).length < 2 ? 'whitening of fewer than two tokens: SkyRL raises, ours gives 0' : null);

export const adapters: Adapter[] = [
  { library: 'SkyRL', function: 'compute_gae_advantage_return', answer: (each, inputs) => estimate('gae', each, inputs), differs: tooFew },
  { library: 'SkyRL', function: 'compute_rloo_outcome_advantage', answer: (each, inputs) => estimate('rloo', each, inputs) },
  { library: 'SkyRL', function: 'compute_reinforce_plus_plus_outcome_advantage', answer: (each, inputs) => estimate('reinforce++', each, inputs), differs: tooFew },
  { library: 'SkyRL', function: 'compute_maxrl_advantage', answer: (each, inputs) => estimate('maxrl', each, inputs, { epsilon: each.params.epsilon ?? 1e-6 }) },
  {
    library: 'SkyRL',
    function: 'compute_grpo_outcome_advantage',
    answer: (each, inputs) => estimate('grpo', each, inputs, { normByStd: each.params.norm_by_std ?? true, epsilon: each.params.epsilon ?? 1e-6 }),
  },
];
