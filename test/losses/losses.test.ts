/** What holds for every loss: masked positions have no effect, micro-batches add up, wrong arguments are named. */
import {
  computePolicyLoss,
  getPolicyLoss,
  klDivergence,
  klEstimators,
  listPolicyLosses,
  lossReductions,
  PolicyLoss,
  type PolicyLossInputs,
  type PolicyLossResult,
  reduceLoss,
  reductionDivisors,
  registerPolicyLoss,
  unregisterPolicyLoss,
  valueLoss,
} from '../../src/losses';
import { gradients, type Tensor, tensor } from '../../src/tensor';

const rows = [
  [-0.5, -1, -2],
  [-0.25, -3, -1.5],
  [-1, -1, -0.75],
  [-2, -0.125, -0.5],
];
const oldRows = [
  [-0.75, -1, -1],
  [-0.25, -2, -1.75],
  [-1.25, -2, -0.5],
  [-1, -0.25, -1.5],
];
const maskRows = [
  [1, 1, 0],
  [1, 1, 1],
  [0, 0, 0],
  [1, 0, 1],
];
const advantageRows = [
  [1, -1, 2],
  [0.5, 0.5, -2],
  [1, 1, 1],
  [-1, 3, 2],
];

const float = (values: number[][]) => tensor(values, { dtype: 'float64' });
const mask = (values = maskRows) => tensor(values, { dtype: 'uint8' });
/** What the reductions need. */
const reducing = { maxSeqLen: 3, microBatchSize: 2, groupIds: ['a', 'b', 'a', 'b'] };
const list = (x: Tensor) => Array.from(x.dataSync());
/** The values, with `garbage` where the mask is 0. */
const spoil = (values: number[][], garbage: number) => values.map((row, b) => row.map((value, t) => (maskRows[b][t] ? value : garbage)));

describe.each([NaN, Infinity, -Infinity, 1e30])('%p at masked positions', (garbage) => {
  const clean = { logProbs: rows, oldLogProbs: oldRows, advantages: advantageRows };

  it.each(listPolicyLosses())('has no effect on the policy loss %s', (name) => {
    const run = (spoilt: (values: number[][]) => number[][]) => {
      const logProbs = float(spoilt(clean.logProbs));
      const oldLogProbs = float(spoilt(clean.oldLogProbs));
      const inputs = { logProbs, oldLogProbs, rolloutLogProbs: oldLogProbs, advantages: float(spoilt(clean.advantages)), mask: mask() };
      const { loss, metrics } = computePolicyLoss(name, inputs, name === 'dr_grpo' ? { maxSeqLen: 3 } : {});
      const [gradient] = gradients(loss, [logProbs]);
      return [loss, gradient, ...Object.values(metrics)].flatMap(list);
    };
    const expected = run((values) => values);
    expect(expected.every(Number.isFinite)).toBe(true);
    expect(run((values) => spoil(values, garbage))).toEqual(expected);
  });

  it.each(klEstimators)('has no effect on the KL estimator %s', (type) => {
    const logProbs = float(spoil(rows, garbage));
    const kl = klDivergence(logProbs, float(spoil(oldRows, garbage)), type, mask());
    const [gradient] = gradients(kl.sum(), [logProbs]);
    const expected = list(klDivergence(float(rows), float(oldRows), type)).map((value, i) => (maskRows.flat()[i] ? value : 0));
    expect(list(kl)).toEqual(expected);
    list(gradient).forEach((value, i) => maskRows.flat()[i] ? expect(Number.isFinite(value)).toBe(true) : expect(Math.abs(value)).toBe(0));
  });

  it('has no effect on the value loss and the reductions', () => {
    const run = (spoilt: (values: number[][]) => number[][]) => {
      const values = float(spoilt(rows));
      const { loss, clipFraction } = valueLoss(
        { values, oldValues: float(spoilt(oldRows)), returns: float(spoilt(advantageRows)), mask: mask() },
        { valueClip: 0.2 },
      );
      const reduced = lossReductions.map((mode) => reduceLoss(float(spoilt(rows)), mask(), mode, reducing));
      return [loss, clipFraction, ...gradients(loss, [values]), ...reduced].flatMap(list);
    };
    expect(run((values) => spoil(values, garbage))).toEqual(run((values) => values));
  });
});

