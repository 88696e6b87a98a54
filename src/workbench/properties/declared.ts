/** Inputs beside what the class says of them: `static requires` and `static reads`. */
import { drawBatch, sizeOf, withTokens, type Batch } from '../batch';
import { disagreement } from '../compare';
import { range, type Property } from '../property';
import type { Outcome } from '../subject';

export const requiredInputs: Property = {
  id: 'required-inputs',
  title: 'It works with rewards, masks and what it requires: other inputs may be missing',
  tries: 3,
  shape: { emptyRows: false },
  skip: ({ inputs, requires }) => (inputs.every((name) => requires.includes(name)) ? 'it reads what it requires alone' : null),
  judge(subject, batch) {
    const missing = subject.inputs.filter((name) => !subject.requires.includes(name));
    const bare = { ...batch, omitted: missing };
    const { error } = subject.run(bare);
    if (error === null || subject.run(batch).error !== null) return null;
    // The one that it cannot do without.
    const name = missing.find((each) => subject.run({ ...batch, omitted: missing.filter((other) => other !== each) }).error === null);
    return { cause: 'undeclared-input', seen: `without ${name ?? missing.join(', ')}: ${error}`, ...(name && { hint: `static requires = ['${name}']` }), batches: [bare] };
  },
};

const TRIES = 6;
const flags: readonly string[] = ['terminated', 'truncated'];

/** Batches that differ in a single input, all from the first. */
function changesOf(batch: Batch, name: string): Batch[] {
  const [rows] = sizeOf(batch);
  // What γ counts may show at λ < 1 only, and the other way round.
  if (name === 'gamma' || name === 'lambda') return [1, 0.5, 0.25].map((value) => ({ ...batch, gamma: 0.5, lambda: 0.5, [name]: value }));
  if (name === 'groupIds')
    return [batch.groupIds, range(rows).map(() => 'one'), range(rows).map((row) => `own ${row}`), range(rows).map((row) => `half ${row % 2}`)].map((groupIds) => ({ ...batch, groupIds }));
  if (name === 'rewardComponents') return [batch, { ...batch, components: batch.components && batch.components.map((row, b) => row.map((x, k) => x + ((b + k) % 3))) }];
  const other = (x: number, b: number, t: number): number => (flags.includes(name) ? 1 - x : name.endsWith('Ids') ? (b + t) % 2 : x / 2 - ((3 * b + 5 * t) % 7) / 8);
  if (Object.hasOwn(batch.rows, name)) return [batch, { ...batch, rows: { ...batch.rows, [name]: batch.rows[name].map((x, b) => other(x, b, 0)) } }];
  return Object.hasOwn(batch.tokens, name) ? [batch, withTokens(batch, name, batch.tokens[name].map((row, b) => row.map((x, t) => other(x, b, t))))] : [batch];
}

export const inputsUsed: Property = {
  id: 'inputs-used',
  title: 'Every input that it requires changes something, and so do γ and λ where it says to read them',
  after: ['repeated', 'scope'],
  once: true,
  judge(subject, _, random) {
    // Optional inputs may be read under other options than these.
    const reads = (subject.reads ?? []).filter((name) => name === 'gamma' || name === 'lambda');
    // What matters may do so from the second batch on.
    const second = (first: Batch, batch: Batch): Outcome => {
      const instance = subject.create();
      subject.run(first, { instance });
      return subject.run(batch, { instance });
    };
    const batches = range(TRIES).map(() => drawBatch(random, { rows: 6, columns: 6, masks: 'none', emptyRows: false }, subject.inputs, subject.declared));
    const idle = [...subject.requires, ...reads].filter((name) =>
      batches.every((batch) => {
        const [plain, ...changed] = changesOf(batch, name);
        const base = second(batches[0], plain);
        return base.error === null && changed.every((each) => disagreement(base, second(batches[0], each), { tolerance: 0 }) === null);
      })
    );
    if (idle.length === 0) return null;
    const batch = batches[0];
    const required = idle.some((name) => subject.requires.includes(name as never));
    return { cause: 'input-unused', seen: `other numbers in ${idle.join(', ')} change nothing`, batches: changesOf(batch, idle[0]), severity: required ? 'failure' : 'warning' };
  },
};

export const readsDeclared: Property = {
  id: 'reads',
  title: 'What static reads does not name changes nothing',
  after: ['repeated'],
  shape: { emptyRows: false },
  skip: ({ reads }) => (reads === null ? 'no static reads: it may read everything' : null),
  judge(subject, batch) {
    const base = subject.run(batch);
    for (const name of ['gamma', 'lambda'] as const) {
      if (subject.reads!.includes(name)) continue;
      const [plain, ...changed] = changesOf(batch, name);
      for (const other of changed) {
        const seen = disagreement(subject.run(plain), subject.run(other));
        if (seen) return { cause: 'undeclared-read', seen: `with another ${name} ${seen}`, hint: `static reads = ['${name}']`, batches: [plain, other] };
      }
    }
    const more = subject.undeclared.filter((name) => name !== 'groupIds');
    const others = [withMore(batch, more), ...(subject.inputs.includes('groupIds') ? [] : [{ ...batch, omitted: ['groupIds'] }])];
    for (const [k, other] of others.entries()) {
      const seen = disagreement(base, subject.run(other));
      if (seen) return { cause: 'undeclared-read', seen: `${k === 0 ? `with ${more.join(', ')}` : 'without groupIds'} ${seen}`, batches: [batch, other] };
    }
    return null;
  },
};

/** The batch with inputs of tokens that nobody asked for. */
function withMore(batch: Batch, names: readonly string[]): Batch {
  const grids = names.map((name) => [name, batch.tokens.masks.map((row, b) => row.map((_, t) => (name === 'values' ? ((3 * b + 5 * t) % 7) / 8 : -((2 * b + 3 * t) % 5) / 4)))] as const);
  return { ...batch, tokens: { ...batch.tokens, ...Object.fromEntries(grids) } };
}
