/** The options of policy losses: their types, their defaults, the habits of libraries, and how they are put together. */
import { EstimatorError } from '../errors';
import { anyNumber, type ConventionName, notNegative, resolveOptions, type Rule, share } from '../options';
import { Remembered } from '../remembered';
import { type KlEstimator, klEstimatorAliases, klEstimators } from './kl';
import { policyLosses } from './policy_loss';
import { type LossReduction, lossReductions, ofLoss, type ReductionOptions, reductionRules } from './reduction';

/** Whose probability ratio a token gets. */
export const ratioLevels = ['token', 'sequence', 'sequence_token'] as const;
/** Whose probability ratio a token gets: its own, its sequence's, or its sequence's with the gradient of its own. @useDeclaredType */
export type RatioLevel = (typeof ratioLevels)[number];

/** What every built-in loss takes. Which of these a loss takes besides, its class says (`static options`). */
export interface PolicyLossOptions extends ReductionOptions {
  /** A bundle of defaults: the habits of a library. Single options override it. Default `vantage`. */
  convention?: ConventionName;
  /** How the tokens' losses become one number. Default `token_sum`: the reduction's divisors are in the advantages already (see `reductionDivisors`). */
  reduction?: LossReduction;
  /** Masked positions are 0 for the loss, whatever they hold. Default true; `false` lets them through where a library's formula looks at them. */
  remask?: boolean;
  /** Factor on the divergence from `refLogProbs`, added to each token's loss. Default 0. */
  klCoef?: number;
  /** Default `k3`. */
  klEstimator?: KlEstimator;
  /** See `klDivergence`. */
  klInputClamp?: number | null;
  /** See `klDivergence`. */
  klOutputClamp?: number | null;
  /** Multiply the divergence by the probability ratio, so that it is unbiased for tokens of the old policy. Default false. */
  klRatioWeighted?: boolean;
  /** Rows of negative advantage whose mean of ℓ_rollout − ℓ (ℓ_old − ℓ without `rolloutLogProbs`) is over this lose their policy term. Default null: none. */
  offPolicyThreshold?: number | null;
  /** Share of the valid tokens, those of the highest `entropy`, that keep their policy term. Default 1. */
  topEntropyQuantile?: number;
  /** Also report `clip_ratio_low_min` and `clip_ratio_high_max` over rows, and clip fractions over rows where the ratio is that of a row. Default false. */
  rowMetrics?: boolean;
  /** Also report `ppo_kl`, the mean of −log ρ, and `old_kl`, the mean of ℓ_old − ℓ, which nothing bounds. Default false. */
  driftMetrics?: boolean;
  /** Added to the number of tokens that metrics divide by. Default 0: at least 1 is taken instead. */
  metricEpsilon?: number;

  /** ε below: ratios under 1 − ε gain nothing. Default 0.2. */
  epsClipLow?: number;
  /** ε above: ratios over 1 + ε gain nothing. Default 0.2. */
  epsClipHigh?: number;
  /** Dual clip: bound of the ratio for negative advantages, above 1; null for none. Default 3 for `dual_clip`. */
  clipRatioC?: number | null;
  /** δ: no ratio counts for more than this, before it is clipped; null (default) for none. */
  delta?: number | null;
  /** Bounds of the log-ratio, without gradient beyond; null for none. */
  logRatioMin?: number | null;
  /** The upper bound of the log-ratio; null: none. */
  logRatioMax?: number | null;
  /**
   * `token`: ρ_t. `sequence`: exp of the mean of a row's log-ratios, for all of its tokens. `sequence_token`: its value, with the gradient of ρ_t.
   */
  ratioLevel?: RatioLevel;
  /** `cispo`: ε below; null for no bound. Default 1. */
  cispoEpsClipLow?: number | null;
  /** `cispo`: ε above. Default 4. */
  cispoEpsClipHigh?: number;
  /** `cispo`, `dppo`: the policy that ratios are taken to. Default `old` for `cispo`; null for `dppo`: the sampler, where its log-probs are given. */
  anchor?: 'old' | 'rollout' | null;
  /** `sapo`: temperature for positive advantages. Default 1. */
  tauPos?: number;
  /** `sapo`: temperature for the others. Default 1.05. */
  tauNeg?: number;
  /** `dppo`: `binary_tv` or `binary_kl`. */
  divergence?: 'binary_tv' | 'binary_kl';
  /** `dppo`: bound of the divergence for tokens that become less likely. */
  deltaLow?: number;
  /** `dppo`: bound of the divergence for tokens that become more likely. */
  deltaHigh?: number;
  /** `clip_cov`: share of the valid tokens to take out. Default 0.0002. */
  clipCovRatio?: number;
  /** `clip_cov`: only covariances over this. Default 1. */
  clipCovLow?: number;
  /** `clip_cov`: only covariances under this. Default 5. */
  clipCovHigh?: number;
  /** `clip_cov`: seed of the choice among the candidates. Default 0. */
  seed?: number;
  /** `kl_cov`: share of the valid tokens that get a penalty. Default 0.0002. */
  klCovRatio?: number;
  /** `kl_cov`: factor on the penalty |ℓ − ℓ_old|. Default 1. */
  ppoKlCoef?: number;
  /** `vespo`: shape k and rate λ for advantages of 0 or more. Default 2 and 3. */
  kPos?: number;
  /** λ for sequences of advantage 0 or more (`vespo`). */
  lambdaPos?: number;
  /** `vespo`: shape k and rate λ for negative advantages. Default 3 and 2. */
  kNeg?: number;
  /** λ for the others (`vespo`). */
  lambdaNeg?: number;
}

