/** Masked positions: what they hold, where they are and how many there are changes nothing. */
import { collapse, isWhole, mapTokens, pad, sizeOf, soil, takeColumns, validColumns, withTokens, type Batch, type Grid } from '../batch';
import { agree, difference, disagreement, show } from '../compare';
import { range, type Property, type Violation } from '../property';
import type { Subject } from '../subject';

const undiscounted = (batch: Batch): Batch => ({ ...batch, gamma: 1, lambda: 1 });

/** Garbage of each kind; whole numbers stay such. */
const finite = (name: string) => (isWhole(name) ? (name.endsWith('Ids') ? 77 : 1) : 7.5);

export const maskedInputs: Property = {
  id: 'masked-inputs',
  title: 'What masked positions hold (garbage, NaN, Inf) changes nothing',
  judge(subject, batch) {
    const clean = subject.run(batch);
    for (const [value, cause] of [[null, 'reads-masked'], [NaN, 'mask-times-nan'], [Infinity, 'mask-times-nan']] as const) {
      const soiled = soil(batch, (name) => (value === null ? finite(name) : isWhole(name) ? null : value));
      const seen = disagreement(clean, subject.run(soiled));
      if (seen) return { cause, seen, batches: [batch, soiled] };
    }
    return null;
  },
};

export const maskedResults: Property = {
  id: 'masked-results',
  title: 'Masked positions of the result hold 0 where leavesZeros says so',
  single: true,
  judge(subject, batch) {
    const raw = subject.raw(batch);
    if (!raw?.leavesZeros) return null;
    const masked = (grid: Grid) => grid.map((row, b) => row.map((x, t) => (batch.tokens.masks[b][t] ? 0 : x)));
    for (const part of ['advantages', 'returns'] as const) {
      const found = difference(masked(raw[part]), mapZeros(raw[part]), 0);
      if (found) return { cause: 'masked-results', seen: `${part}[${found.row}][${found.column}] is ${show(found.a)}, where masks is 0`, batches: [batch] };
    }
    return null;
  },
};

const mapZeros = (grid: Grid): Grid => grid.map((row) => row.map(() => 0));

export const padding: Property = {
  id: 'padding',
  title: 'More padding, on the left or on the right, changes nothing',
  shape: { masks: 'sides' },
  judge(subject, batch, random) {
    const width = 1 + random.below(4);
    const before = subject.run(batch);
    const seenWith = (of: Batch, left: number, right: number) => {
      const columns = sizeOf(of)[1];
      const expected = (grid: Grid) => grid.map((row) => [...new Array<number>(left).fill(0), ...row, ...new Array<number>(right).fill(0)]);
      return columns === 0 ? null : disagreement(of === batch ? before : subject.run(of), subject.run(pad(of, left, right)), { expected });
    };
    const [left, right] = [subject.declared.alignment === 'columns' ? null : seenWith(batch, width, 0), seenWith(batch, 0, width)];
    if (!left && !right) return null;
    const costsSteps = !seenWith(undiscounted(batch), width, 0) && !seenWith(undiscounted(batch), 0, width) && (batch.gamma < 1 || batch.lambda < 1);
    // Neighbours across the edge matter only while a row reaches the edge.
    const [one, two] = [pad(batch, 1, 1), pad(batch, 2, 2)];
    const wraps = !costsSteps && left !== null && right !== null && !disagreement(subject.run(one), subject.run(two), { expected: (grid) => grid.map((row) => [0, ...row, 0]) });
    const mirrored = !costsSteps && !wraps && isMirrored(subject, batch);
    const cause = costsSteps ? 'discount-over-masked' : mirrored ? 'time-reversed' : wraps ? 'off-by-one' : left && right ? 'padding-counted' : left ? 'first-column' : 'last-column';
    return {
      cause,
      ...(mirrored && { hint: 'columns are flipped, and not flipped back' }),
      ...(wraps && { hint: 'the last column is followed by the first' }),
      seen: `with ${width} columns of padding on the ${left ? 'left' : 'right'} ${left ?? right}`,
      batches: [batch, left ? pad(batch, width, 0) : pad(batch, 0, width)],
    };
  },
};

/** Whether what stands in the last column comes out in the first: rewards of one column move the result of the mirrored one. */
function isMirrored(subject: Subject, batch: Batch): boolean {
  const [rows] = sizeOf(batch);
  const whole = mapTokens(
    takeColumns(batch, range(rows).map(() => [0, 0, 0, 0])),
    (grid, name) => (name === 'masks' ? grid.map((row) => row.map(() => 1)) : name === 'rewards' ? grid.map((row) => row.map(() => 0)) : grid),
  );
  const base = subject.run(undiscounted(whole));
  if (base.error !== null) return false;
  const moved = range(4).map((s) => subject.run(undiscounted(withTokens(whole, 'rewards', whole.tokens.rewards.map((row) => row.map((_, t) => (t === s ? 1 : 0)))))));
  const reaches = (s: number, t: number): boolean => moved[s].error === null && Math.abs(moved[s].advantages[0][t] - base.advantages[0][t]) > 1e-9;
  return range(4).every((s) => reaches(s, 3 - s)) && !reaches(0, 0);
}

