/** From a batch to its advantages: the estimator of the configuration, its inputs, and what is logged. */
import { type AdvantageEstimator, type AdvantageInput, type AdvantageInputs, computeAdvantages, createAdvantageEstimator, getAdvantageEstimator, hasAdvantageEstimator } from '../advantages';
import type { Config } from '../config';
import { ConfigError, didYouMean } from '../errors';
import { importanceWeights } from '../losses';
import { type Tensor, where } from '../tensor';
import type { Metrics } from '../tracking';
import type { TrainingBatch } from './batch';
import type { Trajectory } from './trajectory';

/** Options that have a key of their own. */
const keysOfOptions = new Map([['gamma', 'trainer.algorithm.gamma'], ['lambda', 'trainer.algorithm.lambd']]);

/** Values of the options that every estimator has. */
const commonChoices = new Map<string, readonly unknown[]>([['rewardOnMasked', ['drop', 'keep', 'carry', 'error']], ['remask', [true, false, 'advantages']]]);

/** The estimator of the configuration, with `advantage_options`. @throws ConfigError, EstimatorError for options that it does not have and values that are none */
export function makeEstimator({ trainer: { algorithm } }: Config): AdvantageEstimator {
  const { advantage_estimator: name, advantage_options: options, grpo_norm_by_std } = algorithm;
  for (const [option, value] of Object.entries(options)) {
    const place = 'trainer.algorithm.advantage_options';
    const key = keysOfOptions.get(option);
    if (key !== undefined) throw new ConfigError(`${place}: expected no ${option}, which is ${key}`);
    const choices = commonChoices.get(option);
    if (choices && !choices.includes(value)) throw new ConfigError(`${place}.${option}: expected one of ${choices.join(', ')}, got ${JSON.stringify(value)}`);
  }
  return createAdvantageEstimator(name, { ...(takesNormByStd(name) && { normByStd: grpo_norm_by_std }), ...options });
}

/** Whether `grpo_norm_by_std` is an option of an estimator. */
export function takesNormByStd(estimator: string): boolean {
  return 'normByStd' in (getAdvantageEstimator(estimator).options ?? {});
}

/** Whether the estimator of a name asks for an input. */
export function requiresInput(estimator: string, input: AdvantageInput): boolean {
  return hasAdvantageEstimator(estimator) && (getAdvantageEstimator(estimator).requires?.includes(input) ?? false);
}

/** Whether a run has a reference policy. */
export function usesReference({ trainer: { algorithm } }: Config): boolean {
  return algorithm.use_kl_loss || algorithm.use_kl_in_reward || requiresInput(algorithm.advantage_estimator, 'refLogProbs');
}

/** What a run of this configuration gives to its estimator. */
export function inputsOfRun(config: Config): AdvantageInput[] {
  const { algorithm, critic } = config.trainer;
  return [
    'groupIds',
    'oldLogProbs',
    'rolloutLogProbs',
    'turnIds',
    'baselines',
    'sumSquaredProbs',
    ...(critic.model === null ? [] : (['values'] as const)),
    ...(usesReference(config) ? (['refLogProbs'] as const) : []),
    ...(algorithm.reward_components.length > 0 ? (['rewardComponents'] as const) : []),
    ...(algorithm.off_policy_correction.tis_ratio_type === null ? [] : (['importanceWeights'] as const)),
  ];
}

/** Fields of a batch that are inputs where they were computed. */
const optionalFields = ['values', 'refLogProbs'] as const;

/** The inputs of the estimator: what the batch holds, and `more`, which it does not. */
export function inputsOf(batch: TrainingBatch, { trainer: { algorithm } }: Config, more: Partial<AdvantageInputs> = {}): AdvantageInputs {
  const [masks, oldLogProbs, rolloutLogProbs] = [batch.tensor('masks'), batch.tensor('oldLogProbs'), batch.tensor('rolloutLogProbs')];
  const { tis_ratio_type: level, token_tis_ratio_clip_high, sequence_tis_ratio_clip_high } = algorithm.off_policy_correction;
  const high = level === 'token' ? token_tis_ratio_clip_high : sequence_tis_ratio_clip_high;
  return {
    rewards: batch.tensor('rewards'),
    masks,
    groupIds: batch.groupIds,
    oldLogProbs,
    rolloutLogProbs,
    turnIds: batch.tensor('turnIds'),
    ...Object.fromEntries(optionalFields.filter((field) => batch[field] !== null).map((field) => [field, batch.tensor(field)])),
    ...(level !== null && { importanceWeights: importanceWeights({ oldLogProbs, rolloutLogProbs, mask: masks }, { level, high }).weights }),
    ...more,
  };
}

/** Computes advantages and returns into the batch, `advantage_batch_normalize` included. Run inside `tidy`. */
export function fillAdvantages(estimator: AdvantageEstimator, batch: TrainingBatch, inputs: AdvantageInputs, { trainer: { algorithm } }: Config): Metrics {
  const result = computeAdvantages(estimator, inputs, { gamma: algorithm.gamma, lambda: algorithm.lambd });
  const advantages = algorithm.advantage_batch_normalize ? whiten(result.advantages, batch.tensor('masks')) : result.advantages;
  batch.advantages = advantages.dataSync() as Float32Array;
  batch.returns = result.returns.dataSync() as Float32Array;
  const tokens = Math.max(1, batch.tokens());
  return {
    'loss/avg_final_rewards': batch.rewards.reduce((sum, reward) => sum + reward, 0) / batch.rows,
    'loss/avg_raw_advantages': batch.advantages.reduce((sum, a, i) => sum + a * batch.masks[i], 0) / tokens,
    'loss/avg_raw_advantages_abs': batch.advantages.reduce((sum, a, i) => sum + Math.abs(a) * batch.masks[i], 0) / tokens,
    ...Object.fromEntries(Object.entries(result.metrics).map(([name, value]) => [`advantages/${name}`, value])),
  };
}

/**
 * `[rows, components]`: what the environments measured under the names of `reward_components`; NaN where one measured nothing.
 * @throws ConfigError for a name that none of them has, with the nearest one
 */
export function rewardComponents(trajectories: readonly Trajectory[], names: readonly string[]): number[][] {
  const known = new Set(trajectories.flatMap(({ metrics }) => Object.keys(metrics)));
  for (const name of names) {
    if (known.has(name)) continue;
    const nearest = didYouMean(name, known);
    throw new ConfigError(
      `trainer.algorithm.reward_components: expected metrics of the environments, got '${name}'.${nearest === null ? '' : ` Did you mean '${nearest}'?`} They have: ${[...known].join(', ') || 'none'}`,
    );
  }
  return trajectories.map(({ metrics }) => names.map((name) => metrics[name] ?? NaN));
}

/** The reward of the greedy answer to each response's prompt. */
export function baselinesOf(trajectories: readonly Trajectory[], greedy: readonly Trajectory[]): Float32Array {
  const rewards = new Map(greedy.map(({ groupId, reward }) => [groupId, reward]));
  return Float32Array.from(trajectories, ({ groupId }) => rewards.get(groupId)!);
}

/** [rows · width] as rows. */
export function inRows(values: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: values.length / width }, (_, row) => values.subarray(row * width, (row + 1) * width));
}

/** (A − μ) / √max(σ², 1e-8) over the batch's tokens, ddof 0. */
function whiten(advantages: Tensor, mask: Tensor): Tensor {
  const variance = advantages.var(null, { mask, ddof: 0 });
  return where(mask, advantages.sub(advantages.mean(null, { mask })).mul(variance.maximum(1e-8).rsqrt()), 0);
}
