/** The rows of a batch: their order, their groups, and which of them a row's advantages depend on. */
import type { SmallRandom } from '../../data/random';
import { groupsOf, mapTokens, sizeOf, takeRows, type Batch, type Grid } from '../batch';
import { agree, disagreement } from '../compare';
import { range, type Property } from '../property';
import type { Outcome, Subject } from '../subject';

export const rowOrder: Property = {
  id: 'row-order',
  title: 'Rows in another order have the same advantages; groups may lie in each other',
  judge(subject, batch, random) {
    const order = random.permutation(sizeOf(batch)[0]);
    const seen = reordered(subject, batch, order);
    if (!seen) return null;
    return { cause: causeOfOrder(subject, batch, random), seen: `with the rows in order ${order.join(', ')}: ${seen}`, batches: [batch, takeRows(batch, order)] };
  },
};

function reordered(subject: Subject, batch: Batch, order: readonly number[]): string | null {
  return disagreement(subject.run(batch), subject.run(takeRows(batch, order)), { expected: (grid) => order.map((row) => grid[row]) });
}

/** Of what kind the dependence is: whether it is there where groups stand together and are of one size, or stand together. */
function causeOfOrder(subject: Subject, batch: Batch, random: SmallRandom): 'row-order' | 'groups-equal-size' | 'groups-contiguous' {
  const count = sizeOf(batch)[0];
  const least = Math.max(2, subject.declared.smallestGroup ?? 1);
  // Two sizes: pairs of rows that belong together for another reason may be groups of two.
  for (const size of [least, least + 1]) {
    const whole = Math.max(2, Math.floor(count / size));
    const even: Batch = { ...varied(takeRows(batch, range(whole * size).map((row) => row % count)), random), groupIds: range(whole * size).map((row) => `prompt ${Math.floor(row / size)}`) };
    const turned = range(whole).reverse().flatMap((group) => range(size).map((k) => group * size + ((k + 1) % size)));
    if (reordered(subject, even, turned)) return 'row-order';
  }
  const groups = groupsOf(batch);
  const together = takeRows(batch, groups.flat());
  const starts = groups.map((_, g) => groups.slice(0, g).reduce((sum, rows) => sum + rows.length, 0));
  const backwards = range(groups.length).reverse().flatMap((g) => groups[g].map((_, k) => starts[g] + k));
  return reordered(subject, together, backwards) ? 'groups-equal-size' : 'groups-contiguous';
}

/** Rows that were repeated differ again, within the range that rewards have, so that an order shows. */
function varied(batch: Batch, random: SmallRandom): Batch {
  const factors = batch.groupIds.map(() => random.below(9) / 8);
  return mapTokens(batch, (grid, name) => (name === 'rewards' ? grid.map((row, b) => row.map((x) => x * factors[b])) : grid));
}

export const groupNames: Property = {
  id: 'group-names',
  title: 'Groups under other names have the same advantages',
  after: ['row-order'],
  skip: ({ inputs }) => (inputs.includes('groupIds') ? null : 'it reads no group ids'),
  judge(subject, batch, random) {
    const names = [...new Set(batch.groupIds)];
    const renamed = { ...batch, groupIds: batch.groupIds.map((id) => 1000 - 7 * names.indexOf(id)) };
    const numbered = { ...batch, groupIds: batch.groupIds.map((id) => names.indexOf(id)) };
    const first = subject.run(numbered);
    const order = random.permutation(names.length);
    const shuffled = { ...batch, groupIds: batch.groupIds.map((id) => `prompt ${order[names.indexOf(id)]}`) };
    for (const other of [renamed, batch, shuffled]) {
      const seen = disagreement(first, subject.run(other));
      if (seen) return { cause: 'group-names', seen: `with other names ${seen}`, batches: [numbered, other] };
    }
    return null;
  },
};

