/** Results against the float64 reference. */
import type { Results, Tolerance } from './workload';

/** What is wrong with results, or null: each value within absolute + relative · |expected|. */
export function firstDifference(results: Results, expected: Results, { relative, absolute }: Tolerance): string | null {
  for (const [name, values] of Object.entries(expected)) {
    const got = results[name];
    if (got === undefined) return `no output '${name}'`;
    if (got.length !== values.length) return `${name}: expected ${values.length} values, got ${got.length}`;
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      // Written so that a NaN is a difference.
      if (!(Math.abs(got[i]! - value) <= absolute + relative * Math.abs(value))) return `${name}[${i}]: expected ${value}, got ${got[i]}`;
    }
  }
  return null;
}
