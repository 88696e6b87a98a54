/** One chart as an SVG file of its own: without scripts, light and dark as the reader has it, for a README, an issue or a paper. */
import type { Line } from './chart';
import { colourOf, escape } from './page';
import { COLOUR_STYLE } from './page_style';
import { area, path, position, stepAxis, tickLabel, valueAxis } from './plot';

export interface SvgOptions {
  title: string;
  /** Lines under it: what was measured, and how. */
  facts: readonly string[];
  lines: readonly Line[];
  /** What the lines stand for, by `Line.run`. */
  names: readonly string[];
  steps: readonly number[];
  /** What stands at the steps 0, 1, …, in place of numbers. */
  labels?: readonly string[];
  /** What the axes show. */
  x: string;
  y: string;
  /** The axis spans all of 0 … 1 where the values lie in it. */
  unit?: boolean;
  /** A line drawn across. */
  target?: number;
}

const WIDTH = 860;
const LEFT = 72;
const RIGHT = 28;
const PLOT_HEIGHT = 320;
const LINE_HEIGHT = 17;
/** Of a letter in the legend, on average. */
const LETTER = 7.1;
/** Lines are told apart without colours, too: one for each colour. */
const DASHES = ['', '9 4', '2 4', '12 4 2 4', '5 3', '16 4', '2 8', '9 3 2 3 2 3'];

const STYLE = `${COLOUR_STYLE}
.paper { fill: var(--paper); }
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
.title { font-size: 18px; }
.muted { fill: var(--muted); font-size: 12px; }
.goal { fill: var(--goal); font-size: 12px; paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
path { fill: none; vector-effect: non-scaling-stroke; stroke-linecap: butt; stroke-linejoin: round; }
.rule { stroke: var(--rule); stroke-width: 1; }
.target { stroke: var(--goal); stroke-width: 1; stroke-dasharray: 2 5; }
.line { stroke: var(--run); stroke-width: 2.25; }
.band { fill: var(--run); fill-opacity: .12; }
${DASHES.map((dash, i) => (dash === '' ? '' : `.r${i}.line { stroke-dasharray: ${dash}; }`)).filter((rule) => rule !== '').join('\n')}`;

/** The chart as the text of an SVG file. */
export function chartSvg({ title, facts, lines, names, steps, labels, x: xTitle, y: yTitle, unit, target }: SvgOptions): string {
  const values = lines.flatMap(({ curve, band }) => [...curve.values, ...(band ? [...band.low, ...band.high] : []), ...(target === undefined ? [] : [target])]);
  const [x, y] = [stepAxis(steps, 10), valueAxis(values, { unit, ticks: 5 })];
  const width = WIDTH - LEFT - RIGHT;
  const entries = legendOf(names);
  const legendTop = 42 + facts.length * LINE_HEIGHT + 22;
  const top = legendTop + (entries.at(-1)?.row ?? 0) * 22 + 28;
  const bottom = top + PLOT_HEIGHT;
  const height = bottom + 58;
  const across = (value: number) => (top + PLOT_HEIGHT * (1 - position(y, value))).toFixed(1);
  const along = (step: number) => (LEFT + width * position(x, step)).toFixed(1);
  const parts = [
    `<rect class="paper" width="${WIDTH}" height="${height}"/>`,
    `<text class="title" x="24" y="36">${escape(title)}</text>`,
    ...facts.map((fact, i) => `<text class="muted" x="24" y="${36 + (i + 1) * LINE_HEIGHT + 4}">${escape(fact)}</text>`),
    ...entries.map(({ name, run, at, row }) => {
      const middle = legendTop + row * 22;
      return `<path class="line r${colourOf(run)}" d="M${at} ${middle}h34"/><text x="${at + 42}" y="${middle + 4.5}">${escape(name)}</text>`;
    }),
    ...y.ticks.map((tick) => `<path class="rule" d="M${LEFT} ${across(tick)}H${WIDTH - RIGHT}"/><text class="muted end" x="${LEFT - 10}" y="${Number(across(tick)) + 4}">${tickLabel(tick)}</text>`),
    ...x.ticks.map((tick) => `<text class="muted middle" x="${along(tick)}" y="${bottom + 20}">${escape(labels?.[tick] ?? tickLabel(tick))}</text>`),
    `<text class="muted middle" x="${LEFT + width / 2}" y="${bottom + 42}">${escape(xTitle)}</text>`,
    `<text class="muted middle" transform="translate(22 ${top + PLOT_HEIGHT / 2}) rotate(-90)">${escape(yTitle)}</text>`,
    ...(target === undefined
      ? []
      : [`<path class="target" d="M${LEFT} ${across(target)}H${WIDTH - RIGHT}"/>`]),
    `<svg x="${LEFT}" y="${top}" width="${width}" height="${PLOT_HEIGHT}" viewBox="0 0 1000 1000" preserveAspectRatio="none" overflow="visible">`,
    ...lines.flatMap(({ run, curve, band }) => (band ? [`<path class="band r${colourOf(run)}" d="${area(curve.steps, band.low, band.high, x, y)}"/>`] : [])),
    ...lines.map(({ run, curve }) => `<path class="line r${colourOf(run)}" d="${path(curve, x, y)}"><title>${escape(names[run] ?? '')}</title></path>`),
    '</svg>',
    ...(target === undefined ? [] : [targetLabel(target, lines, { steps, across: (value) => top + PLOT_HEIGHT * (1 - position(y, value)) })]),
  ];
  const open = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escape(title)}">`;
  return `${open}\n<style>\n${STYLE}\n</style>\n${parts.join('\n')}\n</svg>\n`;
}

/** At the end of the target's line, above or below it, that lines leave free. */
function targetLabel(target: number, lines: readonly Line[], { steps, across }: { steps: readonly number[]; across: (value: number) => number }): string {
  const span = (steps.at(-1) ?? 0) - (steps[0] ?? 0);
  const places = [{ isLeft: false, shift: 15 }, { isLeft: false, shift: -6 }, { isLeft: true, shift: 15 }, { isLeft: true, shift: -6 }].map(({ isLeft, shift }) => {
    const near = (step: number) => (isLeft ? step - steps[0] : steps[steps.length - 1] - step) <= span / 8;
    const values = lines.flatMap(({ curve }) => curve.values.filter((value, i) => near(curve.steps[i]) && Number.isFinite(value)));
    return { isLeft, y: across(target) + shift, room: Math.min(...values.map((value) => Math.abs(across(value) - (across(target) + shift - 4)))) };
  });
  const { isLeft, y } = places.reduce((best, place) => (place.room > best.room ? place : best));
  return `<text class="goal${isLeft ? '' : ' end'}" x="${isLeft ? LEFT + 4 : WIDTH - RIGHT}" y="${y.toFixed(1)}">target ${tickLabel(target)}</text>`;
}

/** Where each name stands: as many beside each other as there is room for. */
function legendOf(names: readonly string[]): { name: string; run: number; at: number; row: number }[] {
  let [at, row] = [24, 0];
  return names.map((name, run) => {
    const needed = 42 + LETTER * name.length + 26;
    if (at > 24 && at + needed > WIDTH) [at, row] = [24, row + 1];
    const entry = { name, run, at, row };
    at += Math.round(needed);
    return entry;
  });
}
