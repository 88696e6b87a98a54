/** The policy losses of SkyRL, verl and OpenRLHF, token by token. */
import { clamp, mean, sum, valid as known } from './arithmetic';
import { Raised, type Given, type Reference } from './own';
import type { Random, Table } from './random';
import { Scalar, slopes, total } from './scalar';
import { correctedBySkyrl, drawCorrection } from './off_policy';

export type Losses = Scalar[][];
export type Mask = Table;

/** A batch with its log-probs as scalars. */
interface Batch {
  l: Losses;
  old: Table;
  rollout: Table | null;
  a: Table;
  mask: Mask;
  /** (ℓ − ℓ_old) at every token. */
  each(f: (l: Scalar, b: number, t: number) => Scalar): Losses;
  /** Mean over the valid tokens, of numbers. */
  mean(x: (b: number, t: number) => number, extra?: number): number;
  count: number;
}

function batchOf({ log_probs: logProbs, old_log_probs: old, rollout_log_probs: rollout, advantages, mask: given }: Given['inputs']): Batch {
  const l = (logProbs as Table).map((row) => row.map((x) => new Scalar(x)));
  const mask: Mask = given ?? l.map((row) => row.map(() => 1));
  const count = sum(mask.flat());
  return {
    l,
    old: old ?? logProbs,
    rollout: rollout ?? null,
    mask,
    count,
    a: (advantages as (number | number[])[]).map((x, b) => (Array.isArray(x) ? (x.length === 1 ? l[b]!.map(() => x[0]!) : x) : l[b]!.map(() => x))),
    each: (f) => l.map((row, b) => row.map((x, t) => f(x, b, t))),
    mean: (x, extra = 0) => sum(mask.flatMap((row, b) => row.map((m, t) => (m ? x(b, t) : 0)))) / (extra > 0 ? count + extra : Math.max(1, count)),
  };
}

const done = (loss: Scalar, { l }: Batch, metrics: Record<string, number | null>) => ({ loss: loss.value, grad_log_probs: slopes(loss, l), metrics });

const maskedSum = (losses: Losses, mask: Mask): Scalar => total(losses.flatMap((row, b) => row.filter((_, t) => mask[b]![t])));
export const rowSums = (losses: Losses, mask: Mask): Scalar[] => losses.map((row, b) => total(row.filter((_, t) => mask[b]![t])));
export const lengths = (mask: Mask): number[] => mask.map((row) => sum(row));

/** −min(ρA, clip(ρ)A), and whether the clipped side is the smaller. */
function surrogate(ratio: Scalar, a: number, low: number, high: number, dual: number | null = null): { loss: Scalar; clipped: boolean; dual: boolean } {
  const [plain, clipped] = [ratio.mul(-a), ratio.clamp(1 - low, 1 + high).mul(-a)];
  const worse = plain.max(clipped);
  const bound = dual === null || a >= 0 ? null : new Scalar(-dual * a);
  return { loss: bound ? worse.min(bound) : worse, clipped: clipped.value > plain.value, dual: bound !== null && worse.value > bound.value };
}

// ---- drawing

function drawTokens(random: Random): Given['inputs'] {
  const logProbs = random.logProbs();
  return { log_probs: logProbs, old_log_probs: random.near(logProbs), advantages: random.chance(0.1) ? random.table(() => 0) : random.numbers(-2, 2), mask: random.mask() };
}

const drawn = (params: (random: Random) => Given['params'], more: (random: Random, inputs: Given['inputs']) => Given['inputs'] = () => ({})) => (random: Random): Given => {
  const inputs = drawTokens(random);
  return { params: params(random), inputs: { ...inputs, ...more(random, inputs) } };
};

// ---- SkyRL: sums over the mask

type Plain = (batch: Batch, params: Given['params']) => { losses: Losses; metrics: Record<string, number | null> };

