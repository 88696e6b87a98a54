/** Which keys have no effect beside the others, why, and what would give them one. Who reads what is said by those who read: estimators, losses, loggers. */
import { getAdvantageEstimator, hasAdvantageEstimator, listAdvantageEstimators } from '../advantages';
import { canonicalName, estimatorReads } from '../advantages/registry';
import type { Config } from '../config';
import { VantageError } from '../errors';
import { type PolicyLossOptions, policyLosses } from '../losses';
import { listTrackers } from '../tracking';
import { trackerReads } from '../tracking/tracker';
import { makeEstimator, takesNormByStd, usesReference } from './advantage_step';
import { lossKeys, lossSettings } from './loss_settings';

/** Parts of a run that a subclass of `Experiment` may make, whatever the configuration says. */
export type Part = 'critic' | 'evalDataset' | 'generator' | 'policy' | 'reference' | 'trackers';

/** Keys that have no effect. */
export interface Idle {
  /** Below `trainer.algorithm` where they begin with a dot; a section stands for all below it. */
  keys: readonly string[];
  /** A clause. */
  because: string;
  /** A clause that begins with a verb: what gives them an effect. */
  remedy: string;
  /** The part that reads them. */
  part?: Part;
}

/** @param saves whether checkpoints may be asked for by callbacks */
export function idleKeys(config: Config, saves: boolean): Idle[] {
  return [...ofModels(config), ...ofEvaluation(config), ...ofRun(config, saves), ...ofEstimator(config), ...ofLoss(config), ...ofCoefficients(config), ...ofSampling(config)];
}

/** Whether a run evaluates by itself. */
function evaluates({ data, trainer }: Config): boolean {
  return data.val_data.length > 0 && (trainer.eval_interval > 0 || trainer.eval_before_train);
}

const when = (isIdle: boolean, idle: Idle): Idle[] => (isIdle ? [idle] : []);

function ofModels(config: Config): Idle[] {
  const { policy, critic } = config.trainer;
  const shape = ['hidden_size', 'num_layers', 'num_heads', 'num_kv_heads', 'intermediate_size', 'rope_theta', 'rms_norm_eps', 'initializer_range'];
  const shaped = ([['policy', policy.model], ['critic', critic.model]] as const).flatMap(([part, model]) =>
    when(model !== null && model.path !== null, {
      keys: shape.map((name) => `trainer.${part}.model.${name}`),
      because: `the shape and the weights are those of the folder trainer.${part}.model.path`,
      remedy: `set trainer.${part}.model.path=null`,
      part,
    })
  );
  return [
    ...shaped,
    ...when(critic.model === null, {
      keys: ['trainer.critic', 'trainer.critic_mini_batch_size', '.value_clip'],
      because: 'there is no critic (trainer.critic.model=null)',
      remedy: "set trainer.critic.model={} for one of the policy's shape",
      part: 'critic',
    }),
    ...when(!usesReference(config), {
      keys: ['trainer.ref.model.path', '.kl_estimator_type'],
      because: 'there is no reference policy (trainer.algorithm.use_kl_loss=false, use_kl_in_reward=false)',
      remedy: 'set one of these to true',
      part: 'reference',
    }),
  ];
}

function ofEvaluation(config: Config): Idle[] {
  const { data, trainer, generator: { eval_sampling_params } } = config;
  const isOn = evaluates(config);
  const off = {
    because: data.val_data.length === 0 ? 'there is no evaluation (data.val_data is empty)' : 'there is no evaluation (trainer.eval_interval=-1, eval_before_train=false)',
    remedy: data.val_data.length === 0 ? 'give data.val_data files' : 'set one of these',
    part: 'evalDataset',
  } as const;
  return [
    ...when(!isOn, { keys: ['trainer.eval_batch_size', 'generator.eval_sampling_params', 'generator.eval_n_samples_per_prompt'], ...off }),
    ...when(!isOn && trainer.stop_when?.metric.startsWith('eval/') === true, { keys: ['trainer.stop_when.metric'], ...off }),
    ...when(isOn && eval_sampling_params.temperature === 0, {
      keys: ['top_p', 'min_p', 'top_k'].map((name) => `generator.eval_sampling_params.${name}`),
      because: 'evaluations take the likeliest token (generator.eval_sampling_params.temperature=0)',
      remedy: 'set a temperature above 0',
      part: 'generator',
    }),
  ];
}

