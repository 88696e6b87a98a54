/** What time means: a critic that is right, and which rewards reach which token. */
import { drawBatch, mapTokens, takeColumns, validColumns, withTokens, type Batch, type Grid } from '../batch';
import { show } from '../compare';
import { range, type Property, type Violation } from '../property';
import type { Subject } from '../subject';

/** Without ends inside of rows. */
function withoutEnds(batch: Batch): Batch {
  const { terminated: _t, truncated: _u, ...tokens } = batch.tokens;
  const { bootstrapValues: _b, ...rows } = batch.rows;
  return { ...batch, tokens, rows };
}

/** V of each token as a critic that knows the row: the sum of the rewards from there on, discounted by γ. */
function exactValues(batch: Batch): Grid {
  const valid = validColumns(batch);
  return batch.tokens.rewards.map((row, b) => {
    const values = row.map(() => 0);
    let next = 0;
    for (const t of [...valid[b]].reverse()) values[t] = next = row[t] + batch.gamma * next;
    return values;
  });
}

/** Whether V of a token that is not the last one counts in its own advantage. */
function readsOwnValue(subject: Subject, batch: Batch): boolean {
  const [row, valid] = [...validColumns(batch).entries()].find(([, columns]) => columns.length > 1) ?? [];
  if (row === undefined || valid === undefined) return true;
  const at = valid[0];
  const other = withTokens(batch, 'values', batch.tokens.values.map((values, b) => values.map((x, t) => (b === row && t === at ? x + 1 : x))));
  const [a, b] = [subject.run(batch), subject.run(other)];
  return a.error !== null || b.error !== null || Math.abs(a.advantages[row][at] - b.advantages[row][at]) > 1e-6;
}

/** The batch with a critic that knows the rewards to come: of outcomes at γ = 1, or of every token at γ = ½. */
export function exactBatch(drawn: Batch, terminal: boolean): Batch {
  const ends = validColumns(drawn).map((valid) => valid.at(-1));
  const rewards = drawn.tokens.rewards.map((row, b) => row.map((x, t) => (!drawn.tokens.masks[b][t] ? 0 : terminal ? (t === ends[b] ? x + 3 : 0) : x + 3 + t)));
  const plain = { ...withTokens(withoutEnds(drawn), 'rewards', rewards), gamma: terminal ? 1 : 0.5, lambda: 0.5 };
  return withTokens(plain, 'values', exactValues(plain));
}

/** Whether a row that is its last token alone has an advantage other than 0, though V is right. */
function lastAloneFails(subject: Subject, batch: Batch): boolean {
  const one = takeColumns(batch, validColumns(batch).map((valid) => [valid.at(-1) ?? 0]));
  const { advantages } = subject.run(one);
  return advantages !== null && advantages.some((row, b) => batch.tokens.masks[b].includes(1) && Math.abs(row[0]) > 1e-6);
}

export const exactCritic: Property = {
  id: 'exact-critic',
  title: 'A critic that is right leaves nothing to learn: where V is the sum of the rewards to come, advantages are 0',
  after: ['inputs-used', 'padding', 'shifted-rows', 'holes'],
  shape: { emptyRows: false },
  skip: ({ requires }) => (requires.includes('values') ? null : 'it needs no critic'),
  judge(subject, drawn) {
    // In rows of one token a value that is bootstrapped behind the end looks like one that is off by one.
    if (validColumns(drawn).every((valid) => valid.length < 2)) return null;
    for (const terminal of [true, false]) {
      const batch = exactBatch(drawn, terminal);
      const outcome = subject.run(batch);
      if (outcome.error !== null) return null;
      const at = outcome.advantages.flatMap((row, b) => row.map((x, t) => ({ b, t, x }))).find(({ x }) => Math.abs(x) > 1e-6);
      if (!at) continue;
      const cause = terminal && subject.scope !== 'batch' && readsOwnValue(subject, batch) && lastAloneFails(subject, batch) ? 'bootstrap-at-end' : 'bootstrap-off-by-one';
      return { cause, seen: `advantages[${at.b}][${at.t}] is ${show(at.x)}`, batches: [batch], severity: terminal ? 'failure' : 'warning' };
    }
    return null;
  },
};