const skyrlLoss = (plain: Plain) => ({ params, inputs }: Given) => {
  const batch = batchOf(inputs);
  const { losses, metrics } = plain(batch, params);
  if (!params.off_policy_correction || !batch.rollout) return done(maskedSum(losses, batch.mask), batch, metrics);
  const { factor, mask, metrics: more } = correctedBySkyrl(batch.old, batch.rollout, batch.mask, params.off_policy_correction);
  return done(maskedSum(losses.map((row, b) => row.map((x, t) => x.mul(factor[b]![t]!))), mask), batch, { ...metrics, ...more });
};

const bounded = (x: Scalar) => x.clamp(-20, 20);

const skyrlPpo: Plain = (batch, { eps_clip_low: low, eps_clip_high: high, policy_loss_type: type, clip_ratio_c: c }) => {
  const found = batch.l.map((row, b) => row.map((l, t) => surrogate(bounded(l.sub(batch.old[b]![t]!)).exp(), batch.a[b]![t]!, low, high, type === 'dual_clip' ? c : null)));
  return { losses: found.map((row) => row.map(({ loss }) => loss)), metrics: { clip_ratio: batch.mean((b, t) => Number(found[b]![t]!.clipped)) } };
};

/** exp of a sequence's mean log-ratio, with the slope of the token. */
function sequenceRatios(batch: Batch, old: Table, most: number | null): Losses {
  return batch.l.map((row, b) => {
    const at = row.flatMap((_, t) => (batch.mask[b]![t] ? [t] : []));
    const centre = mean(at.map((t) => row[t]!.value - old[b]![t]!));
    return row.map((l) => l.sub(l.detach()).add(centre).clamp(null, most).exp());
  });
}

const skyrlGspo: Plain = (batch, { eps_clip_low: low, eps_clip_high: high }) => {
  const found = sequenceRatios(batch, batch.old, 10).map((row, b) => row.map((ratio, t) => surrogate(ratio, batch.a[b]![t]!, low, high)));
  return { losses: found.map((row) => row.map(({ loss }) => loss)), metrics: { clip_ratio: batch.mean((b, t) => Number(found[b]![t]!.clipped)) } };
};

const skyrlCispo: Plain = (batch, { cispo_anchor: anchor = 'old', cispo_eps_clip_low: low, cispo_eps_clip_high: high }) => {
  if (anchor === 'rollout' && !batch.rollout) throw new Raised("AssertionError: rollout_logprobs are required for cispo with cispo_anchor='rollout'");
  const from = anchor === 'rollout' ? batch.rollout! : batch.old;
  const ratio = batch.l.map((row, b) => row.map((l, t) => Math.exp(clamp(l.value - from[b]![t]!, -20, 20))));
  const weight = ratio.map((row) => row.map((r) => clamp(r, 1 - low, 1 + high)));
  const ratios = known(ratio, batch.mask);
  return {
    losses: batch.each((l, b, t) => l.mul(-weight[b]![t]! * batch.a[b]![t]!)),
    metrics: {
      clip_ratio: batch.mean((b, t) => Number(ratio[b]![t]! < 1 - low || ratio[b]![t]! > 1 + high)),
      'cispo/ratio_mean': batch.mean((b, t) => ratio[b]![t]!),
      'cispo/ratio_clamped_mean': batch.mean((b, t) => weight[b]![t]!),
      ...(ratios.length > 0 && { 'cispo/ratio_max': Math.max(...ratios), 'cispo/ratio_min': Math.min(...ratios) }),
    },
  };
};

const skyrlSapo: Plain = (batch, { tau_pos: pos, tau_neg: neg }) => ({
  losses: batch.each((l, b, t) => {
    const tau = batch.a[b]![t]! > 0 ? pos : neg;
    return bounded(l.sub(batch.old[b]![t]!)).exp().sub(1).mul(tau).sigmoid().mul(4 / tau).mul(-batch.a[b]![t]!);
  }),
  metrics: { clip_ratio: 0 },
});

