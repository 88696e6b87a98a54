/** Answers to a question that is put again and again with the same plain values, as the options of a training are step for step. */

interface Answer<T> {
  name: string;
  /** Keys and values, one after the other, of each object asked with. */
  entries: readonly (readonly unknown[])[];
  value: T;
}

/**
 * The last answer for each class or instance. It is given again only where all objects asked with hold the same numbers, strings, flags and nulls under the same names in the same order: what else they
 * may hold can change without a trace.
 */
export class Remembered<T extends object> {
  private readonly last = new WeakMap<object, Answer<T>>();

  /** What `find` gives, or gave when it was asked last; not to be changed. */
  answer(subject: object, name: string, asked: readonly unknown[], find: () => T): T {
    const last = this.last.get(subject);
    if (last !== undefined && last.name === name && last.entries.every((entries, i) => holds(asked[i], entries))) return last.value;
    const value = find();
    const entries = asked.map(plainEntries);
    if (entries.every((each) => each !== null)) this.last.set(subject, { name, entries, value });
    return value;
  }
}

function isPlain(object: unknown): object is Record<string, unknown> {
  return typeof object === 'object' && object !== null && Object.getPrototypeOf(object) === Object.prototype;
}

function holds(object: unknown, entries: readonly unknown[]): boolean {
  if (!isPlain(object)) return false;
  let at = 0;
  for (const key in object) {
    if (key !== entries[at] || !Object.is(object[key], entries[at + 1])) return false;
    at += 2;
  }
  return at === entries.length;
}

function plainEntries(object: unknown): readonly unknown[] | null {
  if (!isPlain(object)) return null;
  const entries = Object.entries(object).flat(1);
  return entries.some((value) => (typeof value === 'object' && value !== null) || typeof value === 'function') ? null : entries;
}
