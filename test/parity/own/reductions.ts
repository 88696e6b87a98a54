/** Reductions of losses, and masked statistics. */
import { map2, sum, valid, whiten } from './arithmetic';
import { Raised, type Given, type Reference } from './own';
import { aggregated, openrlhfAggregated, verlModes } from './policy_losses';
import type { Random, Table } from './random';
import { Scalar, slopes } from './scalar';

const scalars = (x: Table): Scalar[][] => x.map((row) => row.map((each) => new Scalar(each)));

function drawStatistics(random: Random): Given {
  const op = random.pick(['masked_mean', 'masked_var', 'masked_whiten']);
  const offset = random.chance(0.2) ? 1e4 : 0;
  return {
    params: {
      op,
      ...(op === 'masked_mean' && { dim: random.pick([null, -1]) }),
      ...(op === 'masked_var' && { unbiased: random.chance(0.7) }),
      ...(op === 'masked_whiten' && { shift_mean: random.chance(0.6) }),
    },
    inputs: { values: random.table(() => offset + random.number(-2, 2)), mask: random.mask().map((row, b) => (b === 0 && op !== 'masked_whiten' ? [1, ...row.slice(1)] : row)) },
  };
}

const statistics = (extra: number) => ({ params, inputs }: Given) => {
  const values = inputs.values as Table;
  const mask = (inputs.mask ?? map2(values, () => 1)) as Table;
  const divisor = (n: number) => (extra > 0 ? n + extra : Math.max(1, n));
  const average = (x: readonly number[]) => sum(x) / divisor(x.length);
  const known = valid(values!, mask!);
  if (params.op === 'masked_mean') return { result: (params.dim ?? null) === null ? average(known) : values!.map((row, b) => average(row.filter((_, t) => mask![b]![t]))) };
  if (params.op === 'masked_whiten') return { result: whiten(values!, mask!, extra, !(params.shift_mean ?? true)) };
  const centre = average(known);
  const biased = average(known.map((x) => (x - centre) ** 2));
  if (params.unbiased === false) return { result: biased };
  if (known.length < 2) throw new Raised('ValueError: The sum of the mask is one, which can cause a division by zero.');
  return { result: (biased * known.length) / (known.length - 1) };
};

const skyrlModes = ['token_mean', 'token_mean_legacy', 'sequence_mean', 'seq_mean_token_sum_norm', 'prompt_mean', 'median'];

function drawReduction(random: Random): Given {
  const mode = random.pick(skyrlModes);
  const boundaries: [number, number][] = [];
  for (let from = 0; from < random.batch;) {
    const to = Math.min(random.batch, from + 1 + random.below(3));
    boundaries.push([from, to]);
    from = to;
  }
  return {
    params: { loss_reduction: mode, micro_batch_size: 1 + random.below(random.batch), max_seq_len: random.time + random.below(8) },
    inputs: { advantages: random.numbers(-2, 2), mask: random.mask(), ...(mode === 'prompt_mean' && random.chance(0.9) && { prompt_boundaries: boundaries }) },
  };
}

/** Advantages over the divisors that make a sum of losses their mean. */
function skyrlReduction({ params, inputs }: Given) {
  const { advantages, mask } = inputs as Record<string, Table>;
  const lengths = mask!.map((row) => sum(row));
  const [batch, size] = [lengths.length, params.micro_batch_size as number];
  const divided = (of: (b: number) => number) => ({ advantages: map2(advantages!, (a, b) => a / of(b)) });
  switch (params.loss_reduction) {
    case 'token_mean':
      return divided(() => Math.max(1, sum(lengths)));
    case 'token_mean_legacy': {
      const micro = Math.floor(batch / size);
      // Rows behind the last whole micro-batch are dropped.
      return { advantages: map2(advantages!, (a, b) => (b >= micro * size ? 0 : a / (Math.max(1, sum(lengths.slice(Math.floor(b / size) * size, Math.floor(b / size) * size + size))) * micro))) };
    }
    case 'sequence_mean':
      return divided((b) => Math.max(1, lengths[b]!) * batch);
    case 'seq_mean_token_sum_norm':
      return divided(() => params.max_seq_len * batch);
    case 'prompt_mean': {
      const boundaries = inputs.prompt_boundaries as [number, number][] | undefined;
      if (!boundaries) throw new Raised('ValueError: `prompt_mean` loss reduction requires `prompt_boundaries`');
      return divided((b) => {
        const [from, to] = boundaries.find(([first, end]) => b >= first && b < end)!;
        return Math.max(1, sum(lengths.slice(from, to))) * boundaries.length;
      });
    }
    default:
      throw new Raised(`ValueError: Invalid loss reduction type: ${params.loss_reduction}`);
  }
}

const drawLosses = (params: (random: Random) => Given['params']) => (random: Random): Given => ({
  params: params(random),
  inputs: { loss_mat: random.numbers(-2, 2), mask: random.mask().map((row, b) => (b === 0 ? [1, ...row.slice(1)] : row)) },
});

const many = (random: Random) => (random.chance(0.4) ? { dp_size: random.pick([2, 4]), batch_num_tokens: 10 + random.below(30), global_batch_size: random.pick([8, 10]) } : {});

export const references: Reference[] = [
  ...([['SkyRL', 0], ['verl', 1e-8]] as const).map(([library, extra]) => ({
    library,
    function: 'masked_mean / masked_var / masked_whiten',
    name: 'masked_stats',
    draw: drawStatistics,
    answer: statistics(extra),
  })),
  { library: 'SkyRL', function: 'apply_loss_reduction_to_advantages_minibatch', name: 'apply_loss_reduction', draw: drawReduction, answer: skyrlReduction },
  {
    library: 'verl',
    function: 'agg_loss',
    name: 'agg_loss',
    draw: drawLosses((random) => ({ loss_agg_mode: random.pick([...verlModes, ...verlModes, 'mean']), ...many(random), loss_scale_factor: random.pick([null, 12]) })),
    answer({ params, inputs }) {
      const losses = scalars(inputs.loss_mat);
      const loss = aggregated(losses, inputs.mask, params);
      return { loss: loss.value, grad_loss_mat: slopes(loss, losses) };
    },
  },
  {
    library: 'OpenRLHF',
    function: 'aggregate_loss',
    name: 'aggregate_loss',
    draw: drawLosses((random) => ({ token_level_loss: random.chance(0.5), ...many(random) })),
    answer: ({ params, inputs }) => ({ loss: openrlhfAggregated(scalars(inputs.loss_mat), inputs.mask, params, params.token_level_loss).value }),
  },
];