const skyrlRolloutIs: Plain = (batch, { eps_clip_low: low, eps_clip_high: high }) => {
  if (!batch.rollout) throw new Raised('AssertionError: rollout_logprobs are required for rollout_is');
  const ratio = batch.l.map((row, b) => row.map((l, t) => Math.exp(clamp(l.value - batch.rollout![b]![t]!, -20, 20))));
  const weight = ratio.map((row) => row.map((r) => (r > 1 - low && r < 1 + high ? r : 0)));
  return {
    losses: batch.each((l, b, t) => l.mul(-weight[b]![t]! * batch.a[b]![t]!)),
    metrics: { clip_ratio: batch.mean((b, t) => Number(weight[b]![t] === 0)), importance_ratio: batch.mean((b, t) => ratio[b]![t]!) },
  };
};

const skyrlDppo: Plain = (batch, { dppo_type: type, delta_low: low, delta_high: high }) => {
  const from = batch.rollout ?? batch.old;
  const out = batch.l.map((row, b) =>
    row.map((l, t) => {
      const [logQ, logP, a] = [from[b]![t]!, l.value, batch.a[b]![t]!];
      const [p, q] = [Math.exp(logP), Math.exp(logQ)];
      const distance = type === 'binary_tv' ? Math.abs(p - q) : q * (logQ - logP) + (1 - q) * Math.log((1 - q) / (1 - p));
      const ratio = Math.exp(clamp(logP - logQ, -20, 20));
      return (a > 0 && ratio > 1 && distance > high) || (a < 0 && ratio < 1 && distance > low);
    })
  );
  return {
    losses: batch.each((l, b, t) => (out[b]![t] ? new Scalar(0) : bounded(l.sub(from[b]![t]!)).exp().mul(-batch.a[b]![t]!))),
    metrics: { clip_ratio: batch.mean((b, t) => Number(out[b]![t])) },
  };
};

const plainRatio = (batch: Batch): Losses => batch.each((l, b, t) => l.sub(batch.old[b]![t]!).exp());

function covariances(batch: Batch): Table {
  const centre = batch.mean((b, t) => batch.a[b]![t]!);
  const middle = batch.mean((b, t) => batch.l[b]![t]!.value);
  return batch.l.map((row, b) => row.map((l, t) => (batch.a[b]![t]! - centre) * (l.value - middle)));
}

/** All candidates are taken, or none is one: chance has no say. */
function clipCov(batch: Batch, low: number, high: number, lower: number, upper: number) {
  const cov = covariances(batch);
  const found = plainRatio(batch).map((row, b) => row.map((ratio, t) => surrogate(ratio, batch.a[b]![t]!, low, high)));
  const taken = (b: number, t: number) => !found[b]![t]!.clipped && cov[b]![t]! > lower && cov[b]![t]! < upper;
  return { losses: found.map((row, b) => row.map(({ loss }, t) => (taken(b, t) ? new Scalar(0) : loss))), share: batch.mean((b, t) => Number(taken(b, t))) };
}

function klCov(batch: Batch, share: number, coefficient: number): Losses {
  const cov = covariances(batch);
  const places = batch.mask.flatMap((row, b) => row.flatMap((m, t) => (m ? [[b, t] as const] : []))).sort(([b, t], [c, s]) => cov[c]![s]! - cov[b]![t]!);
  const chosen = new Set(places.slice(0, Math.max(1, Math.trunc(places.length * share))).map(([b, t]) => `${b} ${t}`));
  return batch.each((l, b, t) => {
    const d = l.sub(batch.old[b]![t]!);
    const plain = d.exp().mul(-batch.a[b]![t]!);
    return chosen.has(`${b} ${t}`) ? plain.add(d.abs().mul(coefficient)) : plain;
  });
}

const skyrlClip = (random: Random) => ({ eps_clip_low: random.pick([0.2, 0.1, 0]), eps_clip_high: random.pick([0.2, 0.28, 0]) });

/** The sampler's log-probs, and at times the correction for them. */
const sampled = (params: (random: Random) => Given['params'], always = false) => (random: Random): Given => {
  const inputs = drawTokens(random);
  const corrects = random.chance(0.4);
  return {
    params: { ...params(random), ...(corrects && { off_policy_correction: drawCorrection(random) }) },
    inputs: {
      ...inputs,
      ...((corrects || always) && { rollout_log_probs: (always ? inputs.log_probs : inputs.old_log_probs).map((row: number[]) => row.map((x) => Math.min(-1 / 256, x + random.number(-0.4, 0.4)))) }),
    },
  };
};