/** Every option in force. */
export type ResolvedOptions = Readonly<Required<PolicyLossOptions>>;

export const commonOptions: PolicyLossOptions = {
  reduction: 'token_sum',
  remask: true,
  klCoef: 0,
  klEstimator: 'k3',
  klInputClamp: undefined,
  klOutputClamp: undefined,
  klRatioWeighted: false,
  offPolicyThreshold: null,
  topEntropyQuantile: 1,
  rowMetrics: false,
  driftMetrics: false,
  maxSeqLen: null,
  microBatchSize: null,
  incompleteMicroBatch: 'count',
  groupIds: null,
  emptyRows: 'count',
  totalTokens: null,
  totalRows: null,
  scale: 1,
  countEpsilon: 0,
  metricEpsilon: 0,
};

const unclamped = { logRatioMin: null, logRatioMax: null, klInputClamp: null, klOutputClamp: null } as const;
const averaged = { reduction: 'token_mean', emptyRows: 'leave_out' } as const;

/**
 * `vantage`, `skyrl`: sums over the mask; log-ratios within ±20. `verl`: means over the tokens of the batch, 1e-8 added to numbers of tokens, rows without a
 * token left out, `driftMetrics`. `trl`: nothing clamped; clip fractions of rows too. `openrlhf`: as verl, estimates of the divergence within ±10. `nemo`, `areal`: means over the tokens.
 */
const presets = {
  vantage: {},
  skyrl: {},
  verl: { ...averaged, countEpsilon: 1e-8, metricEpsilon: 1e-8, driftMetrics: true },
  trl: { ...unclamped, rowMetrics: true },
  openrlhf: { ...averaged, klInputClamp: null, klOutputClamp: 10, driftMetrics: true },
  nemo: { ...averaged },
  areal: { ...averaged },
} as const satisfies Record<ConventionName, PolicyLossOptions>;

/**
 * The options of a loss in force.
 * @param own the loss's options and their defaults
 * @param fixed options whose default is what makes the loss: no preset changes them
 * @throws EstimatorError for an option that the loss does not have, with the nearest name, and for values that are none
 */
export function resolveLossOptions(name: string, own: PolicyLossOptions, given: PolicyLossOptions, fixed: readonly string[] = []): ResolvedOptions {
  return { ...resolved.answer(own, name, [given, own], () => checkedOptions(name, own, given, fixed)) };
}

const resolved = new Remembered<ResolvedOptions>();

function checkedOptions(name: string, own: PolicyLossOptions, given: PolicyLossOptions, fixed: readonly string[]): ResolvedOptions {
  const options = resolveOptions<PolicyLossOptions>(`policy loss '${name}'`, own, given, { presets, fixed, rules: lossRules, whoHas: lossesWithOption });
  for (const [low, high] of ordered) {
    const [least, most] = [options[low] ?? -Infinity, options[high] ?? Infinity];
    if (least > most) throw new EstimatorError(`policy loss '${name}': option '${low}': expected at most ${high}, ${most}, got ${least}`);
  }
  return { ...options, [ofLoss]: true } as unknown as ResolvedOptions;
}

const lossesWithOption = (option: string): string[] => policyLosses.list().filter((name) => Object.hasOwn(policyLosses.get(name).options ?? {}, option));

const flag = { choices: [true, false] } as const;
/** Temperatures that something is divided by: of smaller ones nothing is left in float32. */
const temperature = { low: 1e-6 } as const;

/** Options of which the first may not be larger than the second. */
const ordered = [['logRatioMin', 'logRatioMax'], ['clipCovLow', 'clipCovHigh']] as const;

/** What each option may be. The prompts of the rows, `groupIds`, are looked at where they are used. */
export const lossRules: Readonly<Record<string, Rule>> = {
  ...reductionRules,
  reduction: { choices: lossReductions },
  ratioLevel: { choices: ratioLevels },
  anchor: { choices: ['old', 'rollout', null] },
  divergence: { choices: ['binary_tv', 'binary_kl'] },
  remask: flag,
  klRatioWeighted: flag,
  rowMetrics: flag,
  driftMetrics: flag,
  klCoef: anyNumber,
  klEstimator: { choices: [...klEstimators, ...Object.keys(klEstimatorAliases)] },
  klInputClamp: { ...notNegative, nullable: true },
  klOutputClamp: { ...notNegative, nullable: true },
  topEntropyQuantile: share,
  offPolicyThreshold: { ...anyNumber, nullable: true },
  metricEpsilon: notNegative,
  epsClipLow: notNegative,
  epsClipHigh: notNegative,
  clipRatioC: { low: 1, nullable: true },
  delta: { low: 0, nullable: true },
  logRatioMin: { ...anyNumber, nullable: true },
  logRatioMax: { ...anyNumber, nullable: true },
  cispoEpsClipLow: { low: 0, nullable: true },
  cispoEpsClipHigh: { low: -1 },
  tauPos: temperature,
  tauNeg: temperature,
  deltaLow: notNegative,
  deltaHigh: notNegative,
  clipCovRatio: share,
  clipCovLow: anyNumber,
  clipCovHigh: anyNumber,
  seed: { ...anyNumber, integer: true },
  klCovRatio: share,
  ppoKlCoef: anyNumber,
  kPos: notNegative,
  kNeg: notNegative,
  lambdaPos: notNegative,
  lambdaNeg: notNegative,
};
