/** Results that are results, awkward batches, and precision. */
import type { SmallRandom } from '../../data/random';
import { changeRewards, drawBatch, groupsOf, mapTokens, sizeOf, takeRows, withTokens, type Batch } from '../batch';
import { agree, disagreement, show, TOLERANCE } from '../compare';
import type { CauseId } from '../causes';
import { range, type Property, type Violation } from '../property';
import type { Outcome, Subject } from '../subject';

export const result: Property = {
  id: 'result',
  title: 'The result is [batch, time], floating and finite',
  judge(subject, batch) {
    for (const how of ['float32', undefined] as const) {
      const { error } = subject.run(batch, { dtype: how ?? 'float64' });
      if (error !== null) return { cause: causeOfError(subject, batch, error), seen: error, how };
    }
    return null;
  },
};

function kindOfError(text: string): CauseId {
  // The names of functions and files at the end say nothing.
  const message = text.replace(/, at [^,]*:\d+:\d+\)?$/, '');
  if (/metric '/.test(message)) return 'wrong-result';
  if (/writeAt|adamw|changed in place|was disposed/.test(message)) return 'inputs-changed';
  if (/of shape|does not broadcast|dimensions?\b|shape \[|expected an axis/.test(message)) return 'wrong-shape';
  if (/Promise|expected computeAdvantages to return|floating dtype|to be a (floating )?Tensor|in it$/.test(message)) return 'wrong-result';
  return /expected finite/.test(message) ? 'not-finite' : 'throws';
}

/** What is not finite, or refused, in some batches only: by what they have that others lack. */
function causeOfError(subject: Subject, batch: Batch, message: string): CauseId {
  const kind = kindOfError(message);
  const works = (other: Batch) => subject.run(other).error === null;
  if (kind === 'throws' || kind === 'wrong-shape' || kind === 'not-finite') {
    const ofGroups = causeInGroups(subject, batch, works);
    if (ofGroups !== null) return ofGroups;
  }
  if (kind !== 'not-finite') return kind;
  const full = withTokens(batch, 'masks', batch.tokens.masks.map((row) => (row.includes(1) ? row : row.map(() => 1))));
  if (works(full)) return 'empty-row';
  const twice = spread(takeRows(full, range(2 * sizeOf(full)[0]).map((k) => Math.floor(k / 2))), (row) => row % 2);
  // Where one row, and two equal ones, are well with rewards of 1, another divisor is to blame: their sum, or a mean.
  const alike = (rows: number) => mapTokens(takeRows(full, range(rows).map(() => 0)), (grid, name) => (name === 'rewards' ? grid.map((row) => row.map(() => 1)) : grid));
  if (works(twice) && works(alike(1)) && works(alike(2))) return 'not-finite';
  if (works(twice)) return groupsOf(full).some((rows) => rows.length === 1) || sizeOf(full)[0] === 1 ? 'single-row' : 'zero-deviation';
  return 'not-finite';
}

/** What of the groups a batch is refused for: their names, their order or their sizes; null where it is nothing of these. */
function causeInGroups(subject: Subject, batch: Batch, works: (batch: Batch) => boolean): CauseId | null {
  if (!subject.inputs.includes('groupIds')) return null;
  const names = [...new Set(batch.groupIds)];
  if (works({ ...batch, groupIds: batch.groupIds.map((id) => names.indexOf(id)) })) return 'group-names';
  const groups = groupsOf(batch);
  if (works(takeRows(batch, groups.flat()))) return 'groups-contiguous';
  const ofSizes = (...sizes: number[]): Batch => {
    const ids = sizes.flatMap((size, group) => range(size).map(() => `prompt ${group}`));
    return { ...spread(takeRows(batch, ids.map((_, row) => row % sizeOf(batch)[0])), (row) => row % 3), groupIds: ids };
  };
  return works(ofSizes(3, 3)) && works(ofSizes(2, 2)) && !works(ofSizes(2, 3)) ? 'groups-equal-size' : null;
}

/** Rewards that differ from row to row. */
const spread = (batch: Batch, part: (row: number) => number): Batch => mapTokens(batch, (grid, name) => (name === 'rewards' ? grid.map((row, b) => row.map((x) => (x + 1) * (part(b) + 1))) : grid));

/** Every row whole, with rewards of `level` at its end, and all rows alike in everything else. */
function levelBatch(one: Batch, { rows, columns, level, grouped }: { rows: number; columns: number; level: (row: number) => number; grouped: boolean }): Batch {
  const zero = new Set(['values', 'terminated', 'truncated']);
  const cell = (name: string, b: number, t: number, x: number) => (name === 'rewards' ? (t === columns - 1 ? level(b) : 0) : zero.has(name) ? 0 : x);
  const wide = mapTokens(takeRows(one, range(rows).map(() => 0)), (grid, name) => grid.map((row, b) => range(columns).map((t) => cell(name, b, t, row[0]))));
  const components = one.components && range(rows).map((b) => one.components![0].map(() => level(b)));
  return { ...wide, components, groupIds: range(rows).map((b) => (grouped ? 'prompt' : `prompt ${b}`)) };
}

const oneRow = (subject: Subject, random: SmallRandom): Batch => drawBatch(random, { rows: 1, columns: 1, masks: 'none', emptyRows: false, undiscounted: true }, subject.inputs, subject.declared);

export const awkward: Property = {
  id: 'awkward-batches',
  title: 'Rows alone, single tokens, equal rewards, and rows or batches without a valid token give finite numbers',
  once: true,
  tries: 2,
  judge(subject, _, random) {
    const { smallestGroup = 1, rewardRange } = subject.declared;
    const some = Math.max(3, smallestGroup);
    const low = Math.max(rewardRange?.low ?? 0, 0);
    const level = (row: number) => (rewardRange ? (row % 2 ? (rewardRange.high ?? low + 1) : low) : row);
    const empty = (batch: Batch, which: (row: number) => boolean) =>
      mapTokens(batch, (grid, name) => (name === 'masks' || name === 'rewards' ? grid.map((row, b) => (which(b) ? row.map(() => 0) : row)) : grid));
    const one = oneRow(subject, random);
    const make = (rows: number, columns: number, grouped: boolean) => levelBatch(one, { rows, columns, level, grouped });
    const cases: [what: string, cause: CauseId, batch: Batch, applies?: boolean][] = [
      ['one token a row', 'single-column', make(some, 1, true)],
      ['one row', 'single-row', make(1, 3, true), smallestGroup === 1],
      ['one row of one token', 'single-row', make(1, 1, true), smallestGroup === 1],
      ['rows that are alone in their groups', 'single-row', make(3, 3, false), smallestGroup === 1],
      ['a row without a valid token', 'empty-row', empty(make(some + 1, 3, true), (row) => row === 1)],
      ['no valid token', 'empty-row', empty(make(some, 3, true), () => true)],
    ];
    for (const [what, cause, batch, applies = true] of cases) {
      const { error } = applies ? subject.run(batch) : { error: null };
      if (error !== null) return { cause, seen: `${what}: ${error}`, batches: [batch] };
    }
    return equalRewards(subject, random, some);
  },
};

/** Equal rewards: of a number that floats hold exactly, and of one that they do not, so that a mean of them may be another number. */
function equalRewards(subject: Subject, random: SmallRandom, rows: number): Violation | null {
  const { low = 0, high = 1, integer = false } = subject.declared.rewardRange ?? {};
  const at = (share: number) => Math.max(low, -1) + share * (Math.min(high, Math.max(low, -1) + 1) - Math.max(low, -1));
  const one = oneRow(subject, random);
  const make = (level: number, count: number) => levelBatch(one, { rows: count, columns: 3, level: () => level, grouped: true });
  const largest = (outcome: Outcome) => Math.max(0, ...(outcome.advantages ?? []).flat().map(Math.abs));
  for (const count of [rows, rows + 2, rows + 4]) {
    for (const dtype of ['float64', 'float32'] as const) {
      const how = dtype === 'float32' ? dtype : undefined;
      const levels = integer ? [low] : [at(0), at(0.5), at(0.25), at(0.1), at(0.7)];
      const outcomes = levels.map((level) => subject.run(make(level, count), { dtype }));
      const broken = outcomes.findIndex(({ error }) => error !== null);
      if (broken >= 0) return { cause: 'zero-deviation', seen: `equal rewards: ${outcomes[broken].error!}`, batches: [make(levels[broken], count)], how };
      const exact = Math.max(...outcomes.slice(0, 3).map(largest));
      const most = outcomes.map(largest);
      const worst = most.findIndex((x) => x > 1e-3);
      if (exact <= TOLERANCE && worst >= 0) {
        return {
          cause: 'zero-deviation',
          seen: `equal rewards give 0 where they are ${show(at(0.5))}, and up to ${show(most[worst])} where they are ${show(levels[worst])}`,
          batches: [make(levels[worst], count)],
          how,
        };
      }
    }
  }
  return null;
}

/** Of what float32 loses. */
function lost(subject: Subject, batch: Batch, cause: CauseId): Violation | null {
  const seen = disagreement(subject.run(batch), subject.run(batch, { dtype: 'float32' }), { tolerance: 2e-4 });
  return seen ? { cause, seen: `in float64 and in float32: ${seen}`, batches: [batch], how: 'float32-and-float64' } : null;
}

export const float32: Property = {
  id: 'float32',
  title: 'float32 gives what float64 gives, to 2e-4',
  after: ['awkward-batches'],
  shape: { undiscounted: true },
  judge: (subject, batch) => lost(subject, batch, 'precision'),
};

export const offset: Property = {
  id: 'offset',
  title: 'Rewards around 10,000 lose no digits: float32 gives what float64 gives',
  after: ['float32', 'awkward-batches'],
  shape: { undiscounted: true, outcome: true, emptyRows: false },
  skip: ({ declared: { rewardRange } }) => ((rewardRange?.high ?? Infinity) < 1e5 ? 'rewards have a range' : null),
  judge: (subject, batch) => lost(subject, changeRewards(batch, new Set(range(sizeOf(batch)[0])), { shift: 1e4 }), 'cancellation'),
};

/** Whether one group's rewards, shifted or scaled, give the same advantages. */
export function isInvariant(subject: Subject, batch: Batch, random: SmallRandom, to: 'shift' | 'scale'): { seen: string; changed: Batch } | null {
  const groups = groupsOf(batch);
  const changed = changeRewards(batch, new Set(groups[random.below(groups.length)]), to === 'shift' ? { shift: 2 } : { scale: 4 });
  const advantagesOf = (outcome: Outcome): Outcome => (outcome.error === null ? { ...outcome, returns: outcome.advantages } : outcome);
  const [first, second] = [advantagesOf(subject.run(batch)), advantagesOf(subject.run(changed))];
  return agree(first, second, { tolerance: 1e-3 }) || first.error !== null ? null : { seen: disagreement(first, second, { tolerance: 1e-3 })!, changed };
}

/** The one size of groups for which it is invariant. */
function sizeThatHolds(subject: Subject, batch: Batch, random: SmallRandom, to: 'shift' | 'scale'): number | null {
  const holds = range(7).map((k) => {
    const size = k + 2;
    const even: Batch = { ...takeRows(batch, range(2 * size).map((row) => row % sizeOf(batch)[0])), groupIds: range(2 * size).map((row) => `prompt ${Math.floor(row / size)}`) };
    return isInvariant(subject, spread(even, (row) => row % size), random, to) === null;
  });
  return holds.filter(Boolean).length === 1 ? holds.indexOf(true) + 2 : null;
}

const invariance = (to: 'shift' | 'scale', title: string): Property => ({
  id: to,
  title,
  shape: { emptyRows: false, undiscounted: true, outcome: true },
  skip: ({ declared }) => (declared.invariantTo?.includes(to) ? null : 'not declared (invariantTo)'),
  judge(subject, batch, random) {
    const found = isInvariant(subject, batch, random, to);
    if (!found) return null;
    const size = sizeThatHolds(subject, batch, random, to);
    const seen = { seen: found.seen, batches: [batch, found.changed] };
    return size === null ? { cause: `not-${to}-invariant`, ...seen } : { cause: 'groups-equal-size', hint: `it holds for groups of ${size}`, ...seen };
  },
});

export const shift = invariance('shift', 'A constant added to the rewards of a group changes no advantage');
export const scale = invariance('scale', 'A positive factor on the rewards of a group changes no advantage');
