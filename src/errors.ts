import { types } from 'node:util';

/** Base of every error that Vantage throws on purpose: `catch (e) { if (e instanceof VantageError) … }`. */
export class VantageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A configuration that cannot run: an unknown key, a value of the wrong type or range, keys that contradict each other. */
export class ConfigError extends VantageError {}

/** A name that is not registered, or one that is taken. */
export class RegistryError extends VantageError {}

/** A data file, row, prompt or token that is not what it should be. */
export class DataError extends VantageError {}

/** An environment whose row or step result is not what it should be. */
export class EnvironmentError extends VantageError {}

/** An advantage estimator or policy loss that asked for, or returned, what it must not. */
export class EstimatorError extends VantageError {}

/** A training run that cannot go on: its loss or gradient is not finite. */
export class TrainingError extends VantageError {}

/** Wrong shapes, dtypes or arguments of a tensor operation, and uses of a disposed tensor. */
export class TensorError extends VantageError {}

/** The native addon is missing, does not load, or refused what it was given. */
export class NativeError extends VantageError {}

/** What other libraries call things of ours that is not spelt like them. */
const namesElsewhere: Readonly<Record<string, string>> = {
  // OpenRLHF
  group_norm: 'grpo',
  // verl
  grpo_vectorized: 'grpo',
  rloo_vectorized: 'rloo',
  adv_estimator: 'advantage_estimator',
  loss_agg_mode: 'loss_reduction',
  loss_mode: 'policy_loss_type',
  kl_loss_type: 'kl_estimator_type',
  seq_mean_token_mean: 'sequence_mean',
};

/**
 * The candidate that `name` is likely to stand for, or null: what another library calls so; the nearest one by spelling; one that `name` abbreviates (`lam`, `seq_mean`) or is a word of (`mean`);
 * one that is a word of `name` (`nemo-rl`).
 */
export function didYouMean(name: string, candidates: Iterable<string>): string | null {
  const known = [...candidates];
  const elsewhere = Object.entries(namesElsewhere).find(([other]) => other === name.replaceAll('-', '_').toLowerCase())?.[1];
  return known.find((candidate) => candidate === elsewhere) ?? nearestSpelling(name, known) ?? nearestWords(name, known);
}

/**
 * The candidate nearest to `name`, or null when none is near: at most one edit for every three characters, at least one, and never more than three.
 * An edit is an insertion, a deletion, a substitution or a swap of neighbours (optimal string alignment distance); case is ignored, and `-` is `_`.
 */
export function nearestSpelling(name: string, candidates: Iterable<string>): string | null {
  let nearest: string | null = null;
  let best = Infinity;
  const spelling = (text: string) => text.toLowerCase().replaceAll('-', '_');
  for (const candidate of candidates) {
    const limit = Math.min(3, Math.max(1, Math.floor(Math.max(name.length, candidate.length) / 3)));
    if (Math.abs(name.length - candidate.length) > limit) continue;
    const distance = editDistance(spelling(name), spelling(candidate));
    if (distance <= limit && distance < best) [nearest, best] = [candidate, distance];
  }
  return nearest;
}

/** The shortest candidate whose words `name` abbreviates, or else the longest that is a part of `name`. Words end at capitals and signs; one or two letters say too little. */
function nearestWords(name: string, candidates: readonly string[]): string | null {
  const abbreviated = candidates.filter((candidate) => name.length > 2 && within(wordsOf(name), wordsOf(candidate), (part, word) => part === word || (part.length > 2 && word.startsWith(part))));
  if (abbreviated.length > 0) return abbreviated.reduce((best, candidate) => (candidate.length < best.length ? candidate : best));
  const contained = candidates.filter((candidate) => candidate.length > 2 && within(wordsOf(candidate), wordsOf(name), (part, word) => part === word));
  return contained.length === 0 ? null : contained.reduce((best, candidate) => (candidate.length > best.length ? candidate : best));
}

const wordsOf = (name: string): string[] => name.replace(/([a-z\d])([A-Z])/g, '$1_$2').toLowerCase().split(/[^a-z\d+]+/).filter((word) => word !== '');

/** Whether words stand side by side among others. */
function within(words: readonly string[], others: readonly string[], matches: (word: string, other: string) => boolean): boolean {
  return words.length > 0 && others.some((_, start) => start + words.length <= others.length && words.every((word, i) => matches(word, others[start + i]!)));
}

