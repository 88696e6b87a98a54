/** Off-policy corrections of the libraries. */
import { clamp, map2, mean, std, sum } from './arithmetic';
import { Raised, type Given, type Reference } from './own';
import type { Random, Table } from './random';

/** The weights at every position, the mask that is left, and the metrics of SkyRL's correction. */
export function correctedBySkyrl(old: Table, rollout: Table | null | undefined, given: Table, params: Given['params']): { factor: Table; mask: Table; metrics: Record<string, number> } {
  const { tis_ratio_type: type = null, sequence_mask_metric: metric = null } = params;
  if (type !== null && !['token', 'sequence'].includes(type)) throw new Raised(`ValueError: Unknown tis_ratio_type: ${type}`);
  if (metric !== null && !['product', 'geometric'].includes(metric)) throw new Raised(`ValueError: Unknown sequence_mask_metric: ${metric}`);
  let mask = given;
  let factor = map2(old, () => 1);
  if (!rollout) return { factor, mask, metrics: {} };
  const log = map2(old, (l, b, t) => l - rollout[b]![t]!);
  const ratio = map2(log, (x) => Math.exp(clamp(x, -20, 20)));
  const count = () => Math.max(1, sum(mask.flat()));
  const share = (f: (b: number, t: number) => boolean) => sum(mask.flatMap((row, b) => row.map((m, t) => (m && f(b, t) ? 1 : 0)))) / count();
  const has = (name: string) => (params[name] ?? null) !== null;
  const [outLow, outHigh] = [params.outlier_token_is_threshold_low, params.outlier_token_is_threshold_high];
  const masksTokens = has('token_mask_is_threshold_low') && has('token_mask_is_threshold_high');
  if (type === null && metric === null && !has('outlier_token_is_threshold_low') && !has('outlier_token_is_threshold_high') && !masksTokens) return { factor, mask, metrics: {} };

  const seen = map2(ratio, (r, b, t) => r * mask[b]![t]!).flat();
  const metrics: Record<string, number> = {
    is_ratio_mean: sum(seen) / count(),
    is_ratio_std: seen.length > 1 ? std(seen) : NaN,
    is_ratio_max: Math.max(...seen),
    is_ratio_min: Math.min(...seen),
  };
  const rowLogs = () => log.map((row, b) => row.filter((_, t) => mask[b]![t]));
  const cut = (name: string, over: boolean[], under: boolean[]) => {
    const out = over.map((each, b) => each || under[b]!);
    metrics[`${name}_masked_ratio`] = mean(out.map(Number));
    metrics[`${name}_over_high_ratio`] = mean(over.map(Number));
    metrics[`${name}_under_low_ratio`] = mean(under.map(Number));
    mask = map2(mask, (m, b) => (out[b] ? 0 : m));
  };

  if (has('outlier_token_is_threshold_low') || has('outlier_token_is_threshold_high')) {
    const any = (f: (r: number) => boolean) => ratio.map((row, b) => row.some((r, t) => Boolean(mask[b]![t]) && f(r)));
    cut('outlier_seq', any((r) => r > (outHigh ?? Infinity)), any((r) => r < (outLow ?? -Infinity)));
  }
  if (masksTokens) {
    const out = (b: number, t: number) => ratio[b]![t]! < params.token_mask_is_threshold_low || ratio[b]![t]! > params.token_mask_is_threshold_high;
    metrics.token_mask_ratio = share(out);
    mask = map2(mask, (m, b, t) => (out(b, t) ? 0 : m));
  }
  const products = () => rowLogs().map((row) => Math.exp(clamp(sum(row), -20, 20)));
  if (type === 'token') {
    factor = map2(ratio, (r) => Math.min(r, params.token_tis_ratio_clip_high));
    metrics.tis_token_clip_high_ratio = share((b, t) => ratio[b]![t]! > params.token_tis_ratio_clip_high);
  } else if (type === 'sequence') {
    const found = products();
    factor = map2(ratio, (_, b) => Math.min(found[b]!, params.sequence_tis_ratio_clip_high));
    metrics.tis_seq_clip_high_ratio = mean(found.map((r) => Number(r > params.sequence_tis_ratio_clip_high)));
  }
  if (metric === 'product') {
    const found = products();
    cut('product_sequence_mask', found.map((r) => r > params.product_mask_high), found.map((r) => r < params.product_mask_low));
  } else if (metric === 'geometric') {
    const found = rowLogs().map((row) => Math.exp(clamp(mean(row), -20, 20)));
    cut('geo_sequence_mask', found.map((r) => r > params.geo_mask_high), found.map((r) => r < params.geo_mask_low));
  }
  return { factor, mask, metrics };
}

