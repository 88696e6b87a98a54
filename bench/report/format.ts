/** Numbers as a reader wants them. */

/** `3.21 µs`, `45.6 ms`: three digits. */
export function duration(seconds: number): string {
  const [unit, factor] = seconds < 1e-6 ? ['ns', 1e9] : seconds < 1e-3 ? ['µs', 1e6] : seconds < 1 ? ['ms', 1e3] : ['s', 1];
  return `${threeDigits(seconds * (factor as number))} ${unit}`;
}

/** `0.87×`, `12.3×`, `450×`. */
export const times = (ratio: number): string => `${threeDigits(ratio)}×`;

function threeDigits(value: number): string {
  const rounded = Number(value.toPrecision(3));
  return rounded.toFixed(rounded >= 100 ? 0 : rounded >= 10 ? 1 : 2);
}
