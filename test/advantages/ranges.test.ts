/** The numbers that options of estimators may be: each of the others is refused when the estimator is made, and those that are not give finite advantages. */
import {
  AdvantageEstimator,
  computeAdvantages,
  createAdvantageEstimator,
  discountedReturns,
  EstimatorError,
  getAdvantageEstimator,
  Groups,
  listAdvantageEstimators,
  normalize,
  registerAdvantageEstimator,
  tensor,
  unregisterAdvantageEstimator,
  type Tensor,
} from 'vantage-rl';

const probes = [-1, 0, 1.5, Infinity, -Infinity, NaN];
const [finite, notNegative, share, positive] = [[-1, 0, 1.5], [0, 1.5], [0], [1.5]];
const open = [0, 1.5, Infinity];

/** What is taken of the probes, by option; `name.option` where the name means something else for one estimator. */
const taken: Record<string, readonly number[]> = {
  epsilon: notNegative,
  whitenEpsilon: notNegative,
  minVariance: notNegative,
  countEpsilon: notNegative,
  klCoef: finite,
  weights: finite,
  turnWeight: finite,
  trajectoryWeight: finite,
  stepWeight: finite,
  lambdaValue: share,
  lambdaPolicy: share,
  lengthAdaptiveAlpha: notNegative,
  turnDiscount: share,
  minComponents: [],
  k: [],
  n: [],
  fNorm: positive,
  clipRho: open,
  clipC: open,
  clipPgRho: open,
  'vtrace.alpha': share,
  'bnpo.alpha': positive,
  'bnpo.beta': positive,
  maxWeight: [1.5, Infinity],
  minReward: finite,
  maxReward: finite,
  initialValue: finite,
  initialWeight: notNegative,
  forgetting: share,
  minForgetting: share,
  maxForgetting: share,
  halfDivergence: positive,
};
/** Taken by themselves, but not beside the defaults of others. */
const related = [['bnpo', 'minReward', 1.5], ['bnpo', 'maxReward', -1], ['bnpo', 'maxReward', 0], ['spo', 'maxForgetting', 0]] as const;

const rows = [[0, 1], [1, 0], [0, 0], [0, 1]];
const numbers = rows.map((row, b) => row.map((_, t) => -0.25 - 0.5 * b - 0.125 * t));
const ids = tensor([[0, 1], [0, 1], [0, 1], [0, 0]], { dtype: 'int32' });
const inputs = {
  rewards: rows,
  masks: [[1, 1], [1, 1], [1, 1], [1, 0]],
  values: numbers,
  groupIds: [0, 0, 0, 0],
  oldLogProbs: numbers,
  refLogProbs: rows.map((row) => row.map(() => -0.5)),
  rolloutLogProbs: numbers.map((row) => row.map((x) => x + 0.125)),
  teacherLogProbs: numbers,
  sumSquaredProbs: rows.map((row) => row.map(() => 0.5)),
  baselines: [0, 1, 0, 0],
  turnIds: ids,
  anchorIds: ids,
  rewardComponents: rows,
  terminated: rows.map(() => [0, 0]),
};

const cases = listAdvantageEstimators().flatMap((name) => {
  const { options, choices = {} } = getAdvantageEstimator(name);
  return Object.entries(options).filter(([option, standard]) => !(option in choices) && (typeof standard === 'number' || standard === null || Array.isArray(standard))).map(([option, standard]) => ({
    name,
    option,
    standard,
  }));
});

test.each(cases)('$name, $option', ({ name, option, standard }) => {
  const accepted = taken[`${name}.${option}`] ?? taken[option];
  expect(accepted).toBeDefined();
  for (const probe of probes) {
    const options = { [option]: Array.isArray(standard) ? [probe, probe] : probe };
    const problem = ` option '${option}': expected `;
    if (!accepted!.includes(probe) || related.some(([of, key, value]) => of === name && key === option && value === probe)) {
      const run = () => computeAdvantages(name, inputs, options);
      expect(run).toThrow(EstimatorError);
      expect(run).toThrow(`advantage estimator '${name}':`);
      // Of two numbers that do not go together the error may name the other one.
      if (!accepted!.includes(probe)) {
        expect(run).toThrow(problem);
        expect(() => createAdvantageEstimator(name, options)).toThrow(problem);
      }
    } else {
      const { advantages, returns } = computeAdvantages(name, inputs, options);
      expect([...advantages.dataSync(), ...returns.dataSync()].every(Number.isFinite)).toBe(true);
    }
  }
});

test('the message names estimator, option, what was expected and what came', () => {
  expect(() => createAdvantageEstimator('grpo', { epsilon: -1 })).toThrow("advantage estimator 'grpo': option 'epsilon': expected a number, 0 or more, got -1");
  expect(() => createAdvantageEstimator('gdpo', { weights: [1, Infinity] })).toThrow("advantage estimator 'gdpo': option 'weights': expected an array of finite numbers, got ");
  expect(() => createAdvantageEstimator('gdpo', { minComponents: 1.5 })).toThrow("option 'minComponents': expected a whole number, 1 or more, got 1.5");
  expect(() => createAdvantageEstimator('raw_reward', { klCoef: Infinity })).toThrow("option 'klCoef': expected a finite number, got Infinity");
  expect(() => createAdvantageEstimator('vtrace', { clipC: -1 })).toThrow("option 'clipC': expected a number, 0 or more (Infinity: no bound), got -1");
});

