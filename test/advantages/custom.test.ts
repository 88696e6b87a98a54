/** Custom estimators as users write them: the registry, both forms of a recurrence, and every mistake with its message. */
import {
  AdvantageEstimator,
  computeAdvantages,
  EstimatorError,
  getAdvantageEstimator,
  listAdvantageEstimators,
  registerAdvantageEstimator,
  RegistryError,
  scan,
  stack,
  Tensor,
  tensor,
  unregisterAdvantageEstimator,
  type AdvantageContext,
  type AdvantageEstimatorClass,
} from 'vantage-rl';

class ScanForm extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    const advantages = scan([rewards, masks], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.99)));
    return advantages.sub(advantages.mean()).div(advantages.std().add(1e-8));
  }
}

class LoopForm extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    const columns: Tensor[] = [];
    let running: Tensor | number = 0;
    for (let t = rewards.shape[1]! - 1; t >= 0; t--) {
      running = rewards.select(1, t).add(masks.select(1, t).mul(0.99).mul(running));
      columns.unshift(running);
    }
    const advantages = stack(columns, 1);
    return advantages.sub(advantages.mean()).div(advantages.std().add(1e-8));
  }
}

const register = (name: string, compute: (rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext) => unknown, requires: string[] = []) => {
  class Custom extends AdvantageEstimator {
    static override readonly requires = requires as never;
    computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): Tensor {
      return compute(rewards, values, masks, context) as Tensor;
    }
  }
  registerAdvantageEstimator(name, Custom, { override: true });
  return Custom;
};
const inputs = { rewards: [[0, 0, 1], [0, 2, 0]], masks: [[1, 1, 1], [1, 1, 0]], groupIds: ['a', 'a'] };

afterEach(() => listAdvantageEstimators().filter((name) => name.startsWith('test_')).forEach(unregisterAdvantageEstimator));

test.each([[3, 5], [8, 64], [2, 4096]])('the loop form and the scan form give the same numbers (%i×%i)', (batch, time) => {
  registerAdvantageEstimator('test_scan', ScanForm);
  registerAdvantageEstimator('test_loop', LoopForm);
  const rewards = tensor(Float32Array.from({ length: batch * time }, (_, i) => Math.sin(i * 1.7)), { shape: [batch, time] });
  const masks = tensor(Uint8Array.from({ length: batch * time }, (_, i) => (i % 7 === 3 ? 0 : 1)), { shape: [batch, time] });
  const [a, b] = ['test_scan', 'test_loop'].map((name) => computeAdvantages(name, { rewards, masks }).advantages.dataSync());
  a!.forEach((x, i) => expect(Math.abs(x - b![i]!)).toBeLessThan(1e-5));
});

test('registering, listing, aliases, replacing, removing', () => {
  registerAdvantageEstimator('test_a', ScanForm, { aliases: ['test_alias'] });
  expect(listAdvantageEstimators()).toEqual(expect.arrayContaining(['gae', 'grpo', 'reinforce++', 'rloo', 'test_a']));
  expect(getAdvantageEstimator('test_alias')).toBe(ScanForm);
  registerAdvantageEstimator('test_a', ScanForm);
  expect(() => registerAdvantageEstimator('test_a', LoopForm)).toThrow(/already registered.*override/);
  registerAdvantageEstimator('test_a', LoopForm, { override: true });
  expect(getAdvantageEstimator('test_a')).toBe(LoopForm);
  unregisterAdvantageEstimator('test_a');
  expect(() => getAdvantageEstimator('test_a')).toThrow(RegistryError);
  expect(getAdvantageEstimator('reinforce_plus_plus')).toBe(getAdvantageEstimator('reinforce++'));
});

test('a built-in is replaced by a custom class of its name, and can be put back', () => {
  const original = getAdvantageEstimator('grpo');
  registerAdvantageEstimator('grpo', ScanForm, { override: true });
  expect(getAdvantageEstimator('grpo')).toBe(ScanForm);
  registerAdvantageEstimator('grpo', original, { override: true });
  expect(getAdvantageEstimator('grpo')).toBe(original);
});

test('an unknown name lists what exists and the nearest match', () => {
  expect(() => computeAdvantages('gpro', inputs)).toThrow(/Unknown advantage estimator 'gpro'\. Did you mean 'grpo'\? Registered: .*gae.*grpo.*reinforce\+\+.*rloo/);
});

