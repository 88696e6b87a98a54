/** Off-policy corrections. */
import {
  applyOffPolicyCorrection,
  gammaWeights,
  importanceWeights,
  offPolicySequenceMask,
  parseRejectionRules,
  rejectionSampling,
  rolloutCorrection,
  where,
  type ImportanceWeightOptions,
  type OffPolicyCorrectionOptions,
  type OffPolicyInputs,
} from 'vantage-rl';
import type { Adapter, Answer, Inputs } from '../adapter';
import type { Case } from '../case';

/** `old_log_probs` and the sampler's, under whatever name a library has for them. */
function policies(inputs: Inputs, old = 'old_log_probs', rollout = 'rollout_log_probs'): OffPolicyInputs {
  const oldLogProbs = inputs.array(old);
  return { oldLogProbs, rolloutLogProbs: inputs.array(rollout), mask: inputs.mask('mask', oldLogProbs) };
}

/** AReaL takes a log-ratio that is not finite for 0. */
function finite({ oldLogProbs, rolloutLogProbs, mask }: OffPolicyInputs): OffPolicyInputs {
  const isFinite = oldLogProbs.sub(rolloutLogProbs!).mul(0).equal(0);
  return { oldLogProbs: where(isFinite, oldLogProbs, 0), rolloutLogProbs: where(isFinite, rolloutLogProbs!, 0), mask };
}

/** Our options for SkyRL's `off_policy_correction`. */
export function skyrlCorrection(params: Case['params']): OffPolicyCorrectionOptions {
  // One bound alone does not switch the token mask on in SkyRL.
  const bothBounds = (params.token_mask_is_threshold_low ?? null) !== null && (params.token_mask_is_threshold_high ?? null) !== null;
  return {
    convention: 'skyrl',
    tisRatioType: params.tis_ratio_type ?? null,
    tokenTisRatioClipHigh: params.token_tis_ratio_clip_high ?? undefined,
    sequenceTisRatioClipHigh: params.sequence_tis_ratio_clip_high ?? undefined,
    sequenceMaskMetric: params.sequence_mask_metric ?? null,
    productMaskLow: params.product_mask_low ?? undefined,
    productMaskHigh: params.product_mask_high ?? undefined,
    geoMaskLow: params.geo_mask_low ?? undefined,
    geoMaskHigh: params.geo_mask_high ?? undefined,
    outlierTokenIsThresholdLow: params.outlier_token_is_threshold_low ?? null,
    outlierTokenIsThresholdHigh: params.outlier_token_is_threshold_high ?? null,
    tokenMaskIsThresholdLow: bothBounds ? params.token_mask_is_threshold_low : null,
    tokenMaskIsThresholdHigh: bothBounds ? params.token_mask_is_threshold_high : null,
  };
}

export const spreadOfOne = ({ expected }: Case): string | null => Number.isNaN(expected.metrics?.is_ratio_std) ? 'the spread of a single number: SkyRL gives NaN, ours 0' : null;

function skyrl({ params }: Case, inputs: Inputs): Answer {
  const oldLogProbs = inputs.array('old_log_probs');
  const given = { oldLogProbs, rolloutLogProbs: inputs.optional('rollout_log_probs'), mask: inputs.mask('mask', oldLogProbs) };
  return { ...applyOffPolicyCorrection(inputs.array('loss_mat'), given, skyrlCorrection(params)) };
}

function verl({ params }: Case, inputs: Inputs): Answer {
  const level = params.rollout_is ?? null;
  const threshold = params.rollout_is_threshold === undefined ? 2 : params.rollout_is_threshold;
  const rules = params.rollout_rs ?? null;
  if (rules !== null && (params.rollout_rs_threshold ?? null) === null) throw new Error('rollout_rs without a threshold');
  const { weights, mask, metrics } = rolloutCorrection(policies(inputs), {
    convention: 'verl',
    weights: level === null || threshold === null ? null : { level, ...bounds(threshold), normalize: params.rollout_is_batch_normalize ?? false },
    rules: rules === null ? [] : parseRejectionRules(rules, params.rollout_rs_threshold),
  });
  return { rollout_is_weights: weights, mask, metrics: Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`rollout_corr/${key}`, value])) };
}