export function drawCorrection(random: Random): Given['params'] {
  const type = random.pick([null, 'token', 'sequence']);
  const metric = random.pick([null, 'product', 'geometric']);
  const none = type === null && metric === null;
  return {
    tis_ratio_type: type,
    token_tis_ratio_clip_high: random.pick([2, 1.05]),
    sequence_tis_ratio_clip_high: random.pick([5, 1.1]),
    sequence_mask_metric: metric,
    product_mask_low: random.pick([0.5, 0.3]),
    product_mask_high: 2,
    geo_mask_low: random.pick([0.99, 0.8]),
    geo_mask_high: random.pick([1.01, 1.2]),
    outlier_token_is_threshold_low: random.pick([null, 0.6]),
    outlier_token_is_threshold_high: none ? 1.7 : random.pick([null, 1.7]),
    ...(random.chance(0.3) && { token_mask_is_threshold_low: 0.7, token_mask_is_threshold_high: random.pick([1.4, null]) }),
  };
}

function drawPolicies(random: Random, old = 'old_log_probs', rollout = 'rollout_log_probs'): Given['inputs'] {
  const logProbs = random.logProbs();
  const far = random.chance(0.15);
  const mismatch = random.pick([0.03, 0.15, 0.5, 0.9]);
  // Some rows lie exactly at a bound: k2 of 1/4 is 1/32.
  const exact = random.chance(0.4);
  const sampled = logProbs.map((row) =>
    (exact && random.chance(0.5) ? row.map((x) => x + 0.25) : row).map((x, t) => (x !== row[t] ? x : x + (far && random.chance(0.2) ? random.pick([-22, 22]) : random.number(-mismatch, mismatch))))
  );
  return { [old]: logProbs, [rollout]: sampled, mask: random.mask() };
}

/** A row that holds something. */
const someValid = (inputs: Given['inputs']): Given['inputs'] => ({ ...inputs, mask: inputs.mask.map((row: number[], b: number) => (b === 0 ? [1, ...row.slice(1)] : row)) });

// ---- AReaL

const divergences: Record<string, (x: number) => number> = { kl_k1: (x) => x, kl_k2: (x) => (x * x) / 2, kl_k3: (x) => Math.expm1(-x) + x };

function areal({ params, inputs }: Given) {
  const { level, action, metric, agg, upper, lower } = params;
  const mask = inputs.mask as Table;
  const log = map2(inputs.log_probs as Table, (l, b, t) => (mask[b]![t] ? l - inputs.old_log_probs[b][t] : 0));
  const inside = (x: number) => x <= upper && x >= (lower ?? -Infinity);
  const number = (x: number) => (metric === 'ratio' ? x : divergences[metric]!(x));
  const rows = log.map((row, b) => {
    const numbers = row.filter((_, t) => mask[b]![t]).map(number);
    const whole = numbers.length === 0 ? 0 : agg === 'sum' ? sum(numbers) : agg === 'mean' ? mean(numbers) : Math.max(...numbers);
    return inside(metric === 'ratio' ? Math.exp(whole) : whole);
  });
  const keeps = map2(log, (x, b) => Number(level === 'sequence' ? rows[b] : inside(metric === 'ratio' ? Math.exp(x) : number(x))));
  const raw = map2(log, (x, b) => Math.exp(level === 'sequence' && metric === 'ratio' ? mean(log[b]!.filter((_, t) => mask[b]![t])) : x));
  const weights = map2(raw, (w, b, t) => {
    if (action === 'mask' || (level === 'sequence' && keeps[b]![t])) return w;
    return clamp(w, lower ?? 0, upper);
  });
  const left = action === 'mask' ? map2(mask, (m, b, t) => m * keeps[b]![t]!) : mask;
  const changed = map2(mask, (m, b, t) => (m && (action === 'mask' ? !keeps[b]![t] : weights[b]![t] !== raw[b]![t]) ? 1 : 0));
  return { mask: left, behave_imp_weight: map2(weights, (w, b, t) => (left[b]![t] ? w : 0)), filtered_fraction: sum(changed.flat()) / Math.max(1, sum(mask.flat())) };
}

// ---- TRL

