import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkFields, checkList, checkNumber, checkPath, checkText, isList, isNumber, isObject, isText } from '../data/check';
import { DataError, showValue } from '../errors';
import { makeFolder } from '../folders';
import { chart, type Line } from './chart';
import type { MetricsRecord } from './jsonl_tracker';
import { legend, page, table } from './page';
import { trailingMean } from './plot';
import { curveOf } from './report';
import { chartSvg } from './svg';

/** When a run counts as solved: the mean of `metric` over the last `window` steps that have it is at least `value`. */
export interface Threshold {
  /** The metric's name. */
  metric: string;
  /** Steps that its mean is taken over. */
  window: number;
  /** What that mean has to reach. */
  value: number;
}

function checkThreshold(who: string, threshold: unknown): asserts threshold is Threshold {
  checkFields(who, 'threshold', threshold, '{ metric, window, value }');
  const { metric, window, value } = threshold as Threshold;
  checkText(who, 'metric', metric);
  checkNumber(who, 'value', value);
  if (!Number.isInteger(window) || window < 1) throw new DataError(`${who}: window: expected a positive integer, got ${showValue(window)}`);
}

/** The first step at which a run reaches the threshold, or null. */
export function firstReached(records: readonly MetricsRecord[], threshold: Threshold): number | null {
  checkThreshold('firstReached', threshold);
  const { metric, window, value } = threshold;
  const { steps, values } = curveOf(records, metric);
  for (let end = window; end <= values.length; end++) {
    const recent = values.slice(end - window, end);
    if (recent.reduce((sum, each) => sum + each, 0) / window >= value) return steps[end - 1];
  }
  return null;
}

/** The middle and the ends of some numbers. */
export interface Spread {
  /** The middle value. */
  median: number;
  /** The least value. */
  min: number;
  /** The largest value. */
  max: number;
}

/** null where there are no numbers. */
export function spreadOf(values: readonly number[]): Spread | null {
  checkList('spreadOf', 'values', values, 'an array of numbers', isNumber);
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return { median: (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2, min: sorted[0], max: sorted[sorted.length - 1] };
}

/** What {@link writeComparison} draws. */
export interface ComparisonOptions {
  /** The page's heading. */
  title: string;
  /** A line under it. */
  subtitle?: string;
  /** What counts as reached. */
  threshold: Threshold;
  /** What is compared, each with the records of its runs. */
  groups: readonly { name: string; runs: readonly (readonly MetricsRecord[])[] }[];
  /** A table above the picture. */
  head: readonly string[];
  /** The cells of the table, row by row. */
  rows: readonly (readonly string[])[];
}

/**
 * Writes one self-contained HTML page, or where `file` ends in .svg its chart alone: for each group the median over its runs of the trailing mean of the threshold's metric, and the band
 * from the least to the greatest. A run that has ended counts on with its last value.
 */
export function writeComparison(file: string, options: ComparisonOptions): void {
  const who = 'writeComparison';
  checkPath(who, file);
  checkFields(who, 'options', options, '{ title, threshold, groups, head, rows }');
  const { title, subtitle, threshold, groups, head, rows } = options;
  checkText(who, 'title', title);
  if (subtitle !== undefined) checkText(who, 'subtitle', subtitle);
  checkThreshold(who, threshold);
  checkList(who, 'groups', groups, 'an array of { name, runs }', isObject);
  for (const { name, runs } of groups) {
    checkText(who, 'the name of a group', name);
    checkList(who, `the runs of '${name}'`, runs, 'an array of records for each run', Array.isArray);
  }
  checkList(who, 'head', head, 'an array of texts', isText);
  checkList(who, 'rows', rows, 'an array of arrays of texts', (row) => isList(row, isText));
  const lines = groups.map(({ runs }, run) => bandOf(run, runs, threshold));
  const steps = [...new Set(lines.flatMap(({ curve }) => curve.steps))].sort((a, b) => a - b);
  const names = groups.map(({ name }) => name);
  const { metric, window, value } = threshold;
  const values = lines.flatMap(({ band }) => [...(band?.low ?? []), ...(band?.high ?? [])]);
  const isShare = values.every((each) => !Number.isFinite(each) || (each >= 0 && each <= 1));
  const how = [
    `Lines: the median over the seeds of the mean of ${window === 1 ? 'each value' : `the last ${window} values`}; bands: from the least to the greatest.`,
    'A run that has ended counts on with its last value.',
  ];
  makeFolder(dirname(file));
  const drawn = { lines, steps, unit: isShare, target: value };
  if (file.endsWith('.svg')) {
    writeFileSync(file, chartSvg({ title, facts: how, names, ...drawn, x: 'training step', y: metric }));
    return;
  }
  const { html, data } = chart({ title: metric, ...drawn, main: true });
  const note = `<p class="note">${how.join(' ')}</p>`;
  const body = `${legend(names)}\n${html}\n${note}\n<section class="block">${table(head, rows)}</section>`;
  writeFileSync(file, page({ kind: 'comparison', title, subtitle, names, body, charts: [data] }));
}

function bandOf(run: number, runs: readonly (readonly MetricsRecord[])[], { metric, window }: Threshold): Line {
  const curves = runs.map((records) => curveOf(records, metric)).filter(({ steps }) => steps.length > 0);
  const steps = [...new Set(curves.flatMap((curve) => curve.steps))].sort((a, b) => a - b);
  const means = curves.map((curve) => {
    const smooth = trailingMean(curve.values, window);
    let next = 0;
    return steps.map((step) => {
      while (next < curve.steps.length && curve.steps[next] <= step) next++;
      return next === 0 ? NaN : smooth[next - 1];
    });
  });
  const spreads = steps.map((_, i) => spreadOf(means.map((values) => values[i]).filter(Number.isFinite)) ?? { median: NaN, min: NaN, max: NaN });
  const of = (part: keyof Spread) => spreads.map((each) => each[part]);
  return { run, curve: { steps, values: of('median') }, band: { low: of('min'), high: of('max') } };
}
