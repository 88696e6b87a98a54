/** An estimator beside another one, or beside a loop over numbers: what the difference is. */
import type { AdvantageEstimatorClass } from '../../advantages';
import { changeRewards, drawBatch, groupsOf, sizeOf, validColumns, type Batch, type Grid } from '../batch';
import type { CauseId } from '../causes';
import { agree, disagreement } from '../compare';
import { range, type Property } from '../property';
import { Subject, type Outcome } from '../subject';

/** A batch as a reference in plain loops gets it. */
export interface ReferenceBatch {
  /** [batch][time]; 0 at masked positions. */
  rewards: number[][];
  /** [batch][time] */
  masks: number[][];
  /** One a row. */
  groupIds: readonly (string | number)[];
  /** [batch][time], where the estimator gets values. */
  values: number[][] | null;
  /** Everything else by name. */
  inputs: Readonly<Record<string, number[][] | number[]>>;
  /** Discount γ. */
  gamma: number;
  /** λ of GAE and its kin. */
  lambda: number;
}

/** What an estimator should give: another one by name, with options of its own, or a function over plain numbers that returns the advantages, [batch][time]. */
export type EstimatorReference = string | { name: string; options?: Readonly<Record<string, unknown>> } | ((batch: ReferenceBatch) => number[][]);

/** Options of a reference that are tried, one by one, when it differs. */
const variants: readonly (readonly [option: string, values: readonly unknown[], cause: CauseId])[] = [
  ['ddof', [0, 1], 'ddof'],
  ['whitenDdof', [0, 1], 'ddof'],
  ['epsilonPlacement', ['inside', 'outside'], 'epsilon-placement'],
  ['whitenEpsilonPlacement', ['inside', 'outside'], 'epsilon-placement'],
  ['epsilon', [0, 1e-4, 1e-5, 1e-6, 1e-8], 'epsilon'],
  ['whitenEpsilon', [0, 1e-4, 1e-5, 1e-6, 1e-8], 'epsilon'],
  ['normByStd', [true, false], 'another-option'],
  ['leaveOneOut', [true, false], 'another-option'],
  ['singleton', ['zero', 'raw'], 'another-option'],
  ['scale', ['group', 'batch'], 'another-option'],
  ['whiten', ['batch', 'group', 'none', 'rows', true, false], 'another-option'],
  ['holes', ['carry', 'ignore', 'decay'], 'another-option'],
];

/** Batches that tell the cause. */
const BATCHES = 16;

export function referenceProperty(reference: EstimatorReference): Property {
  const title = `The same numbers as ${typeof reference === 'function' ? 'the reference' : typeof reference === 'string' ? reference : reference.name}`;
  return {
    id: 'reference',
    title,
    shape: { emptyRows: false },
    judge(subject, drawn, random) {
      // Beside small rewards an ε shows.
      const batch = random.below(2) === 0 ? drawn : changeRewards(drawn, new Set(range(sizeOf(drawn)[0])), { scale: 2 ** -10 });
      const expected = expectedOf(reference, batch, subject);
      const got = onlyAdvantages(subject.run(batch));
      const seen = disagreement(expected, got);
      return seen
        ? {
          cause: 'not-the-reference',
          seen: `reference and estimator: ${seen}`,
          batches: [batch],
          ...(typeof reference !== 'function' && { beside: typeof reference === 'string' ? { name: reference } : reference }),
        }
        : null;
    },
    diagnose(subject, violation, random) {
      // What explains most batches: on a small one, much explains it.
      const found: { cause: CauseId; hint?: string }[] = [];
      for (let k = 0; k < BATCHES; k++) {
        const wide = drawBatch(random, { rows: 7, columns: 7, masks: 'any', emptyRows: false }, subject.inputs, subject.declared);
        const batch = k % 2 === 0 ? wide : changeRewards(wide, new Set(range(sizeOf(wide)[0])), { scale: 2 ** -10 });
        const [expected, got] = [expectedOf(reference, batch, subject), onlyAdvantages(subject.run(batch))];
        if (disagreement(expected, got)) found.push(explained(reference, subject, batch, expected, got));
      }
      const known = found.filter(({ cause }) => cause !== 'not-the-reference');
      const times = ({ cause }: { cause: CauseId }) => known.filter((each) => each.cause === cause).length;
      const best = known.reduce<(typeof known)[number] | null>((most, each) => (most === null || times(each) > times(most) ? each : most), null);
      return best !== null && times(best) >= Math.min(2, found.length) ? { ...violation, ...best } : violation;
    },
  };
}