function trlWeights({ params, inputs }: Given) {
  const [level, outside] = String(params.mode).split('_');
  if (!['token', 'sequence'].includes(level!)) throw new Raised(`ValueError: Unknown vLLM importance sampling level: ${params.mode}.`);
  const mask = map2(inputs.mask as Table, (m, b, t) => m * (inputs.tool_mask?.[b][t] ?? 1));
  const log = map2(inputs.old_log_probs as Table, (l, b, t) => (l - inputs.sampling_log_probs[b][t]) * mask[b]![t]!);
  const rows = level === 'sequence' ? log.map((row) => [sum(row)]) : log;
  return {
    importance_sampling_ratio: map2(rows, (x) => {
      const ratio = Math.exp(x);
      if (outside === 'truncate') return clamp(ratio, params.clip_min, params.clip_max);
      return ratio < (params.clip_min ?? -Infinity) || ratio > (params.clip_max ?? Infinity) ? 0 : ratio;
    }),
  };
}

/** 1 for rows of a good advantage, or whose sampler is near enough. */
export function trlKeep(logProbs: Table, sampling: Table, advantages: readonly number[], mask: Table, threshold: number): number[] {
  return logProbs.map((row, b) => {
    const distance = sum(row.map((l, t) => (sampling[b]![t]! - l) * mask[b]![t]!)) / Math.max(1, sum(mask[b]!));
    return Number(advantages[b]! >= 0 || distance <= threshold);
  });
}

/** φ of each row. Importance ratios count at masked tokens too. */
export function trlGamma(log: Table, advantages: readonly number[], mask: Table, ratio: Table | null, params: Given['params']): number[] {
  const least = Math.log(1e-8);
  return log.map((row, b) => {
    const own = sum(row.map((x, t) => clamp(x, -20, 20) * mask[b]![t]!));
    const total = clamp(own + (ratio ? sum(ratio[b]!.map((r) => clamp(Math.log(r), least, 20))) : 0), least, 20);
    const [k, lambda] = advantages[b]! >= 0 ? [params.k_pos, params.lambda_pos] : [params.k_neg, params.lambda_neg];
    return Math.exp(Math.max(lambda, 1e-4) + k * total - Math.max(lambda, 1e-4) * Math.exp(total));
  });
}

// ---- verl

/** Means divide by the number of tokens and 1e-8. */
class Verl {
  readonly count: number;
  constructor(readonly mask: Table) {
    this.count = sum(mask.flat());
  }
  mean(x: (b: number, t: number) => number): number {
    return sum(this.mask.flatMap((row, b) => row.map((m, t) => (m ? x(b, t) : 0)))) / (this.count + 1e-8);
  }
  rowMean(x: (b: number, t: number) => number): number[] {
    return this.mask.map((row, b) => sum(row.map((m, t) => (m ? x(b, t) : 0))) / (sum(row) + 1e-8));
  }
  values(x: (b: number, t: number) => number): number[] {
    return this.mask.flatMap((row, b) => row.flatMap((m, t) => (m ? [x(b, t)] : [])));
  }
  std(x: (b: number, t: number) => number): number {
    const centre = this.mean(x);
    // E[x²] − E[x]², written so that an offset costs no digits.
    const values = this.values(x);
    const inner = mean(values);
    const n = this.count + 1e-8;
    const variance = sum(values.map((v) => (v - inner) ** 2)) / n + (inner ** 2 * values.length) / n - centre ** 2;
    return values.length > 1 ? Math.sqrt(Math.max(0, variance)) : 0;
  }
  get filled(): boolean[] {
    return this.mask.map((row) => row.some(Boolean));
  }
}

const ofRows = (x: readonly number[]) => ({
  mean: mean(x),
  std: x.length > 1 ? std(x) : 0,
  max: Math.max(...x),
  min: Math.min(...x),
  deviation: (from: number) => Math.max(...x.map((v) => Math.abs(v - from))),
});
const shareOf = (x: readonly boolean[]) => mean(x.map(Number));

