import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { firstReached, type MetricsRecord, spreadOf, writeComparison } from '../../src/tracking';

const folder = mkdtempSync(join(tmpdir(), 'vantage-comparison-'));
afterAll(() => rmSync(folder, { recursive: true }));

const runOf = (...values: (number | null)[]): MetricsRecord[] => values.map((score, i) => ({ step: i + 1, score }) as unknown as MetricsRecord);
const threshold = { metric: 'score', window: 2, value: 0.5 };

describe('firstReached', () => {
  it.each<[string, (number | null)[], number | null]>([
    ['where the mean of the window gets there', [0, 0.25, 0.75, 1], 3],
    ['not before the window is full', [1, 1], 2],
    ['never', [0, 1 / 3, 0.5, 0.4], null],
    ['not through a value that was not finite', [1, null, 1, 0], 4],
    ['in no run without values', [], null],
  ])('%s', (_, values, expected) => expect(firstReached(runOf(...values), threshold)).toBe(expected));

  it('counts the steps that have the metric', () => {
    const records = [{ step: 0, score: 0 }, { step: 1, other: 1 }, { step: 5, score: 1 }] as unknown as MetricsRecord[];
    expect(firstReached(records, threshold)).toBe(5);
  });
});

it('spreadOf gives the median and the ends', () => {
  expect(spreadOf([3, 1, 10])).toEqual({ median: 3, min: 1, max: 10 });
  expect(spreadOf([4, 1])).toEqual({ median: 2.5, min: 1, max: 4 });
  expect(spreadOf([])).toBeNull();
});

it('the page has a line and a band for each group; a run that has ended counts on', () => {
  const file = join(folder, 'new', 'comparison.html');
  const groups = [
    { name: 'a', runs: [runOf(0, 1, 1, 1), runOf(0, 0.5), runOf(0.25, 0.25, 0.25, 0.5)] },
    { name: '<b>', runs: [runOf()] },
  ];
  writeComparison(file, { title: 'a, <b>', threshold, groups, head: ['estimator', 'steps'], rows: [['a', '2'], ['<b>', '–']] });
  const html = readFileSync(file, 'utf8');
  expect(html).not.toMatch(/https?:|src=|href=|@import|url\(/);
  const { names, charts } = JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)![1]);
  expect(names).toEqual(['a', '<b>']);
  expect(charts).toHaveLength(1);
  expect(charts[0].lines).toEqual([
    { run: 0, steps: [1, 2, 3, 4], values: [0, 0.25, 0.25, 0.375], low: [0, 0.25, 0.25, 0.25], high: [0.25, 0.5, 1, 1] },
    { run: 1, steps: [], values: [], low: [], high: [] },
  ]);
  expect(html.match(/<path class="band r0" d="M0\.0 /g)).toHaveLength(1);
  expect(html).toContain('target 0.5');
  expect(html).toContain('<th scope="row">&lt;b&gt;</th><td>–</td>');

  const picture = join(folder, 'new', 'comparison.svg');
  writeComparison(picture, { title: 'a, <b>', threshold, groups, head: [], rows: [] });
  const svg = readFileSync(picture, 'utf8');
  const [, drawn] = /<path class="line r0" d="(M0\.0 [^"]*)"><title>a<\/title>/.exec(svg)!;
  expect(html).toContain(`<path class="line r0" d="${drawn}"/>`);
  expect(svg.replace(' xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(/https?:|src=|href=|@import|url\(|<script|NaN/);
  // Names are text, and each element that begins ends.
  expect([svg.includes('&lt;b&gt;'), svg.includes('<b>')]).toEqual([true, false]);
  const open: string[] = [];
  for (const [, end, name, empty] of svg.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
    if (end === '/') expect(open.pop()).toBe(name);
    else if (empty !== '/') open.push(name!);
  }
  expect(open).toEqual([]);
  expect([svg.includes('>target 0.5<'), svg.includes('>training step<'), svg.includes('>score<')]).toEqual([true, true, true]);
});