const onlyAdvantages = (outcome: Outcome): Outcome => (outcome.error === null ? { ...outcome, returns: outcome.advantages } : outcome);

function expectedOf(reference: EstimatorReference, batch: Batch, subject: Subject, options: Readonly<Record<string, unknown>> = {}): Outcome {
  if (typeof reference === 'function') {
    const { rewards, masks, values = null, ...others } = batch.tokens;
    const clean = (grid: Grid) => grid.map((row, b) => row.map((x, t) => (masks[b][t] ? x : 0)));
    const advantages = reference({
      rewards: clean(rewards),
      masks,
      values: values && clean(values),
      groupIds: batch.groupIds,
      inputs: { ...others, ...batch.rows, ...(batch.components && { rewardComponents: batch.components }) },
      gamma: batch.gamma,
      lambda: batch.lambda,
    });
    return { advantages: clean(advantages), returns: clean(advantages), error: null };
  }
  const { name, options: own = {} } = typeof reference === 'string' ? { name: reference } : reference;
  return onlyAdvantages(new Subject(name, name, { ...own, ...options }, subject.declared).run(batch));
}

function explained(reference: EstimatorReference, subject: Subject, batch: Batch, expected: Outcome, got: Outcome): { cause: CauseId; hint?: string } {
  if (got.error !== null || expected.error !== null) return { cause: 'not-the-reference' };
  if (typeof reference !== 'function') {
    const name = typeof reference === 'string' ? reference : reference.name;
    const { options = {} } = new Subject(name, name, {}, {}).Class as AdvantageEstimatorClass;
    for (const [option, values, cause] of variants) {
      if (!Object.hasOwn(options, option)) continue;
      for (const value of values) {
        try {
          if (agree(expectedOf(reference, batch, subject, { [option]: value }), got)) return { cause, hint: `it matches the reference with ${option} ${JSON.stringify(value)}` };
        } catch {
          // A value that this estimator does not have.
        }
      }
    }
  }
  if (typeof reference !== 'function') {
    const { gamma, lambda } = batch;
    const discounts: readonly (readonly [string, number, number])[] = [
      ['λ = 1', gamma, 1],
      ['λ = 0', gamma, 0],
      ['γ = 1', 1, lambda],
      ["γ and λ in each other's place", lambda, gamma],
      ['no γ beside λ', gamma, Math.min(1, lambda / gamma)],
      ['γ = λ = 1', 1, 1],
    ];
    for (const [what, newGamma, newLambda] of discounts) {
      if (newGamma === gamma && newLambda === lambda) continue;
      if (agree(expectedOf(reference, { ...batch, gamma: newGamma, lambda: newLambda }, subject), got)) return { cause: 'another-discount', hint: `it matches the reference with ${what}` };
    }
  }
  return byNumbers(batch, expected.advantages, got.advantages);
}

