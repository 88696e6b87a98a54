/** One call beside another one: state, chance, inputs, memory, devices. */
import { computeAdvantages, type AdvantageContext, type AdvantageInputs } from '../../advantages';
import { thrownText } from '../../frames';
import { deviceInfo, memory, Tensor, tidy } from '../../tensor';
import { mapTokens, pad, sizeOf, type Batch } from '../batch';
import { agree, difference, disagreement } from '../compare';
import type { Property, Violation } from '../property';
import { errorText, tensorsOf, type Outcome, type Subject } from '../subject';

/** Columns of padding. */
const UNUSUAL = 29;

const another = (batch: Batch): Batch => mapTokens(batch, (grid, name) => (name === 'rewards' ? grid.map((row) => [...row].reverse().map((x) => x / 2)) : grid));

export const uncached: Property = {
  id: 'uncached',
  title: 'A batch has its own numbers, whatever batch of its shape came before',
  once: true,
  judge(subject, batch) {
    // Widths that no other property has, so that the first batch of a shape is known to be the first.
    const columns = sizeOf(batch)[1];
    const [one, two] = [batch, another(batch)].map((each) => pad(each, 0, UNUSUAL));
    const [first, second] = [subject.compute(one), subject.compute(two)];
    if (first.error !== null || second.error !== null || disagreement(first, second, { tolerance: 0 })) return null;
    const cut = (
      outcome: Outcome,
    ): Outcome => (outcome.error === null ? { ...outcome, advantages: outcome.advantages.map((row) => row.slice(0, columns)), returns: outcome.returns.map((row) => row.slice(0, columns)) } : outcome);
    const alone = pad(another(batch), 0, UNUSUAL + 1);
    const seen = disagreement(cut(subject.compute(alone)), cut(second));
    return seen ? { cause: 'stale-cache', seen: `in another shape, and behind another batch of its shape: ${seen}`, batches: [one, two, alone] } : null;
  },
};

export const repeated: Property = {
  id: 'repeated',
  title: 'The same batch gives the same numbers: by a new instance, and by one that was used, unless saveState gives what it carries',
  judge(subject, batch) {
    const first = subject.run(batch);
    const chance = disagreement(first, subject.compute(batch), { tolerance: 0 });
    if (chance) return { cause: 'randomness', seen: chance, batches: [batch, batch] };
    if (first.error !== null) return null;
    const used = subject.create();
    const between = subject.run(another(batch), { instance: used });
    const again = subject.run(batch, { instance: used });
    if (again.error !== null) return between.error === null ? { cause: 'state-disposed', seen: again.error, batches: [another(batch), batch], how: 'same-instance' } : null;
    if (stateOf(used) !== null) return null;
    const seen = disagreement(first, again, { tolerance: 0 });
    return seen ? { cause: 'state-carried', seen: `after another batch ${seen}`, batches: [another(batch), batch], how: 'same-instance' } : null;
  },
};

const stateOf = (instance: ReturnType<Subject['create']>) => instance.saveState?.() ?? null;

export const resumed: Property = {
  id: 'resumed',
  title: 'State that was saved, written as JSON and restored goes on as the one that was not interrupted',
  after: ['repeated'],
  judge(subject, batch) {
    const [whole, later] = [subject.create(), subject.create()];
    if (subject.run(batch, { instance: whole }).error !== null) return null;
    const state = stateOf(whole);
    if (state === null) return null;
    const fault = (seen: string, hint?: string): Violation => ({ cause: 'state-not-restored', seen, ...(hint && { hint }), batches: [batch, another(batch), batch], how: 'resumed' });
    const saved = JSON.stringify(state);
    try {
      later.restoreState(JSON.parse(saved) as typeof state);
    } catch (error) {
      return fault(`restoreState: ${thrownText(error, 'judge')}`);
    }
    for (const next of [another(batch), batch]) {
      const seen = disagreement(subject.run(next, { instance: whole }), subject.run(next, { instance: later }), { tolerance: 0 });
      if (seen) return fault(`not interrupted and resumed: ${seen}`);
    }
    const now = JSON.stringify(state);
    return saved === now ? null : fault(`what saveState gave is ${saved}, and after two more batches ${now}`, 'saveState gives the object that goes on changing: copy it');
  },
};

