/** Options by name: what was given, over the preset of a convention, over the defaults; and what each may be. */
import { didYouMean, EstimatorError, listOf, showValue, unknownKey } from './errors';

/** Libraries whose habits have a name: a preset is a bundle of options. */
export const conventionNames = Object.freeze(['vantage', 'skyrl', 'verl', 'trl', 'openrlhf', 'nemo', 'areal'] as const);
/** Whose habits the options follow where they are not given: `vantage` (the defaults of this library), or a library's name. @useDeclaredType */
export type ConventionName = (typeof conventionNames)[number];

/** Options as a caller gives them. */
export type Given<T> = Partial<T> & {
  /** A bundle of options after the habits of a library; each option given by itself overrides it. Default `vantage`. */
  convention?: ConventionName;
};

/** The numbers that an option may be: finite ones within bounds, the ends included. */
export interface NumberRange {
  /** The least number allowed; -Infinity where it is not given. */
  readonly low: number;
  /** Default: no end. */
  readonly high?: number;
  /** Whole numbers only. */
  readonly integer?: boolean;
  /** Infinity too, which stands for no bound. */
  readonly infinite?: boolean;
  /** Null too. */
  readonly nullable?: boolean;
  /** The option is an array of such numbers. */
  readonly each?: boolean;
}

/** What an option may be: one of a few values, a number within a range, or something of the kind of another value. */
export type Rule = { readonly choices: readonly unknown[] } | NumberRange | { readonly like: unknown };

/** Any finite number. */
export const anyNumber = { low: -Number.MAX_VALUE } as const satisfies NumberRange;
/** Numbers that something is divided by: the quotient of an ordinary number is finite, in float32 too. */
export const divisor = { low: 1e-30 } as const satisfies NumberRange;
export const notNegative = { low: 0 } as const satisfies NumberRange;
export const share = { low: 0, high: 1 } as const satisfies NumberRange;

/** How many of those that have an option a message names. */
const MOST_OTHERS = 5;

/** In place of the default of an option that has to be given. */
export const required = undefined as unknown as number;

export interface ResolveSettings<T> {
  /** What a convention says. One without a preset has our habits; of options that there are not, a preset says nothing. */
  presets?: { readonly [C in ConventionName]?: Partial<T> | Readonly<Record<string, unknown>> };
  /** Options that no preset changes. */
  fixed?: readonly string[];
  rules?: Readonly<Record<string, Rule | undefined>>;
  /** Who else has an option of a name: said of one that is unknown. */
  whoHas?: (option: string) => readonly string[];
}

/**
 * The options in force; one given as undefined is not given.
 * @throws EstimatorError for an unknown option or convention, with the nearest name, and for a value that its rule excludes
 */
export function resolveOptions<T extends object>(who: string, defaults: T, given: Given<T> = {}, { presets = {}, fixed = [], rules = {}, whoHas }: ResolveSettings<T> = {}): T {
  checkObject(who, 'option', given);
  checkNames(who, 'option', given, [...Object.keys(defaults), 'convention'], whoHas);
  const { convention = 'vantage', ...own } = given as Record<string, unknown>;
  checkName(who, "option 'convention'", convention, conventionNames);
  const preset = Object.entries(presets[convention as ConventionName] ?? {}).filter(([key]) => Object.hasOwn(defaults, key) && !fixed.includes(key));
  const set = Object.entries(own).filter(([, value]) => value !== undefined);
  const options = { ...defaults, ...Object.fromEntries(preset), ...Object.fromEntries(set) };
  for (const [key, rule] of Object.entries(rules))
    if (rule && options[key as keyof T] !== undefined && Object.hasOwn(options, key)) checkValue(`${who}: option '${key}'`, options[key as keyof T], rule);
  return options;
}

/** @throws EstimatorError for what is no object of names and values */
export function checkObject(who: string, what: string, given: unknown, names: readonly string[] = []): void {
  // What a Map or a list holds is under no name.
  if (Object.prototype.toString.call(given) !== '[object Object]') throw new EstimatorError(`${who}: expected ${what}s${names.length > 0 ? ` {${names.join(', ')}}` : ''}, got ${showValue(given)}`);
}

/** @throws EstimatorError for what is no object of names and values, and for a key that is none of `names`, with the nearest one, and with those of `whoHas` that have such a key */
export function checkNames(who: string, what: string, given: object, names: readonly string[], whoHas: (key: string) => readonly string[] = () => []): void {
  checkObject(who, what, given, names);
  const stray = Object.keys(given).find((key) => !names.includes(key));
  if (stray === undefined) return;
  const others = whoHas(stray);
  const shown = others.length > MOST_OTHERS ? `${others.slice(0, MOST_OTHERS).join(', ')} and ${others.length - MOST_OTHERS} more` : others.join(', ');
  if (others.length > 0) throw new EstimatorError(`${who}: unknown ${what} '${stray}', which ${shown} ${others.length > 1 ? 'have' : 'has'}. ${listOf(what, names)}`);
  throw new EstimatorError(`${who}: ${unknownKey(what, stray, names)}`);
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

function outside(value: unknown, range: NumberRange): string | null {
  const { low, high = Infinity, integer = false, infinite = false, nullable = false, each = false } = range;
  const fits = (x: unknown) => typeof x === 'number' && x >= low && x <= high && (Number.isFinite(x) || (infinite && x === Infinity)) && (!integer || Number.isInteger(x));
  if ((nullable && value === null) || (each ? Array.isArray(value) && value.every(fits) : fits(value))) return null;
  const kind = integer ? 'whole ' : each || (!infinite && (value === Infinity || value === -Infinity)) ? 'finite ' : '';
  return `${each ? `an array of ${kind}numbers` : `a ${kind}number`}${bounds(low, high)}${infinite ? ' (Infinity: no bound)' : ''}${nullable ? ', or null' : ''}`;
}

/** The ends stand for themselves, but for −`Number.MAX_VALUE` (no end) and `Number.MIN_VALUE` (0, which is left out). */
function bounds(low: number, high: number): string {
  if (low === -Number.MAX_VALUE) return high === Infinity ? '' : ` up to ${high}`;
  if (high !== Infinity) return ` from ${low} to ${high}`;
  return low === Number.MIN_VALUE ? ' above 0' : `, ${low} or more`;
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