function ofRun({ trainer: { logger, ckpt_interval }, generator }: Config, saves: boolean): Idle[] {
  const unread = (key: string, what: 'samples' | 'project') => {
    const readers = listTrackers().filter((name) => trackerReads(name, what));
    return when(!logger.some((name) => trackerReads(name, what)), {
      keys: [key],
      because: `no logger of trainer.logger=[${logger.join(', ')}] shows it`,
      remedy: `add ${anyOf(readers)}`,
      part: 'trackers',
    });
  };
  return [
    ...unread('trainer.log_samples', 'samples'),
    ...unread('trainer.project_name', 'project'),
    ...when(ckpt_interval === -1 && !saves, {
      keys: ['trainer.max_ckpts_to_keep'],
      because: 'there are no checkpoints (trainer.ckpt_interval=-1)',
      remedy: 'set trainer.ckpt_interval',
    }),
    ...when(generator.max_turns === 1, {
      keys: ['generator.max_input_length'],
      because: 'a trajectory has one turn (generator.max_turns=1)',
      remedy: 'set generator.max_turns above 1',
      part: 'generator',
    }),
  ];
}

function ofEstimator(config: Config): Idle[] {
  const { advantage_estimator: name, advantage_options } = config.trainer.algorithm;
  const options = hasAdvantageEstimator(name) ? optionsInForce(config) : null;
  // What is wrong with the name or the options is said elsewhere.
  if (options === null) return [];
  const is = `trainer.algorithm.advantage_estimator is ${canonicalName(name)}`;
  const others = (reads: (name: string) => boolean) => `choose an estimator that does: ${anyOf(listAdvantageEstimators().filter(reads))}`;
  const readsByDefault = (what: Parameters<typeof estimatorReads>[1]) => (other: string) => estimatorReads(other, what, getAdvantageEstimator(other).options ?? {});
  const unread = ([key, what, sign]: readonly [string, Parameters<typeof estimatorReads>[1], string]) =>
    when(!estimatorReads(name, what, options), {
      keys: [key],
      because: `${is}${readsByDefault(what)(name) ? ` with advantage_options=${JSON.stringify(advantage_options)}` : ''}, which does not look at ${sign}`,
      remedy: others(readsByDefault(what)),
    });
  return [
    ...([['.gamma', 'gamma', 'γ'], ['.lambd', 'lambda', 'λ'], ['.reward_components', 'rewardComponents', 'several rewards']] as const).flatMap(unread),
    ...when(!takesNormByStd(name), { keys: ['.grpo_norm_by_std'], because: `${is}, which does not have the option normByStd`, remedy: others(takesNormByStd) }),
    ...when(takesNormByStd(name) && Object.hasOwn(advantage_options, 'normByStd'), {
      keys: ['.grpo_norm_by_std'],
      because: 'trainer.algorithm.advantage_options.normByStd goes before it',
      remedy: 'take that one out',
    }),
  ];
}

