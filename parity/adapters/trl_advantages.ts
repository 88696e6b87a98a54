/** TRL's estimators. Its rewards are one number for each reward function and row, NaN where a function gave none. */
import { combineRewards, computeAdvantages, Groups, where, zerosLike, type AdvantageOptions, type Tensor } from 'vantage-rl';
import { type Adapter, type Answer, type Inputs } from '../adapter';
import type { Case } from '../case';

const isZero = (std: Tensor): Tensor => std.abs().lessEqual(1e-8);

/** Standard deviation of each row's group, NaN-aware: NaN where only one row has a reward, 0 where a group is one row. */
function groupStd(scores: Tensor, each: Case): Tensor {
  const known = scores.isNaN().logicalNot();
  const { count, spread } = new Groups(each.inputs.group_ids, scores.size).moments(where(known, scores, 0), known);
  const std = spread.div(count.sub(1).maximum(1)).sqrt();
  return each.params.num_generations > 1 ? where(count.greater(1), std, NaN) : std;
}

/** Standard deviation of all rows, NaN-aware, for each of them. */
function batchStd(scores: Tensor): Tensor {
  const mask = scores.isNaN().logicalNot();
  const std = scores.size > 1 ? where(mask, scores, 0).std(null, { mask }) : where(mask, scores, 0).mean().mul(0);
  return std.broadcastTo(scores.shape);
}

const tokens = (scores: Tensor): Tensor => scores.expandDims(1);

function estimate(name: string, rewards: Tensor, each: Case, inputs: Inputs, options: AdvantageOptions, rewardComponents?: Tensor) {
  const { advantages, metrics } = computeAdvantages(name, { rewards, masks: inputs.mask('', rewards), groupIds: each.inputs.group_ids, rewardComponents }, { convention: 'trl', ...options });
  return { advantages: advantages.squeeze(1), metrics };
}

function grpo(each: Case, inputs: Inputs): Answer {
  const { scale_rewards: given = 'group', multi_objective_aggregation: aggregation } = each.params;
  const scale = typeof given === 'boolean' ? (given ? 'group' : 'none') : given;
  const components = inputs.array('rewards_per_func');
  const weights = inputs.array('reward_weights');
  const scores = combineRewards(components, weights);
  if (aggregation === 'normalize_then_sum') {
    const { advantages, metrics } = estimate('gdpo', tokens(where(scores.isNaN(), 0, scores)), each, inputs, { weights: each.inputs.reward_weights }, components);
    // Of fewer than two known rewards TRL has no deviation.
    const hasSpread = scores.size === 1 || scores.isNaN().logicalNot().sum().item() > 1;
    const std = zerosLike(scores).add(hasSpread ? metrics.std! : NaN);
    return { advantages, std_rewards: std, is_std_zero: isZero(std) };
  }
  if (!['group', 'batch', 'none'].includes(scale)) throw new Error(`scale_rewards: expected true, false, 'group', 'batch' or 'none', got ${scale}`);
  const { advantages } = scale === 'batch' ? estimate('grpo_batch_std', tokens(scores), each, inputs, {}) : estimate('grpo', tokens(scores), each, inputs, { normByStd: scale === 'group' });
  const std = scale === 'batch' ? batchStd(scores) : groupStd(scores, each);
  return { advantages, std_rewards: std, is_std_zero: isZero(std) };
}

function rloo(each: Case, inputs: Inputs): Answer {
  const { beta = 0, normalize_advantages: normalize, reward_clip_range: range, num_generations: generations } = each.params;
  const [low, high] = range ?? [null, null];
  const clipped = combineRewards(inputs.array('rewards_per_func'), inputs.array('reward_weights')).clamp(low, high);
  const divergence = () => inputs.array('old_log_probs').sub(inputs.array('ref_log_probs'));
  const scores = beta === 0 ? clipped : clipped.sub(where(inputs.mask('mask', divergence()), divergence(), 0).sum(1).mul(beta));
  const { advantages } = estimate('rloo', tokens(scores), each, inputs, { whiten: normalize ? 'rows' : 'none' });
  const groups = groupStd(scores, each).reshape(-1, generations).select(1, 0);
  return { advantages, is_std_zero: isZero(groups) };
}

export const adapters: Adapter[] = [
  { library: 'TRL', function: 'GRPOTrainer._generate_and_score_completions (advantage lines)', answer: grpo },
  { library: 'TRL', function: 'RLOOTrainer._generate_and_score_completions (advantage lines)', answer: rloo },
];