/** What the numbers themselves tell, whatever the reference is. */
function byNumbers(batch: Batch, expected: Grid, got: Grid): { cause: CauseId; hint?: string } {
  const valid = validColumns(batch);
  const ratios = valid.map((columns, b) => columns.filter((t) => Math.abs(expected[b][t]) > 1e-9).map((t) => got[b][t] / expected[b][t]));
  const [all, first] = [ratios.flat(), ratios.flat()[0]];
  const near = (x: number, y: number) => Math.abs(x - y) <= 1e-4 * Math.max(1, Math.abs(y));
  const zeros = valid.every((columns, b) => columns.every((t) => Math.abs(expected[b][t]) > 1e-9 || Math.abs(got[b][t]) <= 1e-6));
  if (zeros && first !== undefined && all.every((ratio) => near(ratio, -1))) return { cause: 'sign' };
  const groups = groupsOf(batch).map((rows) => ({ n: rows.length, own: rows.flatMap((row) => ratios[row]) })).filter(({ own }) => own.length > 0);
  const each = (factor: (n: number) => number) => groups.length > 0 && groups.every(({ n, own }) => own.every((ratio) => near(ratio, factor(n))));
  if (zeros && Math.abs(first ?? 0) > 1e-6) {
    if (each((n) => Math.sqrt(n / (n - 1)))) return { cause: 'ddof', hint: 'it matches the reference with ddof 0 in place of 1' };
    if (each((n) => Math.sqrt((n - 1) / n))) return { cause: 'ddof', hint: 'it matches the reference with ddof 1 in place of 0' };
    if (each((n) => n / (n - 1))) return { cause: 'group-size-factor', hint: 'by n/(n − 1): the mean of the others in place of that of all' };
    if (each((n) => (n - 1) / n)) return { cause: 'group-size-factor', hint: 'by (n − 1)/n: the mean of all in place of that of the others' };
    if (groups.some(({ n }) => n !== groups[0].n) && groups.every(({ own }) => own.every((ratio) => near(ratio, own[0]))) && groups.some(({ own }) => !near(own[0], first)))
      return { cause: 'group-size-factor' };
    if (all.length > 1 && all.every((ratio) => near(ratio, first))) return { cause: 'factor', hint: `by ${Number(first.toPrecision(5))}` };
  }
  for (const step of [1, -1]) {
    const pairs = valid.flatMap((columns, b) => columns.flatMap((t, i) => (columns[i + step] === undefined ? [] : [[got[b][t], expected[b][columns[i + step]]]])));
    if (pairs.length > 1 && pairs.every(([x, y]) => near(x, y))) return { cause: 'time-shift' };
  }
  return byRows(valid, expected, got) ?? { cause: 'not-the-reference' };
}

/** Whether the two differ by a constant, or row by row by a constant and a factor. */
function byRows(valid: readonly (readonly number[])[], expected: Grid, got: Grid): { cause: CauseId; hint?: string } | null {
  const rows = valid.map((columns, b) => columns.map((t) => ({ x: expected[b][t], y: got[b][t] })));
  const all = rows.flat();
  const gaps = rows.map((row) => row.map(({ x, y }) => y - x));
  const same = (list: readonly number[]) => list.every((gap) => Math.abs(gap - list[0]) <= 1e-6 + 1e-4 * Math.abs(list[0]));
  // Two rows at least: one number is a constant away from any other.
  if (rows.filter((row) => row.length > 0).length > 1 && new Set(all.map(({ x }) => x.toPrecision(5))).size > 1 && same(gaps.flat()))
    return { cause: 'another-baseline', hint: `they differ by ${Number(gaps.flat()[0].toPrecision(5))} everywhere` };
  const lines = rows.filter((row) => new Set(row.map(({ x }) => x.toPrecision(5))).size > 2).map((row) => line(row));
  if (lines.length > 1 && lines.every((each) => each !== null)) return { cause: 'another-normalisation' };
  return null;
}

/** The straight line that points lie on; null where they lie on none, or on a flat one. */
function line(points: readonly { x: number; y: number }[]): { slope: number; at0: number } | null {
  const [first, last] = [...points].sort((p, q) => p.x - q.x).filter((_, i, { length }) => i === 0 || i === length - 1);
  const slope = (last.y - first.y) / (last.x - first.x);
  const at0 = first.y - slope * first.x;
  return Math.abs(slope) > 1e-6 && points.every(({ x, y }) => Math.abs(at0 + slope * x - y) <= 1e-4 * Math.max(1, Math.abs(y))) ? { slope, at0 } : null;
}
