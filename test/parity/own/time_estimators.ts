/** Estimators that run along time: those of the language-model libraries. */
import { clamp, map2, masked, mean, membersOf, spread, std, sum, totals, valid, whiten, whitenFloored, zeros } from './arithmetic';
import { divergence } from './kl';
import type { Given, Reference } from './own';
import type { Random, Table } from './random';

/** Runs a recurrence from the last token of each row to the first. */
function backwards<S>(like: Table, start: (b: number) => S, step: (state: S, b: number, t: number) => [S, number]): Table {
  return like.map((row, b) => {
    const out = row.map(() => 0);
    let state = start(b);
    for (let t = row.length - 1; t >= 0; t--) [state, out[t]] = step(state, b, t);
    return out;
  });
}

const add = (x: Table, y: Table): Table => map2(x, (value, b, t) => value + y[b]![t]!);

function drawTokens(random: Random, params: Record<string, unknown>): Given {
  const mask = random.mask();
  const offset = random.chance(0.15) ? 1e4 : 0;
  return { params, inputs: { rewards: random.rewards(mask), mask, values: random.table(() => offset + random.number(-2, 2)) } };
}

const drawGae = (random: Random) => drawTokens(random, { gamma: random.discount(), lambd: random.discount() });
const drawReturns = (random: Random) => drawTokens(random, { gamma: random.discount() });

/** Every column is a step. */
function plainGae(rewards: Table, values: Table, gamma: number, lambda: number): Table {
  return backwards(rewards, () => ({ a: 0, v: 0 }), ({ a, v }, b, t) => {
    const now = rewards[b]![t]! + gamma * v - values[b]![t]! + gamma * lambda * a;
    return [{ a: now, v: values[b]![t]! }, now];
  });
}

/** What stands at a masked column is what is carried past it; λ of each row. */
function carriedGae(rewards: Table, values: Table, mask: Table, gamma: number, lambda: (b: number) => number): Table {
  return backwards(rewards, () => ({ a: 0, v: 0 }), (state, b, t) => {
    if (!mask[b]![t]) return [state, state.a];
    const now = rewards[b]![t]! + gamma * state.v - values[b]![t]! + gamma * lambda(b) * state.a;
    return [{ a: now, v: values[b]![t]! }, now];
  });
}

function skyrlGae({ params, inputs }: Given) {
  const advantages = plainGae(inputs.rewards, inputs.values, params.gamma, params.lambd);
  return { advantages: whiten(advantages, inputs.mask), returns: add(advantages, inputs.values) };
}

function verlGae({ params, inputs }: Given) {
  const advantages = carriedGae(inputs.rewards, inputs.values, inputs.mask, params.gamma, () => params.lambd);
  return { advantages: whiten(advantages, inputs.mask, 1e-8), returns: add(advantages, inputs.values) };
}

/** The running return starts anew behind each masked token. */
const reinforcePlusPlus = (extra: number) => ({ params, inputs }: Given) => {
  const { rewards, mask } = inputs as Record<string, Table>;
  const returns = backwards(rewards!, () => 0, (g, b, t) => {
    const now = rewards![b]![t]! + params.gamma * g;
    return [now * mask![b]![t]!, now];
  });
  return { advantages: masked(whiten(returns, mask!, extra), mask!), returns };
};

function remax({ inputs }: Given) {
  const { rewards, mask } = inputs as Record<string, Table>;
  const returns = backwards(rewards!, () => 0, (g, b, t) => {
    const now = g + rewards![b]![t]! * mask![b]![t]!;
    return [now, now];
  });
  return { returns, advantages: map2(returns, (g, b, t) => g - inputs.reward_baselines[b] * mask![b]![t]!) };
}

function openrlhfGae(rewards: Table, values: Table, mask: Table, gamma: number, lambda: number) {
  const [r, v] = [masked(rewards, mask), masked(values, mask)];
  const advantages = plainGae(r, v, gamma, lambda);
  return { advantages, returns: add(advantages, v) };
}

const discounted = (rewards: Table, mask: Table, gamma: number): Table =>
  backwards(masked(rewards, mask), () => 0, (g, b, t) => {
    const now = (mask[b]![t] ? rewards[b]![t]! : 0) + gamma * g;
    return [now, now];
  });

