/** Reward shaping, filters of batches, and the GSM8K reward. */
import { clamp, map2, sum } from './arithmetic';
import { Raised, type Given, type Reference } from './own';
import type { Random, Table } from './random';
import { atTheEnd } from './time_estimators';

const drawLengths = (random: Random): Given => {
  const most = random.pick([20, 64, 100, 1024]);
  const buffer = random.pick([5, 10, 20]);
  const edges = [0, 1, most - buffer, most - buffer + 1, most - 1, most, most + 1, most + buffer, 3 * most];
  return {
    params: { max_response_length: most, overlong_buffer_len: buffer, overlong_penalty_factor: random.pick([0.5, 1, 2]) },
    inputs: { rewards: random.scores(), response_lengths: random.list(random.batch, () => random.pick([...edges, random.below(2 * most)])) },
  };
};

/** −factor·(length − expected)/buffer beyond the expected length, at most −factor where it is capped. */
const overlong = ({ params, inputs }: Given, capped: boolean): number[] =>
  (inputs.response_lengths as number[]).map((length) => {
    const over = length - (params.max_response_length - params.overlong_buffer_len);
    return -clamp((Math.max(0, over) / params.overlong_buffer_len) * params.overlong_penalty_factor, 0, capped ? params.overlong_penalty_factor : Infinity);
  });

const added = (given: Given, penalty: number[]): number[] => penalty.map((p, b) => given.inputs.rewards[b] + p);

const drawStops = (random: Random): Given => ({
  params: { stop_properly_penalty_coef: random.pick([-0.5, 0, 0.25, 0.5, 1, 1.5]) },
  inputs: { rewards: random.scores(), truncated: random.list(random.batch, () => random.below(2)) },
});

const stopProperly = (least: number) => ({ params: { stop_properly_penalty_coef: coefficient }, inputs }: Given): number[] => {
  if (coefficient > 1 || coefficient < least) throw new Raised(`AssertionError: stop_properly_penalty_coef must be in [0, 1], got ${coefficient}`);
  return inputs.rewards.map((r: number, b: number) => (inputs.truncated[b] ? (coefficient < 0 ? coefficient : r * coefficient) : r));
};

const drawCompletions = (random: Random): Given => ({
  params: { ngram_size: random.pick([1, 2, 3, 4]), max_penalty: random.pick([0, -0.5, -1, 0.5]) },
  inputs: { completion_ids: Array.from({ length: random.batch }, () => random.list(random.below(12), () => random.below(random.pick([2, 4, 50])))) },
});

function repetition({ params: { ngram_size: size, max_penalty: penalty }, inputs }: Given) {
  if (penalty > 0) throw new Raised(`ValueError: max_penalty ${penalty} should not be positive`);
  return {
    rewards: (inputs.completion_ids as number[][]).map((ids) => {
      const grams = ids.flatMap((_, i) => (i + size <= ids.length ? [ids.slice(i, i + size).join()] : []));
      return grams.length === 0 ? 0 : penalty * (1 - new Set(grams).size / grams.length);
    }),
  };
}

const groupsOf = (ids: readonly (string | number)[]): number[][] => [...new Set(ids)].map((id) => ids.flatMap((other, row) => (other === id ? [row] : [])));
const scoreOf = (reward: number | number[]): number => (Array.isArray(reward) ? sum(reward) : reward);
const differs = (rows: number[], rewards: (number | number[])[], tolerance = 0): boolean => {
  const scores = rows.map((row) => scoreOf(rewards[row]!));
  return Math.max(...scores) - Math.min(...scores) > tolerance;
};

function zeroVariance({ params, inputs }: Given) {
  const live = (row: number) => !inputs.loss_masks || inputs.loss_masks[row].some((m: number) => m !== 0);
  const dropped = new Set(groupsOf(inputs.group_ids).filter((rows) => rows.filter(live).length > 1 && !differs(rows.filter(live), inputs.rewards, params.tol)).flat());
  return { kept_indices: inputs.rewards.map((_: number, row: number) => row).filter((row: number) => !dropped.has(row)) };
}

function drawBatch(random: Random, prompts: number, samples: number, first: number): Given['inputs'] {
  const perToken = random.chance(0.3);
  const constant = random.chance(0.3);
  const rows = prompts * samples;
  const same = Array.from({ length: prompts }, () => constant || random.chance(0.5));
  const rewards = Array.from({ length: rows }, (_, row) => {
    const score = same[Math.floor(row / samples)] ? 1 : random.below(2);
    return perToken ? [0, score] : score;
  });
  return { group_ids: Array.from({ length: rows }, (_, row) => `b${first}p${Math.floor(row / samples)}`), rewards, sample_ids: Array.from({ length: rows }, (_, row) => first * 100 + row) };
}

