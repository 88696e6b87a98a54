/**
 * AReaL's advantages and its normaliser. Its arrays cover whole sequences, prompt and answer; the mask and the log-probs of tokens are moved left by one, so that a
 * column holds what belongs to the token that comes next.
 */
import { arange, computeAdvantages, concat, full, klDivergence, normalize, where, type NormalizeOptions, type Tensor } from 'vantage-rl';
import { only, type Adapter, type Answer, type Inputs } from '../adapter';
import type { Case } from '../case';

interface NormConfig {
  mean_level: 'batch' | 'group' | null;
  mean_leave1out?: boolean;
  std_level: 'batch' | 'group' | null;
  std_unbiased?: boolean;
  group_size?: number;
  eps?: number;
}

function normalizeOptions(config: NormConfig, rows: number): NormalizeOptions {
  const size = config.group_size ?? 1;
  return {
    meanLevel: config.mean_level ?? 'none',
    leaveOneOut: config.mean_leave1out ?? false,
    stdLevel: config.std_level ?? 'none',
    ddof: (config.std_unbiased ?? true) ? 1 : 0,
    epsilon: config.eps ?? 1e-5,
    groups: Array.from({ length: rows }, (_, row) => Math.floor(row / size)),
  };
}

/** AReaL leaves masked positions as they came where nothing is valid at all, and divides rows that fill no group by eps alone: neither is compared. */
function normalized(config: NormConfig, x: Tensor, mask: Tensor) {
  const rows = x.shape[0]!;
  const size = config.group_size ?? 1;
  const grouped = config.mean_level === 'group' || config.std_level === 'group';
  const whole = arange(rows).less(grouped ? rows - (rows % size) : rows);
  const counts = x.ndim === 2 ? whole.expandDims(1) : whole;
  return only(normalize(x, { mask, ...normalizeOptions(config, rows) }), where(counts, mask, 0));
}

/** Rows that fill no group are not centred in AReaL, and yet part of the deviation of a whole batch, so that it changes every number. */
function unfilled({ mean_level, std_level, group_size = 1 }: NormConfig, rows: number): string | null {
  return mean_level === 'group' && std_level === 'batch' && rows % group_size !== 0 ? 'rows that fill no group enter the deviation uncentred in AReaL' : null;
}

/** Column t gets what column t+1 holds; the last one gets the first. */
const rolled = (x: Tensor): Tensor => concat([x.slice([0, 1]), x.slice([0, 0], [null, 1])], 1);

function computeArealAdvantages(each: Case, inputs: Inputs): Answer {
  const { params } = each;
  const values = inputs.optional('values') ?? inputs.array('log_probs').mul(0);
  const [batch, time] = values.shape as [number, number];
  const column = arange(time, undefined, 1, { dtype: 'int32' }).expandDims(0);
  const lossMask = rolled(inputs.array('loss_mask'));
  const logProbs = rolled(inputs.array('log_probs')).mul(lossMask);
  const reference = (inputs.optional('ref_log_probs') ?? values.mul(0)).mul(lossMask);

  const length = inputs.array('attention_mask').sum(1, { keepDims: true });
  const unended = length.equal(time);
  const klRewards = klDivergence(logProbs, reference, params.kl_estimator ?? 'k1').clamp(-10, 10).mul(-(params.kl_coef ?? 0));
  const limit = params.reward_clip ?? Infinity;
  const raw = inputs.array('rewards').expandDims(1);
  const score = raw.add(params.reward_bias ?? 0).mul(params.reward_scaling ?? 1).clamp(-limit, limit);
  const counted = params.mask_no_eos_with_zero ? where(unended, 0, score) : score;
  // No KL behind the end of the sequence; the score goes to the step that writes the last token.
  const end = where(length.equal(0), time - 1, length.sub(1));
  const rewards = where(column.equal(end), 0, klRewards).add(where(column.equal(length.sub(2).maximum(0)), counted, 0));

  // The last column has no token to come.
  const mask = where(column.equal(time - 1), 0, lossMask);
  const { advantages, returns } = computeAdvantages(
    'truncated_gae',
    { rewards, values, masks: mask, bootstrapValues: where(unended.squeeze(1), values.select(1, time - 1), full([batch], 0, { dtype: inputs.dtype })) },
    { convention: 'areal', gamma: params.gamma ?? 1, lambda: params.lambd ?? 1 },
  );
  return {
    advantages: params.adv_norm ? normalized(params.adv_norm, advantages, lossMask) : advantages,
    returns,
    kl_rewards: klRewards,
    total_rewards: rewards,
    shifted_loss_mask: lossMask,
  };
}

export const adapters: Adapter[] = [
  {
    library: 'AReaL',
    function: 'PPOActor._compute_advantages',
    answer: computeArealAdvantages,
    differs: ({ params, inputs }) => (params.adv_norm ? unfilled(params.adv_norm, inputs.rewards.length) : null),
  },
  {
    library: 'AReaL',
    function: 'Normalization.__call__',
    answer(each, inputs) {
      const x = inputs.array('x');
      return { normalized: normalized(each.params as NormConfig, x, inputs.mask('mask', x)) };
    },
    differs: ({ params, inputs }) => unfilled(params as NormConfig, inputs.x.length),
  },
];
