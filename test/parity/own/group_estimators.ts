/** Estimators that compare rows of a group: SkyRL's, verl's, TRL's and NeMo-RL's. */
import { map2, masked, mean, membersOf, spread, std, sum, totals, variance, whiten } from './arithmetic';
import { Raised, type Given, type Reference } from './own';
import type { Random, Table } from './random';

type Ids = (string | number)[];

function grouped(random: Random, params: Record<string, unknown> = {}): Given {
  const mask = random.mask();
  return { params, inputs: { rewards: random.rewards(mask), mask, group_ids: random.groups() } };
}

/** What a row gets from its score and those of its group, at each valid token. */
const outcome = (f: (score: number, group: number[], params: Given['params'], all: number[]) => number) => ({ params, inputs }: Given) => {
  const scores = totals(inputs.rewards as Table);
  const members = membersOf(inputs.group_ids as Ids);
  const rows = scores.map((score, b) => f(score, members[b]!.map((row) => scores[row]!), params, scores));
  const advantages = masked(spread(rows, inputs.mask), inputs.mask);
  return { advantages, returns: advantages };
};

const scaling = (epsilons: number[]) => (random: Random) => grouped(random, { epsilon: random.pick(epsilons), norm_by_std: random.chance(0.7) });

const grpo = outcome((score, group, { norm_by_std: byStd, epsilon }) => {
  const [centre, scale] = group.length === 1 ? [0, 1] : [mean(group), std(group)];
  return byStd ? (score - centre) / (scale + epsilon) : score - centre;
});

const grpoVectorized = outcome((score, group, { norm_by_std: byStd, epsilon }) => {
  const [centre, scale] = group.length === 1 ? [0, 1] : [mean(group), Math.sqrt(Math.max(variance(group), epsilon))];
  return byStd ? (score - centre) / (scale + epsilon) : score - centre;
});

const leaveOneOut = (alone: (score: number) => number) => outcome((score, group) => (group.length === 1 ? alone(score) : ((score - mean(group)) * group.length) / (group.length - 1)));

const maxrl = outcome((score, group, { epsilon }) => (group.length === 1 ? score : (score - mean(group)) / (mean(group) + epsilon)));

const gpg = outcome((score, group, { f_norm: fNorm }, all) => {
  const rewarded = Math.max(1, all.filter((x) => x !== 0).length);
  return ((all.length / rewarded) * (score - (group.length === 1 ? 0 : mean(group)))) / fNorm;
});

function passk({ params, inputs }: Given) {
  const scores = totals(inputs.rewards as Table);
  const rows = scores.map(() => 0);
  for (const members of membersOf(inputs.group_ids as Ids)) {
    if (members.length < 2) throw new Raised('ValueError: Pass@k requires at least 2 samples per group.');
    const [best, second] = [...members].sort((a, b) => scores[b]! - scores[a]!);
    const lead = scores[best!]! - scores[second!]!;
    rows[best!] = params.norm_by_std ? lead / (std(members.map((row) => scores[row]!)) + params.epsilon) : lead;
  }
  const advantages = masked(spread(rows, inputs.mask), inputs.mask);
  return { advantages, returns: advantages };
}

/** R less the mean of the group's rewards, weighted by lengths. */
function opo({ inputs }: Given) {
  const [scores, lengths] = [totals(inputs.rewards as Table), totals(inputs.mask as Table)];
  const rows = membersOf(inputs.group_ids as Ids).map((members, b) => {
    if (members.length === 1) return scores[b]!;
    return scores[b]! - sum(members.map((row) => lengths[row]! * scores[row]!)) / sum(members.map((row) => lengths[row]!));
  });
  const advantages = masked(spread(rows, inputs.mask), inputs.mask);
  return { advantages, returns: advantages };
}

function reinforceBaseline({ inputs }: Given) {
  const scores = totals(inputs.rewards as Table);
  const rows = membersOf(inputs.group_ids as Ids).map((members, b) => (members.length === 1 ? scores[b]! : scores[b]! - mean(members.map((row) => scores[row]!))));
  const advantages = masked(whiten(masked(spread(rows, inputs.mask), inputs.mask), inputs.mask, 1e-8), inputs.mask);
  return { advantages, returns: advantages };
}

function drawTokenBaseline(random: Random): Given {
  const { params, inputs } = grouped(random, { handle_zero_tail: random.chance(0.5), epsilon: 1e-8 });
  const weights = random.chance(0.5) ? random.numbers(0.5, 1.5) : null;
  return { params, inputs: { ...inputs, old_log_probs: random.logProbs(), sum_pi_squared: random.numbers(0.25, 1), rollout_is_weights: weights } };
}