describe('reductions', () => {
  it('weigh tokens and sequences as they say', () => {
    const of = (mode: (typeof lossReductions)[number]) => reduceLoss(float(advantageRows), mask(), mode, reducing).item();
    expect(of('token_mean')).toBeCloseTo((1 - 1 + 0.5 + 0.5 - 2 - 1 + 2) / 7, 12);
    expect(of('sequence_mean')).toBeCloseTo((0 / 2 + -1 / 3 + 0 + 1 / 2) / 4, 12);
    expect(of('seq_mean_token_sum_norm')).toBeCloseTo((0 - 1 + 0 + 1) / 12, 12);
    expect(of('seq_mean_token_sum')).toBeCloseTo((0 - 1 + 0 + 1) / 4, 12);
    expect(of('token_mean_legacy')).toBeCloseTo(((1 - 1 + 0.5 + 0.5 - 2) / 5 + (-1 + 2) / 2) / 2, 12);
    expect(of('prompt_mean')).toBeCloseTo(((1 - 1) / 2 + (0.5 + 0.5 - 2 - 1 + 2) / 5) / 2, 12);
    expect(of('token_sum')).toBeCloseTo(1 - 1 + 0.5 + 0.5 - 2 - 1 + 2, 12);
  });

  it.each(lossReductions)('%s folded into the advantages adds up over micro-batches', (mode) => {
    const divisors = reductionDivisors(mask(), mode, reducing).dataSync();
    const run = (from: number, to: number) => {
      const logProbs = float(rows.slice(from, to));
      const divisor = tensor(divisors.slice(from, to), { shape: [to - from, 1], dtype: 'float64' });
      const advantages = float(advantageRows.slice(from, to)).div(divisor);
      const { loss } = computePolicyLoss('regular', {
        logProbs,
        oldLogProbs: float(oldRows.slice(from, to)),
        advantages,
        mask: mask(maskRows.slice(from, to)),
      });
      return { gradient: list(gradients(loss, [logProbs])[0]), loss: loss.item() };
    };
    const whole = run(0, 4);
    const parts = [run(0, 1), run(1, 3), run(3, 4)];
    expect(parts.reduce((sum, { loss }) => sum + loss, 0)).toBeCloseTo(whole.loss, 10);
    expect(parts.flatMap(({ gradient }) => gradient)).toEqual(whole.gradient);
  });

  it('name what is wrong', () => {
    expect(() => reduceLoss(float(rows), mask(), 'median' as never)).toThrow(
      'loss reduction: expected one of token_mean, token_mean_legacy, sequence_mean, seq_mean_token_sum, seq_mean_token_sum_norm, prompt_mean, token_sum, got "median"',
    );
    expect(() => reduceLoss(float(rows), mask(), 'mean' as never)).toThrow('got "mean". Did you mean \'token_mean\'?');
    expect(() => reduceLoss(float(rows), mask(), 'token_mean', { totalTokens: 0 })).toThrow('token_mean: totalTokens: expected a number, 1 or more, or null, got 0');
    expect(() => reduceLoss(float(rows), mask(), 'seq_mean_token_sum_norm')).toThrow(
      'seq_mean_token_sum_norm: maxSeqLen: expected a number, 1 or more, got null',
    );
    expect(() => reduceLoss(float(rows), mask([[1, 1, 1]]), 'token_mean')).toThrow(
      'reduceLoss: mask: expected shape [4,3] as perToken, got [1,3]',
    );
  });
});

