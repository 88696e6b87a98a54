/** Returns and advantages of classical reinforcement learning against sums over what lies ahead. */
import {
  computeAdvantages,
  discountedReturns,
  gradients,
  importanceCorrectedErrors,
  lambdaReturns,
  nStepReturns,
  offPolicyReturns,
  qLambdaReturns,
  retraceReturns,
  td0Returns,
  td1Returns,
  tensor,
  truncatedGae,
  vtraceEstimates,
  type AdvantageOptions,
  type Tensor,
} from 'vantage-rl';
import * as reference from './classical_reference';
import { randomSteps, type Steps } from './classical_reference';
import { generator } from './reference';

type DType = 'float32' | 'float64';
const clips = { clipRho: 1.5, clipC: 0.9, clipPgRho: 2, alpha: 0.7 };

function arrays(steps: Steps, dtype: DType) {
  const of = (name: keyof Steps) => tensor(steps[name], { dtype });
  const flags = (name: keyof Steps) => tensor(steps[name], { dtype: 'uint8' });
  const common = { rewards: of('rewards'), mask: flags('masks'), terminated: flags('terminated'), truncated: flags('truncated') };
  const nextValues = reference.td0({ ...steps, rewards: steps.rewards.map((row) => row.map(() => 0)), gammas: steps.rewards.map((row) => row.map(() => 1)) });
  return {
    inputs: { ...common, values: of('values'), bootstrapValues: of('bootstrap') },
    offPolicy: { ...common, nextValues: tensor(nextValues, { dtype }), actionValues: of('actionValues') },
    ratios: of('ratios'),
    traces: of('traces'),
    gamma: of('gammas'),
    lambda: of('lambdas'),
  };
}
type Arrays = ReturnType<typeof arrays>;

const functions: Record<string, { run: (x: Arrays, remask?: boolean) => Tensor; reference: (steps: Steps) => number[][] }> = {
  td0Returns: { run: ({ inputs, gamma }, remask) => td0Returns(inputs, { gamma, remask }), reference: reference.td0 },
  td1Returns: { run: ({ inputs, gamma }, remask) => td1Returns(inputs, { gamma, remask }), reference: reference.td1 },
  discountedReturns: { run: ({ inputs: { values, ...inputs }, gamma }, remask) => discountedReturns(inputs, { gamma, remask }), reference: reference.td1 },
  lambdaReturns: { run: ({ inputs, gamma, lambda }, remask) => lambdaReturns(inputs, { gamma, lambda, remask }), reference: reference.lambdaReturn },
  'nStepReturns, 1': { run: ({ inputs, gamma }, remask) => nStepReturns(inputs, { gamma, n: 1, remask }), reference: (steps) => reference.nStep(steps, 1) },
  'nStepReturns, 3': { run: ({ inputs, gamma }, remask) => nStepReturns(inputs, { gamma, n: 3, remask }), reference: (steps) => reference.nStep(steps, 3) },
  'nStepReturns, 50': { run: ({ inputs, gamma }, remask) => nStepReturns(inputs, { gamma, n: 50, remask }), reference: (steps) => reference.nStep(steps, 50) },
  truncatedGae: { run: ({ inputs, gamma, lambda }, remask) => truncatedGae(inputs, { gamma, lambda, remask }).advantages, reference: reference.gae },
  offPolicyReturns: { run: ({ offPolicy, traces, gamma }, remask) => offPolicyReturns({ ...offPolicy, traces }, { gamma, remask }), reference: reference.offPolicy },
  retraceReturns: {
    run: ({ offPolicy, ratios, gamma, lambda }, remask) => retraceReturns({ ...offPolicy, importanceRatios: ratios }, { gamma, lambda, remask }),
    reference: reference.retrace,
  },
  importanceCorrectedErrors: {
    run: ({ inputs, ratios, gamma, lambda }, remask) => importanceCorrectedErrors({ ...inputs, importanceRatios: ratios }, { gamma, lambda, remask }),
    reference: reference.importanceCorrected,
  },
  ...Object.fromEntries(
    (['errors', 'targets', 'qEstimates', 'advantages'] as const).map((part) => [
      `vtraceEstimates, ${part}`,
      {
        run: ({ inputs, ratios, gamma, lambda }: Arrays, remask?: boolean) => vtraceEstimates({ ...inputs, importanceRatios: ratios }, { gamma, lambda, ...clips, remask })[part],
        reference: (steps: Steps) => reference.vtrace(steps, clips)[part],
      },
    ]),
  ),
};