/** A score a row at the last valid token, in an empty row at the last column. */
export const atTheEnd = (scores: readonly number[], mask: Table): Table =>
  mask.map((row, b) => {
    const last = row.lastIndexOf(1);
    return row.map((_, t) => (t === (last < 0 ? row.length - 1 : last) ? scores[b]! : 0));
  });

const openrlhfEstimators = ['dr_grpo', 'gae', 'group_norm', 'reinforce', 'reinforce_baseline', 'rloo'] as const;

function drawOpenrlhf(estimator: string) {
  return (random: Random): Given => {
    const samples = random.pick(estimator === 'rloo' || estimator === 'group_norm' ? [2, 3, 4, 6] : [1, 2, 3, 4]);
    const rows = samples * (1 + random.below(3));
    const timed = !['rloo', 'group_norm', 'dr_grpo'].includes(estimator);
    return {
      params: {
        estimator,
        n_samples_per_prompt: samples,
        gamma: timed ? random.discount() : 1,
        lambd: random.discount(),
        no_std_norm: random.chance(0.3),
        kl_coef: random.pick([0, 0.01, 0.1, -0.5]),
        reward_clip_range: random.pick([null, [-10, 10], [-0.5, 0.5]]),
      },
      inputs: {
        rewards: random.scores(rows),
        mask: random.mask(rows),
        kl: random.table(() => random.number(-0.5, 0.5), rows),
        group_ids: Array.from({ length: rows }, (_, b) => `p${Math.floor(b / samples)}`),
        ...(estimator === 'gae' && { values: random.table(() => random.number(-2, 2), rows) }),
      },
    };
  };
}

function openrlhfShaped({ params, inputs }: Given) {
  const { estimator, n_samples_per_prompt: n, reward_clip_range: range, kl_coef: coefficient, gamma, lambd: lambda } = params;
  const scores = inputs.rewards as number[];
  const groups = membersOf(inputs.group_ids).map((members) => members.map((row) => scores[row]!));
  const compared = scores.map((score, b) => {
    const group = groups[b]!;
    if (group.length === 1 && ['rloo', 'group_norm'].includes(estimator)) return NaN;
    if (estimator === 'rloo') return score - (sum(group) - score) / (n - 1);
    if (estimator === 'reinforce_baseline' || estimator === 'dr_grpo') return score - mean(group);
    return estimator === 'group_norm' ? (score - mean(group)) / (std(group) + 1e-9) : score;
  });
  const clipped = compared.map((x) => (range ? clamp(x, range[0], range[1]) : x));
  const placed = atTheEnd(clipped, inputs.mask);
  const rewards = map2(inputs.kl as Table, (kl, b, t) => placed[b]![t]! - Math.max(0, coefficient) * kl);
  const { advantages, returns } = estimator === 'gae'
    ? openrlhfGae(rewards, inputs.values, inputs.mask, gamma, lambda)
    : (() => {
      // What was compared is not discounted, whatever is asked for.
      const g = discounted(rewards, inputs.mask, estimator === 'reinforce' ? gamma : 1);
      return { advantages: g, returns: g };
    })();
  const whitens = ['gae', 'reinforce', 'reinforce_baseline'].includes(estimator);
  return {
    advantages: whitens ? whitenFloored(advantages, inputs.mask, { byStd: !params.no_std_norm }) : advantages,
    returns,
    total_reward: totals(rewards),
    group_reward_std: groups.map((group) => (group.length > 1 ? std(group) : 0)),
  };
}

/** The divergence that NeMo-RL takes off rewards, each token's, clamped before and behind. */
const nemoDivergence = (random: Random): Given['inputs'] => {
  const logProbs = random.logProbs();
  return { log_probs: logProbs, ref_log_probs: random.near(logProbs) };
};

const nemoKl = (inputs: Given['inputs'], type: string): Table => map2(inputs.log_probs as Table, (l, b, t) => divergence(type, l, inputs.ref_log_probs[b][t], { input: 20, output: 10 }).kl);

