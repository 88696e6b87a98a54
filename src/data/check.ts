/** What callers give to the readers and writers of files: JavaScript can pass anything. */
import { DataError, showValue } from '../errors';

function wrong(who: string, what: string, expected: string, got: unknown): never {
  throw new DataError(`${who}: ${what}: expected ${expected}, got ${showValue(got)}`);
}

/** @throws DataError unless it may be the name of a file or folder */
export function checkPath(who: string, path: unknown): asserts path is string {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) wrong(who, 'path', 'the name of a file or folder', path);
}

/** @throws DataError unless it is text */
export function checkText(who: string, what: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') wrong(who, what, 'text', value);
}

/** @throws DataError unless it is a finite number */
export function checkNumber(who: string, what: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || !Number.isFinite(value)) wrong(who, what, 'a finite number', value);
}

/** Items of a list: more would not fit in memory, and only a mistake makes it so long. */
const MOST_ITEMS = 2 ** 27;

/** @throws DataError unless it is an array, and `holds` says yes to each item */
export function checkList(who: string, what: string, value: unknown, expected = 'an array', holds: (item: unknown) => boolean = () => true): asserts value is readonly unknown[] {
  if (!isList(value, holds)) wrong(who, what, expected, value);
}

/** Whether it is an array, and `holds` says yes to each item. */
export function isList(value: unknown, holds: (item: unknown) => boolean): value is readonly unknown[] {
  if (!Array.isArray(value) || value.length > MOST_ITEMS) return false;
  // Not every(), which passes over holes.
  for (const item of value) if (!holds(item)) return false;
  return true;
}

/** @throws DataError unless it is an object of names and values */
export function checkFields(who: string, what: string, value: unknown, expected = 'an object'): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) wrong(who, what, expected, value);
}

export const isText = (value: unknown): boolean => typeof value === 'string';
export const isNumber = (value: unknown): boolean => typeof value === 'number';
export const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
