/** Rewards of environments. */
import { gsm8kAnswer, gsm8kReward } from 'vantage-rl';
import type { Adapter } from '../adapter';

export const adapters: Adapter[] = [
  {
    library: 'SkyRL',
    function: 'skyrl_gym.envs.gsm8k.utils.compute_score',
    answer: ({ params, inputs }) => ({
      reward: gsm8kReward(inputs.solution, inputs.ground_truth, { method: params.method, formatScore: params.format_score, score: params.score }),
      answer: gsm8kAnswer(inputs.solution, params.method),
    }),
  },
];
