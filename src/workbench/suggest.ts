/** What an estimator could declare, by what its results show. */
import { SmallRandom } from '../data/random';
import { drawBatch, type Batch } from './batch';
import { agree } from './compare';
import { isInvariant } from './properties/numbers';
import { inParts, partsOf } from './properties/rows';
import { range } from './property';
import type { Subject } from './subject';

const TRIES = 12;

/** `scope: 'group'`, `invariantTo: ['shift']`, `leavesZeros = true`: what holds on all of a dozen batches and is not declared. */
export function suggestionsFor(subject: Subject, seed: number): string[] {
  const batches = (outcome: boolean): { batch: Batch; random: SmallRandom }[] =>
    range(TRIES).map((k) => {
      const random = new SmallRandom(seed, 900_000_000 + k);
      return { batch: drawBatch(random, { rows: 7, columns: 6, masks: 'any', emptyRows: false, outcome, undiscounted: outcome }, subject.inputs, subject.declared), random };
    });
  const found: string[] = [];
  const parts: string[] = [];
  const narrow = (['row', 'group'] as const).find((scope) => batches(false).every(({ batch }) => agree(subject.run(batch), inParts(subject, batch, partsOf(scope, batch)))));
  const widths = ['row', 'group', 'batch'];
  if (narrow !== undefined && widths.indexOf(narrow) < widths.indexOf(subject.scope)) parts.push(`scope: '${narrow}'`);
  const given = subject.declared.invariantTo ?? [];
  const invariant = subject.declared.rewardRange
    ? []
    : (['shift', 'scale'] as const).filter((to) => !given.includes(to) && batches(true).every(({ batch, random }) => isInvariant(subject, batch, random, to) === null));
  if (invariant.length > 0) parts.push(`invariantTo: [${[...given, ...invariant].map((to) => `'${to}'`).join(', ')}]`);
  if (parts.length > 0) found.push(`static override readonly declares = { ${parts.join(', ')} } as const;`);
  const zeros = batches(false).every(({ batch }) => {
    const raw = subject.raw(batch);
    return raw !== null && !raw.leavesZeros && batch.tokens.masks.every((row, b) => row.every((m, t) => m || (raw.advantages[b][t] === 0 && raw.returns[b][t] === 0)));
  });
  if (zeros) found.push('override readonly leavesZeros = true;');
  return found;
}