export const turnNames: Property = {
  id: 'turn-names',
  title: 'Turns under other ids, in the same order, have the same advantages',
  after: ['row-order'],
  skip: ({ inputs }) => (inputs.includes('turnIds') ? null : 'it reads no turns'),
  judge(subject, batch) {
    const renamed = mapTokens(batch, (grid, name) => (name === 'turnIds' ? grid.map((row) => row.map((id) => 3 * id + 2)) : grid));
    const seen = disagreement(subject.run(batch), subject.run(renamed));
    return seen ? { cause: 'turn-names', seen: `with other ids ${seen}`, batches: [batch, renamed] } : null;
  },
};

/** The result of a batch that is cut into parts, each of which is computed by itself. */
export function inParts(subject: Subject, batch: Batch, parts: readonly (readonly number[])[]): Outcome {
  const [advantages, returns]: Grid[] = [[], []];
  for (const rows of parts) {
    const part = subject.run(takeRows(batch, rows));
    if (part.error !== null) return part;
    for (const [i, row] of rows.entries()) [advantages[row], returns[row]] = [part.advantages[i], part.returns[i]];
  }
  return { advantages, returns, error: null };
}

/** The parts of a batch on which its rows may depend. */
export const partsOf = (scope: 'row' | 'group', batch: Batch): number[][] => (scope === 'row' ? range(sizeOf(batch)[0]).map((row) => [row]) : groupsOf(batch));

export const scope: Property = {
  id: 'scope',
  title: 'Rows depend on their scope alone: a batch that is split between groups (or rows) gives the same',
  after: ['row-order'],
  skip: ({ scope: declared }) => (declared === 'batch' ? 'its scope is the batch' : null),
  judge(subject, batch, random) {
    const narrow = subject.scope as 'row' | 'group';
    const parts = partsOf(narrow, batch);
    const seen = disagreement(subject.run(batch), inParts(subject, batch, parts));
    if (!seen) return null;
    const smaller = parts.find((rows) => !agree(subject.run(takeRows(batch, rows)), subject.run(batch), { expected: (grid) => grid })) ?? parts[0];
    const batches = [batch, takeRows(batch, smaller)];
    if (narrow === 'row') return { cause: 'other-rows', seen: `each row by itself: ${seen}`, batches };
    return { cause: dependsOnSizes(subject, batch, random) ? 'groups-equal-size' : 'batch-statistics', seen: `each group by itself: ${seen}`, batches };
  },
};

/** Whether groups of one size are independent of each other, though these are not. Groups of one row have nothing to compare, and equal rewards say little. */
function dependsOnSizes(subject: Subject, batch: Batch, random: SmallRandom): boolean {
  const groups = groupsOf(batch);
  if (groups.length < 2 || groups.every((rows) => rows.length === groups[0].length)) return false;
  return [2, 3, 4].every((size) => {
    const rows = groups.flatMap((own) => range(size).map((k) => own[k % own.length]));
    const even = varied(takeRows(batch, rows), random);
    return agree(subject.run(even), inParts(subject, even, groupsOf(even)));
  });
}

export const emptyRows: Property = {
  id: 'empty-rows',
  title: 'A row without a valid token changes nothing for the others',
  shape: { emptyRows: false },
  skip: ({ declared, scope: own }) => (own === 'row' ? 'rows do not depend on each other' : declared.emptyRows === 'count' ? 'such rows count, as declared' : null),
  judge(subject, batch) {
    const count = sizeOf(batch)[0];
    const more = takeRows(batch, [...range(count), 0]);
    const empty = mapTokens(more, (grid, name) => (name === 'masks' || name === 'rewards' ? grid.map((row, b) => (b === count ? row.map(() => 0) : row)) : grid));
    const ofRows = empty.components ? { ...empty, components: empty.components.map((row, b) => (b === count ? row.map(() => 0) : row)) } : empty;
    const added = subject.run(ofRows);
    const kept: Outcome = added.error === null ? { ...added, advantages: added.advantages.slice(0, count), returns: added.returns.slice(0, count) } : added;
    const seen = disagreement(subject.run(batch), kept);
    return seen ? { cause: 'empty-rows-counted', seen: `with such a row ${seen}`, batches: [batch, ofRows], severity: subject.declared.emptyRows === 'ignore' ? 'failure' : 'warning' } : null;
  },
};
