import { formatNumber } from './format';

/** A curve: `values[i]` at `steps[i]`, steps ascending. Values that are not finite are gaps. */
export interface Curve {
  /** Training steps, ascending. */
  steps: readonly number[];
  /** The value at each step. */
  values: readonly number[];
}

/** The mean of the finite values among the last `window` ones up to each position; NaN where there is none. */
export function trailingMean(values: readonly number[], window: number): number[] {
  return values.map((_, i) => {
    const recent = values.slice(Math.max(0, i + 1 - window), i + 1).filter(Number.isFinite);
    return recent.reduce((sum, value) => sum + value, 0) / recent.length;
  });
}

/** At most `limit` points of a curve: the lowest and the highest of each stretch, so that no peak is lost. */
export function thin({ steps, values }: Curve, limit: number): Curve {
  if (steps.length <= limit) return { steps, values };
  const stretches = Math.floor(limit / 2);
  const kept: number[] = [];
  for (let k = 0; k < stretches; k++) {
    const begin = Math.floor((k * steps.length) / stretches);
    const end = Math.floor(((k + 1) * steps.length) / stretches);
    let [low, high] = [begin, begin];
    for (let i = begin; i < end; i++) {
      if (values[i] < values[low] || Number.isNaN(values[low])) low = i;
      if (values[i] > values[high] || Number.isNaN(values[high])) high = i;
    }
    kept.push(...(low === high ? [low] : [Math.min(low, high), Math.max(low, high)]));
  }
  return { steps: kept.map((i) => steps[i]), values: kept.map((i) => values[i]) };
}

/** The span of an axis and the round numbers marked on it. */
export interface Axis {
  low: number;
  high: number;
  ticks: number[];
  /** Equal distances are equal ratios. */
  log?: boolean;
}

/** The round distance (1, 2 or 5 times a power of ten) that cuts a span into about `count` parts, never into more. */
function roundSpacing(span: number, count: number): number {
  const power = 10 ** Math.floor(Math.log10(span / count));
  return power * ([1, 2, 5].find((factor) => factor * power >= (span / count) * 0.999) ?? 10);
}

/** The multiples of `spacing` within low … high. */
function multiples(low: number, high: number, spacing: number): number[] {
  const ticks: number[] = [];
  // Rounded, because 3 · 0.1 is not 0.3; the slack keeps an end that is a multiple up to such an error.
  for (let k = Math.ceil(low / spacing - 1e-9); k <= high / spacing + 1e-9; k++) ticks.push(Number((k * spacing).toPrecision(12)));
  return ticks;
}

/**
 * An axis for values: it spans the finite ones, or all of 0 … 1 where they lie in it and `unit` is asked for. It ends on marks, so that the
 * first and the last line of the grid frame the picture.
 */
export function valueAxis(values: readonly number[], options: { unit?: boolean; ticks: number }): Axis {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  if (low > high || (options.unit && low >= 0 && high <= 1)) [low, high] = [0, 1];
  // Values that differ by rounding only are one value: there are no round numbers between them.
  const isConstant = high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high));
  const span = isConstant ? Math.abs(high) * 0.2 || 1 : high - low;
  if (isConstant) [low, high] = [low - span / 2, high + span / 2];
  const spacing = roundSpacing(span, options.ticks);
  const ticks = multiples(Math.floor(low / spacing + 1e-9) * spacing, Math.ceil(high / spacing - 1e-9) * spacing, spacing);
  return { low: ticks[0], high: ticks[ticks.length - 1], ticks };
}

/** Whether a logarithmic axis shows more of these values than a plain one: all are positive, and the largest is twenty times the least. */
export function suitsLog(values: readonly number[]): boolean {
  let [low, high] = [Infinity, 0];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value <= 0) return false;
    [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  return high >= 20 * low;
}

/** A logarithmic axis over values that `suitsLog` accepts, from a power of ten to a power of ten, with at most about `ticks` of them marked. */
export function logAxis(values: readonly number[], options: { ticks: number }): Axis {
  const finite = values.filter(Number.isFinite);
  const [low, high] = finite.reduce(([least, most], v) => [Math.min(least, v), Math.max(most, v)], [Infinity, 0]);
  const [from, to] = [Math.floor(Math.log10(low) + 1e-9), Math.ceil(Math.log10(high) - 1e-9)];
  const stride = Math.max(1, Math.ceil((to - from) / options.ticks));
  const ticks: number[] = [];
  for (let power = from; power <= to; power += stride) ticks.push(Number(`1e${power}`));
  return { low: Number(`1e${from}`), high: Number(`1e${to}`), ticks, log: true };
}

/** An axis of steps, from the first to the last one. */
export function stepAxis(steps: readonly number[], ticks: number): Axis {
  const [low, high] = steps.length === 0 ? [0, 1] : [steps[0], steps[steps.length - 1]];
  if (low === high) return { low: low - 1, high: high + 1, ticks: [low] };
  return { low, high, ticks: multiples(low, high, Math.max(1, roundSpacing(high - low, ticks))) };
}

/** Where a value stands on an axis, 0 … 1. */
export function position({ low, high, log }: Axis, value: number): number {
  return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

/** A place in a box of 1000 × 1000, as SVG paths name it. */
function point(step: number, value: number, x: Axis, y: Axis): string {
  return `${(1000 * position(x, step)).toFixed(1)} ${(1000 * (1 - position(y, value))).toFixed(1)}`;
}

/** The SVG path of a curve in a box of 1000 × 1000; a gap begins a new stretch, a stretch of one point is a dot. */
export function path({ steps, values }: Curve, x: Axis, y: Axis): string {
  let text = '';
  for (let i = 0; i < steps.length; i++) {
    if (!Number.isFinite(values[i])) continue;
    const starts = i === 0 || !Number.isFinite(values[i - 1]);
    const ends = i === steps.length - 1 || !Number.isFinite(values[i + 1]);
    const place = point(steps[i], values[i], x, y);
    text += starts ? `M${place}${ends ? 'h0' : ''}` : `L${place}`;
  }
  return text;
}

/** The SVG path of the area between two curves over the same steps; steps where one of them has no value are left out. */
export function area(steps: readonly number[], low: readonly number[], high: readonly number[], x: Axis, y: Axis): string {
  const kept = Array.from(steps.keys()).filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]));
  const edge = (values: readonly number[], order: readonly number[]) => order.map((i) => point(steps[i], values[i], x, y)).join('L');
  return kept.length === 0 ? '' : `M${edge(high, kept)}L${edge(low, [...kept].reverse())}Z`;
}

/** The marks of an axis as a reader wants them: `0.2`, `1500`, `2.0e-5`. */
export function tickLabel(value: number): string {
  const plain = String(value);
  return plain.length <= 6 ? plain.replace('-', '−') : formatNumber(value);
}
