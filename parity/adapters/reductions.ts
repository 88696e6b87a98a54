/** Reductions and masked statistics of the libraries. */
import { gradients, maskedMean, maskedStandardize, maskedVariance, reduceLoss, reductionDivisors, where, type LossReduction } from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';
import { verlReduction } from './verl_losses';

/** Statistics, with what is added to numbers of tokens. */
function statistics({ params }: Case, inputs: Inputs, countEpsilon: number): Answer {
  const values = inputs.array('values');
  const mask = inputs.mask('mask', values);
  switch (params.op) {
    case 'masked_mean':
      return { result: maskedMean(values, mask, { axis: params.dim ?? null, countEpsilon }) };
    case 'masked_var':
      return { result: maskedVariance(values, mask, { ddof: (params.unbiased ?? true) ? 1 : 0, tooFew: params.unbiased === false ? 'zero' : 'error', countEpsilon }) };
    case 'masked_whiten':
      return { result: maskedStandardize(values, mask, { keepMean: !(params.shift_mean ?? true), tooFew: 'error', remask: false, countEpsilon }) };
    default:
      throw new Error(`op: expected masked_mean, masked_var or masked_whiten, got '${params.op}'`);
  }
}

const oneTensor = 'masked_mean / masked_var / masked_whiten';

export const adapters: Adapter[] = [
  { library: 'SkyRL', function: oneTensor, answer: (each, inputs) => statistics(each, inputs, 0) },
  { library: 'verl', function: oneTensor, answer: (each, inputs) => statistics(each, inputs, 1e-8) },
  {
    library: 'SkyRL',
    function: 'apply_loss_reduction_to_advantages_minibatch',
    answer({ params, inputs: given }, inputs) {
      const advantages = inputs.array('advantages');
      const mask = inputs.mask('mask', advantages);
      const boundaries = given.prompt_boundaries as [number, number][] | undefined | null;
      const groupIds = boundaries?.flatMap(([first, end], prompt) => Array.from({ length: end - first }, () => prompt));
      const divisors = reductionDivisors(
        mask,
        params.loss_reduction as LossReduction,
        { maxSeqLen: params.max_seq_len, microBatchSize: params.micro_batch_size, incompleteMicroBatch: 'leave_out', groupIds },
        advantages.dtype,
      );
      // What is left out is divided by infinity.
      return { advantages: where(divisors.less(Infinity), advantages.div(divisors), 0) };
    },
  },
  {
    library: 'verl',
    function: 'agg_loss',
    answer({ params }, inputs) {
      const losses = inputs.array('loss_mat');
      const { reduction, ...options } = verlReduction(params, losses.shape[1]!);
      const loss = reduceLoss(losses, inputs.mask('mask', losses), reduction, options);
      return { loss, grad_loss_mat: gradients(loss, [losses])[0] };
    },
    differs: ({ expected }) => (Number.isNaN(expected.loss) ? 'NaN in verl, from what a masked position holds or from 0/0: ours are the numbers of the valid tokens, or 0' : null),
  },
  {
    library: 'OpenRLHF',
    function: 'aggregate_loss',
    answer({ params }, inputs) {
      const losses = inputs.array('loss_mat');
      const { reduction, ...options } = openrlhfReduction(params);
      return { loss: reduceLoss(losses, inputs.mask('mask', losses), reduction, options) };
    },
  },
];

/** Our options for OpenRLHF's `aggregate_loss`: it knows of other workers where it is told the numbers of all. */
export function openrlhfReduction(params: Case['params'], tokens: boolean = params.token_level_loss ?? true) {
  const total = tokens ? params.batch_num_tokens : params.global_batch_size;
  return {
    reduction: tokens ? 'token_mean' : 'sequence_mean',
    emptyRows: 'leave_out',
    countEpsilon: 1e-8,
    totalTokens: params.batch_num_tokens ?? null,
    totalRows: params.global_batch_size ?? null,
    scale: (total ?? null) === null ? 1 : (params.dp_size ?? 1),
  } as const;
}
