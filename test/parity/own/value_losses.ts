/** The losses of the critic. */
import { sum } from './arithmetic';
import type { Given, Reference } from './own';
import { aggregated, lengths, openrlhfAggregated, rowSums, verlModes, type Losses, type Mask } from './policy_losses';
import type { Random, Table } from './random';
import { Scalar, slopes, total } from './scalar';

function valueLoss(reduce: (losses: Losses, mask: Mask, params: Given['params']) => Scalar, clipOf: (params: Given['params']) => number | null, extra: number, metrics = true) {
  return ({ params, inputs }: Given) => {
    const clip = clipOf(params);
    const values = (inputs.values as Table).map((row) => row.map((v) => new Scalar(v)));
    const mask: Mask = inputs.mask ?? inputs.values.map((row: number[]) => row.map(() => 1));
    const pairs = values.map((row, b) =>
      row.map((v, t) => {
        const [old, target] = [inputs.old_values[b][t] as number, inputs.returns[b][t] as number];
        const plain = v.sub(target).square();
        return { plain, clipped: clip === null ? plain : v.clamp(old - clip, old + clip).sub(target).square() };
      })
    );
    const loss = reduce(pairs.map((row) => row.map(({ plain, clipped }) => (clip === null ? plain : plain.max(clipped)))), mask, params).mul(0.5);
    const count = sum(mask.flat());
    const share = sum(pairs.flatMap((row, b) => row.map(({ plain, clipped }, t) => Number(Boolean(mask[b]![t]) && clipped.value > plain.value)))) / (extra > 0 ? count + extra : Math.max(1, count));
    return { loss: loss.value, grad_values: slopes(loss, values), ...(metrics && { metrics: { clip_frac: clip === null ? null : share } }) };
  };
}

const drawValues = (params: (random: Random) => Given['params']) => (random: Random): Given => {
  const values = random.numbers(-2, 2);
  const mask = random.mask().map((row, b) => (b === 0 ? [1, ...row.slice(1)] : row));
  return { params: params(random), inputs: { values, old_values: values.map((row) => row.map((v) => v + random.number(-0.6, 0.6))), returns: random.numbers(-3, 3), mask } };
};

const rowMeans = (losses: Losses, mask: Mask): Scalar => total(rowSums(losses, mask).map((row, b) => row.div(Math.max(1, lengths(mask)[b]!)))).div(mask.length);

export const references: Reference[] = [
  {
    library: 'SkyRL',
    function: 'ppo_critic_loss',
    name: 'value_clip',
    draw: drawValues((random) => ({ value_clip: random.pick([null, 0.2, 0.5]) })),
    answer: valueLoss(rowMeans, (params) => params.value_clip, 0),
  },
  {
    library: 'verl',
    function: 'compute_value_loss',
    name: 'value_clip',
    draw: drawValues((random) => ({ cliprange_value: random.pick([0.2, 0.5, 1e9]), loss_agg_mode: random.pick(verlModes) })),
    answer: valueLoss((losses, mask, params) => aggregated(losses, mask, params), (params) => params.cliprange_value, 1e-8),
  },
  {
    library: 'OpenRLHF',
    function: 'ValueLoss.forward',
    name: 'value_clip',
    draw: drawValues((random) => ({ clip_eps: random.pick([null, 0.2]), token_level_loss: random.chance(0.5) })),
    answer: valueLoss((losses, mask, params) => openrlhfAggregated(losses, mask, params, params.token_level_loss), (params) => params.clip_eps, 0, false),
  },
];