const skyrl = (called: string, name: string, draw: Reference['draw'], plain: Plain): Reference => ({ library: 'SkyRL', function: called, name, draw, answer: skyrlLoss(plain) });

/** Log-probs under which no probability is 1, so that no coin is certain. */
const uncertain = (draw: Reference['draw']): Reference['draw'] => (random) => {
  const { params, inputs } = draw(random);
  const below = (x: Table) => x.map((row) => row.map((l) => Math.min(-1 / 64, l)));
  return {
    params,
    inputs: { ...inputs, log_probs: below(inputs.log_probs), old_log_probs: below(inputs.old_log_probs), ...(inputs.rollout_log_probs && { rollout_log_probs: below(inputs.rollout_log_probs) }) },
  };
};

/** Advantages without ties, so that the choice of tokens has one answer; two tokens have the same covariance, and are taken together. */
const distinct = (draw: Reference['draw']): Reference['draw'] => (random) => {
  const { params, inputs } = draw(random);
  let place = 0;
  const advantages = (inputs.advantages as Table).map((row) => row.map((a) => a + ++place / 8192));
  const mask = (inputs.mask as Table).map((row, b) => (b === 0 ? row.map(() => 1) : row));
  const share = sum(mask.flat()) === 2 ? Object.fromEntries(['kl_cov_ratio', 'kl_cov_frac'].filter((key) => key in params).map((key) => [key, 1])) : {};
  return { params: { ...params, ...share }, inputs: { ...inputs, advantages, mask } };
};

const skyrlLosses: Reference[] = [
  ...['regular', 'dual_clip'].map((type) => skyrl('ppo_policy_loss', type, sampled((random) => ({ ...skyrlClip(random), clip_ratio_c: random.pick([3, 1.5]), policy_loss_type: type })), skyrlPpo)),
  skyrl('gspo_policy_loss', 'gspo', sampled((random) => ({ eps_clip_low: random.pick([0.2, 0.0003]), eps_clip_high: random.pick([0.2, 0.0004]) })), skyrlGspo),
  skyrl(
    'compute_policy_loss_cispo',
    'cispo',
    sampled((random) => ({ cispo_anchor: random.pick(['old', 'rollout']), cispo_eps_clip_low: random.pick([1, 0.2]), cispo_eps_clip_high: random.pick([4, 0.2]) }), true),
    skyrlCispo,
  ),
  skyrl('sapo_policy_loss', 'sapo', sampled((random) => ({ tau_pos: random.pick([1, 0.5]), tau_neg: random.pick([1.05, 2]) })), skyrlSapo),
  skyrl('rollout_is_policy_loss', 'rollout_is', sampled((random) => ({ eps_clip_low: random.pick([0.2, 0.5]), eps_clip_high: random.pick([0.2, 4]) }), true), skyrlRolloutIs),
  ...['binary_tv', 'binary_kl'].map((type) =>
    skyrl('dppo_policy_loss', `dppo_${type}`, uncertain(sampled((random) => ({ dppo_type: type, delta_low: random.pick([0.2, 0.05]), delta_high: random.pick([0.2, 0.05]) }), true)), skyrlDppo)
  ),
  skyrl('cross_entropy_loss', 'cross_entropy', drawn(() => ({})), (batch) => ({ losses: batch.each((l) => l.neg()), metrics: { clip_ratio: 0 } })),
  skyrl('importance_sampling_loss', 'importance_sampling', drawn(() => ({})), (batch) => ({
    losses: plainRatio(batch).map((row, b) => row.map((ratio, t) => ratio.mul(-batch.a[b]![t]!))),
    metrics: { clip_ratio: 0, importance_ratio: batch.mean((b, t) => Math.exp(batch.l[b]![t]!.value - batch.old[b]![t]!)) },
  })),
  skyrl(
    'compute_policy_loss_clip_cov',
    'clip_cov',
    distinct(drawn((random) => ({ ...skyrlClip(random), clip_cov_ratio: 1, clip_cov_lb: random.pick([0.2, 50]), clip_cov_ub: 100 }))),
    (batch, params) => {
      const { losses, share } = clipCov(batch, params.eps_clip_low, params.eps_clip_high, params.clip_cov_lb, params.clip_cov_ub);
      return { losses, metrics: { clip_ratio: share } };
    },
  ),
  skyrl('compute_policy_loss_kl_cov', 'kl_cov', distinct(drawn((random) => ({ kl_cov_frac: random.pick([0.0002, 0.2, 1]), ppo_kl_coef: random.pick([1, 0.5]) }))), (batch, params) => ({
    losses: klCov(batch, params.kl_cov_frac, params.ppo_kl_coef),
    metrics: { clip_ratio: 0 },
  })),
];