test('what is registered must be a class with computeAdvantages and inputs that exist', () => {
  for (const wrong of [null, 5, 'x', {}, () => 1, class {}]) {
    expect(() => registerAdvantageEstimator('test_wrong', wrong as never)).toThrow(EstimatorError);
  }
  class Asks extends ScanForm {
    static override readonly requires = ['value'] as never;
  }
  expect(() => registerAdvantageEstimator('test_wrong', Asks)).toThrow(/'?"?value"?'? ?,? ?which is no input\. Did you mean 'values'\? Inputs: values/);
});

describe('what a class says of its options and inputs is looked at when it is registered', () => {
  const declaring = (members: object) => Object.assign(class Declares extends ScanForm {}, { options: { width: 1, mode: 'a', auto: null } }, members) as AdvantageEstimatorClass;
  const cases: [string, object, string][] = [
    ['a range of no option', { ranges: { widht: { low: 0 } } }, '(class Declares): static ranges names "widht", which is no option. Did you mean \'width\'? Options: width, mode, auto'],
    ['choices of no option', { choices: { modes: ['a'] } }, '(class Declares): static choices names "modes", which is no option. Did you mean \'mode\'? Options: width, mode, auto'],
    ['choices without options', { options: {}, choices: { colour: ['a'] } }, '(class Declares): static choices names "colour", which is no option. Options: (none)'],
    ['choices that are none', { choices: { mode: 'a' } }, '(class Declares): static choices: mode: expected an array of values, got "a"'],
    ['a range that is none', { ranges: { width: [0, 1] } }, '(class Declares): static ranges: width: expected { low, high?, … }, got [0,1]'],
    ['a default out of range', { ranges: { width: { low: 2 } } }, '(class Declares): static options: width: expected a number, 2 or more, got 1'],
    ['null out of range', { ranges: { auto: { low: 2 } } }, '(class Declares): static options: auto: expected a number, 2 or more, got null'],
    ['a default that is no choice', { choices: { mode: ['b', 'c'] } }, '(class Declares): static options: mode: expected one of b, c, got "a"'],
    ['an input that it reads', { reads: ['gama'] }, '(class Declares): static reads names "gama", which is no input. Did you mean \'gamma\'? Inputs: gamma, lambda, values'],
    ['reads that are none', { reads: 'gamma' }, '(class Declares): expected static reads to be an array of names, or a function that gives one, got "gamma"'],
  ];
  test.each(cases)('%s', (_, members, message) => {
    expect(() => registerAdvantageEstimator('test_declares', declaring(members))).toThrow(new EstimatorError(`advantage estimator "test_declares" ${message}`).message);
    expect(listAdvantageEstimators()).not.toContain('test_declares');
  });

  test('what is right, and what is inherited without the options, is taken; every built-in passes', () => {
    const right = { ranges: { width: { low: 0 }, auto: { low: 0, nullable: true } }, choices: { mode: ['a', 'b'] }, reads: ['lambda', 'values'] };
    registerAdvantageEstimator('test_declares', declaring(right), { override: true });
    registerAdvantageEstimator(
      'test_declares',
      class extends (getAdvantageEstimator('gdpo') as typeof ScanForm) {
        static override readonly options = { own: 1 };
      },
      { override: true },
    );
    unregisterAdvantageEstimator('test_declares');
    for (const name of listAdvantageEstimators()) registerAdvantageEstimator(name, getAdvantageEstimator(name));
  });
});

test('an option of other estimators is said to be theirs', () => {
  expect(() => computeAdvantages('grpo', inputs, { klCoef: 1 })).toThrow("advantage estimator 'grpo': unknown option 'klCoef', which raw_reward, reinforce++_baseline have. Options: gamma, lambda,");
  expect(() => computeAdvantages('grpo', inputs, { clipRho: 1 })).toThrow("unknown option 'clipRho', which vtrace has. Options: ");
  expect(() => computeAdvantages('gae', { ...inputs, values: inputs.rewards }, { singleton: 'zero' })).toThrow(/unknown option 'singleton', which \w+(, \w+){4} and \d+ more have\. Options: /);
});

function gone(values: number[] | number[][]): Tensor {
  const result = tensor(values);
  result.dispose();
  return result;
}