test.each(Object.keys(functions))('%s: one pass over memory', (name) => {
  const x = arrays(randomSteps(1), 'float32');
  expect(functions[name]!.run(x).explain().match(/^program over/gm)).toHaveLength(1);
});

function expectClose(got: Tensor, wanted: number[][], tolerance: number, mask?: number[][]): void {
  const rows = got.toArray() as number[][];
  const scale = wanted.flat().reduce((largest, x) => Math.max(largest, Math.abs(x)), 1);
  wanted.forEach((row, b) =>
    row.forEach((x, t) => {
      if (mask && !mask[b]![t]) return;
      if (!(Math.abs(rows[b]![t]! - x) <= tolerance * scale)) throw new Error(`row ${b}, position ${t}: expected ${x}, got ${rows[b]![t]}`);
    })
  );
}

describe.each(Object.keys(functions))('%s', (name) => {
  const { run, reference: wanted } = functions[name]!;

  test('agrees with the sum over what lies ahead; masked outputs are 0', () => {
    for (let seed = 0; seed < 12; seed++) {
      const steps = randomSteps(seed);
      expectClose(run(arrays(steps, 'float64')), wanted(steps), 1e-9);
      expectClose(run(arrays(steps, 'float32')), wanted(steps), 1e-5);
    }
  });

  test('what masked positions hold reaches nothing', () => {
    const steps = randomSteps(5);
    const dirty = Object.fromEntries(
      (Object.entries(steps) as [string, number[][]][]).map(([key, array]) => [key, key === 'masks' ? array : array.map((row, b) => row.map((x, t) => (steps.masks[b]![t] ? x : NaN)))]),
    ) as unknown as Steps;
    for (const flag of ['terminated', 'truncated'] as const) dirty[flag] = steps[flag].map((row, b) => row.map((x, t) => (steps.masks[b]![t] ? x : 1)));
    expectClose(run(arrays(dirty, 'float64')), wanted(steps), 1e-9);
    expectClose(run(arrays(dirty, 'float64'), false), wanted(steps), 1e-9, steps.masks);
  });

  test('rewards and values around 1e4', () => {
    const steps = randomSteps(8, { offset: 1e4 });
    expectClose(run(arrays(steps, 'float64')), wanted(steps), 1e-12);
    expectClose(run(arrays(steps, 'float32')), wanted(steps), 1e-5);
  });

  test('its gradient to the rewards is that of central differences', () => {
    const steps = randomSteps(2);
    const x = arrays(steps, 'float64');
    const rewards = tensor(steps.rewards, { dtype: 'float64' });
    const [gradient] = gradients(run({ ...x, inputs: { ...x.inputs, rewards }, offPolicy: { ...x.offPolicy, rewards } }).square().sum(), [rewards]);
    const differences = steps.rewards.map((row, b) =>
      row.map((_, t) => {
        const squares = (by: number) => {
          const moved = steps.rewards.map((each, i) => each.map((v, j) => (i === b && j === t ? v + by : v)));
          return wanted({ ...steps, rewards: moved }).flat().reduce((sum, v) => sum + v * v, 0);
        };
        return (squares(1e-3) - squares(-1e-3)) / 2e-3;
      })
    );
    expectClose(gradient!, differences, 1e-7);
  });

  test('an empty batch and no time', () => {
    for (const shape of [[0, 4], [3, 0]]) {
      const empty = (dtype: DType | 'uint8' = 'float64') => tensor([], { shape, dtype });
      const common = { rewards: empty(), mask: empty('uint8'), terminated: empty('uint8'), truncated: empty('uint8') };
      const x = {
        inputs: { ...common, values: empty(), bootstrapValues: empty() },
        offPolicy: { ...common, nextValues: empty(), actionValues: empty() },
        ratios: empty(),
        traces: empty(),
        gamma: empty(),
        lambda: empty(),
      };
      expect(run(x).shape).toEqual(shape);
      expect(run(x).toArray()).toEqual(shape[0] === 0 ? [] : [[], [], []]);
    }
  });
});