// ---- verl: means by loss_agg_mode

/** verl's `agg_loss`. */
export function aggregated(losses: Losses, mask: Mask, params: Given['params'], mode: string = params.loss_agg_mode): Scalar {
  const scale = params.dp_size ?? 1;
  const rows = rowSums(losses, mask);
  const filled = lengths(mask).filter((n) => n > 0).length;
  const all = total(rows);
  switch (mode) {
    case 'token-mean':
      return all.mul(scale).div(params.batch_num_tokens ?? sum(lengths(mask)));
    case 'seq-mean-token-sum':
      return all.mul(scale).div(params.global_batch_size ?? filled);
    case 'seq-mean-token-mean':
      return total(rows.map((row, b) => row.div(lengths(mask)[b]! + 1e-8))).mul(scale).div(params.global_batch_size ?? filled);
    case 'seq-mean-token-sum-norm':
      return all.div(params.loss_scale_factor ?? mask[0]!.length);
    default:
      throw new Raised(`ValueError: Invalid loss_agg_mode: ${mode}`);
  }
}

export const verlModes = ['token-mean', 'seq-mean-token-sum', 'seq-mean-token-mean', 'seq-mean-token-sum-norm'];

const verlMeans = (random: Random, modes: string[] | null = verlModes): Given['params'] => {
  const many = random.chance(0.3);
  return {
    ...(modes && { loss_agg_mode: random.pick(modes) }),
    ...(many && { dp_size: 2, batch_num_tokens: 20 + random.below(20), global_batch_size: 6 + random.below(6) }),
    loss_scale_factor: random.pick([null, 20]),
  };
};

/** Weights of the sampler's mismatch, and a first row that holds something to take means over. */
const verlDrawn = (params: (random: Random) => Given['params']): Reference['draw'] => {
  const draw = drawn(params, (random) => ({ rollout_is_weights: random.chance(0.4) ? random.numbers(0.25, 2) : null }));
  return (random) => {
    const { params: made, inputs } = draw(random);
    return { params: made, inputs: { ...inputs, mask: inputs.mask.map((row: number[], b: number) => (b === 0 ? [1, ...row.slice(1)] : row)) } };
  };
};

type VerlLoss = (batch: Batch, params: Given['params'], clips: { low: number; high: number }) => { losses: Losses; metrics: Record<string, number> };

function verlLoss(plain: VerlLoss, mode?: string) {
  return ({ params, inputs }: Given) => {
    const batch = batchOf(inputs);
    const { losses, metrics } = plain(batch, params, { low: params.clip_ratio_low ?? params.clip_ratio, high: params.clip_ratio_high ?? params.clip_ratio });
    const weights = inputs.rollout_is_weights as Table | null | undefined;
    const weighted = weights ? losses.map((row, b) => row.map((x, t) => x.mul(weights[b]![t]!))) : losses;
    return done(aggregated(weighted, batch.mask, params, mode ?? params.loss_agg_mode), batch, Object.fromEntries(Object.entries(metrics).map(([key, value]) => [`actor/${key}`, value])));
  };
}

const verlMean = (batch: Batch, x: (b: number, t: number) => number): number => batch.mean(x, 1e-8);
const verlKl = (batch: Batch, limit: number = Infinity) => verlMean(batch, (b, t) => -clamp(batch.l[b]![t]!.value - batch.old[b]![t]!, -limit, limit));

