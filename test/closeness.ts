/** Comparison of many numbers: an `expect` for each takes longer than what is tested. */

export type Numbers = readonly number[] | readonly (readonly number[])[] | Float32Array | Float64Array;

const flat = (numbers: Numbers): number[] => Array.from(numbers as ArrayLike<number | readonly number[]>).flat() as number[];

/** Expects each number to be as wanted: the error relative to the wanted number, or to `unit` where that is smaller. NaN is close to nothing. */
export function expectClose(got: Numbers, wanted: Numbers, tolerance: number, unit = 1): void {
  const [values, expected] = [flat(got), flat(wanted)];
  expect(values).toHaveLength(expected.length);
  const at = expected.findIndex((x, i) => !(Math.abs(values[i]! - x) <= tolerance * Math.max(unit, Math.abs(x))));
  // The first that is off.
  if (at >= 0) expect({ at, got: values[at] }).toEqual({ at, got: expected[at] });
  expect(at).toBe(-1);
}