test('Q(λ) bootstraps from the best action; 0 for λ cuts the trace', () => {
  const random = generator(3);
  const q = Array.from({ length: 2 }, () => Array.from({ length: 4 }, () => [random(), random(), random()]));
  const rewards = [[1, 2, 3, 4], [0, 0, 0, 1]];
  const best = q.map((row) => row.map((actions) => Math.max(...actions)));
  const lambdas = [[0.5, 0, 0.5, 1], [1, 1, 0, 0]];
  const returns = qLambdaReturns(
    { rewards: tensor(rewards, { dtype: 'float64' }), nextActionValues: tensor(q, { dtype: 'float64' }) },
    { gamma: 0.9, lambda: tensor(lambdas, { dtype: 'float64' }) },
  ).toArray() as number[][];
  rewards.forEach((row, b) => {
    let g = best[b]![3]!;
    for (let t = 3; t >= 0; t--) {
      g = row[t]! + 0.9 * ((1 - lambdas[b]![t]!) * best[b]![t]! + lambdas[b]![t]! * g);
      expect(returns[b]![t]).toBeCloseTo(g, 12);
    }
  });
});

test('one bootstrap value a row stands behind its last valid step, and behind truncated ones', () => {
  const rewards = tensor([[1, 1, 1, 1], [1, 1, 1, 1]], { dtype: 'float64' });
  const mask = tensor([[1, 1, 1, 0], [0, 1, 0, 1]]);
  const bootstrapValues = tensor([10, 20], { dtype: 'float64' });
  expect(discountedReturns({ rewards, mask, bootstrapValues }, { gamma: 0.5 }).toArray()).toEqual([[3, 4, 6, 0], [0, 6.5, 0, 11]]);
  const truncated = tensor([[1, 0, 0, 0], [0, 0, 0, 0]]);
  expect(discountedReturns({ rewards, mask, bootstrapValues, truncated }, { gamma: 0.5 }).toArray()).toEqual([[6, 4, 6, 0], [0, 6.5, 0, 11]]);
  const terminated = tensor([[0, 0, 1, 0], [0, 0, 0, 1]]);
  expect(discountedReturns({ rewards, mask, bootstrapValues, terminated }, { gamma: 0.5 }).toArray()).toEqual([[1.75, 1.5, 1, 0], [0, 1.5, 0, 1]]);
});

test('with remask off, a recurrence holds at masked positions what passes through', () => {
  const inputs = { rewards: tensor([[1, 9, 1, 9]]), values: tensor([[0, 5, 0, 7]]), mask: tensor([[1, 0, 1, 0]]) };
  const { advantages, returns } = truncatedGae(inputs, { gamma: 1, remask: false });
  expect(advantages.toArray()).toEqual([[2, 1, 1, 0]]);
  expect(returns.toArray()).toEqual([[2, 6, 1, 7]]);
});

test('the value of a masked position can be that of the state after a step', () => {
  const inputs = { rewards: tensor([[1, 0, 1]]), values: tensor([[0, 4, 0]]), importanceRatios: tensor([[1, 1, 1]]), mask: tensor([[1, 0, 1]]) };
  expect(vtraceEstimates(inputs, { gamma: 1 }).targets.toArray()).toEqual([[2, 0, 1]]);
  expect(vtraceEstimates(inputs, { gamma: 1, maskedStates: 'use' }).targets.toArray()).toEqual([[6, 0, 1]]);
});

