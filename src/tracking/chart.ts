import { colourOf, describe, escape } from './page';
import { area, logAxis, path, position, stepAxis, suitsLog, thin, tickLabel, trailingMean, valueAxis, type Axis, type Curve } from './plot';

/** One line of a chart, in the colour of its run. */
export interface Line {
  /** Which run it is of: the place of its name, and its colour. */
  run: number;
  curve: Curve;
  /** Drawn faint behind the line, over the same steps: what the line is the mean of. */
  raw?: readonly number[];
  /** Shaded behind the line, over the same steps. */
  band?: { low: readonly number[]; high: readonly number[] };
}

export interface ChartOptions {
  title: string;
  lines: readonly Line[];
  /** The span of the horizontal axis: the same place is the same step in every chart of a page. */
  steps: readonly number[];
  /** What stands at the steps 0, 1, …, in place of numbers. */
  labels?: readonly string[];
  /** Drawn large. */
  main?: boolean;
  /** The axis spans all of 0 … 1 where the values lie in it. */
  unit?: boolean;
  /** A line drawn across. */
  target?: number;
}

/** What the page's script needs to show values. */
export interface ChartData {
  x: [low: number, high: number];
  y: [low: number, high: number];
  /** The span of the logarithmic axis, where there is one. */
  log: [low: number, high: number] | null;
  labels?: readonly string[];
  lines: { run: number; steps: readonly number[]; values: readonly number[]; raw?: readonly number[]; low?: readonly number[]; high?: readonly number[] }[];
}

/** More points than a chart has columns change nothing that one can see. */
const MAXIMUM_POINTS = { main: 2000, small: 400 };

/** A line of a metric: its trailing mean, and the values themselves behind it. */
export function meanLine(run: number, { steps, values }: Curve, window: number): Line {
  return window === 1 ? { run, curve: { steps, values } } : { run, curve: { steps, values: trailingMean(values, window) }, raw: values };
}

/** One chart as HTML; where a logarithmic axis suits its values, drawn both ways, with a button that changes between them. */
export function chart({ title, lines, steps, labels, main = false, unit, target }: ChartOptions): { html: string; data: ChartData } {
  const drawn = lines.map((line) => thinned(line, main ? MAXIMUM_POINTS.main : MAXIMUM_POINTS.small));
  const values = lines.flatMap(({ curve, raw, band }) => [...curve.values, ...(raw ?? []), ...(band ? [...band.low, ...band.high] : [])]);
  if (target !== undefined) values.push(target);
  const ticks = main ? 5 : 3;
  const x = stepAxis(steps, main ? 8 : 4);
  const y = valueAxis(values, { unit, ticks });
  const log = !unit && suitsLog(values) ? logAxis(values, { ticks }) : null;
  // Of a single line the last value stands beside the title.
  const rest = lines.length === 1 ? describe(lines[0].curve.values.at(-1) ?? NaN) : '';
  const isEmpty = lines.every(({ curve }) => curve.steps.length === 0);
  const html = `<section class="panel${main ? ' main' : ''}" aria-label="${escape(title)}">
<h3><span>${escape(title)}</span>${log ? '<button type="button" class="scale" aria-pressed="false">log</button>' : ''}<span class="readout" data-rest="${rest}">${rest}</span></h3>
<div class="plot">
${picture('linear', drawn, x, y, target)}
${log ? picture('logarithmic', drawn, x, log, target) : ''}
${x.ticks.map((tick) => `<span class="x" style="left:${percent(position(x, tick))}">${escape(labels?.[tick] ?? tickLabel(tick))}</span>`).join('')}
${isEmpty ? '<span class="none">no data</span>' : '<i class="cursor"></i>'}
${drawn.map((line) => dot(line, x, y)).join('')}
</div>
</section>`;
  const data: ChartData = {
    x: [x.low, x.high],
    y: [y.low, y.high],
    log: log && [log.low, log.high],
    labels,
    lines: drawn.map(({ run, curve, raw, band }) => {
      const numbers = (list?: readonly number[]) => list?.map((value) => Number(value.toPrecision(5)));
      return { run, steps: curve.steps, values: numbers(curve.values) ?? [], raw: numbers(raw), low: numbers(band?.low), high: numbers(band?.high) };
    }),
  };
  return { html, data };
}

/** A line with at most `limit` points: those that keep the extremes of what varies most. */
function thinned({ run, curve, raw, band }: Line, limit: number): Line {
  const { steps } = thin({ steps: curve.steps, values: raw ?? curve.values }, limit);
  const place = new Map(curve.steps.map((step, i) => [step, i]));
  const pick = (values: readonly number[]) => steps.map((step) => values[place.get(step) as number]);
  return {
    run,
    curve: { steps, values: pick(curve.values) },
    ...(raw && { raw: pick(raw) }),
    ...(band && { band: { low: pick(band.low), high: pick(band.high) } }),
  };
}

function picture(kind: 'linear' | 'logarithmic', lines: readonly Line[], x: Axis, y: Axis, target?: number): string {
  const shapes = [
    ...lines.flatMap(({ run, curve, band }) => (band ? [`<path class="band r${colourOf(run)}" d="${area(curve.steps, band.low, band.high, x, y)}"/>`] : [])),
    ...lines.flatMap(({ run, curve, raw }) => (raw ? [`<path class="raw r${colourOf(run)}" d="${path({ steps: curve.steps, values: raw }, x, y)}"/>`] : [])),
    ...lines.map(({ run, curve }) => `<path class="line r${colourOf(run)}" d="${path(curve, x, y)}"/>`),
  ];
  return `<div class="${kind}"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">
${y.ticks.map((tick) => `<path class="rule" d="M0 ${height(y, tick)}H1000"/>`).join('')}
${target === undefined ? '' : `<path class="target" d="M0 ${height(y, target)}H1000"/>`}
${shapes.join('\n')}
</svg>
${y.ticks.map((tick) => `<span class="y" style="top:${percent(1 - position(y, tick))}">${tickLabel(tick)}</span>`).join('')}
${target === undefined ? '' : `<span class="goal" style="top:${percent(1 - position(y, target))}">target ${tickLabel(target)}</span>`}</div>`;
}

/** What the script moves; a curve of a single point shows its dot at once, since a line of no length is hardly seen. */
function dot({ run, curve: { steps, values } }: Line, x: Axis, y: Axis): string {
  if (steps.length !== 1 || !Number.isFinite(values[0])) return `<i class="dot r${colourOf(run)}"></i>`;
  const place = `left:${percent(position(x, steps[0]))};top:${percent(1 - position(y, values[0]))}`;
  return `<i class="dot r${colourOf(run)} alone" style="${place}"></i>`;
}

const height = (axis: Axis, value: number): string => (1000 * (1 - position(axis, value))).toFixed(1);
const percent = (fraction: number): string => `${(100 * fraction).toFixed(2)}%`;
