/** The classical returns of rlax, torchrl and rl_games. */
import { map2 } from './arithmetic';
import type { Given, Reference } from './own';
import type { Random, Table } from './random';

const back = (row: readonly unknown[], start: number, step: (next: number, t: number) => number): number[] => {
  const out = row.map(() => 0);
  for (let [t, next] = [row.length - 1, start]; t >= 0; t--) out[t] = next = step(next, t);
  return out;
};

/** λ of each step, from an array or one number. */
const lambdaOf = ({ params, inputs }: Given) => (b: number, t: number): number => inputs.lambda?.[b]?.[t] ?? params.lambd ?? 1;

/** r + γ[(1−λ)V' + λG], from V' behind the last step. */
const lambdaReturns = (r: Table, g: Table, v: Table, lambda: (b: number, t: number) => number): Table =>
  r.map((row, b) => back(row, v[b]!.at(-1)!, (next, t) => r[b]![t]! + g[b]![t]! * ((1 - lambda(b, t)) * v[b]![t]! + lambda(b, t) * next)));

interface Shapes {
  /** Values of T+1 states in one array. */
  states?: boolean;
  params?: (random: Random) => Given['params'];
  more?: (random: Random) => Given['inputs'];
  mixed?: boolean;
}

function drawRlax({ states = false, params = () => ({}), more = () => ({}), mixed = true }: Shapes = {}) {
  return (random: Random): Given => {
    const offset = random.chance(0.15) ? 1e4 : 0;
    const values = (columns: number) => random.table(() => offset + random.number(-2, 2), random.batch, columns);
    const arrays = mixed && random.chance(0.3);
    return {
      params: { ...(mixed && { lambd: arrays ? null : random.discount() }), ...params(random) },
      inputs: {
        rewards: random.numbers(-2, 2),
        discounts: random.table(() => random.pick([0, 0.5, 0.9, 0.99, 1, 1])),
        ...(states ? { values: values(random.time + 1) } : { next_values: values(random.time) }),
        ...(arrays && { lambda: random.numbers(0, 1) }),
        ...more(random),
      },
    };
  };
}

function nStep(given: Given) {
  const { rewards: r, discounts: g, next_values: v } = given.inputs as Record<string, Table>;
  const [lambda, n] = [lambdaOf(given), given.params.n as number];
  return {
    returns: r!.map((row, b) =>
      row.map((_, t) => {
        // From the value behind the last of n steps back to the first of them.
        const last = Math.min(t + n, row.length) - 1;
        let x = v![b]![last]!;
        for (let k = last; k >= t; k--) x = r![b]![k]! + g![b]![k]! * ((1 - lambda(b, k)) * v![b]![k]! + lambda(b, k) * x);
        return x;
      })
    ),
  };
}

/** Σ of discounted errors, with the values of the states before and behind each step. */
function errors(given: Given, weight: (b: number, t: number) => number): Table {
  const { rewards: r, discounts: g, values: v } = given.inputs as Record<string, Table>;
  const lambda = lambdaOf(given);
  return r!.map((row, b) => back(row, 0, (next, t) => r![b]![t]! + g![b]![t]! * v![b]![t + 1]! - v![b]![t]! + g![b]![t]! * lambda(b, t) * weight(b, t + 1) * next));
}

/** G_t = r + γ(V' − c_{t+1}Q_{t+1} + c_{t+1}G_{t+1}). Arrays of the actions behind each step have T−1 columns; the last step asks V'. */
const offPolicy = (r: Table, g: Table, v: Table, q: Table, c: Table): Table =>
  r.map((row, b) => back(row, 0, (next, t) => r[b]![t]! + g[b]![t]! * (t === row.length - 1 ? v[b]![t]! : v[b]![t]! - c[b]![t]! * q[b]![t]! + c[b]![t]! * next)));

function retrace({ params, inputs }: Given) {
  const { rewards: r, discounts: g, actions, next_actions: next, behavior_probs: mu } = inputs as Record<string, Table>;
  const [q, nextQ, target] = [inputs.q_values, inputs.next_q_values, inputs.target_probs] as number[][][][];
  const c = map2(next!, (a, b, t) => params.lambd * Math.min(1, target![b]![t]![a]! / (mu![b]![t]! + params.eps)));
  const expected = map2(r!, (_, b, t) => target![b]![t]!.reduce((sum, p, a) => sum + p * nextQ![b]![t]![a]!, 0));
  const returns = offPolicy(r!, g!, expected, map2(next!, (a, b, t) => nextQ![b]![t]![a]!), c);
  return { td_errors: map2(returns, (x, b, t) => x - q![b]![t]![actions![b]![t]!]!) };
}