const verlVanilla: VerlLoss = (batch, { clip_ratio_c: c }, { low, high }) => {
  const found = batch.l.map((row, b) => row.map((l, t) => surrogate(bounded(l.sub(batch.old[b]![t]!)).exp(), batch.a[b]![t]!, low, high, c)));
  return {
    losses: found.map((row) => row.map(({ loss }) => loss)),
    metrics: { pg_clipfrac: verlMean(batch, (b, t) => Number(found[b]![t]!.clipped)), ppo_kl: verlKl(batch, 20), pg_clipfrac_lower: verlMean(batch, (b, t) => Number(found[b]![t]!.dual)) },
  };
};

const verlGspo: VerlLoss = (batch, _, { low, high }) => {
  const found = sequenceRatios(batch, batch.old, 10).map((row, b) => row.map((ratio, t) => surrogate(ratio, batch.a[b]![t]!, low, high)));
  return {
    losses: found.map((row) => row.map(({ loss }) => loss)),
    metrics: { pg_clipfrac: verlMean(batch, (b, t) => Number(found[b]![t]!.clipped)), ppo_kl: verlKl(batch), pg_clipfrac_lower: 0 },
  };
};

const verlSapo: VerlLoss = (batch, params) => ({ losses: skyrlSapo(batch, params).losses, metrics: { pg_clipfrac: 0, ppo_kl: verlKl(batch, 20), pg_clipfrac_lower: 0 } });

const verlCispo: VerlLoss = (batch, _, { low, high }) => {
  const ratio = batch.l.map((row, b) => row.map((l, t) => Math.exp(clamp(l.value - batch.old[b]![t]!, -20, 20))));
  return {
    losses: batch.each((l, b, t) => l.mul(-clamp(ratio[b]![t]!, 1 - low, 1 + high) * batch.a[b]![t]!)),
    metrics: { pg_clipfrac: verlMean(batch, (b, t) => Number(ratio[b]![t] !== clamp(ratio[b]![t]!, 1 - low, 1 + high))), ppo_kl: verlKl(batch, 20), pg_clipfrac_lower: 0 },
  };
};

/** exp of the mean of log-ratios, each clipped towards where its advantage pulls; rows of which nothing is left count. */
function verlGeoMean({ params, inputs }: Given) {
  const batch = batchOf(inputs);
  const [low, high] = [params.clip_ratio_low ?? params.clip_ratio, params.clip_ratio_high ?? params.clip_ratio];
  const weights = inputs.rollout_is_weights as Table | null | undefined;
  const d = batch.each((l, b, t) => l.sub(batch.old[b]![t]!));
  const clipped = (b: number, t: number) => {
    const sign = Math.sign(batch.a[b]![t]!);
    return { sign, plain: d[b]![t]!.mul(sign), bounded: d[b]![t]!.clamp(-low, high).mul(sign) };
  };
  const rows = batch.l.map((row, b) => {
    const at = row.flatMap((_, t) => (batch.mask[b]![t] ? [t] : []));
    const n = at.length + 1e-8;
    const log = total(at.map((t) => {
      const { sign, plain, bounded: within } = clipped(b, t);
      return plain.min(within).mul(sign);
    })).div(n);
    const a = sum(at.map((t) => batch.a[b]![t]!)) / n;
    const weight = weights ? Math.exp(sum(at.map((t) => Math.log(weights[b]![t]! + 1e-10))) / n) : 1;
    return log.exp().mul(-a * weight);
  });
  const out = (side: number) => verlMean(batch, (b, t) => Number(Math.sign(batch.a[b]![t]!) === side && (d[b]![t]!.value > high || d[b]![t]!.value < -low)));
  return done(total(rows).div(rows.length), batch, { 'actor/pg_clipfrac': out(1), 'actor/ppo_kl': verlKl(batch), 'actor/pg_clipfrac_lower': out(-1) });
}

