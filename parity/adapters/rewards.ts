/** Rewards of environments. */
import { gsm8kAnswer, gsm8kReward } from 'vantage-rl';
import type { Adapter } from '../adapter';

export const adapters: Adapter[] = [
  {
    library: 'SkyRL',
    function: 'skyrl_gym.envs.gsm8k.utils.compute_score',
    answer({ params, inputs }) {
      const method = params.method ?? undefined;
      const options = { method, formatScore: params.format_score ?? undefined, score: params.score ?? undefined };
      return { reward: gsm8kReward(inputs.solution, inputs.ground_truth, options), answer: gsm8kAnswer(inputs.solution, method) };
    },
  },
];