function drawNemoGae(decoupled: boolean) {
  return (random: Random): Given => {
    const usesKl = !decoupled && random.chance(0.4);
    return {
      params: {
        gamma: random.discount(),
        lambd: random.discount(),
        normalize_advantages: random.chance(0.4),
        lambd_value: decoupled ? random.pick([null, 0.9, 1]) : null,
        lambd_policy: decoupled ? random.pick([null, 0.5, 0.9, 0.99]) : null,
        length_adaptive_alpha: decoupled ? random.pick([0, 0.05, 0.5, 2]) : 0,
        use_kl_in_reward: usesKl,
        kl_coef: usesKl ? 0.05 : 0,
        kl_type: random.pick(['k1', 'k2', 'k3']),
      },
      inputs: { rewards: random.scores(), mask: random.mask(), values: random.numbers(-2, 2), ...(usesKl && nemoDivergence(random)) },
    };
  };
}

function nemoGae({ params, inputs }: Given) {
  const { mask, values } = inputs as Record<string, Table>;
  const lengths = totals(mask!);
  const outcome = atTheEnd(inputs.rewards, mask!);
  const rewards = params.use_kl_in_reward ? map2(nemoKl(inputs, params.kl_type), (kl, b, t) => outcome[b]![t]! - params.kl_coef * kl) : outcome;
  const policy = (b: number) => {
    const alpha = params.length_adaptive_alpha;
    return alpha > 0 ? clamp(1 - 1 / Math.max(alpha * lengths[b]!, 1), 0, 1) : (params.lambd_policy ?? params.lambd);
  };
  const carried = carriedGae(rewards, values!, mask!, params.gamma, policy);
  const forValues = carriedGae(rewards, values!, mask!, params.gamma, () => params.lambd_value ?? params.lambd);
  const advantages = masked(carried, mask!);
  const returns = add(forValues, values!);
  if (!params.normalize_advantages) return { advantages, returns };
  const known = valid(advantages, mask!);
  const centre = sum(known) / (known.length + 1e-8);
  // Of one number a tiny variance times infinity: all is divided by infinity, and 0/0 where the variance is 0.
  const bessel = known.length / (known.length - 1);
  const scale = (sum(known.map((x) => (x - centre) ** 2)) / (known.length + 1e-8)) * bessel;
  return { advantages: masked(map2(advantages, (x) => (x - centre) / Math.sqrt(scale + 1e-8)), mask!), returns };
}

function nemoReinforce({ params, inputs }: Given) {
  const scores = inputs.rewards as number[];
  const rows = params.minus_baseline ? membersOf(inputs.group_ids).map((members, b) => scores[b]! - mean(members.map((row) => scores[row]!))) : scores;
  const plain = spread(rows, inputs.mask);
  const shaped = params.use_kl_in_reward ? map2(nemoKl(inputs, params.kl_type), (kl, b, t) => plain[b]![t]! - params.kl_coef * kl) : plain;
  return { advantages: whitenFloored(shaped, inputs.mask) };
}

const rolled = (x: Table): Table => x.map((row) => [...row.slice(1), row[0]!]);

function drawNorm(random: Random, size: number): Given['params'] {
  return {
    mean_level: random.pick(['batch', 'group', null]),
    mean_leave1out: random.chance(0.3),
    std_level: random.pick(['batch', 'group', null]),
    std_unbiased: random.chance(0.5),
    group_size: size,
    eps: random.pick([1e-5, 1e-3]),
  };
}

/** AReaL's normaliser, over rows that fill whole groups. */
export function arealNormalised(x: Table, mask: Table, config: Given['params']): Table {
  const { mean_level: meanLevel, std_level: stdLevel, group_size: size, mean_leave1out: leaveOut, std_unbiased: unbiased, eps } = config;
  const peers = (level: string, b: number) => x.map((_, row) => level === 'batch' || Math.floor(row / size) === Math.floor(b / size));
  const among = (table: Table, level: string, b: number) => table.flatMap((row, other) => (peers(level, b)[other] ? row.filter((_, t) => mask[other]![t]) : []));
  const alone = (level: string) => level === 'group' && size === 1;
  const centred = map2(x, (value, b, t) => {
    if (!mask[b]![t]) return 0;
    if (meanLevel === null) return value;
    const values = among(x, meanLevel, b);
    if (!leaveOut) return value - mean(values);
    return alone(meanLevel) || values.length < 2 ? value : value - (sum(values) - value) / (values.length - 1);
  });
  return map2(centred, (value, b, t) => {
    if (!mask[b]![t] || stdLevel === null) return value;
    const values = among(centred, stdLevel, b);
    const ddof = unbiased ? 1 : 0;
    const scale = unbiased && (values.length <= 1 || alone(stdLevel)) ? 1 : Math.sqrt(sum(values.map((v) => v ** 2)) / (values.length - ddof));
    return value / (scale + eps);
  });
}