export const shiftedRows: Property = {
  id: 'shifted-rows',
  title: 'Where in its row an answer stands (padding on the left or on the right) changes nothing',
  after: ['padding'],
  shape: { masks: 'sides', rows: 5 },
  skip: ({ declared }) => (declared.alignment === 'columns' ? 'columns are compared, as declared' : null),
  judge(subject, batch, random) {
    const [, time] = sizeOf(batch);
    const shifts = validColumns(batch).map((valid) => (valid.length === 0 ? 0 : random.below(time - (valid.at(-1)! - valid[0])) - valid[0]));
    const columns = shifts.map((shift) => range(time).map((t) => (t - shift >= 0 && t - shift < time ? t - shift : -1)));
    const moved = takeColumns(batch, columns);
    const expected = (grid: Grid) => grid.map((row, b) => columns[b].map((t) => (t < 0 ? 0 : row[t])));
    const seen = disagreement(subject.run(batch), subject.run(moved), { expected });
    return seen ? { cause: 'columns-compared', seen: `with the answers moved ${seen}`, batches: [batch, moved] } : null;
  },
};

export const holes: Property = {
  id: 'holes',
  title: 'Masked positions inside of a row (tool calls) are passed through: the row without them has the same numbers',
  after: ['padding', 'shifted-rows'],
  skip: ({ declared }) => (declared.alignment === 'columns' ? 'columns are compared, as declared' : null),
  judge(subject, batch) {
    const seen = holesMatter(subject, batch);
    if (!seen) return null;
    return { cause: causeAtHoles(subject, batch), seen: `without the masked positions ${seen}`, batches: [batch, collapse(batch)] };
  },
};

function holesMatter(subject: Subject, batch: Batch): string | null {
  const valid = validColumns(batch);
  const short = collapse(batch);
  const length = sizeOf(short)[1];
  const expected = (grid: Grid) => grid.map((row, b) => range(length).map((i) => (valid[b][i] === undefined ? 0 : row[valid[b][i]])));
  return disagreement(subject.run(batch), subject.run(short), { expected });
}

function causeAtHoles(subject: Subject, batch: Batch): Violation['cause'] {
  if ((batch.gamma < 1 || batch.lambda < 1) && !holesMatter(subject, undiscounted(batch))) return 'discount-over-masked';
  const { values } = batch.tokens;
  if (values && !holesMatter(subject, withTokens(batch, 'values', mapZeros(values)))) return 'value-at-hole';
  return losesCredit(subject, batch) ? 'credit-lost-at-hole' : 'hole-counted';
}

/** Whether a reward at the end of a row that has a hole reaches the tokens before the hole in the row without it, and not in the row with it. */
function losesCredit(subject: Subject, batch: Batch): boolean {
  return validColumns(batch).some((valid, row) => {
    const last = valid.at(-1);
    const gap = valid.findIndex((t, i) => i > 0 && t > valid[i - 1] + 1);
    if (last === undefined || gap < 0) return false;
    const reaches = (of: Batch, end: number, first: number): boolean => {
      const more = mapTokens(of, (grid, name) => (name === 'rewards' ? grid.map((r, b) => r.map((x, t) => (b === row && t === end ? x + 1 : x))) : grid));
      const [a, b] = [subject.run(of), subject.run(more)];
      return a.error === null && b.error === null && Math.abs(a.advantages[row][first] - b.advantages[row][first]) + Math.abs(a.returns[row][first] - b.returns[row][first]) > 1e-9;
    };
    return reaches(collapse(batch), valid.length - 1, 0) && !reaches(batch, last, valid[0]);
  });
}

export const packedRows: Property = {
  id: 'packed',
  title: 'Packed rows (rowOffsets) give what padded ones give',
  after: ['padding', 'shifted-rows', 'holes'],
  judge(subject, batch) {
    if (batch.tokens.masks.every((row) => !row.includes(1))) return null;
    const [padded, packed] = [subject.run(batch), subject.run(batch, { packed: true })];
    const seen = agree(padded, packed) ? null : disagreement(padded, packed);
    return seen ? { cause: 'packed-differs', seen: `packed ${seen}`, batches: [batch], how: 'packed' } : null;
  },
};
