/** What the configuration says to the policy loss, in the words of the losses. */
import type { Config } from '../config';
import { ConfigError } from '../errors';
import { getPolicyLoss, type KlOptions, type LossReduction, type OffPolicyCorrectionOptions, policyLosses, type PolicyLossClass, type PolicyLossOptions, type ReductionOptions } from '../losses';
import { resolveLossOptions } from '../losses/options';

type Algorithm = Config['trainer']['algorithm'];

export interface LossSettings {
  /** What the loss is given. It adds its tokens up: the divisors of `reduction` are taken over the whole minibatch. */
  options: PolicyLossOptions;
  /** All options of the loss, with its defaults. */
  inForce: PolicyLossOptions;
  reduction: LossReduction;
  /** Options of the reduction, but for the prompts of the rows. */
  reductionOptions: ReductionOptions;
  /** Whether the loss divides and corrects its tokens' losses itself (see `PolicyLossClass.perToken`). */
  perToken: boolean;
  /** Whether it looks at the tokens' entropy. */
  usesEntropy: boolean;
  kl: KlOptions & { ratioWeighted: boolean };
  /** null: none. */
  correction: OffPolicyCorrectionOptions | null;
}

/** Options that have a key of their own, or that follow from the batch. */
const keysOfOptions = new Map(Object.entries({
  reduction: 'trainer.algorithm.loss_reduction',
  maxSeqLen: 'trainer.algorithm.max_seq_len',
  microBatchSize: 'trainer.micro_train_batch_size_per_gpu',
  klCoef: 'trainer.algorithm.kl_loss_coef',
  klEstimator: 'trainer.algorithm.kl_estimator_type',
  groupIds: '',
  totalTokens: '',
  totalRows: '',
}));

/**
 * The loss of the configuration: its own defaults, what its convention says, `eps_clip_*` and `clip_ratio_c`, the section of its name, `policy_loss_options`.
 * @throws ConfigError, EstimatorError for options that the loss does not have and values that are none, with the nearest name
 */
export function lossSettings({ trainer }: Config): LossSettings {
  const { algorithm } = trainer;
  for (const name of Object.keys(algorithm.policy_loss_options)) {
    const key = keysOfOptions.get(name);
    if (key === undefined) continue;
    const where = key === '' ? 'which a run takes from its batches' : `which is ${key}`;
    throw new ConfigError(`trainer.algorithm.policy_loss_options: expected no ${name}, ${where}`);
  }
  const loss = getPolicyLoss(algorithm.policy_loss_type) as PolicyLossClass & { fixed?: readonly string[] };
  const given = givenOptions(algorithm, loss);
  const { options: own } = loss;
  const resolved: PolicyLossOptions = own ? resolveLossOptions(algorithm.policy_loss_type, own, given, loss.fixed) : given;
  const { reduction: itsOwn = 'token_sum', emptyRows, countEpsilon, incompleteMicroBatch, scale, klInputClamp, klOutputClamp, klRatioWeighted = false, topEntropyQuantile = 1 } = resolved;
  const sums: PolicyLossOptions = !own || 'reduction' in own ? { reduction: 'token_sum', scale: 1 } : {};
  if (own && !('scale' in own)) delete sums.scale;
  return {
    options: { ...given, ...sums },
    inForce: resolved,
    reduction: algorithm.loss_reduction ?? (itsOwn === 'token_sum' ? 'token_mean' : itsOwn),
    reductionOptions: {
      emptyRows,
      countEpsilon,
      incompleteMicroBatch,
      scale,
      maxSeqLen: algorithm.max_seq_len,
      microBatchSize: trainer.micro_train_batch_size_per_gpu,
    },
    perToken: loss.perToken === true,
    usesEntropy: topEntropyQuantile !== 1,
    kl: { inputClamp: klInputClamp, outputClamp: klOutputClamp, ratioWeighted: klRatioWeighted },
    correction: correctionOptions(algorithm.off_policy_correction),
  };
}