test('estimators that call one another without an end are named once each', () => {
  const call = (name: string) => () => computeAdvantages(name, inputs).advantages;
  register('test_ping', call('test_pong'));
  register('test_pong', call('test_ping'));
  register('test_self', call('test_self'));
  const message = (name: string): string => {
    try {
      call(name)();
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  for (const name of ['test_ping', 'test_self']) {
    expect(message(name)).toMatch(/computeAdvantages: a recursion that does not end/);
    expect(message(name).match(new RegExp(`'${name}': `, 'g'))).toHaveLength(1);
  }
});

test('masks that an estimator disposes of are said to be gone', () => {
  register('test_bad', (rewards: Tensor, _: unknown, masks: Tensor) => {
    masks.dispose();
    return rewards;
  });
  expect(() => computeAdvantages('test_bad', { rewards: [[1, 2]], masks: tensor([[1, 1]], { dtype: 'bool' }) })).toThrow("'test_bad': computeAdvantages disposed of masks, which are not its own");
});

describe('a wrong result names the estimator, what was expected and what came', () => {
  const cases: [string, () => unknown, RegExp][] = [
    ['a wrong shape', () => tensor([1, 2, 3]), /'test_bad': expected advantages of shape \[2,3\], got \[3\]/],
    ['a Promise', () => Promise.resolve(tensor([1])), /'test_bad'.*at once, got a Promise/],
    ['nothing', () => undefined, /'test_bad'.*expected computeAdvantages to return a Tensor.*undefined/],
    ['an array', () => [[1]], /'test_bad'.*expected computeAdvantages to return a Tensor/],
    ['integers', () => tensor([[1, 2, 3], [4, 5, 6]], { dtype: 'int32' }), /'test_bad': expected advantages of a floating dtype, got int32/],
    ['NaN on a valid token', () => tensor([[0, 0, 0], [0, NaN, 0]]), /'test_bad': expected finite advantages on valid tokens, got NaN at row 1, position 1/],
    ['Infinity', () => tensor([[Infinity, 0, 0], [0, 0, 0]]), /got Infinity at row 0, position 0/],
    ['wrong returns', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), returns: 7 }), /expected returns to be a Tensor, got 7/],
    ['a list of metrics', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), metrics: [1] }), /'test_bad': expected metrics, got \[1\]/],
    ['a tensor as metrics', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), metrics: tensor([1]) }), /'test_bad': expected metrics by name, got a Tensor/],
    ['a disposed result', () => gone([[1, 2, 3], [4, 5, 6]]), /'test_bad': advantages: expected a Tensor that is there, got one that was disposed/],
    ['disposed returns', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), returns: gone([[1, 2, 3], [4, 5, 6]]) }), /'test_bad': returns: expected a Tensor that is there/],
    ['a disposed metric', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), metrics: { x: gone([1]) } }), /'test_bad': metric 'x': expected a Tensor that is there, got one that was disposed$/],
    ['a disposed witness', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), finiteIf: gone([1]) }), /'test_bad': finiteIf: expected a Tensor that is there/],
    ['a wrong metric', () => ({ advantages: tensor([[1, 2, 3], [4, 5, 6]]), metrics: { x: 'y' } }), /metric 'x'/],
  ];
  test.each(cases)('%s', (_, compute, message) => {
    register('test_bad', compute);
    expect(() => computeAdvantages('test_bad', inputs)).toThrow(message);
    expect(() => computeAdvantages('test_bad', inputs)).toThrow(EstimatorError);
  });
});

test('NaN at a masked position is no error: it becomes 0', () => {
  register('test_masked', () => tensor([[1, 2, 3], [4, 5, NaN]]));
  expect(computeAdvantages('test_masked', inputs).advantages.toArray()).toEqual([[1, 2, 3], [4, 5, 0]]);
});

test('an input that the run does not have is named with its cure', () => {
  register('test_needs', (rewards) => rewards, ['values']);
  expect(() => computeAdvantages('test_needs', inputs)).toThrow(/'test_needs' requires 'values', which this run does not have.*critic.*Given: rewards, masks, groupIds/);
  expect(() => computeAdvantages('gae', inputs)).toThrow(/'gae' requires 'values'/);
  expect(() => computeAdvantages('grpo', { rewards: [[1]], masks: [[1]] })).toThrow(/'grpo' requires 'groupIds'/);
});