/** What an error says of a name that is none of `names`: `unknown option 'gama'. Did you mean 'gamma'? Options: gamma, lambda`. */
export function unknownKey(what: string, name: string, names: readonly string[]): string {
  const nearest = didYouMean(name, names);
  return `unknown ${what} '${name}'.${nearest === null ? '' : ` Did you mean '${nearest}'?`} ${listOf(what, names)}`;
}

/** `Options: gamma, lambda`. */
export function listOf(what: string, names: readonly string[]): string {
  return `${what[0]!.toUpperCase()}${what.slice(1)}s: ${names.length === 0 ? '(none)' : names.join(', ')}`;
}

function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(previous[j] + 1, row[j - 1] + 1, substitution);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j], beforePrevious[j - 2] + 1);
    }
    [beforePrevious, previous] = [previous, row];
  }
  return previous[b.length];
}

/** A promise that is refused must not end the process by its own error, which nobody waits for any more. */
export function ignoreRejection(value: unknown): void {
  if (types.isPromise(value)) value.catch(() => {});
}

/** A name that a caller gave: in quotes, or, where it is no text, as a value is shown. */
export function quoted(name: unknown): string {
  return typeof name === 'string' ? `'${name}'` : showValue(name);
}

/** Where a tensor holds {@link thisCopy}. */
export const COPY = Symbol.for('vantage-rl.copy');
/** Of each copy of this library that a process has loaded, as two versions of it, another one. */
export const thisCopy: object = Object.freeze({});

/** What a tensor is that another copy of this library made; null for anything else. Its class has the same name, and is not the same. */
export function ofAnotherCopy(value: object): string | null {
  const copy = (value as { [COPY]?: unknown })[COPY];
  return copy === undefined || copy === thisCopy ? null : 'a Tensor of another copy of vantage-rl';
}

/** A value as an error message shows it: short, on one line, with its type visible (`"3"`, `3`, `null`, `[1,2]`). */
export function showValue(value: unknown): string {
  ignoreRejection(value);
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`;
  if (typeof value === 'bigint') return `${value}n`;
  if (value === undefined || typeof value === 'number' || typeof value === 'symbol') return String(value);
  if (types.isMap(value) || types.isSet(value)) return `a ${types.isMap(value) ? 'Map' : 'Set'} of ${value.size}`;
  let text: string | undefined;
  try {
    text = jsonLike(value, MOST_SHOWN);
  } catch {
    text = undefined;
  }
  text ??= Object.prototype.toString.call(value);
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN - 3)}…` : text;
}

/** Characters of a value in a message. */
const MOST_SHOWN = 80;
const inspected = Symbol.for('nodejs.util.inspect.custom');

/**
 * The beginning of a value's JSON, some `room` characters: what goes no further than that is not looked at, as lists may be of any length. What shows itself in a way of
 * its own (a tensor, which would be evaluated and written out as JSON) does so.
 */
function jsonLike(value: unknown, room: number, within: readonly object[] = []): string | undefined {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'string') return JSON.stringify(value.slice(0, room + 1));
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (within.includes(value)) return '…';
  const holders = [...within, value];
  const isView = ArrayBuffer.isView(value);
  if (!isView) {
    const { [inspected]: show, toJSON } = value as { [inspected]?: unknown; toJSON?: unknown };
    if (typeof show === 'function') return ofAnotherCopy(value) ?? String(value);
    if (typeof toJSON === 'function') return jsonLike((value as { toJSON(): unknown }).toJSON(), room, holders);
  }
  const isList = Array.isArray(value);
  const { length } = value as ArrayLike<unknown>;
  const keys = isList || isView ? indices(isView && length === undefined ? 0 : length) : Object.keys(value);
  const parts: string[] = [];
  let used = 2;
  for (const key of keys) {
    const inner = jsonLike((value as Record<string | number, unknown>)[key], room - used, holders) ?? (isList ? 'null' : undefined);
    if (inner === undefined) continue;
    parts.push(isList ? inner : `${JSON.stringify(String(key))}:${inner}`);
    used += parts.at(-1)!.length + 1;
    if (used > room) break;
  }
  return isList ? `[${parts.join(',')}]` : `{${parts.join(',')}}`;
}

function* indices(length: number): Generator<number> {
  for (let i = 0; i < length; i++) yield i;
}