/** Sections of options that one loss reads, the one of their name: key → option. */
const sections = {
  sapo: { tau_pos: 'tauPos', tau_neg: 'tauNeg' },
  clip_cov: { clip_ratio: 'clipCovRatio', clip_cov_lb: 'clipCovLow', clip_cov_ub: 'clipCovHigh' },
  kl_cov: { kl_cov_frac: 'klCovRatio', ppo_kl_coef: 'ppoKlCoef' },
  cispo: { cispo_eps_clip_low: 'cispoEpsClipLow', cispo_eps_clip_high: 'cispoEpsClipHigh', anchor: 'anchor' },
  dppo: { dppo_type: 'divergence', delta_low: 'deltaLow', delta_high: 'deltaHigh' },
} as const satisfies { readonly [Name in keyof Algorithm]?: Readonly<Record<string, keyof PolicyLossOptions>> };

/** Keys that are options of every loss that has the option. */
const general = { eps_clip_low: 'epsClipLow', eps_clip_high: 'epsClipHigh', clip_ratio_c: 'clipRatioC' } as const satisfies { readonly [Name in keyof Algorithm]?: keyof PolicyLossOptions };

/** Which option of the loss a key is, `option`, and whether a loss of a name reads it. */
export interface LossKey {
  option: keyof PolicyLossOptions;
  isReadBy: (loss: string) => boolean;
}

/** The keys below `trainer.algorithm` that are options of policy losses. */
export const lossKeys: ReadonlyMap<string, LossKey> = new Map([
  ...Object.entries(general).map(([key, option]): [string, LossKey] => [key, { option, isReadBy: (loss) => takes(getPolicyLoss(loss), option) }]),
  ...Object.entries(sections).flatMap(([section, names]) =>
    Object.entries(names).map(([name, option]): [string, LossKey] => [`${section}.${name}`, { option, isReadBy: (loss) => policyLosses.nameOf(loss) === section }])
  ),
]);

/** Whether a loss has an option of `general`; of `clipRatioC` only those that are dual-clipped by themselves take the key. One that lists no options takes ε alone. */
function takes({ options: own }: PolicyLossClass, option: keyof PolicyLossOptions): boolean {
  if (option === 'clipRatioC') return typeof own?.clipRatioC === 'number';
  return own === undefined || option in own;
}

function givenOptions(algorithm: Algorithm, loss: PolicyLossClass): PolicyLossOptions {
  const { policy_loss_type, policy_loss_options } = algorithm;
  const taken = Object.entries(general).filter(([, option]) => takes(loss, option)).map(([key, option]) => [option, algorithm[key as keyof typeof general]]);
  const clip = Object.fromEntries(taken.filter(([, value]) => value !== null)) as PolicyLossOptions;
  // One that lists no options has no defaults either.
  if (!loss.options) return { epsClipLow: 0.2, epsClipHigh: 0.2, ...clip, ...policy_loss_options };
  const section = policyLosses.nameOf(policy_loss_type);
  const own = Object.hasOwn(sections, section) ? sectionOptions(algorithm, section as keyof typeof sections) : {};
  return { ...clip, ...own, ...policy_loss_options };
}

function sectionOptions(algorithm: Algorithm, section: keyof typeof sections): PolicyLossOptions {
  const values: Readonly<Record<string, unknown>> = algorithm[section];
  return Object.fromEntries(Object.entries(sections[section]).map(([name, option]) => [option, values[name]]));
}

function correctionOptions(keys: Algorithm['off_policy_correction']): OffPolicyCorrectionOptions | null {
  const { tis_ratio_type, sequence_mask_metric, outlier_token_is_threshold_low, outlier_token_is_threshold_high, token_mask_is_threshold_low, token_mask_is_threshold_high } = keys;
  const switches = [tis_ratio_type, sequence_mask_metric, outlier_token_is_threshold_low, outlier_token_is_threshold_high, token_mask_is_threshold_low, token_mask_is_threshold_high];
  if (switches.every((key) => key === null)) return null;
  return {
    tisRatioType: tis_ratio_type,
    tokenTisRatioClipHigh: keys.token_tis_ratio_clip_high,
    sequenceTisRatioClipHigh: keys.sequence_tis_ratio_clip_high,
    sequenceMaskMetric: sequence_mask_metric,
    productMaskLow: keys.product_mask_low,
    productMaskHigh: keys.product_mask_high,
    geoMaskLow: keys.geo_mask_low,
    geoMaskHigh: keys.geo_mask_high,
    outlierTokenIsThresholdLow: outlier_token_is_threshold_low,
    outlierTokenIsThresholdHigh: outlier_token_is_threshold_high,
    tokenMaskIsThresholdLow: token_mask_is_threshold_low,
    tokenMaskIsThresholdHigh: token_mask_is_threshold_high,
  };
}