function drawRetrace(random: Random): Given {
  const count = 1 + random.below(4);
  const each = (f: () => number) => Array.from({ length: random.batch }, () => Array.from({ length: random.time }, () => random.list(count, f)));
  const actions = () => random.table(() => random.below(count));
  return {
    params: { lambd: random.discount(), eps: 1e-8 },
    inputs: {
      q_values: each(() => random.number(-2, 2)),
      next_q_values: each(() => random.number(-2, 2)),
      actions: actions(),
      next_actions: actions(),
      rewards: random.numbers(-2, 2),
      discounts: random.table(() => random.pick([0, 0.5, 0.9, 1])),
      target_probs: each(() => random.number(0, 1)),
      behavior_probs: random.numbers(0.05, 1),
    },
  };
}

function retraceContinuous(given: Given) {
  const { rewards: r, discounts: g, q_values: q, next_q_values: nextQ, next_values: v, log_rhos: rho, lambda } = given.inputs as Record<string, Table>;
  const c = map2(rho!, (x, b, t) => (lambda?.[b]?.[t] ?? given.params.lambd ?? 1) * Math.min(1, Math.exp(x)));
  return { td_errors: map2(offPolicy(r!, g!, v!, nextQ!, c), (x, b, t) => x - q![b]![t]!) };
}

function vtrace(given: Given) {
  const { params, inputs } = given;
  const { rewards: r, discounts: g, values: v, next_values: nv, rhos, sample_mask: mask } = inputs as Record<string, Table>;
  const lambda = lambdaOf(given);
  const alpha = params.alpha ?? 1;
  const mixed = (rho: number, bound: number) => (1 - alpha) * rho + alpha * Math.min(bound, rho);
  const sampled = (b: number, t: number) => mask?.[b]?.[t] ?? 1;
  const found = r!.map((row, b) =>
    back(row, 0, (next, t) => {
      const rho = rhos![b]![t]!;
      const now = mixed(rho, params.clip_rho_threshold) * (r![b]![t]! + g![b]![t]! * nv![b]![t]! - v![b]![t]!) + g![b]![t]! * lambda(b, t) * mixed(rho, 1) * next;
      return sampled(b, t) ? now : next;
    })
  );
  const q = map2(r!, (reward, b, t) => {
    const last = t === r![b]!.length - 1;
    const after = last ? nv![b]![t]! : v![b]![t + 1]! + lambda(b, t) * found[b]![t + 1]!;
    return reward + g![b]![t]! * after;
  });
  return {
    errors: found,
    targets: map2(found, (x, b, t) => x + v![b]![t]!),
    q_estimates: q,
    pg_advantages: map2(q, (x, b, t) => mixed(rhos![b]![t]!, params.clip_pg_rho_threshold) * (x - v![b]![t]!)),
  };
}

function drawVtrace(leaky: boolean) {
  return (random: Random): Given => {
    const values = random.numbers(-2, 2);
    const last = random.list(random.batch, () => random.number(-2, 2));
    return drawRlax({
      params: () => ({ clip_rho_threshold: random.pick([0.5, 1, 2]), clip_pg_rho_threshold: random.pick([0.75, 1, 1.5]), ...(leaky && { alpha: random.pick([0, 0.5, 0.9, 1]) }) }),
      more: () => ({
        values,
        next_values: values.map((row, b) => [...row.slice(1), last[b]!]),
        rhos: random.numbers(0.1, 3),
        ...(random.chance(0.4) && { sample_mask: random.mask() }),
      }),
    })(random);
  };
}

interface Flags {
  terminated: Table;
  done: Table;
}

function drawFlags(random: Random): Flags {
  const [end, cut] = random.pick([[0, 0], [0.2, 0], [0.15, 0.15], [0, 0.3]] as const);
  const terminated = random.table(() => Number(random.chance(end)));
  const atEnd = random.pick(['none', 'terminated', 'truncated'] as const);
  const done = terminated.map((row) => row.map((x) => (x || random.chance(cut) ? 1 : 0)));
  if (atEnd !== 'none') done.forEach((row, b) => ((row[row.length - 1] = 1), (terminated[b]![row.length - 1] = Number(atEnd === 'terminated'))));
  return { terminated, done };
}

function drawTorchrl(params: (random: Random) => Given['params'] = () => ({}), more: (random: Random) => Given['inputs'] = () => ({})) {
  return (random: Random): Given => ({
    params: { gamma: random.discount(), ...params(random) },
    inputs: { rewards: random.numbers(-2, 2), values: random.numbers(-2, 2), next_values: random.numbers(-2, 2), ...drawFlags(random), ...more(random) },
  });
}

const one = ({ params, inputs }: Given) => map2(inputs.rewards as Table, (r, b, t) => r + params.gamma * inputs.next_values[b][t] * (1 - inputs.terminated[b][t]));