export const untouched: Property = {
  id: 'inputs-untouched',
  title: 'Inputs and context are as they were: tensors, typed arrays, group ids',
  tries: 12,
  judge(subject, batch) {
    for (const dtype of ['float64', 'float32'] as const) {
      const seen = tidy(() => whatChanges(subject, batch, dtype));
      if (seen) return { cause: 'inputs-changed', seen, batches: [batch], how: 'same-inputs' };
    }
    return null;
  },
};

/** What two calls with the same inputs leave behind in them. */
function whatChanges(subject: Subject, batch: Batch, dtype: 'float64' | 'float32'): string | null {
  const ids = Int32Array.from(batch.groupIds, (id) => [...new Set(batch.groupIds)].indexOf(id));
  const inputs = { ...tensorsOf(batch, { dtype }), groupIds: ids } as unknown as AdvantageInputs;
  const tensors = Object.entries(inputs).filter((entry): entry is [string, Tensor] => entry[1] instanceof Tensor);
  const before = new Map(tensors.map(([name, array]) => [name, Array.from(array.realize().dataSync())]));
  const [idsBefore, instance] = [Array.from(ids), subject.create()];
  let ofContext: string | null = null;
  const inner = instance.computeAdvantages.bind(instance);
  instance.computeAdvantages = (rewards, values, masks, context) => {
    const [entries, names] = [{ ...context }, [...(context.groups?.ids ?? [])]];
    const result = inner(rewards, values, masks, context);
    ofContext ??= contextChange(entries, names, context);
    return result;
  };
  let error: string | null = null;
  try {
    const { gamma, lambda } = batch;
    for (let call = 0; call < 2; call++) computeAdvantages(instance, inputs, { gamma, lambda });
  } catch (thrown) {
    error = errorText(thrown);
  }
  for (const [name, array] of tensors) {
    if (array.isDisposed) return `${name} is disposed${error ? `: ${error}` : ''}`;
    try {
      if (difference([before.get(name)!], [Array.from(array.dataSync())], 0)) return `${name} holds other numbers than before the call`;
    } catch (thrown) {
      return `${name} cannot be read any more: ${(thrown as Error).message}`;
    }
  }
  if (idsBefore.some((id, row) => id !== ids[row])) return 'groupIds are other ones than before the call';
  return ofContext;
}

function contextChange(before: Partial<AdvantageContext>, ids: readonly unknown[], after: AdvantageContext): string | null {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])] as (keyof AdvantageContext)[];
  const changed = keys.find((key) => !Object.is(before[key], after[key]));
  if (changed !== undefined) return `context.${changed} is another one than before the call`;
  const now: readonly unknown[] = after.groups?.ids ?? [];
  if (now.length !== ids.length || now.some((id, group) => id !== ids[group])) return 'context.groups.ids are other ones than before the call';
  if (after.groups && (after.groups.index.isDisposed || after.groups.sizes.isDisposed)) return 'context.groups is disposed';
  return null;
}

export const leaks: Property = {
  id: 'memory',
  title: 'A call leaves no tensor behind, but those that replace others',
  after: ['repeated'],
  once: true,
  judge(subject, batch) {
    const instance = subject.create();
    const count = () => {
      subject.run(batch, { instance });
      return memory().tensors;
    };
    // State settles in the first calls; the collector can only make the counts smaller.
    for (let k = 0; k < 3; k++) if (subject.run(batch, { instance }).error !== null) return null;
    const counts = [count(), count(), count(), count()];
    const grows = counts.every((n, k) => k === 0 || n > counts[k - 1]);
    return grows ? { cause: 'tensors-leaked', seen: `${counts.at(-1)! - counts[0]} tensors more after three calls`, how: 'leak', batches: [batch] } : null;
  },
};

export const onDevices: Property = {
  id: 'devices',
  title: 'A GPU gives what the CPU gives',
  after: ['float32', 'repeated'],
  skip: () => (deviceInfo('cuda').available ? null : 'there is no GPU'),
  judge(subject, batch) {
    const [cpu, cuda] = (['cpu', 'cuda'] as const).map((device) => subject.run(batch, { device, dtype: 'float32' }));
    const seen = agree(cpu, cuda, { tolerance: 1e-4 }) ? null : disagreement(cpu, cuda, { tolerance: 1e-4 });
    return seen ? { cause: 'device', seen: `on the CPU and on the GPU: ${seen}`, how: 'devices', batches: [batch] } : null;
  },
};
