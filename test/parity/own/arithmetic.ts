/** Sums and moments in plain float64, over what a mask leaves. */
import { Raised } from './own';
import type { Table } from './random';

export const sum = (x: readonly number[]): number => x.reduce((total, each) => total + each, 0);
/** 0 of nothing. */
export const mean = (x: readonly number[]): number => (x.length === 0 ? 0 : sum(x) / x.length);
/** Σ (x − μ)²/(n − ddof), 0 where that many numbers are not there. */
export const variance = (x: readonly number[], ddof = 1): number => {
  const centre = mean(x);
  return x.length > ddof ? sum(x.map((each) => (each - centre) ** 2)) / (x.length - ddof) : 0;
};
export const std = (x: readonly number[], ddof = 1): number => Math.sqrt(variance(x, ddof));
export const clamp = (x: number, low: number | null, high: number | null): number => Math.min(Math.max(x, low ?? -Infinity), high ?? Infinity);

export const map2 = (x: Table, f: (value: number, b: number, t: number) => number): Table => x.map((row, b) => row.map((value, t) => f(value, b, t)));
export const zeros = (like: Table): Table => map2(like, () => 0);
/** A number a row, at each of its tokens. */
export const spread = (rows: readonly number[], like: Table): Table => map2(like, (_, b) => rows[b]!);
export const masked = (x: Table, mask: Table): Table => map2(x, (value, b, t) => (mask[b]![t] ? value : 0));
export const valid = (x: Table, mask: Table): number[] => x.flatMap((row, b) => row.filter((_, t) => mask[b]![t]));
export const totals = (x: Table): number[] => x.map(sum);

/** The rows of the group that each row is in, itself included. */
export const membersOf = (ids: readonly (string | number)[]): number[][] => ids.map((id) => ids.flatMap((other, row) => (other === id ? [row] : [])));

/** (x − μ)/√(σ² + 1e-8) as SkyRL and verl have it: ddof 1, `extra` added to the number of tokens; what is masked is shifted and scaled as well. */
export function whiten(x: Table, mask: Table, extra = 0, keepMean = false): Table {
  const values = valid(x, mask);
  const n = values.length;
  if (n === 0) throw new Raised('ValueError: At least one element in the mask has to be 1.');
  if (n === 1) throw new Raised('ValueError: The sum of the mask is one, which can cause a division by zero.');
  const centre = sum(values) / (n + extra);
  const spreadOf = (sum(values.map((v) => (v - centre) ** 2)) / (n + extra)) * (n / (n - 1));
  return map2(x, (v) => (v - centre) / Math.sqrt(spreadOf + 1e-8) + (keepMean ? centre : 0));
}

/** (x − μ)/√max(σ², 1e-8), ddof 0, as OpenRLHF and NeMo-RL have it. */
export function whitenFloored(x: Table, mask: Table, { byStd = true } = {}): Table {
  const values = valid(x, mask);
  // The mean of nothing is 0/0 there.
  const [centre, scale] = [values.length === 0 ? NaN : mean(values), byStd ? Math.sqrt(Math.max(variance(values, 0), 1e-8)) : 1];
  return map2(x, (v) => (v - centre) / scale);
}