test('errors name what was given', () => {
  const rewards = tensor([[1, 2]]);
  const values = tensor([[1, 2]]);
  expect(() => lambdaReturns({ rewards, values, mask: tensor([[1]]) }, { gamma: 1 })).toThrow('lambdaReturns: expected mask of shape [1,2], as rewards, got [1,1]');
  expect(() => lambdaReturns({ rewards }, { gamma: 1 })).toThrow('lambdaReturns: expected values, a Tensor, got undefined');
  expect(() => lambdaReturns({ rewards, vals: values } as never, { gamma: 1 })).toThrow("lambdaReturns: unknown input 'vals'. Did you mean 'values'?");
  expect(() => lambdaReturns({ rewards, values }, { gama: 1 } as never)).toThrow("lambdaReturns: unknown option 'gama'. Did you mean 'gamma'?");
  expect(() => lambdaReturns({ rewards, values }, {} as never)).toThrow("option 'gamma': expected a finite number");
  expect(() => lambdaReturns({ rewards, values, truncated: tensor([[1, 0]]) }, { gamma: 1 })).toThrow('expected bootstrapValues or nextValues');
  expect(() => lambdaReturns({ rewards, nextValues: values, bootstrapValues: values }, { gamma: 1 })).toThrow('expected nextValues or bootstrapValues, got both');
  expect(() => lambdaReturns({ rewards, values, bootstrapValues: tensor([1, 2]) }, { gamma: 1 })).toThrow('expected bootstrapValues of shape [1] or [1,2], got [2]');
  expect(() => lambdaReturns({ rewards: tensor([1]) }, { gamma: 1 })).toThrow('expected rewards of shape [batch, time], got [1]');
  expect(() => nStepReturns({ rewards, values }, { gamma: 1, n: 0 })).toThrow("option 'n': expected a whole number of at least 1, got 0");
  expect(() => vtraceEstimates({ rewards, values, importanceRatios: values }, { gamma: 1, clipC: -1 })).toThrow("option 'clipC': expected a number of at least 0");
  expect(() => vtraceEstimates({ rewards, values, importanceRatios: values }, { gamma: 1, maskedStates: 'no' as never })).toThrow("option 'maskedStates': expected 'skip' or 'use'");
});