function dynamicFilter({ params, inputs }: Given) {
  const { train_batch_size: size, n_samples_per_prompt: samples } = params;
  const rounds: Record<string, unknown>[] = [];
  const kept: { group_ids: string[]; rewards: unknown[]; sample_ids: number[] } = { group_ids: [], rewards: [], sample_ids: [] };
  let prompts = 0;
  for (const { group_ids: ids, rewards, sample_ids: samplesOf } of inputs.batches) {
    const good = groupsOf(ids).filter((rows) => samples === 1 || differs(rows, rewards));
    if (good.length === 0) throw new Raised('AssertionError: indices must be non-empty');
    const rows = good.flat().sort((a, b) => a - b);
    rows.forEach((row) => (kept.group_ids.push(ids[row]), kept.rewards.push(rewards[row]), kept.sample_ids.push(samplesOf[row])));
    prompts += good.length;
    if (prompts >= size) {
      const most = size * samples;
      rounds.push({ keep_sampling: false, group_ids: kept.group_ids.slice(0, most), rewards: kept.rewards.slice(0, most), sample_ids: kept.sample_ids.slice(0, most) });
      break;
    }
    rounds.push({ keep_sampling: true, num_prompts_collected: prompts, collected_sample_ids: [...kept.sample_ids] });
  }
  return { rounds };
}

/** Only one good group, or too few: which one takes the others' place is not left to chance. */
function dynamicReplace({ params, inputs }: Given) {
  const groups = groupsOf(inputs.group_ids);
  const good = groups.filter((rows) => params.n_samples_per_prompt === 1 || differs(rows, inputs.rewards));
  const rows = inputs.group_ids.map((_: string, row: number) => row) as number[];
  const keeps = good.length <= groups.length * params.min_replace_ratio;
  if (!keeps) { for (const bad of groups) if (!good.includes(bad)) bad.forEach((row, i) => (rows[row] = good[0]![i]!)); }
  const pick = (list: unknown[]) => rows.map((row) => list[row]);
  return { keep_sampling: keeps, group_ids: pick(inputs.group_ids), rewards: pick(inputs.rewards), sample_ids: pick(inputs.sample_ids) };
}

function drawReplace(random: Random): Given {
  const [prompts, samples] = [1 + random.below(5), 2 + random.below(3)];
  const { group_ids: ids, sample_ids: sampleIds } = drawBatch(random, prompts, samples, 0);
  const lucky = random.chance(0.3) ? -1 : random.below(prompts);
  const all = random.chance(0.3);
  return {
    params: { type: 'replace', n_samples_per_prompt: samples, min_replace_ratio: random.pick([0.1, 0.3, 0.6]) },
    inputs: { group_ids: ids, sample_ids: sampleIds, rewards: sampleIds.map((_: number, row: number) => (all || Math.floor(row / samples) === lucky ? Number(row % samples === 0) : 1)) },
  };
}

const answers = [
  '#### 42',
  'So it is 7.\n#### 1,234',
  '####42',
  '#### -3.5',
  '#### 72.',
  'nothing',
  'It costs $18.50 in all.',
  '#### $5',
  'a 3 b 4. c',
  '#### 5 and #### 6',
  '',
  '.',
  '-',
  '1,000 apples.',
  '#### .',
];

/** The first marked number without commas; or the last number that is more than a full stop. */
function gsm8k({ params, inputs }: Given) {
  const solution = inputs.solution as string;
  let answer: string | null = null;
  if (params.method === 'strict') answer = /#### (-?[0-9.,]+)/.exec(solution)?.[1]!.replaceAll(',', '').replaceAll('$', '') ?? null;
  else {
    const found = solution.match(/-?[0-9.,]+/g) ?? [];
    for (const each of [...found].reverse()) {
      answer = each;
      if (each !== '.') break;
    }
  }
  return { answer, reward: answer === null ? 0 : answer === inputs.ground_truth ? params.score : params.format_score };
}

const reference = (library: string, called: string, name: string, draw: Reference['draw'], answer: Reference['answer']): Reference => ({ library, function: called, name, draw, answer });

