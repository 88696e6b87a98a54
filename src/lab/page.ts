/** The picture of a lab: one self-contained HTML page, or its large chart alone as SVG. */
import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkPath } from '../data/check';
import { DataError, showValue } from '../errors';
import { makeFolder } from '../folders';
import { chart, type ChartData, type ChartOptions, type Line } from '../tracking/chart';
import { colourOf, escape, legend, page, table } from '../tracking/page';
import { logAxis, position, suitsLog, tickLabel, valueAxis, type Axis } from '../tracking/plot';
import { chartSvg } from '../tracking/svg';
import type { LabReport, LabResult } from './lab';
import type { Estimated, GradientQuality } from './statistics';
import { labFacts, labTable, refusals, snake, withInterval } from './table';

/** Columns of intervals, and charts of a sweep. */
const measures = (cosine: number): readonly { title: string; of(quality: GradientQuality): Estimated; target?: number }[] => [
  { title: 'cosine to the exact gradient', of: (quality) => quality.cosine },
  { title: 'scale along it', of: (quality) => quality.scale, target: 1 },
  { title: 'bias, relative', of: (quality) => quality.relativeBias },
  { title: 'variance of a batch', of: (quality) => quality.variance },
  { title: 'signal to noise of a batch', of: (quality) => quality.signalToNoise },
  { title: `samples to a cosine of ${cosine}`, of: (quality) => quality.samplesToCosine },
];

export function writeLabPage(file: string, report: LabReport): void {
  checkPath('writeLabPage', file);
  const text = file.endsWith('.svg') ? labSvg(report) : labPage(report);
  makeFolder(dirname(file));
  writeFileSync(file, text);
}

function checkReport(report: LabReport): void {
  const { results, truth, environment } = (report ?? {}) as Partial<LabReport>;
  if (!Array.isArray(results) || !Array.isArray(truth) || typeof environment !== 'object') throw new DataError(`labPage: expected the report of estimatorLab, got ${showValue(report)}`);
}

const labelsOf = ({ results }: LabReport): string[] => [...new Set(results.map(({ label }) => label))];
const titleOf = ({ environment }: LabReport): string => `Estimators in ‘${environment.name}’`;

export function labPage(report: LabReport): string {
  checkReport(report);
  const labels = labelsOf(report);
  const { html, charts } = report.sweep === null ? withoutSweep(report, labels) : overSweep(report, labels);
  const { head, rows } = labTable(report);
  const refused = refusals(report.results).map((reason) => `<p class="note">${escape(reason)}</p>`).join('\n');
  const body = `${legend(labels)}\n${html}\n<section class="block">${table(head, rows)}${refused}</section>`;
  return page({ kind: 'estimator lab', title: titleOf(report), subtitle: `${labFacts(report).join('; ')}.`, names: labels, body, charts });
}

/** Powers of two that the picture of cosines goes up to. */
const DOUBLINGS = 10;

/** The large chart as SVG: how the cosine grows, or of a sweep, how it moves. */
function labSvg(report: LabReport): string {
  checkReport(report);
  const names = labelsOf(report);
  const { title, ...chart } = report.sweep === null ? growthOf(report, names) : overValues(report, names, 0);
  const x = report.sweep === null ? 'sequences that are averaged over' : snake(report.sweep.key);
  return chartSvg({ title: titleOf(report), facts: labFacts(report), names, ...chart, x, y: 'cosine to the exact gradient' });
}

/** The cosine over the sequences that are averaged over. */
function growthOf({ results, settings, truth: [{ norm, rows }] }: LabReport, labels: readonly string[]): ChartOptions {
  const steps = Array.from({ length: DOUBLINGS + 1 }, (_, k) => k);
  return {
    title: 'cosine to the exact gradient, by sequences that are averaged over',
    lines: results.map((result) => ({ run: labels.indexOf(result.label), curve: { steps, values: steps.map((k) => cosineOfMean(result, norm, 2 ** k)) } })),
    steps,
    labels: steps.map((k) => String(rows * 2 ** k)),
    unit: true,
    target: settings.cosine,
  };
}

function withoutSweep(report: LabReport, labels: readonly string[]): { html: string; charts: ChartData[] } {
  const growth = chart({ ...growthOf(report, labels), main: true });
  const note = '<p class="note">Expected from bias and variance: ⟨μ, ∇J⟩ / (‖∇J‖ · √(‖μ‖² + tr Σ / batches)). An estimator whose line ends below 1 points elsewhere, however much is sampled.</p>';
  return { html: `${growth.html}\n${note}\n<section class="block">${intervals(report, labels)}</section>`, charts: [growth.data] };
}