/** Reward-to-go less the group's mean of it, weighted by the tokens' cumulated squared gradient norms; by columns, or by the ranks of valid tokens. */
const tokenBaseline = (byRank: boolean) => ({ params, inputs }: Given) => {
  const { rewards, mask, old_log_probs: logProbs, sum_pi_squared: squares, rollout_is_weights: weights } = inputs as Record<string, Table>;
  const returns = rewards!.map((row, b) => row.map((_, t) => sum(row.map((r, s) => (s >= t ? r * mask![b]![s]! : 0)))));
  const places = mask!.map((row) => row.map((m, t) => (byRank ? (m ? sum(row.slice(0, t)) : -1) : t)));
  const energy = mask!.map((row, b) => {
    let total = 0;
    return row.map((m, t) => (total += m * (1 - 2 * Math.exp(logProbs![b]![t]!) + squares![b]![t]!) * (weights?.[b] ? weights[b]![t]! ** 2 : 1)));
  });
  const lengths = totals(mask!);
  const advantages = map2(mask!, (m, b, t) => {
    if (!m) return 0;
    // By ranks, a row without a token is none of the group.
    const members = membersOf(inputs.group_ids as Ids)[b]!.filter((row) => !byRank || lengths[row]! > 0);
    if (members.length === 1) return returns[b]![t]!;
    const place = places[b]![t]!;
    // Where only the longest row has a token left, there is nothing to compare with.
    const longest = Math.max(...members.map((row) => lengths[row]!));
    const others = members.filter((row) => row !== b).map((row) => lengths[row]!);
    if (params.handle_zero_tail && lengths[b] === longest && !others.includes(longest) && place >= Math.max(0, ...others)) return returns[b]![t]!;
    let [above, below] = [0, params.epsilon as number];
    for (const row of members) {
      for (let s = 0; s < mask![row]!.length; s++) {
        if (!mask![row]![s] || places[row]![s] !== place) continue;
        above += returns[row]![s]! * energy[row]![s]!;
        below += energy[row]![s]!;
      }
    }
    return returns[b]![t]! - above / below;
  });
  return { advantages, returns };
};

const rows = (library: string, list: [called: string, name: string, draw: Reference['draw'], answer: Reference['answer']][]): Reference[] =>
  list.map(([called, name, draw, answer]) => ({ library, function: called, name, draw, answer }));

const known = (x: readonly number[]) => x.filter((each) => !Number.isNaN(each));

function drawComponents(random: Random, generations: number, missing: boolean): Given['inputs'] {
  const prompts = 1 + random.below(4);
  const [batch, count] = [prompts * generations, 1 + random.below(3)];
  const columns = Array.from({ length: count }, () => random.scores(batch));
  const whole = random.chance(0.3) ? random.below(batch) : -1;
  return {
    rewards_per_func: Array.from({ length: batch }, (_, b) => columns.map((column) => (missing && (b === whole || random.chance(0.15)) ? NaN : column[b]!))),
    reward_weights: random.list(count, () => random.pick([1, 0.5, 0.25, 2])),
    group_ids: Array.from({ length: batch }, (_, b) => `p${Math.floor(b / generations)}`),
  };
}

const combined = (components: Table, weights: number[]) => components.map((row) => (known(row).length === 0 ? NaN : sum(row.map((r, k) => (Number.isNaN(r) ? 0 : r * weights[k]!)))));
/** NaN-aware, of a list: NaN where fewer than two numbers are there. */
const knownStd = (x: readonly number[]) => (known(x).length > 1 ? std(known(x)) : NaN);
const knownMean = (x: readonly number[]) => (known(x).length > 0 ? mean(known(x)) : NaN);
const zeroIfNaN = (x: readonly number[]) => x.map((each) => (Number.isNaN(each) ? 0 : each));
const isZero = (x: readonly number[]) => x.map((each) => (Math.abs(each) <= 1e-8 ? 1 : 0));

function trlGrpo({ params, inputs }: Given) {
  const n = params.num_generations as number;
  const scores = combined(inputs.rewards_per_func, inputs.reward_weights);
  const group = (b: number) => scores.slice(Math.floor(b / n) * n, Math.floor(b / n) * n + n);
  const scale = typeof params.scale_rewards === 'boolean' ? (params.scale_rewards ? 'group' : 'none') : params.scale_rewards;
  const stds = scores.map((_, b) => (scale === 'batch' ? (scores.length > 1 ? knownStd(scores) : 0) : n > 1 ? knownStd(group(b)) : 0));
  const centred = scores.map((score, b) => score - knownMean(group(b)));
  const advantages = scale === 'none' ? centred : centred.map((each, b) => each / (stds[b]! + 1e-4));
  return { advantages: zeroIfNaN(advantages), std_rewards: stds, is_std_zero: isZero(stds) };
}