export const references: Reference[] = [
  reference('AReaL', 'reward_overlong_penalty', 'overlong_penalty', drawLengths, (given) => ({ rewards: added(given, overlong(given, false)) })),
  reference('NeMo-RL', 'apply_reward_shaping', 'overlong_penalty', drawLengths, (given) => ({ rewards: added(given, overlong(given, false)) })),
  reference('NeMo-RL', 'apply_reward_shaping', 'stop_properly_penalty', drawStops, (given) => ({ rewards: stopProperly(0)(given) })),
  reference('OpenRLHF', 'apply_overlong_penalty', 'overlong_penalty', drawLengths, (given) => {
    const penalty = overlong(given, true);
    return { rewards: added(given, penalty), num_penalized: penalty.filter((p) => p < 0).length };
  }),
  reference('OpenRLHF', 'apply_stop_properly_penalty', 'stop_properly_penalty', drawStops, (given) => ({ rewards: stopProperly(-Infinity)(given), num_truncated: sum(given.inputs.truncated) })),
  reference('verl', 'DAPORewardManager.__call__ (overlong lines)', 'overlong_penalty', drawLengths, (given) => {
    const penalty = overlong(given, false);
    return { overlong_rewards: penalty, rewards: added(given, penalty) };
  }),
  reference(
    'OpenRLHF',
    'compute_reward',
    'compute_reward',
    (random) => ({
      params: { kl_coef: random.pick([-0.5, 0, 0.01, 0.1]), reward_clip_range: random.pick([null, [-1, 1]]) },
      inputs: { rewards: random.scores(), kl: random.numbers(-1, 1), mask: random.mask() },
    }),
    ({ params, inputs }) => {
      const range = params.reward_clip_range;
      const placed = atTheEnd(inputs.rewards.map((r: number) => (range ? clamp(r, range[0], range[1]) : r)), inputs.mask);
      return { token_rewards: map2(inputs.kl as Table, (kl, b, t) => placed[b]![t]! - Math.max(0, params.kl_coef) * kl) };
    },
  ),
  reference(
    'verl',
    'compute_rewards',
    'compute_rewards',
    (random) => {
      const logProbs = random.logProbs();
      return { params: { kl_ratio: random.pick([0, 0.01, 0.1]) }, inputs: { token_level_scores: random.rewards(random.mask()), old_log_probs: logProbs, ref_log_probs: random.near(logProbs) } };
    },
    ({ params, inputs }) => ({ token_rewards: map2(inputs.token_level_scores as Table, (r, b, t) => r - params.kl_ratio * (inputs.old_log_probs[b][t] - inputs.ref_log_probs[b][t])) }),
  ),
  reference('TRL', 'get_repetition_penalty_reward', 'repetition_penalty', drawCompletions, repetition),
  reference(
    'TRL',
    'get_soft_overlong_punishment',
    'soft_overlong_punishment',
    (random) => {
      const most = random.pick([10, 20, 100]);
      return {
        params: { max_completion_len: most, soft_punish_cache: random.pick([0, 5, 10]) },
        inputs: { completion_lengths: random.list(random.batch, () => random.pick([0, most - 1, most, most + 1, random.below(2 * most)])) },
      };
    },
    ({ params: { max_completion_len: most, soft_punish_cache: cache }, inputs }) => ({
      rewards: inputs.completion_lengths.map((length: number) => (length <= most - cache ? 0 : length <= most ? (most - cache - length) / cache : -1)),
    }),
  ),
  reference(
    'SkyRL',
    'apply_overlong_filtering',
    'overlong_filtering',
    (random) => ({
      params: {},
      inputs: { loss_masks: random.mask(), stop_reasons: Array.from({ length: random.batch + (random.chance(0.1) ? 1 : 0) }, () => random.pick(['stop', 'length', 'abort'])) },
    }),
    ({ inputs }) => {
      if (inputs.loss_masks.length !== inputs.stop_reasons.length) throw new Raised('AssertionError: loss_masks and stop_reasons must have the same length');
      return { loss_masks: map2(inputs.loss_masks as Table, (m, b) => (inputs.stop_reasons[b] === 'stop' ? m : 0)) };
    },
  ),
  reference(
    'SkyRL',
    'zero_variance_filter',
    'zero_variance_filter',
    (random) => ({ params: { tol: random.pick([0, 1e-6, 0.1]) }, inputs: { rewards: random.scores(), group_ids: random.groups(), ...(random.chance(0.5) && { loss_masks: random.mask() }) } }),
    zeroVariance,
  ),
  reference(
    'SkyRL',
    'handle_dynamic_sampling',
    'dynamic_sampling_filter',
    (random) => {
      const [size, samples] = [1 + random.below(4), 1 + random.below(4)];
      return {
        params: { type: 'filter', train_batch_size: size, n_samples_per_prompt: samples },
        inputs: { batches: [0, 1, 2].map((first) => drawBatch(random, 1 + random.below(4), samples, first)) },
      };
    },
    dynamicFilter,
  ),
  reference('SkyRL', 'handle_dynamic_sampling', 'dynamic_sampling_replace', drawReplace, dynamicReplace),
  reference(
    'SkyRL',
    'skyrl_gym.envs.gsm8k.utils.compute_score',
    'gsm8k',
    (random) => ({
      params: { method: random.pick(['strict', 'flexible']), format_score: random.pick([0, 0.1]), score: 1 },
      inputs: { solution: random.pick(answers), ground_truth: random.pick(['42', '1234', '-3.5', '72', '5', '4.', '18.50', '1,000']) },
    }),
    gsm8k,
  ),
];
