import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatNumber } from './format';
import type { MetricsRecord } from './jsonl_tracker';
import { PAGE_SCRIPT, PAGE_STYLE } from './learning_curve_assets';
import { path, position, stepAxis, thin, tickLabel, trailingMean, valueAxis, type Axis, type Curve } from './plot';

/** One metric over a run. Values that are not finite are shown as gaps. */
export interface Series extends Curve {
  /** The metric's name, `policy/final_loss`; it chooses the panel's title. */
  name: string;
}

export interface LearningCurveOptions {
  title: string;
  /** A line under the title: what was run, and how it ended. */
  subtitle?: string;
  /** The first is the large picture (the reward), each other a small panel. */
  series: readonly Series[];
  /** The run's settings, shown as a table; nested objects as dotted keys. */
  configuration?: Record<string, unknown>;
  /** A line drawn across the large picture: the reward at which the run counts as solved. */
  target?: number;
  /** How many steps the smooth line and the final numbers average over (10). */
  window?: number;
}

interface PanelStyle {
  title: string;
  /** The axis spans all of 0 … 1 where the values lie in it. */
  unit?: boolean;
  /** Drawn as it is: each value is a mean over many samples already, and they stand far apart. */
  exact?: boolean;
}

/** The metrics on the page, in its order. */
const PANELS = new Map<string, PanelStyle>([
  ['reward/avg_raw_reward', { title: 'Reward', unit: true }],
  ['policy/final_loss', { title: 'Loss' }],
  ['policy/policy_entropy', { title: 'Entropy' }],
  ['policy/policy_kl', { title: 'KL divergence' }],
  ['policy/response_length', { title: 'Response length' }],
  ['policy/grad_norm', { title: 'Gradient norm' }],
  ['eval/all/avg_score', { title: 'Evaluation score', unit: true, exact: true }],
]);

const WINDOW = 10;
/** More points than a wide screen has columns change nothing that one can see. */
const MAXIMUM_POINTS = 2000;

/**
 * The page's series out of a run's records: reward, loss, entropy, KL, response length, gradient norm, evaluation score. A metric that the
 * run does not have is left out, the reward never is. Records of the same step are merged, the later value stays.
 */
export function seriesOf(records: readonly MetricsRecord[]): Series[] {
  return [...PANELS.keys()].map((name) => {
    const byStep = new Map<number, number>();
    for (const record of records) if (record[name] !== undefined) byStep.set(record.step, record[name] ?? NaN);
    const steps = [...byStep.keys()].sort((a, b) => a - b);
    return { name, steps, values: steps.map((step) => byStep.get(step) as number) };
  }).filter((series, index) => index === 0 || series.steps.length > 0);
}

/**
 * Writes one self-contained HTML page (inline SVG, style and script; nothing is fetched): the first series large, raw and smoothed, the
 * others as small panels, the final numbers and the configuration. It follows the reader's light or dark setting; pointing at a step shows
 * its values in every panel.
 * @param file the page; its folder is created
 */
export function writeLearningCurve(file: string, options: LearningCurveOptions): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, learningCurvePage(options));
}

function learningCurvePage(options: LearningCurveOptions): string {
  const { title, subtitle, target, configuration = {}, window = WINDOW } = options;
  // One span of steps for all, so that the same place is the same step in every panel.
  const steps = options.series.flatMap((series) => [series.steps[0], series.steps.at(-1)]).filter((step) => step !== undefined);
  const range = [...new Set(steps)].sort((a, b) => a - b);
  const panels = options.series.map((series, index) => makePanel(series, range, window, index === 0 ? { target } : null));
  const [main, ...small] = panels;
  const data = panels.map(({ raw, smooth, x, y }) => {
    return { steps: raw.steps, raw: raw.values, smooth: smooth.values, x: [x.low, x.high], y: [y.low, y.high] };
  });
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">Vantage · learning curve</p>
<h1>${escape(title)}</h1>
${subtitle === undefined ? '' : `<p class="subtitle">${escape(subtitle)}</p>`}
</header>
${main === undefined ? '<p class="subtitle">No metrics were recorded.</p>' : `${summary(options.series[0], window)}\n${main.html}`}
<div class="grid">${small.map((panel) => panel.html).join('\n')}</div>
${configurationTable(configuration)}
</main>
<script type="application/json" id="data">${JSON.stringify(data).replace(/</g, '\\u003c')}</script>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
}

interface Panel {
  html: string;
  raw: Curve;
  smooth: Curve;
  x: Axis;
  y: Axis;
}