function drawNormalization(random: Random): Given {
  const size = random.pick([1, 2, 3, 4, 8]);
  const rows = size * (1 + random.below(3));
  const mask = random.mask(rows).map((row, b) => (b === 0 ? row.map(() => 1) : row));
  const x = random.chance(0.3) ? random.scores(rows) : random.table(() => random.number(-2, 2), rows);
  return { params: drawNorm(random, size), inputs: { x, mask: random.chance(0.2) || !Array.isArray(x[0]) ? null : mask } };
}

function drawAreal(random: Random): Given {
  const time = random.time + 2;
  const logProbs = random.table(() => random.number(-3, 0), random.batch, time);
  const lengths = random.list(random.batch, () => 2 + random.below(time - 1));
  const attention = lengths.map((length) => Array.from({ length: time }, (_, t) => Number(t < length)));
  const loss = lengths.map((length) => {
    const prompt = 1 + random.below(length - 1);
    return Array.from({ length: time }, (_, t) => Number(t >= prompt && t < length && !random.chance(0.1)));
  });
  // The first row has a token that counts, so that there is something to normalise.
  loss[0]![lengths[0]! - 1] = 1;
  return {
    params: {
      gamma: random.discount(),
      lambd: random.discount(),
      reward_bias: random.pick([0, -0.5, 0.25]),
      reward_scaling: random.pick([1, 2]),
      reward_clip: random.pick([1, 20]),
      kl_coef: random.pick([0, 0.1]),
      kl_estimator: random.pick(['k1', 'k2', 'k3']),
      mask_no_eos_with_zero: random.chance(0.5),
      adv_norm: random.chance(0.4) ? { mean_level: 'batch', mean_leave1out: false, std_level: 'batch', std_unbiased: true, group_size: 1, eps: 1e-5 } : null,
    },
    inputs: {
      rewards: random.scores(),
      values: random.table(() => random.number(-2, 2), random.batch, time),
      log_probs: logProbs,
      ref_log_probs: random.near(logProbs),
      loss_mask: loss,
      attention_mask: attention,
    },
  };
}

/** Columns are moved left by one, so that each holds what belongs to the token to come; the last one has none. */
function areal({ params, inputs }: Given) {
  const { gamma, lambd: lambda } = params;
  const lossMask = rolled(inputs.loss_mask);
  const logProbs = masked(rolled(inputs.log_probs), lossMask);
  const reference = masked(inputs.ref_log_probs ?? zeros(lossMask), lossMask);
  const values = (inputs.values ?? zeros(lossMask)) as Table;
  const time = lossMask[0]!.length;
  const lengths = totals(inputs.attention_mask as Table);
  const klRewards = map2(logProbs, (l, b, t) => -params.kl_coef * divergence(params.kl_estimator, l, reference[b]![t]!, { input: null, output: 10 }).kl);
  const rewards = klRewards.map((row, b) => {
    const score = clamp((inputs.rewards[b] + params.reward_bias) * params.reward_scaling, -params.reward_clip, params.reward_clip);
    const unended = lengths[b] === time;
    const out = [...row];
    out[lengths[b]! - 1] = 0;
    out[Math.max(0, lengths[b]! - 2)]! += params.mask_no_eos_with_zero && unended ? 0 : score;
    return out;
  });
  const advantages = lossMask.map((mask, b) => {
    const out = mask.map(() => 0);
    let [a, next] = [0, lengths[b] === time ? values[b]![time - 1]! : 0];
    for (let t = time - 2; t >= 0; t--) {
      if (mask[t]) [a, next] = [rewards[b]![t]! + gamma * next - values[b]![t]! + gamma * lambda * a, values[b]![t]!];
      out[t] = a;
    }
    return out;
  });
  return {
    advantages: params.adv_norm ? arealNormalised(advantages, lossMask, { ...params.adv_norm }) : advantages,
    returns: add(advantages, values),
    kl_rewards: klRewards,
    total_rewards: rewards,
    shifted_loss_mask: lossMask,
  };
}