describe('policy losses', () => {
  it('do not move a ratio beyond its clip', () => {
    // Ratios e^0.5 and e^-0.5: the first may not grow with a positive advantage, nor the second shrink with a negative one.
    const logProbs = float([[0.5, 0.5, -0.5, -0.5]]);
    const inputs = { logProbs, oldLogProbs: float([[0, 0, 0, 0]]), advantages: float([[1, -1, 1, -1]]), mask: mask([[1, 1, 1, 1]]) };
    const { loss, metrics } = computePolicyLoss('regular', inputs);
    const [gradient] = gradients(loss, [logProbs]);
    const expected = [0, Math.exp(0.5), -Math.exp(-0.5), 0];
    list(gradient).forEach((value, i) => expect(value).toBeCloseTo(expected[i], 12));
    expect([metrics.clip_ratio, metrics.clip_ratio_low, metrics.clip_ratio_high].map((value) => value.item())).toEqual([0.5, 0.25, 0.25]);
  });

  it('matches the published dual-clip number', () => {
    const ratios = [[0.5, 1, 10]].map((row) => row.map(Math.log));
    const inputs = { logProbs: float(ratios), oldLogProbs: float([[0, 0, 0]]), advantages: float([[1, -1, -4]]), mask: mask([[1, 1, 1]]) };
    // −0.5 + 1 + min(40, 3·4)
    expect(computePolicyLoss('dual_clip', inputs).loss.item()).toBeCloseTo(12.5, 12);
  });

  class Reinforce extends PolicyLoss {
    computeLoss({ logProbs, advantages, mask }: PolicyLossInputs): PolicyLossResult {
      return { loss: logProbs.mul(advantages).neg().sum(null, { mask }), metrics: {} };
    }
  }
  class Wrong extends PolicyLoss {
    computeLoss({ logProbs }: PolicyLossInputs): PolicyLossResult {
      return { loss: logProbs, metrics: {} };
    }
  }
  const inputs = () => ({ logProbs: float(rows), oldLogProbs: float(oldRows), advantages: float(advantageRows), mask: mask() });

  it('are registered, listed and removed by name', () => {
    registerPolicyLoss('test_reinforce', Reinforce);
    expect(listPolicyLosses()).toEqual(expect.arrayContaining(['dual_clip', 'regular', 'test_reinforce']));
    expect(getPolicyLoss('vanilla')).toBe(getPolicyLoss('dual_clip'));
    expect(getPolicyLoss('test_reinforce')).toBe(Reinforce);
    expect(computePolicyLoss('test_reinforce', inputs()).loss.item()).toBeCloseTo(0.5 - 1 + 0.125 + 1.5 - 3 - 2 + 1, 12);
    unregisterPolicyLoss('test_reinforce');
    expect(() => getPolicyLoss('regulr')).toThrow(`Unknown policy loss 'regulr'. Did you mean 'regular'? Registered: ${listPolicyLosses()[0]}, `);
    expect(() => getPolicyLoss('regulr')).toThrow(/ dual_clip \(vanilla\), .* regular \(ppo\), /);
  });

  it('name what is wrong', () => {
    expect(() => registerPolicyLoss('test_none', class {} as never)).toThrow(
      "policy loss 'test_none': expected a class with a method computeLoss",
    );
    registerPolicyLoss('test_wrong', Wrong);
    expect(() => computePolicyLoss('test_wrong', inputs())).toThrow(
      "policy loss 'test_wrong': expected { loss, metrics } with a scalar tensor as loss, got a tensor of shape [4,3]",
    );
    unregisterPolicyLoss('test_wrong');
    expect(() => computePolicyLoss('regular', { ...inputs(), advantages: float([[1, 2, 3]]) })).toThrow(
      "policy loss 'regular': advantages: expected shape [4,3] as logProbs, got [1,3]",
    );
    expect(() => computePolicyLoss('regular', inputs(), { epsClipLow: 2 })).toThrow(
      'regular: epsClipLow: expected a number from 0 to 1, got 2',
    );
    expect(() => computePolicyLoss('dual_clip', inputs(), { clipRatioC: 0.5 })).toThrow(
      "policy loss 'dual_clip': option 'clipRatioC': expected a number, 1 or more, or null, got 0.5",
    );
  });
});
