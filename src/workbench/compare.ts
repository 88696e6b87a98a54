/** Two results beside one another. */
import type { Grid } from './batch';
import type { Outcome } from './subject';

export const TOLERANCE = 1e-5;

/** The first place where two grids differ by more than `tolerance`, relative to the larger number where that is above 1; null where there is none. */
export function difference(a: Grid, b: Grid, tolerance = TOLERANCE): { row: number; column: number; a: number; b: number } | null {
  for (const [row, numbers] of a.entries()) {
    for (const [column, x] of numbers.entries()) {
      const y = b[row]?.[column] ?? NaN;
      if (!(Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x), Math.abs(y)))) return { row, column, a: x, b: y };
    }
  }
  return null;
}

/**
 * How a second result differs from a first one, in words; null where they agree, and where the first is an error (another property's matter).
 * @param expected how the first one has to be rearranged to stand beside the second
 */
export function disagreement(first: Outcome, second: Outcome, { expected = (grid: Grid) => grid, tolerance = TOLERANCE } = {}): string | null {
  if (first.error !== null) return null;
  if (second.error !== null) return `then it is an error: ${second.error}`;
  for (const part of ['advantages', 'returns'] as const) {
    const found = difference(expected(first[part]), second[part], tolerance);
    if (found) return `${part}[${found.row}][${found.column}] is ${show(found.a)}, then ${show(found.b)}`;
  }
  return null;
}

export const agree = (first: Outcome, second: Outcome, options?: Parameters<typeof disagreement>[2]): boolean => first.error === null && disagreement(first, second, options) === null;

export const show = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(6))) : String(x));
