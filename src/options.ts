/** Options by name: what was given, over the preset of a convention, over the defaults; and what each may be. */
import { didYouMean, EstimatorError, showValue, unknownKey } from './errors';

/** Libraries whose habits have a name: a preset is a bundle of options. */
export const conventionNames = ['vantage', 'skyrl', 'verl', 'trl', 'openrlhf', 'nemo', 'areal'] as const;
export type ConventionName = (typeof conventionNames)[number];

/** Options as a caller gives them. */
export type Given<T> = Partial<T> & {
  /** A bundle of options after the habits of a library; each option given by itself overrides it. Default `vantage`. */
  convention?: ConventionName;
};

/** What an option may be: one of a few values, a finite number within bounds (ends included; null too, where it may be), or something of the kind of another value. */
export type Rule =
  | { readonly choices: readonly unknown[] }
  | { readonly low: number; readonly high?: number; readonly nullable?: boolean }
  | { readonly like: unknown };

export interface ResolveSettings<T> {
  /** What a convention says. One without a preset has our habits; of options that there are not, a preset says nothing. */
  presets?: { readonly [C in ConventionName]?: Partial<T> | Readonly<Record<string, unknown>> };
  /** Options that no preset changes. */
  fixed?: readonly string[];
  rules?: Readonly<Record<string, Rule | undefined>>;
}

/**
 * The options in force; one given as undefined is not given.
 * @throws EstimatorError for an unknown option or convention, with the nearest name, and for a value that its rule excludes
 */
export function resolveOptions<T extends object>(who: string, defaults: T, given: Given<T> = {}, { presets = {}, fixed = [], rules = {} }: ResolveSettings<T> = {}): T {
  if (typeof given !== 'object' || given === null) throw new EstimatorError(`${who}: expected options, got ${showValue(given)}`);
  checkNames(who, 'option', given, [...Object.keys(defaults), 'convention']);
  const { convention = 'vantage', ...own } = given as Record<string, unknown>;
  checkName(who, "option 'convention'", convention, conventionNames);
  const preset = Object.entries(presets[convention as ConventionName] ?? {}).filter(([key]) => Object.hasOwn(defaults, key) && !fixed.includes(key));
  const set = Object.entries(own).filter(([, value]) => value !== undefined);
  const options = { ...defaults, ...Object.fromEntries(preset), ...Object.fromEntries(set) };
  for (const [key, rule] of Object.entries(rules)) if (rule && Object.hasOwn(options, key)) checkValue(`${who}: option '${key}'`, options[key as keyof T], rule);
  return options;
}

/** @throws EstimatorError for a key that is none of `names`, with the nearest one */
export function checkNames(who: string, what: string, given: object, names: readonly string[]): void {
  if (typeof given !== 'object' || given === null) throw new EstimatorError(`${who}: expected ${what}s {${names.join(', ')}}, got ${showValue(given)}`);
  const stray = Object.keys(given).find((key) => !names.includes(key));
  if (stray !== undefined) throw new EstimatorError(`${who}: ${unknownKey(what, stray, names)}`);
}

/**
 * @param label names whose value it is
 * @throws EstimatorError for a value that the rule excludes
 */
export function checkValue(label: string, value: unknown, rule: Rule): void {
  if ('choices' in rule) {
    if (rule.choices.includes(value)) return;
    const names = rule.choices.filter((choice) => typeof choice === 'string');
    const nearest = typeof value === 'string' ? didYouMean(value, names) : null;
    throw new EstimatorError(`${label}: expected ${listed(rule.choices)}, got ${showValue(value)}${nearest === null ? '' : `. Did you mean '${nearest}'?`}`);
  }
  const expected = 'like' in rule ? unlike(value, rule.like) : outside(value, rule);
  if (expected !== null) throw new EstimatorError(`${label}: expected ${expected}, got ${showValue(value)}`);
}

/** What was expected of a value that is not of the kind of another one; null where it is. Null also stands for a number that may be there, an array for an array of numbers. */
function unlike(value: unknown, other: unknown): string | null {
  const isNumber = (x: unknown) => typeof x === 'number' && !Number.isNaN(x);
  if (other === null) return value === null || isNumber(value) ? null : 'a number or null';
  if (Array.isArray(other)) return Array.isArray(value) && value.every(isNumber) ? null : 'an array of numbers';
  if (typeof other === 'number') return isNumber(value) ? null : 'a number';
  return typeof value === typeof other ? null : `a ${typeof other}`;
}

function outside(value: unknown, { low, high = Infinity, nullable = false }: { low: number; high?: number; nullable?: boolean }): string | null {
  if ((nullable && value === null) || (typeof value === 'number' && Number.isFinite(value) && value >= low && value <= high)) return null;
  return `${boundedNumber(low, high)}${nullable ? ', or null' : ''}`;
}

/** The ends stand for themselves, but for −`Number.MAX_VALUE` (no end) and `Number.MIN_VALUE` (0, which is left out). */
function boundedNumber(low: number, high: number): string {
  if (low === -Number.MAX_VALUE) return high === Infinity ? 'a number' : `a number up to ${high}`;
  if (high !== Infinity) return `a number from ${low} to ${high}`;
  return low === Number.MIN_VALUE ? 'a number above 0' : `a number, ${low} or more`;
}

function listed(choices: readonly unknown[]): string {
  if (choices.length > 1 && choices.every((choice) => typeof choice === 'string' || choice === null)) return `one of ${choices.map(String).join(', ')}`;
  const shown = choices.map(showValue);
  return shown.length === 1 ? shown[0]! : `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`;
}

/** @throws EstimatorError unless `value` is one of `names`, with the nearest one */
export function checkName(who: string, what: string, value: unknown, names: readonly string[]): void {
  checkValue(`${who}: ${what}`, value, { choices: names });
}

/** @throws EstimatorError unless `value` is null or a number that is not NaN */
export function checkBound(who: string, name: string, value: unknown): void {
  checkValue(`${who}: option '${name}'`, value, { like: null });
}