function verlWeights(log: Table, verl: Verl, params: Given['params']): { weights: Table; metrics: Record<string, number> } {
  const level = params.rollout_is as string;
  const most = Number(params.rollout_is_threshold ?? 2);
  if (!['token', 'sequence'].includes(level)) throw new Raised(`ValueError: Invalid rollout_is: ${level}.`);
  const rows = log.map((row, b) => sum(row.filter((_, t) => verl.mask[b]![t])));
  const ratio = map2(log, (x, b) => Math.exp(clamp(level === 'token' ? x : rows[b]!, -20, 20)));
  const at = (b: number, t: number) => ratio[b]![t]!;
  const clipped = (b: number, t: number) => clamp(at(b, t), 1 / most, most);
  const rowMeans = verl.rowMean(at);
  const all = ofRows(rowMeans);
  const centre = verl.mean(clipped);
  const extremes = level === 'token' ? ofRows(verl.values(at)) : { max: Math.exp(Math.min(20, Math.max(...rows))), min: Math.exp(Math.min(...rows)) };
  const metrics: Record<string, number> = {
    mean: verl.mean(at),
    max: extremes.max,
    min: extremes.min,
    std: verl.std(clipped),
    ratio_fraction_high: level === 'token' ? verl.mean((b, t) => Number(at(b, t) > most)) : shareOf(rows.map((x) => x > Math.log(most))),
    ratio_fraction_low: level === 'token' ? verl.mean((b, t) => Number(at(b, t) < 1 / most)) : shareOf(rows.map((x) => x < Math.log(1 / most))),
    eff_sample_size: 1 / verl.mean((b, t) => (clipped(b, t) / (centre + 1e-8)) ** 2),
    seq_mean: all.mean,
    seq_std: all.std,
    seq_max: all.max,
    seq_min: all.min,
    seq_max_deviation: all.deviation(1),
    seq_fraction_high: shareOf(rowMeans.map((x) => x > most)),
    seq_fraction_low: shareOf(rowMeans.map((x) => x < 1 / most)),
  };
  let weights = map2(ratio, (r, b, t) => (verl.mask[b]![t] ? Math.min(r, most) : 0));
  if (params.rollout_is_batch_normalize) {
    const ofTokens = (b: number, t: number) => Math.min(at(b, t), most);
    const factor = level === 'token' ? verl.mean(ofTokens) : mean(verl.rowMean(ofTokens).filter((_, b) => verl.filled[b]));
    metrics.batch_norm_factor = factor > 1e-8 ? factor : 1;
    weights = map2(weights, (w) => w / metrics.batch_norm_factor!);
  }
  return { weights, metrics };
}

/** One rule: which positions are inside, and its metrics. */
function verlRule(name: string, bound: string, log: Table, verl: Verl): { inside: (b: number, t: number) => boolean; metrics: Record<string, number> } {
  const metric = name.slice(-2);
  const numbers = bound.split('_').map(Number);
  if (metric !== 'k1' && numbers.length > 1) throw new Raised(`ValueError: rollout_rs_threshold for option '${name}' must provide a single upper bound`);
  const [high, low] = metric === 'k1' ? [Math.log(numbers.at(-1)!), Math.log(numbers.length > 1 ? numbers[0]! : 1 / numbers[0]!)] : [numbers[0]!, null];
  const number = (b: number, t: number) => {
    const x = clamp(log[b]![t]!, -20, 20);
    return metric === 'k1' ? -x : metric === 'k2' ? (x * x) / 2 : Math.exp(x) - 1 - x;
  };
  const perRow = !name.startsWith('token_');
  const rows = verl.mask.map((mask, b) => {
    const found = mask.flatMap((m, t) => (m ? [number(b, t)] : []));
    if (found.length === 0) return 0;
    if (name.includes('_sum_')) return sum(found);
    return name.includes('_max_') ? Math.max(...found) : sum(found) / (found.length + 1e-8);
  });
  const statistic = (b: number, t: number) => (perRow ? rows[b]! : number(b, t));
  const inside = (b: number, t: number) => statistic(b, t) <= high && statistic(b, t) >= (low ?? -Infinity);
  const filled = verl.filled;
  const of = (perRow ? rows : verl.rowMean(number)).filter((_, b) => filled[b]);
  const all = ofRows(of);
  const values = verl.values(statistic);
  const lost = verl.mask.map((mask, b) => mask.some((m, t) => Boolean(m) && !inside(b, t))).filter((_, b) => filled[b]);
  const share = (f: (x: number) => boolean) => (perRow ? shareOf(of.map(f)) : verl.mean((b, t) => Number(f(number(b, t)))));
  const isOver = (x: number) => x > high;
  const isUnder = (x: number) => low !== null && x < low;
  return {
    inside,
    metrics: {
      mean: verl.mean(statistic),
      std: verl.std((b, t) => clamp(statistic(b, t), low, high)),
      max: Math.max(...values),
      min: Math.min(...values),
      fraction_high: share(isOver),
      fraction_low: share(isUnder),
      seq_mean: all.mean,
      seq_std: all.std,
      seq_max: all.max,
      seq_min: all.min,
      seq_max_deviation: all.deviation(0),
      seq_fraction_high: shareOf(of.map(isOver)),
      ...(low !== null && { seq_fraction_low: shareOf(of.map(isUnder)) }),
      masked_fraction: verl.mean((b, t) => Number(!inside(b, t))),
      seq_masked_fraction: shareOf(lost),
    },
  };
}