const verl = (called: string, name: string, params: (random: Random) => Given['params'], answer: Reference['answer'], wrap = (draw: Reference['draw']) => draw): Reference => ({
  library: 'verl',
  function: called,
  name,
  draw: wrap(verlDrawn(params)),
  answer,
});
const verlClip = (random: Random) => ({ clip_ratio: random.pick([0.2, 0.15]), clip_ratio_low: random.pick([null, 0.2, 0]), clip_ratio_high: random.pick([null, 0.28, 0]) });
const rowMode = 'seq-mean-token-mean';

const verlLosses: Reference[] = [
  verl('compute_policy_loss_vanilla', 'vanilla', (random) => ({ ...verlClip(random), clip_ratio_c: random.pick([3, 1.5]), ...verlMeans(random) }), verlLoss(verlVanilla)),
  verl(
    'compute_policy_loss_gspo',
    'gspo',
    (random) => ({ clip_ratio: 0.2, clip_ratio_low: random.pick([0.0003, 0.2]), clip_ratio_high: random.pick([0.0004, 0.28]), ...verlMeans(random, null) }),
    verlLoss(verlGspo, rowMode),
  ),
  verl('compute_policy_loss_sapo', 'sapo', (random) => ({ tau_pos: random.pick([1, 2]), tau_neg: random.pick([1.05, 0.5]), ...verlMeans(random, null) }), verlLoss(verlSapo, rowMode)),
  verl(
    'compute_policy_loss_cispo',
    'cispo',
    (random) => ({ clip_ratio: 0.2, clip_ratio_low: random.pick([0.2, 10]), clip_ratio_high: random.pick([0.2, 0.28]), ...verlMeans(random) }),
    verlLoss(verlCispo),
  ),
  verl(
    'compute_policy_loss_geo_mean',
    'geo_mean',
    (random) => ({ clip_ratio: 0.2, clip_ratio_low: random.pick([null, 0.4]), clip_ratio_high: random.pick([null, 0.4]), ...verlMeans(random, null) }),
    verlGeoMean,
  ),
  verl('compute_policy_loss_gpg', 'gpg', (random) => verlMeans(random), verlLoss((batch) => ({ losses: batch.each((l, b, t) => l.mul(-batch.a[b]![t]!)), metrics: {} }))),
  {
    library: 'verl',
    function: 'compute_policy_loss_reinforce',
    name: 'reinforce',
    draw(random) {
      const { params, inputs } = verlDrawn((each) => verlMeans(each))(random);
      const { old_log_probs: rollout, ...rest } = inputs;
      return { params, inputs: { ...rest, rollout_log_probs: rollout } };
    },
    answer: verlLoss((batch) => ({ losses: batch.each((l, b, t) => l.mul(-batch.a[b]![t]!)), metrics: {} })),
  },
  verl(
    'compute_policy_loss_kl_cov',
    'kl_cov',
    (random) => ({ kl_cov_ratio: random.pick([0.0002, 0.2, 1]), ppo_kl_coef: random.pick([1, 0.5]), ...verlMeans(random) }),
    verlLoss((batch, params) => ({
      losses: klCov(batch, params.kl_cov_ratio, params.ppo_kl_coef),
      metrics: { ppo_kl: verlMean(batch, (b, t) => Math.abs(batch.l[b]![t]!.value - batch.old[b]![t]!)) },
    })),
    distinct,
  ),
  verl(
    'compute_policy_loss_clip_cov',
    'clip_cov',
    (random) => ({ ...verlClip(random), clip_cov_ratio: 1, clip_cov_lb: random.pick([0.2, 50]), clip_cov_ub: 100, ...verlMeans(random) }),
    verlLoss((batch, params, { low, high }) => {
      const { losses } = clipCov(batch, low, high, params.clip_cov_lb, params.clip_cov_ub);
      return { losses, metrics: { ppo_kl: verlKl(batch) } };
    }),
    distinct,
  ),
];

// ---- OpenRLHF

/** OpenRLHF's `aggregate_loss`. */
export function openrlhfAggregated(losses: Losses, mask: Mask, params: Given['params'], tokens: boolean): Scalar {
  const scale = ((tokens ? params.batch_num_tokens : params.global_batch_size) ?? null) === null ? 1 : (params.dp_size ?? 1);
  const rows = rowSums(losses, mask);
  if (tokens) return total(rows).mul(scale).div(params.batch_num_tokens ?? Math.max(1, sum(lengths(mask))));
  const filled = lengths(mask).filter((n) => n > 0).length;
  return total(rows.map((row, b) => row.div(lengths(mask)[b]! + 1e-8))).mul(scale).div(params.global_batch_size ?? Math.max(1, filled));
}