describe('estimators', () => {
  const gamma = 0.95;
  const lambda = 0.9;
  const plain = (steps: Steps): Steps => ({ ...steps, gammas: steps.gammas.map((row) => row.map(() => gamma)), lambdas: steps.lambdas.map((row) => row.map(() => lambda)) });

  function run(name: string, steps: Steps, dtype: DType, options: AdvantageOptions = {}) {
    const of = (key: keyof Steps) => tensor(steps[key], { dtype });
    return computeAdvantages(
      name,
      {
        rewards: of('rewards'),
        values: of('values'),
        masks: tensor(steps.masks, { dtype: 'uint8' }),
        terminated: of('terminated'),
        truncated: of('truncated'),
        bootstrapValues: of('bootstrap'),
        oldLogProbs: of('ratios').log(),
        rolloutLogProbs: of('ratios').mul(0),
      },
      { gamma, lambda, ...options },
    );
  }

  const minusValues = (returns: number[][], steps: Steps) => returns.map((row, b) => row.map((x, t) => (steps.masks[b]![t] ? x - steps.values[b]![t]! : 0)));
  const wantedOf: Record<string, (steps: Steps) => { advantages: number[][]; returns: number[][] }> = {
    td0: (steps) => ({ returns: reference.td0(steps), advantages: minusValues(reference.td0(steps), steps) }),
    td1: (steps) => ({ returns: reference.td1(steps), advantages: minusValues(reference.td1(steps), steps) }),
    td_lambda: (steps) => ({ returns: reference.lambdaReturn(steps), advantages: minusValues(reference.lambdaReturn(steps), steps) }),
    n_step: (steps) => ({ returns: reference.nStep(steps, 5), advantages: minusValues(reference.nStep(steps, 5), steps) }),
    discounted_return: (steps) => ({ returns: reference.td1(steps), advantages: reference.td1(steps) }),
    truncated_gae: (steps) => ({
      advantages: reference.gae(steps),
      returns: reference.gae(steps).map((row, b) => row.map((x, t) => (steps.masks[b]![t] ? x + steps.values[b]![t]! : 0))),
    }),
    vtrace: (steps) => {
      const { advantages, targets } = reference.vtrace(steps, { clipRho: 1, clipC: 1, clipPgRho: 1, alpha: 1 });
      return { advantages, returns: targets };
    },
  };

  test.each(Object.keys(wantedOf))('%s: agrees with its reference, and masked outputs are 0', (name) => {
    for (let seed = 20; seed < 28; seed++) {
      const steps = plain(randomSteps(seed));
      const wanted = wantedOf[name]!(steps);
      for (const [dtype, tolerance] of [['float64', 1e-9], ['float32', 1e-5]] as const) {
        const { advantages, returns } = run(name, steps, dtype, name === 'n_step' ? { lambda: 1 } : {});
        expectClose(advantages, wanted.advantages, tolerance);
        expectClose(returns, wanted.returns, tolerance);
      }
    }
  });

  test.each(Object.keys(wantedOf))('%s: whitened advantages have mean 0 and deviation 1, and NaN at masked positions changes nothing', (name) => {
    const steps = randomSteps(31);
    const dirty = { ...steps, rewards: steps.rewards.map((row, b) => row.map((x, t) => (steps.masks[b]![t] ? x : NaN))) };
    const advantages = run(name, dirty, 'float64', { whiten: true }).advantages.toArray() as number[][];
    expect(advantages).toEqual(run(name, steps, 'float64', { whiten: true }).advantages.toArray());
    const valid = advantages.flatMap((row, b) => row.filter((_, t) => steps.masks[b]![t]));
    const mean = valid.reduce((sum, x) => sum + x, 0) / valid.length;
    expect(mean).toBeCloseTo(0, 9);
    expect(valid.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (valid.length - 1)).toBeCloseTo(1, 5);
  });

  test('n counts the steps, and an unknown option is refused', () => {
    const row = plain(randomSteps(33));
    expectClose(run('n_step', row, 'float64', { n: 2, lambda: 1 }).returns, reference.nStep(row, 2), 1e-9);
    expect(() => run('n_step', row, 'float64', { steps: 2 })).toThrow("unknown option 'steps'");
    expect(() => run('n_step', row, 'float64', { n: 0.5 })).toThrow("option 'n': expected a whole number, 1 or more, got 0.5");
  });

  test('reward_to_go and v_trace are other names', () => {
    const steps = plain(randomSteps(34));
    expect(run('reward_to_go', steps, 'float64').returns.toArray()).toEqual(run('discounted_return', steps, 'float64').returns.toArray());
    expect(run('v_trace', steps, 'float64').returns.toArray()).toEqual(run('vtrace', steps, 'float64').returns.toArray());
  });

  test('without flags truncated_gae is gae', () => {
    const { rewards, values, masks } = randomSteps(35);
    const got = computeAdvantages('truncated_gae', { rewards, values, masks }, { gamma, lambda });
    const wanted = computeAdvantages('gae', { rewards, values, masks }, { gamma, lambda, whiten: false });
    expectClose(got.advantages, wanted.advantages.toArray() as number[][], 1e-5);
    expectClose(got.returns, wanted.returns.toArray() as number[][], 1e-5);
  });

  test('with flags gae is truncated_gae, whitened', () => {
    for (let seed = 36; seed < 40; seed++) {
      const steps = plain(randomSteps(seed));
      const wanted = run('truncated_gae', steps, 'float64');
      const got = run('gae', steps, 'float64', { whiten: 'none' });
      expect(got.advantages.toArray()).toEqual(wanted.advantages.toArray());
      expect(got.returns.toArray()).toEqual(wanted.returns.toArray());
      expectClose(run('gae', steps, 'float64').advantages, run('truncated_gae', steps, 'float64', { whiten: true }).advantages.toArray() as number[][], 1e-9);
      expect(() => run('gae', steps, 'float64', { holes: 'ignore' })).toThrow("holes is 'ignore', which knows no terminated, truncated and bootstrapValues: expected 'carry'");
    }
  });

  test("convention 'areal' leaves at masked positions what passes them", () => {
    const inputs = { rewards: [[0, 0, 1, 0]], values: [[1, 2, 3, 4]], masks: [[0, 1, 1, 0]], bootstrapValues: [2] };
    const { advantages, returns } = computeAdvantages('truncated_gae', inputs, { convention: 'areal', gamma: 0.5 });
    expect(advantages.toArray()).toEqual([[-1, -1, -1, 0]]);
    expect(returns.toArray()).toEqual([[0, 1, 2, 4]]);
  });
});