const verlRules = /^(token|seq_(sum|mean|max))_k[123]$/;

function verlCorrection({ params, inputs }: Given) {
  const { old_log_probs: old, rollout_log_probs: rollout, mask } = inputs as Record<string, Table>;
  const verl = new Verl(mask!);
  if (verl.count === 0) throw new Raised('ValueError: response_mask must contain at least one valid token (1).');
  const log = map2(old!, (l, b, t) => l - rollout![b]![t]!);
  const metrics: Record<string, number> = {};
  const keep = (prefix: string, found: Record<string, number>) => Object.entries(found).forEach(([key, value]) => (metrics[`rollout_corr/${prefix}${key}`] = value));
  const weighed = params.rollout_is ? verlWeights(log, verl, params) : null;
  if (weighed) keep('rollout_is_', weighed.metrics);
  let left = mask!;
  if (params.rollout_rs) {
    const names = String(params.rollout_rs).split(',');
    if ((params.rollout_rs_threshold ?? null) === null) throw new Raised('ValueError: rollout_rs_threshold must be explicitly provided');
    const bounds = String(params.rollout_rs_threshold).split(',');
    names.forEach((name, i) => {
      if (!verlRules.test(name) || name === 'seq_max_k1') throw new Raised(`ValueError: Invalid rollout_rs option: ${name}.`);
      const { inside, metrics: found } = verlRule(name, bounds[bounds.length === 1 ? 0 : i]!, log, verl);
      keep(`rollout_rs_${name}_`, found);
      left = map2(left, (m, b, t) => (inside(b, t) ? m : 0));
    });
    keep('rollout_rs_', { masked_fraction: verl.mean((b, t) => Number(!left[b]![t])), seq_masked_fraction: shareOf(mask!.map((row, b) => row.some((m, t) => Boolean(m) && !left[b]![t]))) });
  }
  const [training, sampled] = [verl.rowMean((b, t) => old![b]![t]!), verl.rowMean((b, t) => rollout![b]![t]!)];
  const difference = training.map((x, b) => sampled[b]! - x);
  const squared = (x: number) => Math.exp(clamp(x, -20, 20)) ** 2;
  keep('', {
    training_ppl: mean(training.map((x) => Math.exp(-x))),
    training_log_ppl: mean(training.map((x) => -x)),
    rollout_ppl: mean(sampled.map((x) => Math.exp(-x))),
    rollout_log_ppl: mean(sampled.map((x) => -x)),
    kl: verl.mean((b, t) => -log[b]![t]!),
    k3_kl: verl.mean((b, t) => Math.exp(log[b]![t]!) - log[b]![t]! - 1),
    log_ppl_diff: mean(difference),
    log_ppl_abs_diff: mean(difference.map(Math.abs)),
    log_ppl_diff_max: Math.max(...difference),
    log_ppl_diff_min: Math.min(...difference),
    ppl_ratio: mean(difference.map(Math.exp)),
    chi2_token: verl.mean((b, t) => squared(log[b]![t]!)) - 1,
    chi2_seq: mean(log.map((row, b) => squared(sum(row.filter((_, t) => mask![b]![t]))))) - 1,
  });
  return { rollout_is_weights: weighed?.weights ?? null, mask: left, metrics };
}

function drawVerl(random: Random): Given {
  const level = random.pick([null, 'token', 'sequence']);
  const rules = random.pick([
    null,
    ['token_k1', '1.3'],
    ['token_k2', '0.05'],
    ['token_k2', '0.03125'],
    ['seq_max_k2', '0.03125'],
    ['token_k3', '0.02'],
    ['seq_sum_k1', '0.5_2.0'],
    ['seq_mean_k1', '0.95_1.05'],
    ['seq_mean_k2', '0.05'],
    ['seq_mean_k3', '0.02'],
    ['seq_max_k2', '0.1'],
    ['seq_max_k3', '0.1'],
    ['seq_sum_k2', '0.2'],
    ['seq_sum_k3', '0.2'],
    ['token_k1,seq_mean_k3', '0.6_1.7,0.05'],
  ]);
  return {
    params: {
      ...(level && { rollout_is: level, rollout_is_threshold: random.pick([2, 1.2, 5]), ...(random.chance(0.4) && { rollout_is_batch_normalize: true }) }),
      ...(rules && { rollout_rs: rules[0], rollout_rs_threshold: rules[1] }),
    },
    inputs: someValid(drawPolicies(random)),
  };
}