/** One chart over the steps of `range`; `main` is given for the large one. */
function makePanel(series: Series, range: readonly number[], window: number, main: { target?: number } | null): Panel {
  const style = PANELS.get(series.name) ?? { title: series.name };
  const target = main?.target;
  const smoothed = trailingMean(series.values, style.exact ? 1 : window);
  const raw = thin(series, MAXIMUM_POINTS);
  const place = new Map(series.steps.map((step, i) => [step, i]));
  const smooth = { steps: raw.steps, values: raw.steps.map((step) => smoothed[place.get(step) as number]) };
  const x = stepAxis(range, main ? 8 : 4);
  const y = valueAxis(target === undefined ? series.values : [...series.values, target], { unit: style.unit, ticks: main ? 5 : 3 });
  const last = smoothed.at(-1) ?? NaN;
  const title = escape(style.title);
  const html = `<section class="panel${main ? ' main' : ''}" aria-label="${title}">
<h2><span>${title}</span><span class="readout" data-rest="${describe(last)}">${describe(last)}</span></h2>
<div class="plot">
<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">
${y.ticks.map((tick) => `<path class="rule" d="M0 ${height(y, tick)}H1000"/>`).join('')}
${target === undefined ? '' : `<path class="target" d="M0 ${height(y, target)}H1000"/>`}
<path class="raw" d="${path(raw, x, y)}"/>
<path class="smooth" d="${path(smooth, x, y)}"/>
</svg>
${y.ticks.map((tick) => `<span class="y" style="top:${percent(1 - position(y, tick))}">${tickLabel(tick)}</span>`).join('')}
${x.ticks.map((tick) => `<span class="x" style="left:${percent(position(x, tick))}">${tickLabel(tick)}</span>`).join('')}
${target === undefined ? '' : `<span class="goal" style="top:${percent(1 - position(y, target))}">target ${tickLabel(target)}</span>`}
${marker(smooth, x, y)}
</div>
</section>`;
  return { html, raw, smooth, x, y };
}

/** What the script moves; a curve of a single point shows its dot at once, since a line of no length is hardly seen. */
function marker({ steps, values }: Curve, x: Axis, y: Axis): string {
  if (steps.length === 0) return '<span class="none">no data</span>';
  if (steps.length > 1 || !Number.isFinite(values[0])) return '<i class="cursor"></i><i class="dot"></i>';
  const place = `left:${percent(position(x, steps[0]))};top:${percent(1 - position(y, values[0]))}`;
  return `<i class="cursor"></i><i class="dot alone" style="${place}"></i>`;
}

const height = (axis: Axis, value: number): string => (1000 * (1 - position(axis, value))).toFixed(1);
const percent = (fraction: number): string => `${(100 * fraction).toFixed(2)}%`;
const describe = (value: number): string => (Number.isNaN(value) ? '–' : formatNumber(value));

/** The numbers that one wants first: where the reward ended, its best, where it began, how many steps it took. */
function summary(series: Series, window: number): string {
  const means = trailingMean(series.values, window);
  const full = means.slice(Math.min(window, means.length) - 1).filter(Number.isFinite);
  const count = Math.min(window, series.steps.length);
  const figures = [
    [describe(means.at(-1) ?? NaN), count > 1 ? `mean of the last ${count} steps` : 'last step'],
    [describe(full.reduce((best, value) => Math.max(best, value), full[0] ?? NaN)), count > 1 ? `best mean of ${count}` : 'best'],
    [describe(series.values.find(Number.isFinite) ?? NaN), 'at the first step'],
    [String(series.steps.length), series.steps.length === 1 ? 'step' : 'steps'],
  ];
  return `<dl class="figures">${figures.map(([value, label]) => `<div><dt>${label}</dt><dd>${value}</dd></div>`).join('')}</dl>`;
}

function flatten(value: unknown, key: string, into: [string, string][]): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value)) flatten(inner, key === '' ? name : `${key}.${name}`, into);
  } else {
    into.push([key, typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))]);
  }
  return into;
}

function configurationTable(configuration: Record<string, unknown>): string {
  const rows = flatten(configuration, '', []);
  if (rows.length === 0) return '';
  const cells = rows.map(([key, value]) => `<div><dt>${escape(key)}</dt><dd>${escape(value)}</dd></div>`);
  return `<section class="configuration"><h2>Configuration</h2><dl>${cells.join('')}</dl></section>`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
