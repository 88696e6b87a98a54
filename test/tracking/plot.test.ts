import { formatDuration, formatNumber } from '../../src/tracking/format';
import { area, logAxis, path, position, stepAxis, suitsLog, thin, trailingMean, valueAxis } from '../../src/tracking/plot';

describe('plotting', () => {
  it('averages the finite values of a trailing window', () => {
    expect(trailingMean([1, 3, NaN, 5, 7], 3)).toEqual([1, 2, 2, 4, 6]);
    expect(trailingMean([NaN, 2], 1)).toEqual([NaN, 2]);
  });

  it('thins a curve without losing its extremes', () => {
    const values = Array.from({ length: 100_000 }, (_, i) => (i === 77_777 ? 50 : i === 33_333 ? -50 : i === 5 ? NaN : Math.sin(i)));
    const thinned = thin({ steps: values.map((_, i) => i), values }, 2000);
    expect(thinned.steps.length).toBeLessThanOrEqual(2000);
    expect(thinned.steps).toEqual([...thinned.steps].sort((a, b) => a - b));
    expect(thinned.values[thinned.steps.indexOf(77_777)]).toBe(50);
    expect(thinned.values[thinned.steps.indexOf(33_333)]).toBe(-50);
  });

  it.each([[[0.03, 0.97]], [[-0.045, 0.005]], [[1e-9, 3e-9]], [[1e12, 1.5e12]], [[7, 7]], [[0, 0]], [[-3, -3]], [[]], [[NaN]]])(
    'an axis of %j contains the values and ends on evenly spaced marks',
    (values: number[]) => {
      const { low, high, ticks } = valueAxis(values, { ticks: 3 });
      const finite = values.filter(Number.isFinite);
      expect(low).toBeLessThan(high);
      if (finite.length > 0) expect([Math.min(low, ...finite), Math.max(high, ...finite)]).toEqual([low, high]);
      expect([ticks[0], ticks[ticks.length - 1]]).toEqual([low, high]);
      expect(ticks.length).toBeGreaterThanOrEqual(3);
      expect(ticks.length).toBeLessThanOrEqual(7);
      for (let i = 1; i < ticks.length; i++) expect((ticks[i] - ticks[i - 1]) / (ticks[1] - ticks[0])).toBeCloseTo(1, 6);
    },
  );

  it('takes values that differ by rounding for one value', () => {
    const { ticks } = valueAxis([0.35355, 0.35355 + 1e-16, 0.35355 - 1e-16], { ticks: 3 });
    expect(ticks.length).toBeLessThanOrEqual(7);
    expect(new Set(ticks).size).toBe(ticks.length);
  });

  it.each<[number[], boolean]>([
    [[1, 19], false],
    [[1, 20], true],
    [[0, 20], false],
    [[-1, 20], false],
    [[NaN, 1e-6, 1], true],
    [[], false],
    [[NaN], false],
  ])('%j suit a logarithmic axis: %s', (values, expected) => expect(suitsLog(values)).toBe(expected));

  it('a logarithmic axis goes from a power of ten to a power of ten', () => {
    expect(logAxis([0.02, NaN, 5], { ticks: 3 })).toEqual({ low: 0.01, high: 10, ticks: [0.01, 0.1, 1, 10], log: true });
    expect(logAxis([1, 100], { ticks: 3 })).toEqual({ low: 1, high: 100, ticks: [1, 10, 100], log: true });
    const wide = logAxis([1e-12, 1e9], { ticks: 3 });
    expect([wide.low, wide.high, wide.ticks.length]).toEqual([1e-12, 1e9, 4]);
    expect(position(wide, 1e-12)).toBe(0);
    expect(position(logAxis([0.01, 10], { ticks: 3 }), 1)).toBeCloseTo(2 / 3, 12);
  });

  it('draws the area between two curves, without the steps that have none', () => {
    const axis = { low: 0, high: 4, ticks: [] };
    expect(area([0, 2, 3, 4], [0, 1, NaN, 2], [4, 3, 3, 2], axis, axis)).toBe(
      'M0.0 0.0L500.0 250.0L1000.0 500.0L1000.0 500.0L500.0 750.0L0.0 1000.0Z',
    );
    expect(area([0], [NaN], [1], axis, axis)).toBe('');
  });

  it('an axis of steps has whole marks only', () => {
    expect(stepAxis([1, 2, 3], 8)).toEqual({ low: 1, high: 3, ticks: [1, 2, 3] });
    expect(stepAxis([5], 8)).toEqual({ low: 4, high: 6, ticks: [5] });
    expect(stepAxis([1, 118], 4).ticks).toEqual([50, 100]);
  });

  it('draws stretches between gaps, and a dot for a lonely point', () => {
    const axis = { low: 0, high: 4, ticks: [] };
    expect(path({ steps: [0, 1, 2, 3, 4], values: [0, 4, NaN, 2, Infinity] }, axis, axis)).toBe('M0.0 1000.0L250.0 0.0M750.0 500.0h0');
    expect(position(axis, 1)).toBe(0.25);
  });
});

describe('numbers for readers', () => {
  it.each([
    [0, '0'],
    [0.5, '0.500'],
    [-12.345, '−12.3'],
    [1234.5, '1235'],
    [2e7, '2.0e+7'],
    [1.2e-5, '1.2e-5'],
    [NaN, 'NaN'],
    [-Infinity, '−∞'],
  ])('%d is %s', (value, text) => expect(formatNumber(value)).toBe(text));

  it.each([
    [0, '0:00'],
    [59.6, '1:00'],
    [754, '12:34'],
    [3723, '1:02:03'],
  ])('%d seconds are %s', (value, text) => expect(formatDuration(value)).toBe(text));
});
