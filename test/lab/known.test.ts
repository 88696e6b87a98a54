/**
 * What is known of estimators comes out of the lab. Seeds are fixed. An estimator that has no bias passes at the level 0.001 (of some twenty such questions one in fifty seeds would fail one by chance); a bias
 * that is known counts as found below 1e-6. Differences of variances are paired over the same batches, and hold by four standard errors.
 */
import { AdvantageEstimator, type AdvantageOptions, registerAdvantageEstimator, type Tensor, unregisterAdvantageEstimator } from 'vantage-rl';
import { LabSampler } from '../../src/lab/batches';
import { labEnvironment, type LabEnvironment, type LabEnvironmentName } from '../../src/lab/environments';
import { gradientEstimates } from '../../src/lab/gradients';
import { dot, gradientQuality, type GradientQuality, resampleCounts } from '../../src/lab/statistics';
import * as reference from './reference';

const FOUND = 1e-6;
const BATCHES = 600;
const counts = resampleCounts(BATCHES, { resamples: 200, seed: 1 });

/** Every row gets R minus a constant. */
class ConstantBaseline extends AdvantageEstimator {
  static override readonly options = { baseline: 0 };

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    return rewards.sum(1, { keepDims: true }).sub(this.options.baseline as number).mul(masks);
  }
}
// Before any test, as some measure while they are declared.
registerAdvantageEstimator('constant_baseline', ConstantBaseline);
afterAll(() => unregisterAdvantageEstimator('constant_baseline'));

/** One environment, and estimators that all see its batches. */
class Bench {
  readonly environment: LabEnvironment;
  readonly exact: Float64Array;
  private readonly sampler: LabSampler;

  constructor(name: LabEnvironmentName, { prompts = 2, groupSize = 6, criticError = 0 } = {}) {
    this.environment = labEnvironment(name, { prompts });
    this.sampler = new LabSampler(this.environment, { groupSize, gamma: 1, criticError, seed: 11 });
    this.exact = Float64Array.from(reference.exactGradient(this.environment, 1, 'discounted'));
  }

  gradients(name: string, options: AdvantageOptions = {}): Float64Array {
    return gradientEstimates(this.sampler, { name, options, label: name }, { batches: BATCHES, warmup: 10 });
  }

  quality(name: string, options: AdvantageOptions = {}, exact = this.exact): GradientQuality {
    const settings = { rows: this.sampler.rows, cosine: 0.9, confidence: 0.99, significance: 0.001, seed: 1 };
    return gradientQuality(this.gradients(name, options), exact, counts, settings);
  }

  /** By how many standard errors the variance of one estimator is above that of another; both have the mean ∇J. */
  excess(more: Float64Array, less: Float64Array): number {
    const size = this.exact.length;
    const spread = (g: Float64Array, b: number) => {
      const d = g.subarray(b * size, (b + 1) * size).map((x, i) => x - this.exact[i]!);
      return dot(d, d);
    };
    const differences = Array.from({ length: BATCHES }, (_, b) => spread(more, b) - spread(less, b));
    const mean = differences.reduce((a, b) => a + b) / BATCHES;
    const variance = differences.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (BATCHES - 1);
    return mean / Math.sqrt(variance / BATCHES);
  }
}

describe('baselines of a group', () => {
  const bench = new Bench('terminal');

  test('leave one out, and constants: no bias', () => {
    for (const [name, options] of [['rloo', {}], ['raw_reward', {}], ['constant_baseline', { baseline: 0.4 }], ['constant_baseline', { baseline: -1 }], ['remax', {}]] as const) {
      const { unbiasedP, scale } = bench.quality(name, options);
      expect([name, unbiasedP > 0.001]).toEqual([name, true]);
      expect([name, scale.low < 1 && scale.high > 1]).toEqual([name, true]);
    }
  });

  test('the mean with the row itself: a factor of (n − 1)/n, and no turn', () => {
    const { unbiasedP, rescaledP, scale, verdict } = bench.quality('dr_grpo');
    expect(unbiasedP).toBeLessThan(FOUND);
    expect(rescaledP).toBeGreaterThan(0.001);
    expect(verdict).toBe('rescaled');
    expect([scale.low < 5 / 6, scale.high > 5 / 6]).toEqual([true, true]);
  });

  test('divided by the standard deviation of the group: another direction', () => {
    const { unbiasedP, rescaledP, verdict, cosine } = bench.quality('grpo');
    expect(unbiasedP).toBeLessThan(FOUND);
    expect(rescaledP).toBeLessThan(FOUND);
    expect([verdict, cosine.high < 0.99]).toEqual(['turned', true]);
  });

  test('divided by that of the batch: nearly a factor', () => {
    const [ofGroup, ofBatch] = [bench.quality('grpo'), bench.quality('grpo_batch_std')];
    expect(ofBatch.cosine.low).toBeGreaterThan(ofGroup.cosine.high);
    expect(ofBatch.scale.low).toBeGreaterThan(2);
  });
});

describe('the optimal baseline', () => {
  // Lengths differ, and rewards with them, so that the optimal constant is not the mean.
  const bench = new Bench('ending', { prompts: 1, groupSize: 4 });
  const { optimal, mean, variance } = reference.constantBaselines(bench.environment);
  const best = bench.gradients('constant_baseline', { baseline: optimal });

  test('measured variances are those of plain loops', () => {
    for (const baseline of [optimal, 0, 2 * optimal]) {
      const measured = bench.quality('constant_baseline', { baseline }).variance;
      expect([measured.low < variance(baseline) / 4, measured.high > variance(baseline) / 4]).toEqual([true, true]);
    }
    for (const other of [0, mean, optimal - 0.05, optimal + 0.05]) expect(variance(other)).toBeGreaterThan(variance(optimal));
  });

  test('has the least variance of constants, and less than leave one out', () => {
    for (const baseline of [0, mean, 2 * optimal - mean, 2 * optimal]) expect([baseline, bench.excess(bench.gradients('constant_baseline', { baseline }), best) > 4]).toEqual([baseline, true]);
    expect(bench.excess(bench.gradients('rloo'), best)).toBeGreaterThan(4);
  });

  test('the mean weighted by lengths varies less than the mean', () => {
    const [weighted, plain] = [bench.quality('opo'), bench.quality('dr_grpo')];
    expect(weighted.variance.high).toBeLessThan(plain.variance.low);
  });
});

