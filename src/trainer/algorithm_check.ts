/** What can be said of a configuration's algorithm before anything runs. */
import { type AdvantageInput, type EstimatorDeclaration, getAdvantageEstimator, hasAdvantageEstimator } from '../advantages';
import { declarationOf } from '../advantages/registry';
import type { Config } from '../config';
import { VantageError } from '../errors';
import { policyLosses } from '../losses';
import { makeEstimator, usesReference } from './advantage_step';
import { Coefficients } from './coefficients';
import { lossSettings } from './loss_settings';
import { warmupProblem } from './schedule';

/** How a run comes by an input. */
const sources: { readonly [I in AdvantageInput]?: string } = {
  rewardComponents: 'set trainer.algorithm.reward_components to metrics of the environment',
  importanceWeights: 'set trainer.algorithm.off_policy_correction.tis_ratio_type',
};

/** @param provided the inputs that the run gives to its estimator */
export function algorithmProblems(config: Config, provided: readonly AdvantageInput[]): string[] {
  return [...estimatorProblems(config, provided), ...lossProblems(config), ...coefficientProblems(config), ...warmupProblems(config)];
}

function estimatorProblems(config: Config, provided: readonly AdvantageInput[]): string[] {
  const { advantage_estimator: name } = config.trainer.algorithm;
  if (!hasAdvantageEstimator(name)) return [];
  const Class = getAdvantageEstimator(name);
  const problems = messagesOf('trainer.algorithm.advantage_options', () => groupProblems(config, declarationOf(Class, makeEstimator(config).options ?? {})));
  for (const input of Class.requires ?? []) {
    // That values need a critic is said where keys are related.
    if (provided.includes(input) || input === 'values') continue;
    const source = sources[input] ?? 'a subclass of Experiment and Trainer may give it: override advantageInputs in both';
    problems.push(`trainer.algorithm.advantage_estimator: '${name}' needs ${input}, which this run does not have (${source})`);
  }
  return problems;
}

function groupProblems({ trainer, generator }: Config, { smallestGroup = 1 }: EstimatorDeclaration = {}): string[] {
  const { n_samples_per_prompt: samples } = generator;
  if (samples >= smallestGroup) return [];
  return [`generator.n_samples_per_prompt: expected at least ${smallestGroup}, the rows that '${trainer.algorithm.advantage_estimator}' needs of a prompt with its options, got ${samples}`];
}

function lossProblems(config: Config): string[] {
  const { algorithm } = config.trainer;
  const { policy_loss_type: name, loss_reduction, max_seq_len } = algorithm;
  if (!policyLosses.has(name)) return [];
  return messagesOf('trainer.algorithm.policy_loss_options', () => {
    const { correction, perToken, reduction } = lossSettings(config);
    const isUncorrected = correction !== null && !perToken;
    // Where loss_reduction says so itself, the check of related keys has said it.
    const lacksLength = reduction === 'seq_mean_token_sum_norm' && loss_reduction === null && max_seq_len === null;
    const keys = algorithm.off_policy_correction;
    const bounds = (['product_mask', 'geo_mask', 'outlier_token_is_threshold', 'token_mask_is_threshold'] as const).map((name) => ({
      name,
      low: keys[`${name}_low`] ?? 0,
      high: keys[`${name}_high`] ?? Infinity,
    }));
    return [
      ...bounds.flatMap(({ name, low, high }) => (low <= high ? [] : [`trainer.algorithm.off_policy_correction.${name}_low: expected at most ${name}_high=${high}, got ${low}`])),
      ...(isUncorrected ? [`trainer.algorithm.off_policy_correction: policy loss '${name}' cannot be corrected, as it is no TokenPolicyLoss; set all of it to null`] : []),
      ...(lacksLength ? [`trainer.algorithm.max_seq_len: expected a positive integer (policy loss '${name}' divides by it), got null`] : []),
    ];
  });
}

function coefficientProblems(config: Config): string[] {
  const { algorithm, update_ref_every_epoch } = config.trainer;
  const { use_kl_loss, use_kl_in_reward, kl_ctrl, kl_loss_coef, use_entropy_loss, entropy_ctrl } = algorithm;
  const problems: string[] = [];
  if (kl_ctrl.type === 'adaptive') {
    if (!use_kl_loss && !use_kl_in_reward) problems.push("trainer.algorithm.kl_ctrl.type: 'adaptive' needs use_kl_loss or use_kl_in_reward");
    else if (kl_loss_coef === 0) problems.push('trainer.algorithm.kl_loss_coef: expected a number above 0 to begin with, as kl_ctrl.type is adaptive, got 0');
  }
  if (entropy_ctrl.type === 'adaptive') {
    if (!use_entropy_loss) problems.push("trainer.algorithm.entropy_ctrl.type: 'adaptive' needs use_entropy_loss");
    else problems.push(...messagesOf('trainer.algorithm.entropy_ctrl, entropy_loss_coef', () => (new Coefficients(config), [])));
  }
  if (update_ref_every_epoch && !usesReference(config)) {
    problems.push('trainer.update_ref_every_epoch: expected false, as nothing uses a reference policy (use_kl_loss, use_kl_in_reward), got true');
  }
  return problems;
}

/** The length of a run is known for sure once its data are; before that it has at most `max_training_steps`. */
function warmupProblems(config: Config): string[] {
  const { max_training_steps: steps, critic } = config.trainer;
  if (steps === null) return [];
  return (['policy', ...(critic.model === null ? [] : ['critic' as const])] as const).flatMap((part) => warmupProblem(config, part, steps) ?? []);
}

/** What `find` finds, or what it throws on purpose, under the key that it is about. */
function messagesOf(key: string, find: () => string[]): string[] {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof VantageError)) throw error;
    return [error.message.startsWith('trainer.') ? error.message : `${key}: ${error.message}`];
  }
}
