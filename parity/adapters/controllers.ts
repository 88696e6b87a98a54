/** Controllers of the KL coefficient. */
import { createKlController } from 'vantage-rl';
import type { Adapter, Answer } from '../adapter';
import type { Case } from '../case';

function run({ params, inputs }: Case): Answer {
  const adaptive = params.type === 'adaptive' ? { target: params.target, horizon: params.horizon } : {};
  const controller = createKlController({ type: params.type, coefficient: params.init_kl_coef, ...adaptive });
  return { values: (inputs.current_kl as number[]).map((kl, i) => controller.update(kl, inputs.n_steps[i])) };
}

export const adapters: Adapter[] = ['SkyRL', 'verl', 'OpenRLHF'].map((library) => ({ library, function: 'AdaptiveKLController / FixedKLController', answer: run }));
