/** Where an error of somebody's code comes from. */
import { relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { types } from 'node:util';
import { showValue } from './errors';

/** The sources in tests; else dist/, whose one file holds all code. */
const library = __dirname + sep;

/**
 * The first place of a stack that is neither Node's nor the library's: `at Mine.computeAdvantages (mine.mjs:12:5)`, null where there is none.
 * @param entry our function that calls the user's code: behind it stands whoever called the library
 */
export function placeOf(error: unknown, entry: string): string | null {
  const stack = stackOf(error);
  const frames = stack.split('\n').map((line) => line.trim()).filter((line) => line.startsWith('at '));
  // A stack that was cut off, or made elsewhere, does not hold it, and nothing that lies behind it either.
  const end = frames.findLastIndex((frame) => frame.includes(library) && frame.includes(`${entry} (`));
  const own = frames.slice(0, end < 0 ? frames.length : end).filter((frame) => /:\d+:\d+\)?$/.test(frame) && !frame.includes('node:') && !frame.includes(library));
  // What a package throws is most often for what it was given.
  const frame = own.find((each) => !each.includes(`${sep}node_modules${sep}`)) ?? own[0];
  return frame === undefined ? null : frame.replace(/(?:file:\/\/|\/|[A-Za-z]:\\)[^()]*(?=:\d+:\d+\)?$)/, shortPath);
}

/** `at mine.mjs:2:7`, of a text that begins with the place of a syntax error, the line, and a mark below it; null where it does not. */
export function syntaxPlace(text: string): string | null {
  const [, file, line, mark] = /^((?:file:\/\/|\/|[A-Za-z]:\\).*):(\d+)\n.*\n( *)\^/.exec(text) ?? [];
  return file === undefined ? null : `at ${shortPath(file)}:${line}:${mark.length + 1}`;
}

/** What was thrown, and where: `boom, at Mine.computeAdvantages (mine.mjs:12:5)`, `threw null`. */
export function thrownText(error: unknown, entry: string): string {
  if (!isError(error)) return `threw ${showValue(error)}`;
  const place = syntaxPlace(stackOf(error)) ?? placeOf(error, entry);
  return `${error.message || error.name}${place === null ? '' : `, ${place}`}`;
}

/** Errors of Node's own realm are no instances of a test runner's `Error`. */
export const isError = (value: unknown): value is Error => value instanceof Error || types.isNativeError(value);

/** A stack may have been replaced by anything. */
function stackOf(error: unknown): string {
  const stack: unknown = isError(error) ? error.stack : undefined;
  return typeof stack === 'string' ? stack : '';
}

/** As one would write it, from the folder in which the program runs; whole for what lies outside. */
function shortPath(file: string): string {
  const path = file.startsWith('file://') ? fileURLToPath(file) : file;
  const near = relative('.', path);
  return near.startsWith('..') ? path : near;
}