/** The expected cosine of the mean over so many batches; NaN where nothing was measured. */
function cosineOfMean({ quality }: LabResult, norm: number, batches: number): number {
  if (quality === null) return NaN;
  const { scale: { value: scale }, signalToNoise: { value: ratio }, variance: { value: variance } } = quality;
  const along = scale * norm;
  return along / Math.sqrt(Math.max(along ** 2, ratio ** 2 * variance) + variance / batches);
}

/** A table of intervals, the fewest samples first. */
function intervals({ results, settings }: LabReport, labels: readonly string[]): string {
  const measured = results.flatMap(({ label, quality }) => (quality === null ? [] : [{ label, quality }]));
  const sorted = [...measured].sort((a, b) => a.quality.samplesToCosine.value - b.quality.samplesToCosine.value || b.quality.cosine.value - a.quality.cosine.value);
  const columns = measures(settings.cosine).map((measure) => ({ ...measure, axis: axisOf(measured.map(({ quality }) => measure.of(quality)), measure.target) }));
  const head = columns.map(({ title, axis }) => `<th scope="col">${escape(title)}<br>${tickLabel(axis.low)} … ${tickLabel(axis.high)}${axis.log ? ', log' : ''}</th>`).join('');
  const rows = sorted.map(({ label, quality }) => {
    const cells = columns.map(({ of, axis, target }) => `<td>${interval(of(quality), axis, { run: labels.indexOf(label), target })}</td>`);
    return `<tr><th scope="row">${escape(label)}</th>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr><th scope="col"></th>${head}</tr></thead><tbody>${rows.join('\n')}</tbody></table></div>`;
}

function axisOf(all: readonly Estimated[], target?: number): Axis {
  const values = all.flatMap(({ value, low, high }) => [value, low, high]).concat(target ?? []).filter(Number.isFinite);
  return suitsLog(values) ? logAxis(values, { ticks: 3 }) : valueAxis(values, { ticks: 3 });
}

function interval(estimated: Estimated, axis: Axis, { run, target }: { run: number; target?: number }): string {
  const place = (value: number) => 1000 * Math.min(1, Math.max(0, value === Infinity ? 1 : position(axis, value)));
  const { value, low, high } = estimated;
  const rule = target === undefined ? '' : `<path class="target" d="M${place(target).toFixed(1)} 0V1000"/>`;
  const whisker = Number.isNaN(low) || Number.isNaN(high) ? '' : `<path class="line r${colourOf(run)}" d="M${place(low).toFixed(1)} 500H${place(high).toFixed(1)}"/>`;
  const dot = Number.isFinite(value) ? `<i class="dot alone r${colourOf(run)}" style="left:${(place(value) / 10).toFixed(2)}%;top:50%"></i>` : '';
  return `<div style="position:relative;height:18px;min-width:72px" title="${
    escape(withInterval(estimated))
  }"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">${rule}${whisker}</svg>${dot}</div>`;
}

/** A figure over the values of the sweep, by its place in {@link measures}. */
function overValues({ results, settings, sweep }: LabReport, labels: readonly string[], measure: number): ChartOptions {
  const { key, values } = sweep!;
  const steps = values.map((_, i) => i);
  const { title, of, target } = measures(settings.cosine)[measure];
  const lines = labels.map((label, run): Line => {
    const all = values.map((at) => results.find((result) => result.label === label && result.at === at)?.quality ?? null);
    const pick = (part: keyof Estimated) => all.map((quality) => (quality === null ? NaN : of(quality)[part]));
    return { run, curve: { steps, values: pick('value') }, band: { low: pick('low'), high: pick('high') } };
  });
  return { title: measure === 0 ? `${title}, by ${snake(key)}` : title, lines, steps, labels: values.map(String), target };
}

function overSweep(report: LabReport, labels: readonly string[]): { html: string; charts: ChartData[] } {
  const charts = measures(report.settings.cosine).map((_, i) => chart({ ...overValues(report, labels, i), main: i === 0 }));
  const [first, ...rest] = charts.map(({ html }) => html);
  return { html: `${first}\n<div class="grid">${rest.join('\n')}</div>`, charts: charts.map(({ data }) => data) };
}
