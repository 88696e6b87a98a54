/** Options by name: what was given, over the preset of a convention, over the defaults. */
import { didYouMean, EstimatorError, showValue } from './errors';

/** Libraries whose habits have a name: a preset is a bundle of options. */
export const conventionNames = ['vantage', 'skyrl', 'verl', 'trl', 'openrlhf', 'nemo', 'areal'] as const;
export type ConventionName = (typeof conventionNames)[number];

/** Options as a caller gives them. */
export type Given<T> = Partial<T> & {
  /** A bundle of options after the habits of a library; each option given by itself overrides it. Default `vantage`. */
  convention?: ConventionName;
};

/**
 * The options in force. A library without a preset has our habits.
 * @throws EstimatorError for an unknown option or convention, with the nearest name
 */
export function resolveOptions<T extends object>(who: string, defaults: T, given: Given<T> = {}, presets: Partial<Record<ConventionName, Partial<T>>> = {}): T {
  if (typeof given !== 'object' || given === null) throw new EstimatorError(`${who}: expected options, got ${showValue(given)}`);
  const names = [...Object.keys(defaults), 'convention'];
  const { convention = 'vantage', ...own } = given as Record<string, unknown>;
  checkName(who, "option 'convention'", convention, conventionNames);
  for (const key of Object.keys(own)) {
    if (names.includes(key)) continue;
    const nearest = didYouMean(key, names);
    throw new EstimatorError(`${who}: unknown option '${key}'.${nearest ? ` Did you mean '${nearest}'?` : ''} Options: ${names.join(', ')}`);
  }
  const set = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  return { ...defaults, ...presets[convention as ConventionName], ...set };
}

/** @throws EstimatorError unless `value` is one of `names`, with the nearest one */
export function checkName(who: string, what: string, value: unknown, names: readonly string[]): void {
  if (typeof value === 'string' && names.includes(value)) return;
  const nearest = typeof value === 'string' ? didYouMean(value, names) : null;
  throw new EstimatorError(`${who}: ${what}: expected one of ${names.join(', ')}, got ${showValue(value)}${nearest ? `. Did you mean '${nearest}'?` : ''}`);
}

/** @throws EstimatorError unless `value` is null or a number that is not NaN */
export function checkBound(who: string, name: string, value: unknown): void {
  if (value === null || (typeof value === 'number' && !Number.isNaN(value))) return;
  throw new EstimatorError(`${who}: option '${name}': expected a number or null, got ${showValue(value)}`);
}