function torchrlGae({ params, inputs }: Given) {
  const { values: v, done } = inputs as Record<string, Table>;
  const target = one({ params, inputs });
  const advantages = target.map((row, b) => back(row, 0, (next, t) => row[t]! - v![b]![t]! + params.gamma * params.lambd * (1 - done![b]![t]!) * next));
  return { advantages, value_targets: map2(advantages, (a, b, t) => a + v![b]![t]!) };
}

/** At the end of an episode, and of the array, the target is that of one step. */
function torchrlLambda(given: Given, lambda: number): Table {
  const { params, inputs } = given;
  const target = one(given);
  return target.map((row, b) =>
    back(row, 0, (next, t) => {
      if (t === row.length - 1 || inputs.done[b][t]) return row[t]!;
      return inputs.rewards[b][t] + params.gamma * ((1 - lambda) * inputs.next_values[b][t] + lambda * next);
    })
  );
}

function torchrlVtrace(given: Given) {
  const { params, inputs } = given;
  const { values: v, done, log_pi: pi, log_mu: mu } = inputs as Record<string, Table>;
  const target = one(given);
  const rho = map2(v!, (_, b, t) => Math.exp(pi![b]![t]! - mu![b]![t]!));
  const found = target.map((row, b) =>
    back(row, 0, (next, t) => Math.min(params.rho_thresh, rho[b]![t]!) * (row[t]! - v![b]![t]!) + params.gamma * (1 - done![b]![t]!) * Math.min(params.c_thresh, rho[b]![t]!) * next)
  );
  const targets = map2(found, (x, b, t) => x + v![b]![t]!);
  const advantages = map2(targets, (_, b, t) => {
    const goesOn = t < v![b]!.length - 1 && !done![b]![t];
    const behind = goesOn ? targets[b]![t + 1]! : inputs.next_values[b][t];
    const q = inputs.rewards[b][t] + params.gamma * (1 - inputs.terminated[b][t]) * behind;
    return Math.min(params.rho_thresh, rho[b]![t]!) * (q - v![b]![t]!);
  });
  return { advantages, value_targets: targets };
}

/** V of the next step's state, where the episode goes on: the values belong together. */
function chained(draw: Reference['draw']): Reference['draw'] {
  return (random) => {
    const { params, inputs } = draw(random);
    const next = map2(inputs.next_values as Table, (x, b, t) => (t < inputs.values[b].length - 1 && !inputs.done[b][t] ? inputs.values[b][t + 1] : x));
    return { params, inputs: { ...inputs, next_values: next } };
  };
}

function rlGames({ params, inputs }: Given) {
  const { rewards: r, values: v, dones } = inputs as Record<string, Table>;
  const time = r!.length;
  const advantages = r!.map((row) => row.map(() => 0));
  r![0]!.forEach((_, n) => {
    let a = 0;
    for (let t = time - 1; t >= 0; t--) {
      const [next, ends] = t === time - 1 ? [inputs.last_values[n], inputs.last_dones[n]] : [v![t + 1]![n]!, dones![t + 1]![n]!];
      a = r![t]![n]! + params.gamma * (1 - ends) * next - v![t]![n]! + params.gamma * params.lambd * (1 - ends) * a;
      advantages[t]![n] = a;
    }
  });
  return { advantages, returns: map2(advantages, (a, t, n) => a + v![t]![n]!) };
}

function drawRlGames(random: Random): Given {
  const p = random.pick([0, 0.2, 0.4, 1]);
  const flag = () => Number(random.chance(p));
  const byTime = (f: () => number) => random.table(f, random.time, random.batch);
  return {
    params: { gamma: random.discount(), lambd: random.discount() },
    inputs: {
      rewards: byTime(() => random.number(-2, 2)),
      values: byTime(() => random.number(-2, 2)),
      dones: byTime(flag),
      last_dones: random.list(random.batch, flag),
      last_values: random.list(random.batch, () => random.number(-2, 2)),
    },
  };
}

const rlax = (called: string, name: string, draw: Reference['draw'], answer: Reference['answer']): Reference => ({ library: 'rlax', function: called, name, draw, answer });
const torchrl = (called: string, name: string, draw: Reference['draw'], answer: Reference['answer']): Reference => ({ library: 'torchrl', function: called, name, draw, answer });
const lambd = (random: Random) => ({ lambd: random.discount() });
const short = (random: Random) => random.table(() => random.number(-2, 2), random.batch, random.time - 1);