function trlNormalizeThenSum({ params, inputs }: Given) {
  const n = params.num_generations as number;
  const components = inputs.rewards_per_func as Table;
  const normalised = components.map((row, b) =>
    row.map((score, k) => {
      const from = Math.floor(b / n) * n;
      const group = components.slice(from, from + n).map((other) => other[k]!);
      return (score - knownMean(group)) / ((n > 1 ? knownStd(group) : 0) + 1e-4);
    })
  );
  // A row without any reward stays without one; a part that is NaN for want of a spread adds nothing.
  const sums = normalised.map((row, b) => (known(components[b]!).length === 0 ? NaN : sum(row.map((x, k) => (Number.isNaN(x) ? 0 : x * inputs.reward_weights[k])))));
  const deviation = sums.length > 1 ? knownStd(sums) : 0;
  const advantages = sums.map((x) => (x - knownMean(sums)) / (deviation + 1e-4));
  return { advantages: zeroIfNaN(advantages), std_rewards: sums.map(() => deviation), is_std_zero: isZero(sums.map(() => deviation)) };
}

function drawTrl(aggregation: string) {
  return (random: Random): Given => {
    const generations = random.pick([1, 2, 3, 4, 5, 6, 8]);
    const scale = aggregation === 'normalize_then_sum' ? 'group' : random.pick(['group', 'batch', 'none', true, false]);
    return { params: { multi_objective_aggregation: aggregation, num_generations: generations, scale_rewards: scale }, inputs: drawComponents(random, generations, true) };
  };
}

function drawTrlRloo(random: Random): Given {
  const generations = random.pick([1, 2, 3, 4, 6, 8]);
  const inputs = drawComponents(random, generations, random.chance(0.4));
  const batch = inputs.rewards_per_func.length as number;
  const beta = random.pick([0, 0.05, 0.1]);
  const logProbs = random.table(() => random.number(-3, 0), batch);
  const divergence = { old_log_probs: logProbs, ref_log_probs: random.near(logProbs, 0.5), mask: random.mask(batch) };
  return {
    params: { beta, normalize_advantages: random.chance(0.5), num_generations: generations, reward_clip_range: random.pick([null, [-1, 1], [-0.5, 0.75]]) },
    inputs: { ...inputs, ...(beta !== 0 && divergence) },
  };
}

function trlRloo({ params, inputs }: Given) {
  const { beta, normalize_advantages: normalize, num_generations: n, reward_clip_range: range } = params;
  const clipped = combined(inputs.rewards_per_func, inputs.reward_weights).map((x) => (range ? Math.min(range[1], Math.max(range[0], x)) : x));
  const scores = clipped.map((x, b) => {
    const divergence = beta === 0 ? 0 : sum((inputs.mask as Table)[b]!.map((m, t) => (m ? inputs.old_log_probs[b][t] - inputs.ref_log_probs[b][t] : 0)));
    return x - beta * divergence;
  });
  const groups = Array.from({ length: scores.length / n }, (_, g) => scores.slice(g * n, g * n + n));
  // Without another row that has a reward there is nothing to compare with.
  const differences = scores.map((x, b) => x - knownMean(groups[Math.floor(b / n)]!.filter((_, i) => i !== b % n)));
  const scale = knownStd(differences) + 1e-4;
  const advantages = normalize ? differences.map((x) => (x - knownMean(differences)) / scale) : differences;
  return { advantages: zeroIfNaN(advantages), is_std_zero: isZero(groups.map((group) => (n > 1 ? knownStd(group) : 0))) };
}

/** Differences and deviations of NeMo-RL's baselines, of a component. */
function nemoParts(scores: number[], ids: Ids, leaveOut: boolean): { centred: number[]; deviations: number[] } {
  const members = membersOf(ids);
  const others = scores.map((_, b) => members[b]!.filter((row) => !leaveOut || row !== b).map((row) => scores[row]!));
  const alone = (b: number) => members[b]!.length === 1;
  return { centred: scores.map((x, b) => (alone(b) ? 0 : x - mean(others[b]!))), deviations: scores.map((_, b) => (alone(b) ? 0 : std(others[b]!))) };
}

