/** Options are worked out once for calls that ask with the same ones again: a call is told apart from the one before by anything that could change its answer. */
import {
  AdvantageEstimator,
  type AdvantageOptions,
  type AdvantageResult,
  computeAdvantages,
  computePolicyLoss,
  createAdvantageEstimator,
  type PolicyLossInputs,
  type PolicyLossOptions,
  PolicyLoss,
  registerAdvantageEstimator,
  registerPolicyLoss,
  tensor,
  type Tensor,
  unregisterAdvantageEstimator,
  unregisterPolicyLoss,
} from 'vantage-rl';
import { Remembered } from '../src/remembered';

const batch = { rewards: [[0, 1], [2, 0]], masks: [[1, 1], [1, 1]] };
const first = (name: string, options: object): number => computeAdvantages(name, batch, options as AdvantageOptions).advantages.dataSync()[0]!;

/** Gives what its options are, and changes them then. */
class Tells extends AdvantageEstimator {
  static override options: Record<string, unknown> = { factor: 2, list: [1] };
  computeAdvantages(rewards: Tensor): AdvantageResult {
    const { factor, list } = this.options as { factor: number; list: number[] };
    (this.options as Record<string, unknown>).factor = 100;
    return { advantages: rewards.mul(0).add(factor * list[0]!) };
  }
}

beforeAll(() => registerAdvantageEstimator('tells', Tells));
afterAll(() => unregisterAdvantageEstimator('tells'));

describe('options of estimators, call after call', () => {
  test('the same object with another number', () => {
    const options: Record<string, unknown> = { factor: 3 };
    expect(first('tells', options)).toBe(3);
    expect(first('tells', options)).toBe(3);
    options.factor = 4;
    expect(first('tells', options)).toBe(4);
    delete options.factor;
    expect(first('tells', options)).toBe(2);
  });

  test('those of an instance, and what calls give over them', () => {
    const one = createAdvantageEstimator('discounted_return', { gamma: 0.5 }), other = createAdvantageEstimator('discounted_return', { gamma: 0.25 });
    const first = (estimator: AdvantageEstimator, options?: AdvantageOptions): number => computeAdvantages(estimator, batch, options).returns.dataSync()[0]!;
    const given: AdvantageOptions = {};
    expect([first(one), first(other), first(one, given), first(one, { gamma: 1 }), first(one)]).toEqual([0.5, 0.25, 0.5, 1, 0.5]);
    given.gamma = 0.75;
    expect([first(one, given), first(one, given), first(other, given), first(one, { gamma: undefined })]).toEqual([0.75, 0.75, 0.75, 0.5]);
    for (let time = 0; time < 2; time++) {
      expect(() => first(one, { whiten: true })).toThrow("option 'whiten' came with an instance");
      expect(() => first(one, { gamma: 2 })).toThrow("option 'gamma': expected a number from 0 to 1, got 2");
    }
  });

  test('what an estimator does to its options ends with the call', () => {
    expect([first('tells', {}), first('tells', {}), first('tells', {})]).toEqual([2, 2, 2]);
  });

  test('lists, which may change inside', () => {
    const list = [5];
    expect(first('tells', { list })).toBe(10);
    list[0] = 6;
    expect(first('tells', { list })).toBe(12);
  });

  test('defaults of the class that change', () => {
    const { options } = Tells;
    try {
      Tells.options = { factor: 7, list: [1] };
      expect(first('tells', {})).toBe(7);
      Tells.options.factor = 8;
      expect(first('tells', {})).toBe(8);
    } finally {
      Tells.options = options;
    }
    expect(first('tells', {})).toBe(2);
  });

  test('another class under the same name', () => {
    class Other extends Tells {
      static override options = { factor: 9, list: [1] };
    }
    expect(first('tells', {})).toBe(2);
    registerAdvantageEstimator('tells', Other, { override: true });
    expect(first('tells', {})).toBe(9);
    registerAdvantageEstimator('tells', Tells, { override: true });
  });

  test('a mistake is one however often it is made, also after a call without it', () => {
    for (let i = 0; i < 3; i++) {
      expect(() => first('tells', { factr: 1 })).toThrow("unknown option 'factr'");
      expect(() => first('tells', new Map())).toThrow('expected options');
      expect(() => first('tells', { gamma: 2 })).toThrow("option 'gamma'");
      expect(() => first('tells', { gamma: NaN })).toThrow("option 'gamma'");
      expect(first('tells', {})).toBe(2);
      expect(first('tells', { factor: undefined })).toBe(2);
    }
  });

  test('conventions', () => {
    const returns = (options: AdvantageOptions) => computeAdvantages('gae', { rewards: [[0, 0, 1]], values: [[0, 0, 0]], masks: [[1, 0, 1]] }, options).returns.toArray();
    const ours = returns({ gamma: 0.5 });
    const theirs = returns({ gamma: 0.5, convention: 'openrlhf' });
    expect(theirs).not.toEqual(ours);
    expect(returns({ gamma: 0.5 })).toEqual(ours);
    expect(returns({ gamma: 0.5, convention: 'openrlhf' })).toEqual(theirs);
  });
});

test('policy losses: what one does to the options ends with the call', () => {
  class Changes extends PolicyLoss {
    computeLoss({ logProbs }: PolicyLossInputs, options: PolicyLossOptions) {
      options.scale = (options.scale ?? 1) + 1;
      return { loss: logProbs.sum().mul(options.scale), metrics: {} };
    }
  }
  registerPolicyLoss('changes', Changes);
  try {
    const x = tensor([[1, 1]]);
    const inputs = { logProbs: x, oldLogProbs: x, advantages: x, mask: x };
    const clipped = (options: PolicyLossOptions) => computePolicyLoss('regular', inputs, options).loss.item();
    expect([1, 2, 3].map(() => computePolicyLoss('changes', inputs, {}).loss.item())).toEqual([4, 4, 4]);
    const options: PolicyLossOptions = { scale: 2 };
    expect([clipped(options), clipped(options)]).toEqual([-4, -4]);
    options.scale = 4;
    expect(clipped(options)).toBe(-8);
    for (let i = 0; i < 2; i++) expect(() => clipped({ scale: -1 })).toThrow("option 'scale'");
  } finally {
    unregisterPolicyLoss('changes');
  }
});

test('the last answer is kept for plain values alone', () => {
  const asked = new Remembered<{ times: number }>();
  let times = 0;
  const ask = (...objects: unknown[]) => asked.answer(Tells, 'who', objects, () => ({ times: ++times })).times;
  expect([ask({ a: 1 }), ask({ a: 1 }), ask({ a: 1, b: 1 }), ask({ a: 1 }), ask({ a: 0 }), ask({ a: -0 })]).toEqual([1, 1, 2, 3, 4, 5]);
  expect([ask({ a: {} }), ask({ a: {} }), ask({ a: () => 0 }), ask(new Map()), ask({}), ask(new Map()), ask(null)]).toEqual([6, 7, 8, 9, 10, 11, 12]);
  expect([ask({}), ask({ a: NaN }), ask({ a: NaN })]).toEqual([10, 13, 13]);
});
