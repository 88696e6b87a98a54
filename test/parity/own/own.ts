/** The project's own fixtures: what a library would answer, from plain float64 loops that use nothing of src/. */
import { Random } from './random';

/** The parameters and inputs of a case, as a fixture has them. */
export interface Given {
  params: Record<string, any>;
  inputs: Record<string, any>;
}

/** A function of a library: how its cases are drawn, and what it answers. */
export interface Reference {
  library: string;
  function: string;
  name: string;
  draw(random: Random): Given;
  /** Throws {@link Raised} where the library raises. */
  answer(given: Given): Record<string, any>;
}

/** The library raises an error here. */
export class Raised extends Error {}

export interface OwnCase extends Given {
  id: string;
  name: string;
  library: string;
  function: string;
  precision: 'float64';
  expected: Record<string, any>;
}

export function expectedOf(reference: Reference, given: Given): Record<string, any> {
  try {
    return reference.answer(given);
  } catch (error) {
    if (error instanceof Raised) return { throws: error.message };
    throw error;
  }
}

/** `count` cases of each function, the same ones for the same seed. */
export function drawCases(reference: Reference, count: number, seed: number): OwnCase[] {
  const { library, function: called, name } = reference;
  return Array.from({ length: count }, (_, index) => {
    const given = reference.draw(new Random(`${seed}/${library}/${called}/${name}/${index}`, index));
    return { id: `${name}-${seed}-${index}`, name, library, function: called, precision: 'float64', ...given, expected: expectedOf(reference, given) };
  });
}

const written = (_: string, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value);

/** The cases as the text of a fixture. */
export const toText = (cases: readonly OwnCase[]): string => `[\n${cases.map((each) => JSON.stringify(each, written)).join(',\n')}\n]\n`;