function openrlhf({ params, inputs }: Given) {
  const batch = batchOf(inputs);
  const { clip_eps_low: low, clip_eps_high: high, dual_clip: dual, policy_loss_type: type, enable_vllm_is_correction: corrects } = params;
  const d = (b: number, t: number) => batch.old[b]![t]! - batch.l[b]![t]!.value;
  const from = type === 'gspo' && corrects ? batch.rollout! : batch.old;
  const ratio = type === 'gspo'
    ? batch.l.map((row, b) => {
      const at = row.flatMap((_, t) => (batch.mask[b]![t] ? [t] : []));
      const log = total(at.map((t) => row[t]!.sub(from[b]![t]!))).div(Math.max(1, at.length));
      return row.map(() => log.exp());
    })
    : batch.each((l, b, t) => bounded(l.sub(batch.old[b]![t]!)).exp());
  const found = ratio.map((row, b) => row.map((r, t) => surrogate(r, batch.a[b]![t]!, low, high, dual)));
  let losses = found.map((row) => row.map(({ loss }) => loss));
  const metrics: Record<string, number> = { clip_ratio: batch.mean((b, t) => Number(found[b]![t]!.clipped)), ppo_kl: batch.mean(d) };
  if (corrects && type !== 'gspo') {
    const [least, most] = params.vllm_is_truncated_threshold as [number, number];
    const log = (b: number, t: number) => batch.old[b]![t]! - batch.rollout![b]![t]!;
    const weight = (b: number, t: number) => {
      const plain = Math.exp(log(b, t));
      if (params.vllm_is_correction_type === 'tis') return clamp(plain, least, most);
      if (params.vllm_is_correction_type === 'icepop') return plain >= least && plain <= most ? plain : 0;
      const geometric = Math.exp(mean(batch.mask[b]!.flatMap((m, s) => (m ? [log(b, s)] : []))));
      return geometric >= least && geometric <= most ? plain : 0;
    };
    losses = losses.map((row, b) => row.map((x, t) => x.mul(weight(b, t))));
    metrics.vllm_kl = batch.mean((b, t) => -log(b, t));
  }
  return done(openrlhfAggregated(losses, batch.mask, params, params.token_level_loss && type !== 'gspo'), batch, metrics);
}

const openrlhfNames = ['ppo', 'gspo', 'tis', 'icepop', 'seq_mask_tis'];
const openrlhfLosses: Reference[] = openrlhfNames.map((name) => ({
  library: 'OpenRLHF',
  function: 'PolicyLoss.forward',
  name,
  draw(random) {
    const corrects = !['ppo', 'gspo'].includes(name);
    const inputs = drawTokens(random);
    const rollout = (inputs.old_log_probs as Table).map((row) => row.map((x) => Math.min(0, x + random.number(-0.5, 0.5))));
    return {
      params: {
        policy_loss_type: name === 'gspo' ? 'gspo' : 'ppo',
        clip_eps_low: random.pick([0.2, 0]),
        clip_eps_high: random.pick([0.2, 0.28]),
        dual_clip: name === 'ppo' ? random.pick([null, 1.25, 3]) : null,
        token_level_loss: random.chance(0.6),
        enable_vllm_is_correction: corrects,
        vllm_is_truncated_threshold: corrects ? [0.5, 1.2] : null,
        vllm_is_correction_type: corrects ? name.replaceAll('_', '-') : 'tis',
      },
      inputs: { ...inputs, ...(corrects && { rollout_log_probs: rollout }), mask: inputs.mask.map((row: number[], b: number) => (b === 0 ? [1, ...row.slice(1)] : row)) },
    };
  },
  answer: openrlhf,
}));

export const references: Reference[] = [...skyrlLosses, ...verlLosses, ...openrlhfLosses];
