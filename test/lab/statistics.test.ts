/** Intervals and tests of the lab: against known values, and on Gaussian gradients whose bias and covariance are chosen. */
import { SmallRandom } from '../../src/data/random';
import { gammaTail, normalQuantile, normalTails, quantile, studentQuantile } from '../../src/lab/distributions';
import { normal } from '../../src/lab/environments';
import { batchesToCosine, gradientQuality, resampleCounts, type GradientQuality } from '../../src/lab/statistics';

test('distributions', () => {
  expect(normalTails(1.959963984540054)).toBeCloseTo(0.05, 12);
  expect(normalTails(-6) / 1.973175290075396e-9).toBeCloseTo(1, 8);
  expect(normalQuantile(0.95)).toBeCloseTo(1.959963984540054, 10);
  expect(studentQuantile(0.95, 30)).toBeCloseTo(2.042272456, 4);
  expect(studentQuantile(0.99, 20)).toBeCloseTo(2.845339710, 3);
  // χ² with 5 degrees of freedom beyond 11.0705, with 100 beyond 124.342.
  expect(gammaTail(2.5, 11.0704976935 / 2)).toBeCloseTo(0.05, 9);
  expect(gammaTail(50, 124.342113404 / 2)).toBeCloseTo(0.05, 9);
  expect([gammaTail(3, 0), gammaTail(3, Infinity)]).toEqual([1, 0]);
  expect([0, 0.25, 1].map((share) => quantile(Float64Array.of(1, 2, 3, 4), share))).toEqual([1, 1.75, 4]);
});

test('how many batches have a cosine', () => {
  // Without bias: ‖∇J‖ = 1, tr Σ = 3: cos² = 1/(1 + 3/M).
  expect(batchesToCosine(0.5, 1, 1, 3)).toBeCloseTo(1, 12);
  expect(batchesToCosine(0.9, 1, 1, 3)).toBeCloseTo(3 / (1 / 0.81 - 1), 12);
  // What is off by 0.8 has a cosine of 0.6 in the end, and never more.
  expect(batchesToCosine(0.59, 0.36, 1, 3)).toBeGreaterThan(80);
  expect([batchesToCosine(0.61, 0.36, 1, 3), batchesToCosine(0.5, -1, 1, 3)]).toEqual([Infinity, Infinity]);
});

const SIZE = 30;
const BATCHES = 80;
const exact = Float64Array.from({ length: SIZE }, (_, i) => Math.cos(i));
const norm = Math.hypot(...exact);
/** Standard deviations that differ by direction. */
const deviations = Array.from({ length: SIZE }, (_, i) => 2 / (1 + (i % 7)));
const counts = resampleCounts(BATCHES, { resamples: 200, seed: 1 });
const trace = deviations.reduce((sum, s) => sum + s * s, 0);

/** What is measured of batches with the mean scale·∇J + turn·‖∇J‖·e, e ⟂ ∇J. */
function measure(seed: number, { scale = 1, turn = 0 }): GradientQuality {
  const random = new SmallRandom(seed, 9);
  const across = exact.map((x, i) => (i % 2 === 0 ? -exact[i + 1]! : exact[i - 1]!));
  const ratio = norm / Math.hypot(...across);
  const gradients = new Float64Array(BATCHES * SIZE);
  for (let at = 0; at < gradients.length; at++) {
    const i = at % SIZE;
    gradients[at] = scale * exact[i]! + turn * ratio * across[i]! + deviations[i]! * normal(random);
  }
  return gradientQuality(gradients, exact, counts, { rows: 4, cosine: 0.9, confidence: 0.9, significance: 0.01, seed });
}

describe('on Gaussian gradients', () => {
  const seeds = Array.from({ length: 150 }, (_, k) => 1000 + k);
  const share = (all: readonly GradientQuality[], holds: (quality: GradientQuality) => boolean) => all.filter(holds).length / all.length;
  const covers = (key: 'relativeBias' | 'scale' | 'turn' | 'cosine' | 'variance' | 'signalToNoise' | 'samplesToCosine', truth: number) => (quality: GradientQuality) =>
    quality[key].low <= truth && truth <= quality[key].high;

  test('without bias: none is found but as often as said', () => {
    const all = seeds.map((seed) => measure(seed, {}));
    // 150 trials: 0.05 has a standard error of 0.018.
    expect(share(all, ({ unbiasedP }) => unbiasedP < 0.05)).toBeLessThan(0.1);
    expect(share(all, ({ rescaledP }) => rescaledP < 0.05)).toBeLessThan(0.1);
    expect(share(all, ({ verdict }) => verdict === 'no bias found')).toBeGreaterThan(0.95);
    // Below the nominal 0.9 by no more than three standard errors.
    expect(share(all, covers('scale', 1))).toBeGreaterThan(0.82);
    expect(share(all, covers('relativeBias', 0))).toBeGreaterThan(0.82);
    expect(share(all, covers('variance', trace))).toBeGreaterThan(0.82);
    expect(share(all, covers('signalToNoise', norm / Math.sqrt(trace)))).toBeGreaterThan(0.82);
    expect(share(all, covers('samplesToCosine', (4 * trace) / (norm ** 2 / 0.81 - norm ** 2)))).toBeGreaterThan(0.82);
  });

  test('half of the length: a factor is found, and no turn', () => {
    const all = seeds.map((seed) => measure(seed, { scale: 0.5 }));
    expect(share(all, ({ verdict }) => verdict === 'rescaled')).toBeGreaterThan(0.95);
    expect(share(all, covers('scale', 0.5))).toBeGreaterThan(0.82);
    expect(share(all, covers('relativeBias', 0.5))).toBeGreaterThan(0.82);
  });

  test('another direction: the turn and its cosine are found', () => {
    const all = seeds.map((seed) => measure(seed, { turn: 0.5 }));
    expect(share(all, ({ verdict }) => verdict === 'turned')).toBeGreaterThan(0.95);
    expect(share(all, covers('turn', 0.5))).toBeGreaterThan(0.82);
    expect(share(all, covers('relativeBias', 0.5))).toBeGreaterThan(0.82);
    expect(share(all, covers('cosine', 1 / Math.hypot(1, 0.5)))).toBeGreaterThan(0.82);
    // 0.894 is all there is.
    expect(share(all, ({ samplesToCosine }) => samplesToCosine.high === Infinity)).toBeGreaterThan(0.9);
  });
});

test('the number of samples is checked on subsets of what was measured', () => {
  const { samplesToCosine, cosineAtSamples } = measure(1, {});
  expect(samplesToCosine.value / 4).toBeLessThan(BATCHES / 2);
  expect(Math.abs(cosineAtSamples - 0.9)).toBeLessThan(0.02);
});

test('gradients that do not vary, and that are 0', () => {
  const few = resampleCounts(20, { resamples: 50, seed: 0 });
  const of = (g: (i: number) => number) =>
    gradientQuality(Float64Array.from({ length: 20 * SIZE }, (_, at) => g(at % SIZE)), exact, few, { rows: 1, cosine: 0.9, confidence: 0.9, significance: 0.01, seed: 0 });
  expect(of((i) => exact[i]!).verdict).toBe('no bias found');
  expect(of((i) => 2 * exact[i]!)).toMatchObject({ verdict: 'rescaled', scale: { value: expect.closeTo(2, 9) } });
  expect(of((i) => exact[i]! + 1).verdict).toBe('turned');
  expect(of(() => 0)).toMatchObject({ verdict: 'zero', cosine: { value: NaN }, samplesToCosine: { value: Infinity } });
});