/** Which of the columns `of` an input of row 0 reach which tokens of it, [t][s]; null where it cannot be told. */
export function reachOf(subject: Subject, batch: Batch, input: 'rewards' | 'values'): boolean[][] | null {
  const base = subject.run(batch);
  const time = batch.tokens.masks[0].length;
  if (base.error !== null) return null;
  const reach = range(time).map(() => new Array<boolean>(time).fill(false));
  for (let s = 0; s < time; s++) {
    const changed = subject.run(withTokens(batch, input, batch.tokens[input].map((row, b) => row.map((x, t) => (b === 0 && t === s ? x + 1 : x)))));
    if (changed.error !== null) return null;
    // Whitening moves and stretches all tokens alike. How, the other rows tell.
    const others = base.advantages.slice(1).flatMap((row, i) => row.map((x, t): [number, number] => [x, changed.advantages[i + 1][t]])).sort((p, q) => p[0] - q[0]);
    const [low, high] = [others[0], others.at(-1)!];
    const stretch = high[0] - low[0] > 1e-6 ? (high[1] - low[1]) / (high[0] - low[0]) : 1;
    const expected = (x: number) => low[1] + stretch * (x - low[0]);
    if (others.some(([x, y]) => Math.abs(expected(x) - y) > 1e-6)) return null;
    for (let t = 0; t < time; t++) reach[t][s] = Math.abs(expected(base.advantages[0][t]) - changed.advantages[0][t]) > 1e-6;
  }
  return reach;
}

function judged(reach: boolean[][], input: 'rewards' | 'values'): Omit<Violation, 'batches'> | null {
  const time = reach.length;
  const pairs = range(time).flatMap((t) => range(time).map((s) => ({ t, s, is: reach[t][s] })));
  const [past, future] = [pairs.filter(({ t, s }) => s < t), pairs.filter(({ t, s }) => s > t)];
  const [somePast, someFuture] = [past.some(({ is }) => is), future.some(({ is }) => is)];
  const seen = `${input} that reach each token: ${reach.map((row, t) => `${t} ← ${row.flatMap((is, s) => (is ? [s] : [])).join(' ') || 'none'}`).join(', ')}`;
  if (past.every(({ is }) => is) && !someFuture) return { cause: 'time-reversed', seen, severity: 'warning' };
  if (somePast && !past.every(({ is }) => is)) return { cause: 'off-by-one', seen, severity: 'warning' };
  if (input === 'rewards' && someFuture && !somePast && range(time).every((t) => !reach[t][t])) return { cause: 'own-reward-missing', seen, severity: 'warning' };
  // Of an estimator that looks at no reward of a token, such as one of components, this says nothing.
  if (input === 'rewards' && pairs.some(({ is }) => is)) {
    if ([0, time - 1].some((t) => !reach[t].includes(true)) && reach.some((row, t) => row[t])) return { cause: 'token-left-out', seen, severity: 'warning' };
    if (range(time).some((s) => reach.every((row) => !row[s]))) return { cause: 'reward-ignored', seen, severity: 'warning' };
  }
  return null;
}

export const causality: Property = {
  id: 'causality',
  title: 'A token gets credit for what comes after it (or its row as a whole), not for what came before',
  after: ['padding', 'row-order'],
  once: true,
  skip: ({ requires, declared }) => (requires.includes('turnIds') ? 'tokens of a turn share its return' : declared.rewardRange ? 'rewards have a range' : null),
  judge(subject, _, random) {
    const rows = Math.max(3, subject.declared.smallestGroup ?? 1);
    const drawn = withoutEnds(drawBatch(random, { rows: 1, columns: 1, masks: 'none', emptyRows: false, undiscounted: true }, subject.inputs, subject.declared));
    const one = { ...drawn, groupIds: range(rows).map(() => 'prompt'), rows: Object.fromEntries(Object.entries(drawn.rows).map(([name, [x]]) => [name, range(rows).map(() => x)])) };
    const number = (name: string, b: number, t: number, x: number) => (name === 'rewards' ? ((7 * b + 3 * t) % 11) / 4 : name === 'values' ? ((5 * b + 2 * t) % 7) / 8 : x);
    const grids = mapTokens(
      { ...one, components: drawn.components && range(rows).map((b) => [b / 2, b / 4]) },
      (grid, name) => range(rows).map((b) => range(5).map((t) => number(name, b, t, grid[0][0]))),
    );
    // λ below 1 shows where each value stands; γλ = ½ hides nothing.
    const batch = { ...grids, lambda: 0.5 };
    for (const input of ['rewards', 'values'] as const) {
      const reach = batch.tokens[input] ? reachOf(subject, batch, input) : null;
      const violation = reach && judged(reach, input);
      if (violation) return { ...violation, batches: [batch] };
    }
    return null;
  },
};