test('whatever is declared is delivered, and metrics and returns come back', () => {
  register('test_all', (rewards, values, masks, context) => {
    expect(context.oldLogProbs!.shape).toEqual([2, 3]);
    expect(context.baselines!.toArray()).toEqual([1, 2]);
    expect(context.groups!.count).toBe(1);
    expect([context.gamma, context.lambda]).toEqual([0.5, 0.25]);
    return { advantages: rewards.add(values!), returns: values!.mul(2), metrics: { spread: rewards.max(), two: 2 } };
  }, ['values', 'groupIds', 'oldLogProbs', 'baselines']);
  const result = computeAdvantages(
    'test_all',
    { ...inputs, values: [[1, 1, 1], [1, 1, 1]], oldLogProbs: [[0, 0, 0], [0, 0, NaN]], baselines: [1, 2] },
    { gamma: 0.5, lambda: 0.25 },
  );
  expect(result.advantages.toArray()).toEqual([[1, 1, 2], [1, 3, 0]]);
  expect(result.returns.toArray()).toEqual([[2, 2, 2], [2, 2, 0]]);
  expect(result.metrics).toEqual({ spread: 2, two: 2 });
});

test('inputs and options are checked by name', () => {
  const bad = (given: object, options: object, message: RegExp) => expect(() => computeAdvantages('grpo', { ...inputs, ...given } as never, options as never)).toThrow(message);
  bad({}, { epsilonn: 1 }, /unknown option 'epsilonn'\. Did you mean 'epsilon'\?/);
  bad({}, { epsilon: 'x' }, /option 'epsilon': expected a number, 0 or more, got "x"/);
  bad({}, { gamma: 1.5 }, /option 'gamma': expected a number from 0 to 1, got 1.5/);
  bad({}, { convention: 'skyrll' }, /expected one of vantage, skyrl.*Did you mean 'skyrl'/);
  bad({ rewards: [1, 2] }, {}, /expected rewards of shape \[batch, time\], got \[2\]/);
  bad({ rewards: [[1, 'x', 2]] }, {}, /rewards.*expected numbers/);
  bad({ masks: [[1, 1]] }, {}, /expected masks of shape \[2,3\], got \[1,2\]/);
  bad({ masks: undefined }, {}, /expected masks, got undefined/);
  bad({ values: [[1]] }, {}, /expected values of shape \[2,3\], got \[1,1\]/);
  bad({ groupIds: ['a'] }, {}, /groupIds: expected 2 ids, one a row, got 1/);
  bad({ groupIds: ['a', 1.5] }, {}, /expected strings or integers, got 1.5 in row 1/);
  bad({ valuess: 1 }, {}, /unknown input 'valuess'/);
});

test('rewards at masked positions: dropped, kept, carried, refused', () => {
  const stray = { rewards: [[1, 2, 4, 8]], masks: [[1, 0, 1, 0]], groupIds: ['a'] };
  const seen: unknown[] = [];
  register('test_sees', (rewards) => {
    seen.push(rewards.toArray());
    return rewards;
  });
  for (const rewardOnMasked of ['drop', 'keep', 'carry'] as const) computeAdvantages('test_sees', stray, { rewardOnMasked });
  expect(seen).toEqual([[[1, 0, 4, 0]], [[1, 2, 4, 8]], [[3, 0, 12, 0]]]);
  expect(() => computeAdvantages('test_sees', stray, { rewardOnMasked: 'error' })).toThrow(/2 rewards stand at masked positions/);
  expect(() => computeAdvantages('test_sees', stray, { rewardOnMasked: 'x' as never })).toThrow(/expected one of drop, keep, carry, error, got "x"/);
});

test('an error thrown inside an estimator reaches the caller as it is, and leaks no tensor', () => {
  register('test_throws', (rewards) => {
    rewards.mul(2).realize();
    throw new RangeError('mine');
  });
  const { memory } = jest.requireActual<typeof import('vantage-rl')>('vantage-rl');
  const before = memory().tensors;
  expect(() => computeAdvantages('test_throws', inputs)).toThrow(new RangeError('mine'));
  expect(memory().tensors).toBe(before);
});