describe('a custom estimator', () => {
  class Scaled extends AdvantageEstimator {
    static override readonly options: Readonly<Record<string, unknown>> = { epsilon: -1, factor: 0.5 };
    static override readonly ranges = { factor: { low: 0, high: 1 } };
    computeAdvantages(rewards: Tensor): Tensor {
      return rewards.mul(this.options.factor as number).add(this.options.epsilon as number);
    }
  }
  afterEach(() => listAdvantageEstimators().filter((name) => name.startsWith('test_')).forEach(unregisterAdvantageEstimator));

  test('has the ranges that it says, and any number for options whose names built-in ones have', () => {
    registerAdvantageEstimator('test_scaled', Scaled);
    expect(computeAdvantages('test_scaled', inputs, { epsilon: -2 }).advantages.toArray()).toEqual([[-2, -1.5], [-1.5, -2], [-2, -2], [-2, 0]]);
    expect(() => computeAdvantages('test_scaled', inputs, { factor: 2 })).toThrow("advantage estimator 'test_scaled': option 'factor': expected a number from 0 to 1, got 2");
    expect(() =>
      registerAdvantageEstimator(
        'test_wrong',
        class extends Scaled {
          static override readonly ranges = { factor: 3 } as never;
        },
      )
    ).toThrow('static ranges: factor: expected { low, high?, … }, got 3');
  });

  test.each(['gamma', 'remask', 'convention'])('has no option that every estimator has: %s', (option) => {
    class Mine extends AdvantageEstimator {
      static override readonly options = { [option]: 0.5 };
      computeAdvantages(rewards: Tensor) {
        return rewards;
      }
    }
    expect(() => registerAdvantageEstimator('mine_too', Mine)).toThrow(`static options: '${option}' is an option of every estimator`);
  });

  test('that extends a built-in one has the ranges of what it extends', () => {
    const GroupRelative = getAdvantageEstimator('grpo') as unknown as typeof Scaled;
    class Mine extends GroupRelative {
      static override readonly options = { ...GroupRelative.options, countEpsilon: -3 };
    }
    registerAdvantageEstimator('test_mine', Mine);
    expect(() => createAdvantageEstimator('test_mine', { epsilon: -1 })).toThrow("'test_mine': option 'epsilon': expected a number, 0 or more, got -1");
    expect(createAdvantageEstimator('test_mine', { countEpsilon: -5 }).options.countEpsilon).toBe(-5);
  });
});

describe('an input that is not finite is named with its place, before the advantages', () => {
  const spoil = (name: 'rewards' | 'values', value: number) => ({ ...inputs, [name]: inputs[name].map((row, b) => row.map((x, t) => (b === 1 && t === 1 ? value : x))) });
  test.each([Infinity, -Infinity, NaN])('%p', (value) => {
    for (const [estimator, name] of [['grpo', 'rewards'], ['gae', 'rewards'], ['gae', 'values']] as const) {
      expect(() => computeAdvantages(estimator, spoil(name, value))).toThrow(
        `advantage estimator '${estimator}': ${name}: expected finite numbers on valid tokens, got ${value} at row 1, position 1, and 1 such in all`,
      );
    }
  });

  test('also in inputs of rows', () => {
    expect(() => computeAdvantages('remax', { ...inputs, baselines: [0, 0, NaN, 0] })).toThrow("'remax': baselines: expected finite numbers, got NaN at row 2");
    expect(() => computeAdvantages('gdpo', { ...inputs, rewardComponents: [[0, 1], [NaN, 2], [0, Infinity], [0, 1]] })).toThrow(
      "'gdpo': rewardComponents: expected finite numbers, got Infinity at row 2, position 1",
    );
  });
});

test('a disposed tensor and group ids that are none: estimator and argument are named', () => {
  const gone = tensor(rows);
  gone.dispose();
  for (const name of ['rewards', 'masks', 'values', 'groupIds'] as const) {
    expect(() => computeAdvantages('gae', { ...inputs, [name]: gone })).toThrow(`advantage estimator 'gae': ${name}: expected a Tensor that is there, got one that was disposed`);
  }
  const x = tensor(rows);
  const groups = new Groups(['a', 'a', 'b', 'b'], 4);
  expect(() => normalize(gone)).toThrow('normalize: x: expected a Tensor that is there, got one that was disposed');
  expect(() => groups.advantages(gone, x)).toThrow('Groups.advantages: rewards: expected a Tensor that is there, got one that was disposed');
  expect(() => groups.mean(gone)).toThrow('groups: one number a row: expected a Tensor that is there, got one that was disposed');
  expect(() => discountedReturns({ rewards: x, bootstrapValues: gone }, { gamma: 1 })).toThrow('discountedReturns: bootstrapValues: expected a Tensor that is there');
  expect(() => computeAdvantages('grpo', { ...inputs, groupIds: [0] })).toThrow("advantage estimator 'grpo': groupIds: expected 4 ids, one a row, got 1");
  for (const options of [null, [], new Map([['epsilon', 1]])]) expect(() => computeAdvantages('grpo', inputs, options as never)).toThrow("advantage estimator 'grpo': expected options, got ");
  const instance = createAdvantageEstimator('grpo');
  expect(() => computeAdvantages(instance, inputs, new Map([['gamma', 0.5]]) as never)).toThrow("advantage estimator 'grpo': expected options, got a Map of 1");
});
