/** Estimates of the KL divergence, and the controllers of its coefficient. */
import { clamp } from './arithmetic';
import { Raised, type Given, type Reference } from './own';
import type { Random, Table } from './random';

export interface Clamps {
  input: number | null;
  output: number | null;
  weight?: number;
}

/** The estimate and its slope in ℓ: 0 beyond a clamp. */
export function divergence(type: string, l: number, ref: number, { input, output, weight = 1 }: Clamps): { kl: number; slope: number } {
  const raw = l - ref;
  const d = input === null ? raw : clamp(raw, -input, input);
  const plain = (): [number, number] => {
    switch (type) {
      case 'k1':
        return [d, 1];
      case 'abs':
        return [Math.abs(d), Math.sign(d)];
      case 'k2':
        return [(d * d) / 2, d];
      case 'k3':
        return [Math.expm1(-d) + d, 1 - Math.exp(-d)];
      default:
        throw new Raised(`ValueError: Invalid KL estimator type: ${type}`);
    }
  };
  const [value, inner] = plain();
  const kl = value * weight;
  const slope = Math.abs(raw) > (input ?? Infinity) || Math.abs(kl) > (output ?? Infinity) ? 0 : inner * weight;
  return { kl: output === null ? kl : clamp(kl, -output, output), slope };
}

const both = (inputs: Given['inputs'], type: string, clamps: (type: string) => Clamps, factor: (b: number, t: number) => number = () => 1) => {
  const found = (inputs.log_probs as Table).map((row, b) =>
    row.map((l, t) => divergence(type, l, inputs.ref_log_probs[b][t], { ...clamps(type), weight: inputs.importance_sampling_weights?.[b][t] }))
  );
  return {
    kl: found.map((row, b) => row.map(({ kl }, t) => (factor(b, t) === 0 ? 0 : kl * factor(b, t)))),
    grad_log_probs: found.map((row, b) => row.map(({ slope }, t) => (factor(b, t) === 0 ? 0 : slope * factor(b, t)))),
  };
};

const onlyK3 = (type: string): Clamps => (type === 'k3' ? { input: 20, output: 10 } : { input: null, output: null });
const draw = (random: Random): Given['inputs'] => {
  const logProbs = random.logProbs();
  // Some so far apart that each of the clamps has its say.
  const far = random.chance(0.5);
  const ref = random.near(logProbs).map((row) => row.map((x) => (far && random.chance(0.3) ? x + random.pick([-25, -12, -2.5, 2.5, 3, 15, 25]) : x)));
  return { log_probs: logProbs, ref_log_probs: ref };
};
const alone: (params: (random: Random) => Given['params']) => Reference['draw'] = (params) => (random) => ({ params: params(random), inputs: draw(random) });

function control({ params, inputs }: Given) {
  let value = params.init_kl_coef as number;
  const values = (inputs.current_kl as number[]).map((kl, i) => {
    if (params.type === 'adaptive') value *= 1 + (clamp(kl / params.target - 1, -0.2, 0.2) * inputs.n_steps[i]) / params.horizon;
    return value;
  });
  return { values };
}

function drawControl(random: Random): Given {
  const count = 1 + random.below(8);
  return {
    params: { type: random.pick(['adaptive', 'fixed']), init_kl_coef: random.pick([0.001, 0.05, 0.1, 1]), target: random.pick([0.01, 0.1, 6]), horizon: random.pick([100, 1000, 10000]) },
    inputs: { current_kl: random.list(count, () => random.pick([0, 0.01, 6, random.number(0, 0.2), random.number(-1, 12)])), n_steps: random.list(count, () => random.below(200)) },
  };
}

export const references: Reference[] = [
  {
    library: 'SkyRL',
    function: 'compute_approx_kl',
    name: 'approx_kl',
    draw: (random) => ({ params: { kl_estimator_type: random.pick(['k1', 'abs', 'k2', 'k3', 'k3', 'k4']) }, inputs: { ...draw(random), mask: random.pick([null, random.mask()]) } }),
    answer: ({ params, inputs }) => both(inputs, params.kl_estimator_type, onlyK3, (b, t) => inputs.mask?.[b][t] ?? 1),
  },
  {
    library: 'verl',
    function: 'kl_penalty',
    name: 'kl_penalty',
    draw: alone((random) => ({ kl_penalty: random.pick(['k1', 'kl', 'abs', 'k2', 'mse', 'k3', 'low_var_kl', 'full']) })),
    answer: ({ params, inputs }) => both(inputs, ({ kl: 'k1', mse: 'k2', low_var_kl: 'k3' } as Record<string, string>)[params.kl_penalty] ?? params.kl_penalty, onlyK3),
  },
  {
    library: 'OpenRLHF',
    function: 'compute_approx_kl',
    name: 'approx_kl',
    draw: alone((random) => ({ kl_estimator: random.pick(['k1', 'k2', 'k3']) })),
    answer: ({ params, inputs }) => both(inputs, params.kl_estimator, () => ({ input: null, output: 10 })),
  },
  {
    library: 'NeMo-RL',
    function: 'calculate_kl',
    name: 'calculate_kl',
    draw: (random) => ({
      params: { kl_type: random.pick(['k1', 'k2', 'k3']), input_clamp_value: random.pick([null, 2, 20]), output_clamp_value: random.pick([null, 1, 10]) },
      inputs: { ...draw(random), ...(random.chance(0.4) && { importance_sampling_weights: random.numbers(0, 2) }) },
    }),
    answer: ({ params, inputs }) => both(inputs, params.kl_type, () => ({ input: params.input_clamp_value, output: params.output_clamp_value })),
  },
  {
    library: 'AReaL',
    function: 'KLEstimator._compute_approx_kl',
    name: 'approx_kl',
    draw: alone((random) => ({ kl_estimator: random.pick(['k1', 'k2', 'k3']), apply_clamp: random.chance(0.5) })),
    answer: ({ params, inputs }) => both(inputs, params.kl_estimator, () => ({ input: null, output: params.apply_clamp ? 10 : null })),
  },
  { library: 'Liger-Kernel', function: 'k3_loss_fn', name: 'k3', draw: alone(() => ({})), answer: ({ inputs }) => both(inputs, 'k3', () => ({ input: null, output: null })) },
  ...['SkyRL', 'verl', 'OpenRLHF'].map((library) => ({ library, function: 'AdaptiveKLController / FixedKLController', name: 'kl_controller', draw: drawControl, answer: control })),
];
