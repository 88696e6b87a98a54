/** Results against the float64 reference. */
import type { Results } from './workload';

/** What is wrong with results, or null: each value within tolerance · max(1, |expected|). Expected values that are NaN are not compared. */
export function firstDifference(results: Results, expected: Results, tolerance: number): string | null {
  for (const [name, values] of Object.entries(expected)) {
    const got = results[name];
    if (got === undefined) return `no output '${name}'`;
    if (got.length !== values.length) return `${name}: expected ${values.length} values, got ${got.length}`;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (Number.isNaN(value)) continue;
      // Written so that a NaN is a difference.
      if (!(Math.abs(got[i]! - value) <= tolerance * Math.max(1, Math.abs(value)))) return `${name}[${i}]: expected ${value}, got ${got[i]}`;
    }
  }
  return null;
}