export const references: Reference[] = [
  rlax(
    'multistep.discounted_returns',
    'discounted_returns',
    drawRlax({ mixed: false, more: (random) => ({ next_values: undefined, bootstrap_values: random.chance(0.5) ? random.list(random.batch, () => random.number(-2, 2)) : null }) }),
    ({ inputs }) => ({
      returns: (inputs.rewards as Table).map((row, b) => back(row, [inputs.bootstrap_values?.[b] ?? 0].flat().at(-1), (next, t) => row[t]! + inputs.discounts[b][t] * next)),
    }),
  ),
  rlax('multistep.lambda_returns', 'lambda_returns', drawRlax(), (given) => {
    const { rewards: r, discounts: g, next_values: v } = given.inputs;
    return { returns: lambdaReturns(r, g, v, lambdaOf(given)) };
  }),
  rlax('multistep.n_step_bootstrapped_returns', 'n_step_bootstrapped_returns', drawRlax({ params: (random) => ({ n: random.pick([1, 2, 3, 5, 8, 20]) }) }), nStep),
  rlax('multistep.truncated_generalized_advantage_estimation', 'gae', drawRlax({ states: true }), (given) => ({ advantages: errors(given, () => 1) })),
  rlax('multistep.importance_corrected_td_errors', 'importance_corrected_td_errors', drawRlax({ states: true, more: (random) => ({ rhos: random.numbers(0.1, 3) }) }), (given) => {
    const rhos = given.inputs.rhos as Table;
    return { td_errors: map2(errors(given, (b, t) => rhos[b]![t] ?? 1), (x, b, t) => x * rhos[b]![t]!) };
  }),
  rlax(
    'multistep.general_off_policy_returns_from_q_and_v',
    'general_off_policy_returns',
    drawRlax({ mixed: false, more: (random) => ({ q_values: short(random), c: random.table(() => random.number(0, 1), random.batch, random.time - 1) }) }),
    ({ inputs }) => ({ returns: offPolicy(inputs.rewards, inputs.discounts, inputs.next_values, inputs.q_values, inputs.c) }),
  ),
  rlax('value_learning.td_lambda', 'td_lambda', drawRlax({ more: (random) => ({ values: random.numbers(-2, 2) }) }), (given) => {
    const { rewards: r, discounts: g, next_values: v, values } = given.inputs;
    return { td_errors: map2(lambdaReturns(r, g, v, lambdaOf(given)), (x, b, t) => x - values[b][t]) };
  }),
  rlax('value_learning.retrace', 'retrace', drawRetrace, retrace),
  rlax(
    'value_learning.retrace_continuous',
    'retrace_continuous',
    drawRlax({
      mixed: false,
      params: lambd,
      more: (random) => ({ q_values: random.numbers(-2, 2), next_q_values: short(random), log_rhos: random.table(() => random.number(-2, 1), random.batch, random.time - 1) }),
    }),
    retraceContinuous,
  ),
  rlax('vtrace.vtrace_td_error_and_advantage', 'vtrace', drawVtrace(false), vtrace),
  rlax('vtrace.leaky_vtrace_td_error_and_advantage', 'leaky_vtrace', drawVtrace(true), vtrace),
  torchrl('generalized_advantage_estimate', 'gae', drawTorchrl(lambd), torchrlGae),
  torchrl('vec_generalized_advantage_estimate', 'gae', drawTorchrl(lambd), torchrlGae),
  torchrl('td0_return_estimate', 'td0_returns', drawTorchrl(), (given) => ({ returns: one(given) })),
  torchrl('td1_return_estimate', 'td1_returns', drawTorchrl(), (given) => ({ returns: torchrlLambda(given, 1) })),
  torchrl('td_lambda_return_estimate', 'td_lambda_returns', drawTorchrl(lambd), (given) => ({ returns: torchrlLambda(given, given.params.lambd) })),
  torchrl('td_lambda_advantage_estimate', 'td_lambda_advantages', drawTorchrl(lambd), (given) => ({
    advantages: map2(torchrlLambda(given, given.params.lambd), (x, b, t) => x - given.inputs.values[b][t]),
  })),
  torchrl('reward2go', 'reward_to_go', drawTorchrl(), ({ params, inputs }) => ({
    returns: (inputs.rewards as Table).map((row, b) => back(row, 0, (next, t) => row[t]! + params.gamma * (1 - inputs.done[b][t]) * next)),
  })),
  torchrl(
    'vtrace_advantage_estimate',
    'vtrace',
    chained(drawTorchrl((random) => ({ rho_thresh: random.pick([0.5, 1, 2]), c_thresh: random.pick([0.5, 1, 1.5]) }), (random) => {
      const logMu = random.logProbs();
      return { log_mu: logMu, log_pi: random.near(logMu, 0.8) };
    })),
    torchrlVtrace,
  ),
  { library: 'rl_games', function: 'discount_values -> _pytorch_gae', name: 'gae_dones', draw: drawRlGames, answer: rlGames },
];
