/** Value losses of the libraries. */
import { gradients, valueLoss, type ValueLossOptions } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';
import { openrlhfReduction } from './reductions';
import { verlReduction } from './verl_losses';

function answer(inputs: Inputs, options: ValueLossOptions | ((width: number) => ValueLossOptions)): Answer {
  const values = inputs.array('values');
  const all = typeof options === 'function' ? options(values.shape[1]!) : options;
  // Without a clip there is no share to speak of.
  const clipped = all.valueClip !== null;
  const { loss, clipFraction } = valueLoss(
    { values, oldValues: inputs.array('old_values'), returns: inputs.array('returns'), mask: inputs.mask('mask', values) },
    all,
  );
  return { loss, grad_values: gradients(loss, [values])[0], metrics: { clip_frac: clipped ? clipFraction : null } };
}

/** Where a value is as far from the old one as it may be, verl's max and min of equal numbers halve the gradient; elsewhere, and in other libraries, a bound that is met stops nothing. */
const atTheBound = ({ params, inputs }: Case) => {
  const old = inputs.old_values.flat();
  return inputs.values.flat().some((value: number, k: number) => Math.abs(value - old[k]) === params.cliprange_value) ? 'a value at the bound: torch halves the gradient of a tie' : null;
};

export const adapters: Adapter[] = [
  { library: 'SkyRL', function: 'ppo_critic_loss', answer: ({ params }, inputs) => answer(inputs, { valueClip: params.value_clip ?? null }) },
  {
    library: 'verl',
    function: 'compute_value_loss',
    answer: ({ params }, inputs) => answer(inputs, (width) => ({ valueClip: params.cliprange_value, ...verlReduction(params, width) })),
    leftOut: { grad_values: atTheBound },
  },
  {
    library: 'OpenRLHF',
    function: 'ValueLoss.forward',
    answer: ({ params }, inputs) => answer(inputs, { valueClip: params.clip_eps ?? null, ...openrlhfReduction(params) }),
  },
];
