/** What is said where an environment's code throws. */
import { join, sep } from 'node:path';
import { EnvironmentError } from '../errors';
import type { AnyRow } from '../data/rows';
import type { Environment, EnvironmentClass, EnvironmentSettings } from './environment';

const library = join(__dirname, '..') + sep;

/** The message of an error, and the first place outside the library that it came through: `x is undefined, at Mine.step (mine.ts:12:5)`. */
export function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const frames = (error.stack ?? '').split('\n').map((line) => line.trim()).filter((line) => line.startsWith('at '));
  // Behind the trainer, which calls environments, stands whoever started the run.
  const caller = frames.findIndex((frame) => frame.includes(`${library}trainer${sep}`));
  const own = frames.slice(0, caller < 0 ? frames.length : caller).find((frame) => !frame.includes(library) && !frame.includes('node:'));
  return own === undefined ? error.message : `${error.message}, ${own}`;
}

/** @throws EnvironmentError that names the environment whose constructor throws */
export function makeEnvironment(name: string, Class: EnvironmentClass, row: AnyRow, settings: EnvironmentSettings): Environment {
  try {
    return new Class(row, settings);
  } catch (error) {
    if (error instanceof EnvironmentError) throw error;
    throw new EnvironmentError(`environment '${name}': constructor: ${failureOf(error)}`, { cause: error });
  }
}