/** One number truncates; `low_high` masks. */
function bounds(threshold: string | number): ImportanceWeightOptions {
  const numbers = String(threshold).split('_').map(Number);
  return numbers.length === 2 ? { low: numbers[0], high: numbers[1], outside: 'mask' } : { high: numbers[0] };
}

const nothingValid = ({ inputs, expected }: Case) =>
  expected.throws && (inputs.mask as number[][]).every((row) => row.every((m) => m === 0)) ? 'nothing valid: verl raises, ours gives weights of 0 and finite metrics' : null;

function trlWeights({ params }: Case, inputs: Inputs): Answer {
  const old = inputs.array('old_log_probs');
  const mask = inputs.mask('mask', old);
  const tools = inputs.optional('tool_mask');
  const [level, outside] = String(params.mode).split('_') as ['token' | 'sequence', 'truncate' | 'mask'];
  const { weights } = importanceWeights(
    { oldLogProbs: old, rolloutLogProbs: inputs.array('sampling_log_probs'), mask: tools ? mask.mul(tools) : mask },
    { convention: 'trl', level, outside, low: params.clip_min ?? null, high: params.clip_max ?? null },
  );
  return { importance_sampling_ratio: level === 'sequence' ? weights.slice([0, 0], [null, 1]) : weights };
}

const noBounds = ({ params, expected }: Case) =>
  expected.throws && (params.clip_min ?? null) === null && (params.clip_max ?? null) === null ? 'no bounds: TRL asks torch to clamp to nothing and raises, ours leaves the weights as they are' : null;

export const adapters: Adapter[] = [
  {
    library: 'SkyRL',
    function: 'apply_off_policy_correction',
    answer: skyrl,
    differs: spreadOfOne,
  },
  { library: 'verl', function: 'compute_rollout_correction_and_rejection_mask', answer: verl, differs: nothingValid },
  {
    library: 'AReaL',
    function: 'apply_rejection_sampling',
    answer({ params }, inputs) {
      const { mask, weights, filteredFraction } = rejectionSampling(finite(policies(inputs, 'log_probs', 'old_log_probs')), {
        convention: 'areal',
        level: params.level,
        action: params.action,
        metric: String(params.metric).replace(/^kl_/, '') as never,
        aggregate: params.agg,
        low: params.lower ?? null,
        high: params.upper,
      });
      return { mask, behave_imp_weight: weights, filtered_fraction: filteredFraction };
    },
  },
  { library: 'TRL', function: 'GRPOTrainer._generate_and_score_completions (importance-sampling lines)', answer: trlWeights, differs: noBounds },
  {
    library: 'TRL',
    function: 'GRPOTrainer.get_off_policy_mask',
    answer({ params }, inputs) {
      const logProbs = inputs.array('log_probs');
      const rolloutLogProbs = inputs.array('sampling_log_probs');
      const mask = inputs.mask('mask', logProbs);
      return { keep: offPolicySequenceMask({ logProbs, rolloutLogProbs, advantages: inputs.array('advantages'), mask }, { threshold: params.off_policy_threshold }) };
    },
  },
  {
    library: 'TRL',
    function: 'GRPOTrainer.get_gamma_weights',
    answer({ params }, inputs) {
      const logRatio = inputs.array('log_ratio');
      const phi = gammaWeights(
        { logRatio, advantages: inputs.array('advantages'), mask: inputs.mask('mask', logRatio), importanceRatio: inputs.optional('importance_sampling_ratio') },
        { convention: 'trl', kPos: params.k_pos, lambdaPos: params.lambda_pos, kNeg: params.k_neg, lambdaNeg: params.lambda_neg },
      );
      return { phi };
    },
  },
];
