/** Penalties and rewards less a KL penalty. */
import { klDivergence, klShapedRewards, overlongPenalty, repetitionPenalty, stopProperlyPenalty, type ConventionName, type Tensor } from 'vantage-rl';
import type { Adapter, Inputs } from '../adapter';
import type { Case } from '../case';

function overlong(convention: ConventionName, { params }: Case, inputs: Inputs, factor = params.overlong_penalty_factor): Tensor {
  return overlongPenalty(inputs.array('response_lengths'), { convention, maxLength: params.max_response_length, bufferLength: params.overlong_buffer_len, factor });
}

/** Without a buffer there is nothing to divide by. Ours: beyond the length the whole penalty. */
const noBuffer = ({ library, params }: Case) => (params.overlong_buffer_len === 0 ? `no buffer: ${library} divides by 0, or penalises nothing; ours is the whole penalty beyond the length` : null);

const stopProperly = (convention: ConventionName, { params }: Case, inputs: Inputs): Tensor =>
  stopProperlyPenalty(inputs.array('rewards'), inputs.array('truncated'), { convention, coefficient: params.stop_properly_penalty_coef });

export const adapters: Adapter[] = [
  { library: 'AReaL', function: 'reward_overlong_penalty', answer: (each, inputs) => ({ rewards: inputs.array('rewards').add(overlong('areal', each, inputs)) }), differs: noBuffer },
  {
    library: 'NeMo-RL',
    function: 'apply_reward_shaping',
    name: 'overlong_penalty',
    answer: (each, inputs) => ({ rewards: inputs.array('rewards').add(overlong('nemo', each, inputs)) }),
    differs: noBuffer,
  },
  { library: 'NeMo-RL', function: 'apply_reward_shaping', name: 'stop_properly_penalty', answer: (each, inputs) => ({ rewards: stopProperly('nemo', each, inputs) }) },
  {
    library: 'OpenRLHF',
    function: 'apply_overlong_penalty',
    answer: (each, inputs) => ({
      rewards: inputs.array('rewards').add(overlong('openrlhf', each, inputs)),
      num_penalized: overlong('openrlhf', each, inputs, 1).notEqual(0).sum().item(),
    }),
    differs: noBuffer,
  },
  {
    library: 'OpenRLHF',
    function: 'apply_stop_properly_penalty',
    answer: (each, inputs) => ({ rewards: stopProperly('openrlhf', each, inputs), num_truncated: inputs.array('truncated').notEqual(0).sum().item() }),
  },
  {
    library: 'OpenRLHF',
    function: 'compute_reward',
    answer({ params }, inputs) {
      const kl = inputs.array('kl');
      const [low, high] = params.reward_clip_range ?? [null, null];
      // A negative coefficient is none there.
      const klCoef = Math.max(0, params.kl_coef);
      return { token_rewards: klShapedRewards(inputs.array('rewards'), kl, inputs.mask('mask', kl), { convention: 'openrlhf', klCoef, low, high }) };
    },
  },
  {
    library: 'verl',
    function: 'DAPORewardManager.__call__ (overlong lines)',
    answer(each, inputs) {
      const penalty = overlong('verl', each, inputs);
      return { overlong_rewards: penalty, rewards: inputs.array('rewards').add(penalty) };
    },
    differs: noBuffer,
  },
  {
    library: 'verl',
    function: 'compute_rewards',
    answer({ params }, inputs) {
      const scores = inputs.array('token_level_scores');
      const kl = klDivergence(inputs.array('old_log_probs'), inputs.array('ref_log_probs'), 'k1');
      return { token_rewards: klShapedRewards(scores, kl, inputs.mask('mask', scores), { convention: 'verl', klCoef: params.kl_ratio }) };
    },
  },
  {
    library: 'TRL',
    function: 'get_repetition_penalty_reward',
    answer: ({ params, inputs }) => ({ rewards: repetitionPenalty(inputs.completion_ids, { ngramSize: params.ngram_size, maxPenalty: params.max_penalty }) }),
  },
  {
    library: 'TRL',
    function: 'get_soft_overlong_punishment',
    answer: ({ params }, inputs) => ({
      rewards: overlongPenalty(inputs.array('completion_lengths'), { convention: 'trl', maxLength: params.max_completion_len, bufferLength: params.soft_punish_cache }),
    }),
  },
];