export const references: Reference[] = [
  {
    library: 'AReaL',
    function: 'apply_rejection_sampling',
    name: 'rejection_sampling',
    draw(random) {
      const metric = random.pick(['ratio', 'kl_k1', 'kl_k2', 'kl_k3']);
      const upper = metric === 'ratio' ? 1.2 : random.pick([0.02, 0.03125, 0.15]);
      const lower = metric === 'ratio' ? random.pick([null, 0.8]) : metric === 'kl_k1' ? random.pick([null, -0.15]) : null;
      const level = random.pick(['token', 'sequence']);
      // Divergences bound no weights: to clamp them by the bounds of one is no use.
      const action = metric === 'ratio' ? random.pick(['mask', 'clamp']) : 'mask';
      return { params: { level, action, metric, agg: random.pick(['mean', 'sum', 'max']), upper, lower }, inputs: drawPolicies(random, 'log_probs', 'old_log_probs') };
    },
    answer: areal,
  },
  {
    library: 'SkyRL',
    function: 'apply_off_policy_correction',
    name: 'apply_off_policy_correction',
    draw: (random) => ({
      params: random.chance(0.1) ? { tis_ratio_type: random.pick(['batch', null]) } : drawCorrection(random),
      inputs: { ...drawPolicies(random), loss_mat: random.numbers(-2, 2) },
    }),
    answer({ params, inputs }) {
      const { factor, mask, metrics } = correctedBySkyrl(inputs.old_log_probs, inputs.rollout_log_probs, inputs.mask, params);
      return { loss: map2(inputs.loss_mat as Table, (x, b, t) => x * factor[b]![t]!), mask, metrics };
    },
  },
  {
    library: 'TRL',
    function: 'GRPOTrainer._generate_and_score_completions (importance-sampling lines)',
    name: 'vllm_importance_sampling',
    draw(random) {
      const inputs = drawPolicies(random, 'old_log_probs', 'sampling_log_probs');
      return {
        params: { mode: random.pick(['token_truncate', 'token_mask', 'sequence_truncate', 'sequence_mask', 'batch_mask']), clip_min: random.pick([null, 0, 0.5]), clip_max: random.pick([1.2, 2, 3]) },
        inputs: { ...inputs, ...(random.chance(0.4) && { tool_mask: random.mask() }) },
      };
    },
    answer: trlWeights,
  },
  {
    library: 'TRL',
    function: 'GRPOTrainer.get_off_policy_mask',
    name: 'off_policy_mask',
    draw: (random) => ({
      params: { off_policy_threshold: random.pick([0, 0.02, 0.25, 0.25, 0.5]) },
      inputs: { ...drawPolicies(random, 'log_probs', 'sampling_log_probs'), advantages: random.list(random.batch, () => random.pick([0, random.number(-2, 2)])).map((a) => [a]) },
    }),
    answer: ({ params, inputs }) => ({ keep: trlKeep(inputs.log_probs, inputs.sampling_log_probs, inputs.advantages.flat(), inputs.mask, params.off_policy_threshold).map((x) => [x]) }),
  },
  {
    library: 'TRL',
    function: 'GRPOTrainer.get_gamma_weights',
    name: 'vespo_gamma_weights',
    draw: (random) => ({
      params: { k_pos: random.pick([2, 1]), lambda_pos: random.pick([3, 0.5]), k_neg: random.pick([3, 1]), lambda_neg: random.pick([2, 0]) },
      inputs: {
        log_ratio: random.numbers(-0.5, 0.5),
        mask: random.mask(),
        advantages: random.list(random.batch, () => random.pick([0, random.number(-2, 2)])).map((a) => [a]),
        importance_sampling_ratio: random.pick([null, random.numbers(0.25, 2)]),
      },
    }),
    answer: ({ params, inputs }) => ({ phi: trlGamma(inputs.log_ratio, inputs.advantages.flat(), inputs.mask, inputs.importance_sampling_ratio, params).map((x) => [x]) }),
  },
  { library: 'verl', function: 'compute_rollout_correction_and_rejection_mask', name: 'rollout_correction', draw: drawVerl, answer: verlCorrection },
];