test("a recursion without an end is reported under the estimator's name, and leaks no tensor", () => {
  const deeper = (rewards: Tensor): Tensor => deeper(rewards.add(1)).mul(2);
  register('test_endless', deeper);
  const { memory } = jest.requireActual<typeof import('vantage-rl')>('vantage-rl');
  const before = memory().tensors;
  const error = (() => {
    try {
      return computeAdvantages('test_endless', inputs);
    } catch (caught) {
      return caught;
    }
  })();
  expect(error).toBeInstanceOf(EstimatorError);
  expect((error as Error).message).toMatch(/^advantage estimator 'test_endless': computeAdvantages: a recursion that does not end \(Maximum call stack size exceeded\), at /);
  expect((error as Error).cause).toBeInstanceOf(RangeError);
  expect(memory().tensors).toBe(before);
});

test('what the library refuses inside an estimator is reported under its name, with the line', () => {
  register('test_null', (rewards, values) => rewards.sub(values!));
  expect(() => computeAdvantages('test_null', inputs)).toThrow(/'test_null': sub: expected a Tensor or a number, got null \(values are null.*static requires = \['values'\].*custom\.test\.ts/);
  register('test_metric', (rewards) => ({ advantages: rewards, metrics: { best: rewards } }));
  expect(() => computeAdvantages('test_metric', inputs)).toThrow(/'test_metric': expected metric 'best' to be a scalar, got shape \[2,3\]/);
  register('test_stray', (rewards) => ({ advantages: rewards, metric: {} }));
  expect(() => computeAdvantages('test_stray', inputs)).toThrow(/'test_stray': expected \{advantages, returns\?, metrics\?, finiteIf\?\}.*got 'metric' in it/);
});

test('a mask counts positions, whatever number marks them', () => {
  const rewards = [[0, 1, 0], [0, 0, 0]];
  const ones = computeAdvantages('grpo', { rewards, masks: [[1, 1, 0], [1, 1, 1]], groupIds: ['a', 'a'] });
  const others = computeAdvantages('grpo', { rewards, masks: [[2, 0.5, 0], [1, 3, 1]], groupIds: ['a', 'a'] });
  expect(others.advantages.toArray()).toEqual(ones.advantages.toArray());
});

describe('masks of bytes', () => {
  test('anything but 0 counts once, also where an estimator multiplies by the mask', () => {
    class Decay extends AdvantageEstimator {
      computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor) {
        return scan([rewards, masks], { reverse: true }, (running, [r, m]) => r!.add(running.mul(m!).mul(0.5)));
      }
    }
    registerAdvantageEstimator('test_bytes', Decay, { override: true });
    const rewards = [[1, 2, 4, 8], [1, 0, 0, 2]];
    const expected = computeAdvantages('test_bytes', { rewards, masks: [[1, 1, 0, 1], [1, 1, 1, 1]] }).advantages.toArray();
    for (const dtype of ['uint8', 'int32', 'float32'] as const) {
      const masks = tensor([[255, 2, 0, 1], [7, 1, 3, 200]], { dtype });
      expect(computeAdvantages('test_bytes', { rewards, masks }).advantages.toArray()).toEqual(expected);
    }
  });

  test('finiteIf: what it may be, and that it is believed', () => {
    const giving = (finiteIf: unknown) =>
      class extends AdvantageEstimator {
        computeAdvantages(rewards: Tensor) {
          return { advantages: rewards.mul(NaN), finiteIf: finiteIf as Tensor };
        }
      };
    const batch = { rewards: [[1, 2]], masks: [[1, 1]] };
    const compute = (finiteIf: unknown) => {
      registerAdvantageEstimator('test_witness', giving(finiteIf), { override: true });
      return computeAdvantages('test_witness', batch);
    };
    for (const wrong of [1, 'x', tensor([1], { dtype: 'int32' }), tensor([])]) {
      expect(() => compute(wrong)).toThrow(/'test_witness': expected finiteIf to be a floating Tensor that holds something/);
    }
    expect(() => compute(undefined)).toThrow(/expected finite advantages on valid tokens, got NaN/);
    expect(() => compute(tensor([NaN]))).toThrow(/expected finite advantages on valid tokens, got NaN/);
    expect(compute(tensor([1])).advantages.toArray()).toEqual([[NaN, NaN]]);
  });
});
