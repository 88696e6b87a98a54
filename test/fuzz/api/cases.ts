/** The calls of a seed: each follows from the seed and its number alone. */
import { Random } from '../../tensor/helpers';
import { mutate } from './mutate';
import { partNames, parts, type PartName } from './recipes';

const allOf = (part: PartName): readonly string[] => {
  const { valid, refused = [] }: { valid: readonly string[]; refused?: readonly string[] } = parts[part];
  return [...valid, ...refused];
};

const calls = new Map(partNames.map((part) => [part, allOf(part)]));
const deck = partNames.flatMap((part) => new Array<PartName>(parts[part].weight).fill(part));
/** Every name and text that the calls use: what a key or a choice is mistaken for. */
const words = [...new Set([...calls.values()].flat().join(' ').match(/[A-Za-z_]\w+/g))];

export function caseOf(part: PartName | null, seed: number, index: number): string {
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  random.next();
  // Through the long list of holes JavaScript's own constructors and methods go for minutes.
  return mutate(random.pick(calls.get(part ?? random.pick(deck))!), random, words).replaceAll(/(?<=Array(\.from)?\()h\.sparse\(2\*\*32 - 1\)|h\.sparse\(2\*\*32 - 1\)(?=\.)/g, 'h.sparse(3)');
}
