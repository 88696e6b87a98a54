/** Episodes and critics: what crosses the end of an episode, and what a critic is trained on. */
import { drawBatch, mapTokens, validColumns, withTokens, type Batch } from '../batch';
import { agree, disagreement, show } from '../compare';
import { range, type Property } from '../property';
import type { Outcome, Subject } from '../subject';
import { inParts, partsOf } from './rows';
import { exactBatch, reachOf } from './time';

const TIME = 6;
const END = 2;

/** Rows without padding, of which every one has the flag at token 2. */
function withEnd(subject: Subject, drawn: Batch, flag: 'terminated' | 'truncated'): Batch {
  const rows = Math.max(3, subject.declared.smallestGroup ?? 1);
  const number = (name: string, b: number, t: number, x: number): number => {
    if (name === 'terminated' || name === 'truncated') return name === flag && t === END ? 1 : 0;
    return name === 'rewards' ? ((7 * b + 3 * t) % 11) / 4 : name === 'values' ? ((5 * b + 2 * t) % 7) / 8 : x;
  };
  const whole = mapTokens(drawn, (grid, name) => range(rows).map((b) => range(TIME).map((t) => number(name, b, t, grid[0][0]))));
  const perRow = Object.fromEntries(Object.entries(drawn.rows).map(([name, [x]]) => [name, range(rows).map(() => x)]));
  return { ...whole, groupIds: range(rows).map(() => 'prompt'), rows: perRow, components: drawn.components && range(rows).map((b) => [b / 2, b / 4]), lambda: 0.5 };
}

export const ends: Property = {
  id: 'episode-ends',
  title: 'No reward crosses the end of an episode (terminated, truncated)',
  once: true,
  skip: ({ inputs }) => (inputs.includes('terminated') || inputs.includes('truncated') ? null : 'it reads no ends of episodes'),
  judge(subject, _, random) {
    const drawn = drawBatch(random, { rows: 1, columns: 1, masks: 'none', emptyRows: false, undiscounted: true }, subject.inputs, subject.declared);
    for (const flag of ['terminated', 'truncated'] as const) {
      if (!subject.inputs.includes(flag)) continue;
      const batch = withEnd(subject, drawn, flag);
      const without = withTokens(batch, flag, batch.tokens[flag].map((row) => row.map(() => 0)));
      if (subject.requires.includes(flag) && agree(subject.run(batch), subject.run(without), { tolerance: 0 })) {
        return { cause: 'input-unused', seen: `${flag} at token ${END} changes nothing`, batches: [batch, without] };
      }
      const reach = reachOf(subject, batch, 'rewards');
      const at = reach?.findIndex((row, t) => t <= END && row.some((is, s) => is && s > END)) ?? -1;
      if (at < 0) continue;
      const from = reach![at].findIndex((is, s) => is && s > END);
      const severity = subject.requires.includes(flag) ? 'failure' : 'warning';
      return { cause: 'credit-across-ends', seen: `the reward of token ${from} reaches token ${at}, though ${flag} is set at token ${END}`, batches: [batch], severity };
    }
    return null;
  },
};

export const returns: Property = {
  id: 'returns',
  title: 'Returns are what a critic is to learn: of the row alone, and its values where the critic is right',
  after: ['padding', 'shifted-rows', 'holes', 'exact-critic', 'inputs-used'],
  shape: { emptyRows: false },
  skip: ({ requires }) => (requires.includes('values') ? null : 'it needs no critic'),
  judge(subject, drawn) {
    const batch = exactBatch(drawn, true);
    const outcome = subject.run(batch);
    if (outcome.error !== null) return null;
    const cells = validColumns(batch).flatMap((columns, b) => columns.map((t) => ({ b, t })));
    const still = (grid: number[][]) => cells.every(({ b, t }) => Math.abs(grid[b][t]) < 1e-6);
    const at = cells.find(({ b, t }) => Math.abs(batch.tokens.values[b][t]) > 1e-3);
    if (at && still(outcome.advantages) && still(outcome.returns)) {
      return { cause: 'returns-without-values', seen: `returns[${at.b}][${at.t}] is 0, where V is ${show(batch.tokens.values[at.b][at.t])} and right`, batches: [batch], severity: 'warning' };
    }
    if (subject.scope !== 'batch' || subject.requires.includes('groupIds')) return null;
    const onlyReturns = (of: Outcome): Outcome => (of.error === null ? { ...of, advantages: of.returns } : of);
    const seen = disagreement(onlyReturns(subject.run(drawn)), onlyReturns(inParts(subject, drawn, partsOf('row', drawn))));
    return seen && !seen.includes('error') ? { cause: 'returns-whitened', seen: `each row by itself: ${seen.replace('advantages', 'returns')}`, batches: [drawn], severity: 'warning' } : null;
  },
};

/** A batch of rows that are alike, with `level` at the last token of each. */
function level(subject: Subject, drawn: Batch, totals: (row: number) => number): Batch {
  const rows = Math.max(4, subject.declared.smallestGroup ?? 1);
  const cell = (name: string, t: number, b: number, x: number): number => (name === 'rewards' ? (t === 2 ? totals(b) : 0) : name === 'terminated' || name === 'truncated' ? 0 : x);
  const wide = mapTokens(drawn, (grid, name) => range(rows).map((b) => range(3).map((t) => cell(name, t, b, grid[0][0]))));
  const perRow = Object.fromEntries(Object.entries(drawn.rows).map(([name, [x]]) => [name, range(rows).map(() => x)]));
  return { ...wide, rows: perRow, groupIds: range(rows).map(() => 'prompt'), components: drawn.components && range(rows).map((b) => [totals(b), totals(b)]) };
}

export const response: Property = {
  id: 'response',
  title: 'More reward for a row is no less advantage, and a little more is seen',
  once: true,
  after: ['repeated'],
  skip: ({ declared }) => (declared.rewardRange ? 'rewards have a range' : null),
  judge(subject, _, random) {
    const drawn = drawBatch(random, { rows: 1, columns: 1, masks: 'none', emptyRows: false, undiscounted: true }, subject.inputs, subject.declared);
    const own = (batch: Batch): number | null => {
      const outcome = subject.run(batch);
      return outcome.error === null ? outcome.advantages[0].reduce((sum, x) => sum + x, 0) : null;
    };
    const gain = (base: (row: number) => number, more: number): { batches: Batch[]; by: number | null } => {
      const batches = [level(subject, drawn, base), level(subject, drawn, (row) => base(row) + (row === 0 ? more : 0))];
      const [before, after] = batches.map(own);
      return { batches, by: before === null || after === null ? null : after - before };
    };
    // From below the others, among them, and from above.
    const raises = [-2, 0, 0.5, 2].map((from) => gain((row) => (row === 0 ? from : row / 4), 1));
    if (raises.every(({ by }) => by !== null && by <= 1e-6) && raises.some(({ by }) => by! < -1e-3)) {
      return { cause: 'sign', seen: `a reward that is 1 more changes the advantages of its row by ${show(raises[2].by!)}`, batches: raises[2].batches, severity: 'warning' };
    }
    // Equal rewards, so that a rank sees the smallest difference, too.
    const [small, large] = [gain(() => 1.25, 2 ** -12), gain(() => 1.25, 1)];
    if (small.by !== 0 || large.by === null || Math.abs(large.by) < 1e-3) return null;
    return { cause: 'half-precision', seen: 'a reward that is 2^-12 more changes nothing, and one that is 1 more does', batches: small.batches, severity: 'warning' };
  },
};
