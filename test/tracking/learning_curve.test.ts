import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { seriesOf, writeLearningCurve, type LearningCurveOptions, type MetricsRecord } from '../../src/tracking';
import { formatDuration, formatNumber } from '../../src/tracking/format';
import { path, position, stepAxis, thin, trailingMean, valueAxis } from '../../src/tracking/plot';

const folder = mkdtempSync(join(tmpdir(), 'vantage-curve-'));
afterAll(() => rmSync(folder, { recursive: true }));

function page(options: LearningCurveOptions): string {
  const file = join(folder, 'pages', 'curve.html');
  writeLearningCurve(file, options);
  return readFileSync(file, 'utf8');
}

const records = (count: number): MetricsRecord[] =>
  Array.from({ length: count }, (_, i) => {
    return { step: i + 1, 'reward/avg_raw_reward': i / count, 'policy/final_loss': i === 3 ? null : -i } as MetricsRecord;
  });

/** The page's data, as its script reads it. */
const dataOf = (html: string) => JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]);
const panelsOf = (html: string) => html.match(/<section class="panel/g)?.length ?? 0;
const figuresOf = (html: string) => [...html.matchAll(/<dt>([^<]*)<\/dt><dd>([^<]*)<\/dd>/g)].map((match) => match.slice(1, 3));

describe('the learning-curve page', () => {
  const trainer = { seed: 3, policy: { lr: 1e-3 }, path: null, betas: [0.9, 0.999] };
  const configuration = { trainer, note: '</script><script>alert(1)</script>' };
  const html = page({ title: 'gmax <b>&"', subtitle: "it's done", series: seriesOf(records(40)), target: 0.9, configuration });

  it('needs nothing from a network', () => {
    expect(html).not.toMatch(/https?:|src=|href=|@import|url\(/);
    expect(html).toMatch(/prefers-color-scheme: dark/);
  });

  it('has one panel for each metric that the run has, with the mean of the last ten steps', () => {
    expect(panelsOf(html)).toBe(2);
    expect(figuresOf(html).slice(0, 4)).toEqual([
      ['mean of the last 10 steps', '0.863'],
      ['best mean of 10', '0.863'],
      ['at the first step', '0'],
      ['steps', '40'],
    ]);
    expect(html).toContain('target 0.9');
  });

  it('escapes what the user wrote', () => {
    expect(html).toContain('<h1>gmax &lt;b&gt;&amp;&quot;</h1>');
    expect(html).toContain('it&#39;s done');
    expect(html).not.toContain('alert(1)</script>');
    expect(html.match(/<script/g)).toHaveLength(2);
  });

  it('shows the configuration as dotted keys', () => {
    expect(figuresOf(html).slice(4, 8)).toEqual([
      ['trainer.seed', '3'], ['trainer.policy.lr', '0.001'], ['trainer.path', 'null'], ['trainer.betas', '[0.9,0.999]'],
    ]);
  });

  it('carries every step and a gap for what was not finite', () => {
    const [reward, loss] = dataOf(html);
    expect(reward.steps).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    expect(reward.raw[4]).toBe(4 / 40);
    expect(loss.raw.slice(2, 5)).toEqual([-2, null, -4]);
  });

  it('has a script that runs: pointing at a step shows its values, leaving shows the final ones again', () => {
    const script = html.slice(html.lastIndexOf('<script>') + '<script>'.length, html.lastIndexOf('</script>'));
    const listeners: Record<string, (event: { clientX: number }) => void> = {};
    const panel = (isMain: boolean) => {
      const classes = new Set(isMain ? ['main'] : []);
      const plot = {
        addEventListener: (name: string, listener: () => void) => isMain && (listeners[name] = listener),
        getBoundingClientRect: () => ({ left: 100, width: 390 }),
      };
      const readout = { textContent: '', dataset: { rest: 'final' } };
      const dot = { style: {} };
      const parts: Record<string, object> = { '.plot': plot, '.readout': readout, '.dot': dot, '.cursor': { style: {} } };
      const classList = {
        add: (name: string) => classes.add(name),
        remove: (name: string) => classes.delete(name),
        contains: (name: string) => classes.has(name),
      };
      return { readout, dot, querySelector: (name: string) => parts[name], classList };
    };
    const panels = [panel(true), panel(false)];
    const document = { getElementById: () => ({ textContent: JSON.stringify(dataOf(html)) }), querySelectorAll: () => panels };
    runInNewContext(script, { document });
    listeners.pointermove({ clientX: 100 + 10 * 4.2 });
    expect(panels[0].readout.textContent).toBe('step 5   0.100   mean 0.0500');
    expect(panels[0].dot.style).toMatchObject({ left: `${(100 * 4) / 39}%`, top: '95%' });
    expect(panels[1].readout.textContent).toBe('−4.00');
    listeners.pointerleave({ clientX: 0 });
    expect(panels.map(({ readout }) => readout.textContent)).toEqual(['final', 'final']);
  });

  it.each<[string, LearningCurveOptions['series'], number]>([
    ['no series', [], 0],
    ['no records', seriesOf([]), 1],
    ['a single step', seriesOf(records(1)), 2],
    ['nothing finite', [{ name: 'reward/avg_raw_reward', steps: [1, 2], values: [NaN, Infinity] }], 1],
    ['a constant', [{ name: 'own/metric', steps: [1, 2], values: [1e9, 1e9] }], 1],
  ])('stands with %s', (_, series, panels) => {
    const html = page({ title: 'edge', series, target: 0.5 });
    expect(panelsOf(html)).toBe(panels);
    expect(html.replace(/<script>[\s\S]*?<\/script>/g, '')).not.toMatch(/NaN|Infinity|undefined/);
  });
});

describe('seriesOf', () => {
  it('merges the records of a step and sorts them', () => {
    const [reward, score] = seriesOf([
      { step: 2, 'reward/avg_raw_reward': 0.2 }, { step: 1, 'reward/avg_raw_reward': 0.1 }, { step: 2, 'eval/all/avg_score': 0.9 },
      { step: 2, 'reward/avg_raw_reward': 0.3 },
    ] as MetricsRecord[]);
    expect(reward).toEqual({ name: 'reward/avg_raw_reward', steps: [1, 2], values: [0.1, 0.3] });
    expect(score).toEqual({ name: 'eval/all/avg_score', steps: [2], values: [0.9] });
  });
});

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
    'an axis of %j contains the values and ends on evenly spaced marks', (values: number[]) => {
      const { low, high, ticks } = valueAxis(values, { ticks: 3 });
      const finite = values.filter(Number.isFinite);
      expect(low).toBeLessThan(high);
      if (finite.length > 0) expect([Math.min(low, ...finite), Math.max(high, ...finite)]).toEqual([low, high]);
      expect([ticks[0], ticks[ticks.length - 1]]).toEqual([low, high]);
      expect(ticks.length).toBeGreaterThanOrEqual(3);
      expect(ticks.length).toBeLessThanOrEqual(7);
      for (let i = 1; i < ticks.length; i++) expect((ticks[i] - ticks[i - 1]) / (ticks[1] - ticks[0])).toBeCloseTo(1, 6);
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
    [0, '0'], [0.5, '0.500'], [-12.345, '−12.3'], [1234.5, '1235'], [2e7, '2.0e+7'], [1.2e-5, '1.2e-5'], [NaN, 'NaN'], [-Infinity, '−∞'],
  ])('%d is %s', (value, text) => expect(formatNumber(value)).toBe(text));

  it.each([
    [0, '0:00'], [59.6, '1:00'], [754, '12:34'], [3723, '1:02:03'],
  ])('%d seconds are %s', (value, text) => expect(formatDuration(value)).toBe(text));
});