const gaeFunction = 'GeneralizedAdvantageEstimator.compute_advantage';
const shapedFunction = 'RemoteExperienceMaker.compute_advantages_and_returns';

export const references: Reference[] = [
  { library: 'SkyRL', function: 'compute_gae_advantage_return', name: 'gae', draw: drawGae, answer: skyrlGae },
  { library: 'SkyRL', function: 'compute_reinforce_plus_plus_outcome_advantage', name: 'reinforce_plus_plus', draw: drawReturns, answer: reinforcePlusPlus(0) },
  { library: 'verl', function: 'compute_gae_advantage_return', name: 'gae', draw: drawGae, answer: verlGae },
  { library: 'verl', function: 'compute_reinforce_plus_plus_outcome_advantage', name: 'reinforce_plus_plus', draw: drawReturns, answer: reinforcePlusPlus(1e-8) },
  {
    library: 'verl',
    function: 'compute_remax_outcome_advantage',
    name: 'remax',
    draw(random) {
      const { inputs } = drawTokens(random, {});
      return { params: {}, inputs: { ...inputs, reward_baselines: random.scores() } };
    },
    answer: remax,
  },
  {
    library: 'OpenRLHF',
    function: 'RemoteExperienceMaker.get_advantages_and_returns',
    name: 'gae',
    draw: drawGae,
    answer: ({ params, inputs }) => openrlhfGae(inputs.rewards, inputs.values, inputs.mask, params.gamma, params.lambd),
  },
  {
    library: 'OpenRLHF',
    function: 'RemoteExperienceMaker.get_cumulative_returns',
    name: 'reinforce_returns',
    draw: drawReturns,
    answer: ({ params, inputs }) => ({ returns: discounted(inputs.rewards, inputs.mask, params.gamma) }),
  },
  ...openrlhfEstimators.map((estimator) => ({ library: 'OpenRLHF', function: shapedFunction, name: estimator, draw: drawOpenrlhf(estimator), answer: openrlhfShaped })),
  { library: 'NeMo-RL', function: gaeFunction, name: 'gae', draw: drawNemoGae(false), answer: nemoGae },
  { library: 'NeMo-RL', function: gaeFunction, name: 'gae_decoupled_lambda', draw: drawNemoGae(true), answer: nemoGae },
  {
    library: 'NeMo-RL',
    function: 'ReinforcePlusPlusAdvantageEstimator.compute_advantage',
    name: 'reinforce_plus_plus',
    draw(random) {
      const usesKl = random.chance(0.5);
      return {
        params: { minus_baseline: random.chance(0.5), use_kl_in_reward: usesKl, kl_coef: usesKl ? 0.1 : 0, kl_type: random.pick(['k1', 'k2', 'k3']) },
        // A small divergence beside rewards of 1e4 would be lost in single precision.
        inputs: { rewards: random.scores(undefined, usesKl ? 'outcome' : undefined), mask: random.mask(), group_ids: random.groups(), ...(usesKl && nemoDivergence(random)) },
      };
    },
    answer: nemoReinforce,
  },
  { library: 'AReaL', function: 'PPOActor._compute_advantages', name: 'areal_gae', draw: drawAreal, answer: areal },
  {
    library: 'AReaL',
    function: 'Normalization.__call__',
    name: 'normalization',
    draw: drawNormalization,
    answer({ params, inputs }) {
      const table = (x: number[] | Table): Table => x.map((row) => (Array.isArray(row) ? row : [row]));
      const x = table(inputs.x);
      const found = arealNormalised(x, inputs.mask ? table(inputs.mask) : map2(x, () => 1), params);
      return { normalized: Array.isArray(inputs.x[0]) ? found : found.flat() };
    },
  },
];