const nemoNormalised = (scores: number[], ids: Ids, { leave_one_out: leaveOut, normalize_rewards: byStd }: Given['params']) => {
  const { centred, deviations } = nemoParts(scores, ids, leaveOut);
  return centred.map((x, b) => (byStd && deviations[b]! > 0 ? x / (deviations[b]! + 1e-6) : x));
};

const drawNemo = (random: Random) => ({ leave_one_out: random.chance(0.5), normalize_rewards: random.chance(0.7) });

function nemoGdpo({ params, inputs }: Given) {
  const columns = Object.keys(inputs.reward_components).sort().map((key) => inputs.reward_components[key] as number[]);
  if (columns.length < 2) throw new Raised('AssertionError: at least two components');
  const weights = (params.reward_weights ?? columns.map(() => 1)) as number[];
  const parts = columns.map((column) => nemoNormalised(column, inputs.group_ids, params));
  const sums = columns[0]!.map((_, b) => sum(parts.map((part, k) => weights[k]! * part[b]!)));
  const deviation = std(sums);
  return { advantages: spread(sums.map((x) => (deviation > 0 ? (x - mean(sums)) / deviation : x - mean(sums))), inputs.mask) };
}

const trlFunction = 'GRPOTrainer._generate_and_score_completions (advantage lines)';

export const references: Reference[] = [
  ...rows('SkyRL', [
    ['compute_grpo_outcome_advantage', 'grpo', scaling([1e-6, 1e-4]), grpo],
    ['compute_rloo_outcome_advantage', 'rloo', grouped, leaveOneOut(() => 0)],
    ['compute_maxrl_advantage', 'maxrl', (random) => grouped(random, { epsilon: random.pick([1e-6, 1e-3]) }), maxrl],
  ]),
  ...rows('verl', [
    ['compute_grpo_outcome_advantage', 'grpo', scaling([1e-6, 1e-5]), grpo],
    ['compute_grpo_vectorized_outcome_advantage', 'grpo_vectorized', scaling([1e-6, 1e-5]), grpoVectorized],
    ['compute_grpo_passk_outcome_advantage', 'grpo_passk', scaling([1e-6, 1e-5]), passk],
    ['compute_rloo_outcome_advantage', 'rloo', grouped, leaveOneOut((score) => score)],
    ['compute_rloo_vectorized_outcome_advantage', 'rloo_vectorized', grouped, leaveOneOut(() => 0)],
    ['compute_opo_outcome_advantage', 'opo', grouped, opo],
    ['compute_gpg_outcome_advantage', 'gpg', (random) => grouped(random, { f_norm: random.pick([1, 2]) }), gpg],
    ['compute_reinforce_plus_plus_baseline_outcome_advantage', 'reinforce_plus_plus_baseline', (random) => grouped(random, { epsilon: 1e-6 }), reinforceBaseline],
    ['compute_optimal_token_baseline_advantage', 'optimal_token_baseline', drawTokenBaseline, tokenBaseline(false)],
    ['compute_multi_turn_optimal_token_baseline_advantage', 'tir_optimal_token_baseline', drawTokenBaseline, tokenBaseline(true)],
  ]),
  ...rows('TRL', [
    [trlFunction, 'grpo', drawTrl('sum_then_normalize'), trlGrpo],
    [trlFunction, 'normalize_then_sum', drawTrl('normalize_then_sum'), trlNormalizeThenSum],
    ['RLOOTrainer._generate_and_score_completions (advantage lines)', 'rloo', drawTrlRloo, trlRloo],
  ]),
  ...rows('NeMo-RL', [
    [
      'GRPOAdvantageEstimator.compute_advantage',
      'grpo',
      (random) => ({ params: drawNemo(random), inputs: { rewards: random.scores(), mask: random.mask(), group_ids: random.groups() } }),
      ({ params, inputs }) => ({ advantages: spread(nemoNormalised(inputs.rewards, inputs.group_ids, params), inputs.mask) }),
    ],
    [
      'GDPOAdvantageEstimator.compute_advantage',
      'gdpo',
      (random) => {
        const count = random.pick([2, 3, 2, 1]);
        const components = Object.fromEntries(Array.from({ length: count }, (_, k) => [`reward${k + 1}`, random.scores()]));
        const weights = random.chance(0.5) ? random.list(count, () => random.pick([1, 0.5, 2])) : null;
        return { params: { ...drawNemo(random), reward_weights: weights }, inputs: { reward_components: components, mask: random.mask(), group_ids: random.groups() } };
      },
      nemoGdpo,
    ],
  ]),
];
