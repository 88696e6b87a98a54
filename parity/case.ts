/** The fixtures: what libraries answered to given inputs. One file is a JSON array of cases. */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Nested lists of numbers; what is not finite is written as text in the files and revived here. */
export type Numbers = number | null | readonly Numbers[];

export interface Case {
  /** Unique in its file. */
  id: string;
  kind: string;
  name: string;
  library: string;
  function: string;
  precision: 'float64' | 'float32';
  /** Scalars and flags, snake_case; null: not set. */
  params: Record<string, any>;
  inputs: Record<string, any>;
  /** The outputs by name, or `{throws}` where the library raises. */
  expected: Record<string, any> & { throws?: string };
  note?: string;
}

export interface Fixture {
  /** Its path, from the folder that was asked for. */
  file: string;
  cases: Case[];
}

const words: Record<string, number> = { NaN, Infinity, '-Infinity': -Infinity };
const revive = (_: string, value: unknown) => (typeof value === 'string' && Object.hasOwn(words, value) ? words[value] : value);

/** All fixtures under a folder, or the one file. Throws an Error that names a file that is none. */
export function readFixtures(path: string): Fixture[] {
  if (statSync(path).isFile()) return [readFixture(path, path)];
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.json')).sort();
  return files.map((file) => readFixture(join(path, file), relative(path, join(path, file))));
}

function readFixture(path: string, file: string): Fixture {
  let cases: unknown;
  try {
    cases = JSON.parse(readFileSync(path, 'utf8'), revive);
  } catch (error) {
    throw new Error(`${path}: expected a JSON array of cases, got what is no JSON (${(error as Error).message})`);
  }
  if (!Array.isArray(cases)) throw new Error(`${path}: expected a JSON array of cases, got ${typeof cases}`);
  for (const [index, each] of (cases as Partial<Case>[]).entries()) {
    for (const key of ['id', 'library', 'function', 'inputs', 'expected'] as const) {
      if (each?.[key] === undefined) throw new Error(`${path}: case ${index}: expected the field '${key}'`);
    }
    each.params ??= {};
    each.precision ??= 'float64';
  }
  return { file, cases: cases as Case[] };
}