describe('generalised advantage estimation', () => {
  const gae = (lambda: number) => ['gae', { whiten: 'none', lambda }] as const;

  test('λ = 1: no bias, whatever the critic', () => {
    for (const criticError of [0, 0.1, 0.5]) {
      const { unbiasedP } = new Bench('critic', { criticError }).quality(...gae(1));
      expect([criticError, unbiasedP > 0.001]).toEqual([criticError, true]);
    }
  });

  test('λ < 1: a bias with a wrong critic, the larger the smaller λ is, and none with an exact one', () => {
    const [exact, wrong] = [new Bench('critic'), new Bench('critic', { criticError: 0.1 })];
    let before = 0;
    for (const lambda of [0.9, 0.6, 0]) {
      expect([lambda, exact.quality(...gae(lambda)).unbiasedP > 0.001]).toEqual([lambda, true]);
      const { unbiasedP, relativeBias } = wrong.quality(...gae(lambda));
      expect([lambda, unbiasedP < FOUND || lambda === 0.9]).toEqual([lambda, true]);
      expect(relativeBias.value).toBeGreaterThan(before);
      before = relativeBias.value;
    }
  });

  test('with an exact critic the variance falls with λ', () => {
    const bench = new Bench('critic');
    const [one, more, less, none] = [1, 0.8, 0.4, 0].map((lambda) => bench.gradients(...gae(lambda)));
    expect(bench.excess(one!, more!)).toBeGreaterThan(4);
    expect(bench.excess(more!, less!)).toBeGreaterThan(4);
    expect(bench.excess(less!, none!)).toBeGreaterThan(4);
  });

  test('whitening over the batch rescales, and hardly turns', () => {
    const { verdict, scale, cosine } = new Bench('critic').quality('gae');
    expect([verdict === 'turned', scale.low > 3, cosine.low > 0.98]).toEqual([false, true, true]);
  });
});

describe('a tool in between', () => {
  const bench = new Bench('tool');
  const { toolAfter, vocabulary } = bench.environment;
  const sum = (rewards: readonly number[]) => rewards.reduce((a, b) => a + b, 0);
  // What is left of the gradient where a token before the tool's answer gets no credit for what comes behind it.
  const cut = Float64Array.from(reference.expectedScore(bench.environment, ({ rewards }, t) => (t < toolAfter ? sum(rewards.slice(t, toolAfter)) : sum(rewards.slice(t)))));

  test.each(['vantage', 'skyrl', 'verl', 'trl', 'openrlhf', 'nemo', 'areal'] as const)('reinforce++ by the convention %s', (convention) => {
    const resets = ['skyrl', 'verl'].includes(convention);
    const options = { convention, whiten: 'none' } as const;
    expect(bench.quality('reinforce++', options, resets ? cut : bench.exact).unbiasedP).toBeGreaterThan(0.001);
    expect(bench.quality('reinforce++', options, resets ? bench.exact : cut).rescaledP).toBeLessThan(FOUND);
  });

  test('the credit that is lost is that of the tokens before the answer', () => {
    const part = (gradient: Float64Array, before: boolean) => {
      const perPrompt = gradient.length / bench.environment.prompts;
      const early = (1 + (toolAfter - 1) * vocabulary) * vocabulary;
      return Math.hypot(...gradient.filter((_, i) => i % perPrompt < early === before));
    };
    expect(part(cut, false)).toBeCloseTo(part(bench.exact, false), 12);
    expect(part(cut, true)).toBeLessThan(0.7 * part(bench.exact, true));
  });

  test('a critic that is exact bridges what is passed through; run over the hole, only λ = 1 is unbiased', () => {
    const gae = (options: AdvantageOptions) => bench.quality('gae', { whiten: 'none', ...options }).unbiasedP;
    for (const holes of ['carry', 'ignore'] as const) expect([holes, gae({ holes }) > 0.001]).toEqual([holes, true]);
    expect(gae({ lambda: 0.3 })).toBeGreaterThan(0.001);
    // The tool's tokens count as zeros: the critic's value before them is not met by one behind.
    expect(gae({ holes: 'decay', lambda: 0.3 })).toBeLessThan(FOUND);
  });
});

test('a teacher one step of improvement ahead gives the exact gradient, as do one-step errors of an exact critic', () => {
  const bench = new Bench('dense');
  const [teacher, oneStep] = [bench.quality('distillation'), bench.quality('td0')];
  for (const { unbiasedP } of [teacher, oneStep]) expect(unbiasedP).toBeGreaterThan(0.001);
  expect(teacher.variance.high).toBeLessThan(bench.quality('rloo').variance.low);
});

test('what an estimator remembers serves it: spo after the warm-up has no bias that turns', () => {
  const bench = new Bench('sparse', { groupSize: 2 });
  const [remembers, forgets] = [bench.quality('spo', { whiten: 'none' }), bench.quality('raw_reward')];
  expect(remembers.unbiasedP).toBeGreaterThan(0.001);
  expect(remembers.variance.high).toBeLessThan(1.05 * forgets.variance.high);
});
