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

function kindOfError(message: string): CauseId {
  if (/of shape|does not broadcast|dimensions?\b|shape \[/.test(message)) return 'wrong-shape';
  if (/Promise|expected computeAdvantages to return|floating dtype|to be a (floating )?Tensor|metric '|in it$/.test(message)) return 'wrong-result';
  return /expected finite/.test(message) ? 'not-finite' : 'throws';
}

/** What is not finite, or refused, in some batches only: by what they have that others lack. */
function causeOfError(subject: Subject, batch: Batch, message: string): CauseId {
  const kind = kindOfError(message);
  if (kind !== 'not-finite') return kind;
  const works = (other: Batch) => subject.run(other).error === null;
  const full = withTokens(batch, 'masks', batch.tokens.masks.map((row) => (row.includes(1) ? row : row.map(() => 1))));
  if (works(full)) return 'empty-row';
  const twice = spread(takeRows(full, range(2 * sizeOf(full)[0]).map((k) => Math.floor(k / 2))), (row) => row % 2);
  if (works(twice)) return groupsOf(full).some((rows) => rows.length === 1) || sizeOf(full)[0] === 1 ? 'single-row' : 'zero-deviation';
  return 'not-finite';
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
  for (const level of integer ? [low] : [at(0), at(0.5), at(0.1), at(0.7)]) {
    for (const count of [rows, rows + 2, rows + 4]) {
      const batch = make(level, count);
      for (const dtype of ['float64', 'float32'] as const) {
        const outcome = subject.run(batch, { dtype });
        const how = dtype === 'float32' ? dtype : undefined;
        if (outcome.error !== null) return { cause: 'zero-deviation', seen: `equal rewards: ${outcome.error}`, batches: [batch], how };
        const exact = Math.max(...(integer ? [low] : [at(0.5), at(0.25)]).map((each) => largest(subject.run(make(each, count), { dtype }))));
        const most = largest(outcome);
        if (exact <= TOLERANCE && most > 1e-3)
          return { cause: 'zero-deviation', seen: `equal rewards give 0 where they are ${show(at(0.5))}, and up to ${show(most)} where they are ${show(level)}`, batches: [batch], how };
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

const invariance = (to: 'shift' | 'scale', title: string): Property => ({
  id: to,
  title,
  shape: { emptyRows: false, undiscounted: true, outcome: true },
  skip: ({ declared }) => (declared.invariantTo?.includes(to) ? null : 'not declared (invariantTo)'),
  judge(subject, batch, random) {
    const found = isInvariant(subject, batch, random, to);
    return found ? { cause: `not-${to}-invariant`, seen: found.seen, batches: [batch, found.changed] } : null;
  },
});

export const shift = invariance('shift', 'A constant added to the rewards of a group changes no advantage');
export const scale = invariance('scale', 'A positive factor on the rewards of a group changes no advantage');