function ofLoss(config: Config): Idle[] {
  const { policy_loss_type: name, policy_loss_options: given } = config.trainer.algorithm;
  if (!policyLosses.has(name)) return [];
  const own = [...lossKeys].filter(([, { isReadBy }]) => isReadBy(name)).map(([key]) => key);
  const is = `trainer.algorithm.policy_loss_type is ${policyLosses.nameOf(name)}, which reads ${own.length > 0 ? own.join(', ') : 'no such key'}`;
  const options = [...lossKeys].flatMap(([key, { option, isReadBy }]): Idle[] => {
    if (!isReadBy(name)) return [{ keys: [`.${key}`], because: is, remedy: `choose a loss that does: ${anyOf(policyLosses.list().filter(isReadBy))}` }];
    return when((given as PolicyLossOptions)[option] !== undefined, { keys: [`.${key}`], because: `trainer.algorithm.policy_loss_options.${option} goes before it`, remedy: 'take that one out' });
  });
  const reduction = attempt(() => lossSettings(config).reduction);
  return [
    ...options,
    ...when(reduction !== null && reduction !== 'seq_mean_token_sum_norm', {
      keys: ['.max_seq_len'],
      because: `the reduction ${reduction} does not divide by it`,
      remedy: 'set trainer.algorithm.loss_reduction=seq_mean_token_sum_norm',
    }),
  ];
}

function ofCoefficients({ trainer: { algorithm } }: Config): Idle[] {
  const { use_kl_loss, use_kl_in_reward, use_entropy_loss, kl_ctrl, entropy_ctrl } = algorithm;
  const fixed = (section: 'kl_ctrl' | 'entropy_ctrl', names: readonly string[]): Idle => ({
    keys: names.map((name) => `.${section}.${name}`),
    because: `the coefficient stays as it is (trainer.algorithm.${section}.type=fixed)`,
    remedy: `set trainer.algorithm.${section}.type=adaptive`,
  });
  return [
    ...when(!use_kl_loss && !use_kl_in_reward, {
      keys: ['.kl_loss_coef'],
      because: 'there is no KL term (trainer.algorithm.use_kl_loss=false, use_kl_in_reward=false)',
      remedy: 'set one of these to true',
    }),
    ...when(!use_entropy_loss, {
      keys: ['.entropy_loss_coef'],
      because: 'there is no entropy bonus (trainer.algorithm.use_entropy_loss=false)',
      remedy: 'set trainer.algorithm.use_entropy_loss=true',
    }),
    ...when(kl_ctrl.type === 'fixed', fixed('kl_ctrl', ['kl_target', 'horizon'])),
    ...when(entropy_ctrl.type === 'fixed', fixed('entropy_ctrl', ['target', 'delta', 'min', 'max'])),
  ];
}

function ofSampling({ trainer: { algorithm } }: Config): Idle[] {
  const { dynamic_sampling: { type }, off_policy_correction: { tis_ratio_type: weights, sequence_mask_metric: metric } } = algorithm;
  const correction = (names: readonly string[], key: string, value: string, is: string | null) =>
    when(is !== value, { keys: names.map((name) => `.off_policy_correction.${name}`), because: `trainer.algorithm.off_policy_correction.${key} is ${is}`, remedy: `set it to ${value}` });
  return [
    ...when(type === null, { keys: ['.dynamic_sampling'], because: 'there is no dynamic sampling (trainer.algorithm.dynamic_sampling.type=null)', remedy: 'set it to filter or replace' }),
    ...when(type === 'filter', { keys: ['.dynamic_sampling.min_replace_ratio'], because: 'trainer.algorithm.dynamic_sampling.type is filter', remedy: 'set it to replace' }),
    ...correction(['token_tis_ratio_clip_high'], 'tis_ratio_type', 'token', weights),
    ...correction(['sequence_tis_ratio_clip_high'], 'tis_ratio_type', 'sequence', weights),
    ...correction(['product_mask_low', 'product_mask_high'], 'sequence_mask_metric', 'product', metric),
    ...correction(['geo_mask_low', 'geo_mask_high'], 'sequence_mask_metric', 'geometric', metric),
  ];
}

/** The options of the estimator, or null where some are none. */
function optionsInForce(config: Config): Readonly<Record<string, unknown>> | null {
  return attempt(() => makeEstimator(config).options);
}

/** null: it was refused, which is said elsewhere. */
function attempt<T>(make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    if (error instanceof VantageError) return null;
    throw error;
  }
}

/** `a`, `a or b`, `a, b or c`. */
function anyOf(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}
