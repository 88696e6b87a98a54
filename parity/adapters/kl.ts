/** KL estimators of the libraries. */
import { gradients, klDivergence, type KlEstimator, type KlOptions } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';

function estimate(inputs: Inputs, type: string, options: KlOptions, masked = false): Answer {
  const logProbs = inputs.array('log_probs');
  const mask = masked ? inputs.optional('mask') : null;
  const estimated = klDivergence(logProbs, inputs.array('ref_log_probs'), type as KlEstimator, mask ?? undefined, options);
  // Theirs may hold fractions, which are factors; ours says which tokens count.
  const kl = mask ? estimated.mul(mask) : estimated;
  return { kl, grad_log_probs: gradients(kl.sum(), [logProbs])[0] };
}

const unbounded: KlOptions = { inputClamp: null, outputClamp: null };

const notFinite = ({ inputs }: Case) => JSON.stringify(inputs.log_probs).includes('null');

export const adapters: Adapter[] = [
  {
    library: 'SkyRL',
    function: 'compute_approx_kl',
    answer: ({ params }, inputs) => estimate(inputs, params.kl_estimator_type, {}, true),
    leftOut: { grad_log_probs: (each) => (notFinite(each) ? 'at masked positions that hold no number the gradient is whatever autograd gives' : null) },
  },
  {
    library: 'verl',
    function: 'kl_penalty',
    answer: ({ params }, inputs) => estimate(inputs, params.kl_penalty, {}),
    differs: ({ params, expected }) => (expected.throws && /\+$/.test(params.kl_penalty) ? 'straight-through estimators: they raise in verl, ours answer' : null),
  },
  { library: 'OpenRLHF', function: 'compute_approx_kl', answer: ({ params }, inputs) => estimate(inputs, params.kl_estimator, { inputClamp: null, outputClamp: 10 }) },
  {
    library: 'NeMo-RL',
    function: 'calculate_kl',
    answer: ({ params }, inputs) =>
      estimate(inputs, params.kl_type, {
        inputClamp: params.input_clamp_value ?? null,
        outputClamp: params.output_clamp_value ?? null,
        weights: inputs.optional('importance_sampling_weights'),
      }),
  },
  {
    library: 'AReaL',
    function: 'KLEstimator._compute_approx_kl',
    answer: ({ params }, inputs) => estimate(inputs, params.kl_estimator, (params.apply_clamp ?? true) ? { inputClamp: null, outputClamp: 10 } : unbounded),
  },
  { library: 'Liger-Kernel', function: 'k3_loss_fn', answer: (_, inputs) => estimate(inputs, 'k3', unbounded) },
];
