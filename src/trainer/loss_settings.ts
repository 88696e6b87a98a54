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

function givenOptions(algorithm: Algorithm, { options: own }: PolicyLossClass): PolicyLossOptions {
  const { eps_clip_low, eps_clip_high, clip_ratio_c, policy_loss_options } = algorithm;
  const clip: PolicyLossOptions = {
    epsClipLow: eps_clip_low ?? undefined,
    epsClipHigh: eps_clip_high ?? undefined,
    // Of losses that are dual-clipped by themselves.
    clipRatioC: typeof own?.clipRatioC === 'number' ? clip_ratio_c : undefined,
  };
  // One that lists no options has no defaults either.
  if (!own) return { ...defined({ ...clip, epsClipLow: eps_clip_low ?? 0.2, epsClipHigh: eps_clip_high ?? 0.2 }), ...policy_loss_options };
  const general = Object.fromEntries(Object.entries(defined(clip)).filter(([name]) => name in own));
  return { ...general, ...sectionOptions(algorithm), ...policy_loss_options };
}

/** The section that has the name of the loss. */
function sectionOptions({ policy_loss_type, sapo, clip_cov, kl_cov, cispo, dppo }: Algorithm): PolicyLossOptions {
  switch (policyLosses.nameOf(policy_loss_type)) {
    case 'sapo':
      return { tauPos: sapo.tau_pos, tauNeg: sapo.tau_neg };
    case 'clip_cov':
      return { clipCovRatio: clip_cov.clip_ratio, clipCovLow: clip_cov.clip_cov_lb, clipCovHigh: clip_cov.clip_cov_ub };
    case 'kl_cov':
      return { klCovRatio: kl_cov.kl_cov_frac, ppoKlCoef: kl_cov.ppo_kl_coef };
    case 'cispo':
      return { cispoEpsClipLow: cispo.cispo_eps_clip_low, cispoEpsClipHigh: cispo.cispo_eps_clip_high, anchor: cispo.anchor };
    case 'dppo':
      return { divergence: dppo.dppo_type, deltaLow: dppo.delta_low, deltaHigh: dppo.delta_high };
    default:
      return {};
  }
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

function defined<T extends object>(entries: T): Partial<T> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Partial<T>;
}
