/** One call beside another one: state, chance, inputs, memory, devices. */
import { computeAdvantages, type AdvantageInputs } from '../../advantages';
import { deviceInfo, memory, tensor, Tensor, tidy } from '../../tensor';
import { mapTokens, type Batch } from '../batch';
import { agree, difference, disagreement } from '../compare';
import type { Property, Violation } from '../property';
import { arrayOf, tensorsOf, type Subject } from '../subject';

const another = (batch: Batch): Batch => mapTokens(batch, (grid, name) => (name === 'rewards' ? grid.map((row) => [...row].reverse().map((x) => x / 2)) : grid));

export const repeated: Property = {
  id: 'repeated',
  title: 'The same batch gives the same numbers: by a new instance, and by one that was used, unless saveState gives what it carries',
  judge(subject, batch) {
    const used = subject.create();
    const first = subject.run(batch, { instance: used });
    const fresh = subject.run(batch);
    const chance = disagreement(first, fresh, { tolerance: 0 });
    if (chance) return { cause: 'randomness', seen: chance, batches: [batch] };
    if (first.error !== null) return null;
    const between = subject.run(another(batch), { instance: used });
    const again = subject.run(batch, { instance: used });
    const failure = between.error ?? again.error;
    if (failure !== null) return subject.run(another(batch)).error === null ? { cause: 'state-disposed', seen: failure, batches: [batch, another(batch)], how: 'same-instance' } : null;
    if (stateOf(used) !== null) return null;
    const seen = disagreement(first, again, { tolerance: 0 });
    return seen ? { cause: 'state-carried', seen: `after another batch ${seen}`, batches: [batch, another(batch), batch], how: 'same-instance' } : null;
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
    const fault = (seen: string): Violation => ({ cause: 'state-not-restored', seen, batches: [batch, another(batch)], how: 'same-instance' });
    try {
      later.restoreState(JSON.parse(JSON.stringify(state)) as typeof state);
    } catch (error) {
      return fault(`restoreState: ${error instanceof Error ? error.message : String(error)}`);
    }
    for (const next of [another(batch), batch]) {
      const seen = disagreement(subject.run(next, { instance: whole }), subject.run(next, { instance: later }), { tolerance: 0 });
      if (seen) return fault(`not interrupted and resumed: ${seen}`);
    }
    return null;
  },
};

export const untouched: Property = {
  id: 'inputs-untouched',
  title: 'Inputs are as they were: tensors, typed arrays and group ids',
  judge(subject, batch) {
    return tidy(() => {
      const arrays = Object.fromEntries(Object.entries(batch.tokens).map(([name, grid]) => [name, arrayOf(name, grid.flat(), 'float64')]));
      const ids = Int32Array.from(batch.groupIds, (id) => [...new Set(batch.groupIds)].indexOf(id));
      const shape = [batch.groupIds.length, batch.tokens.masks[0]?.length ?? 0];
      const tensors = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, tensor(array, { shape }).realize()]));
      const inputs = { ...tensorsOf(batch), ...tensors, groupIds: ids } as unknown as AdvantageInputs;
      const copies = { arrays: structuredClone(arrays), ids: ids.slice() };
      const instance = subject.create();
      const { gamma, lambda } = batch;
      try {
        computeAdvantages(instance, inputs, { gamma, lambda });
        computeAdvantages(instance, inputs, { gamma, lambda });
      } catch (error) {
        const gone = Object.entries(inputs).find(([, value]) => value instanceof Tensor && value.isDisposed);
        return gone ? { cause: 'inputs-changed', seen: `${gone[0]} is disposed: ${(error as Error).message}` } : null;
      }
      for (const [name, value] of Object.entries(inputs) as [string, unknown][]) {
        if (value instanceof Tensor && value.isDisposed) return { cause: 'inputs-changed', seen: `${name} is disposed` };
      }
      for (const name of Object.keys(arrays)) {
        const [before, now, given] = [copies.arrays[name], tensors[name].dataSync(), arrays[name]].map((array) => [Array.from(array)]);
        if (difference(before, now, 0) ?? difference(before, given, 0)) return { cause: 'inputs-changed', seen: `${name} holds other numbers than before the call` };
      }
      return difference([Array.from(copies.ids)], [Array.from(ids)], 0) ? { cause: 'inputs-changed', seen: 'groupIds are other ones than before the call' } : null;
    });
  },
};

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
    return grows ? { cause: 'tensors-leaked', seen: `${counts.at(-1)! - counts[0]} tensors more after three calls`, how: 'same-instance', batches: [batch, batch] } : null;
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
    return seen ? { cause: 'device', seen: `on the CPU and on the GPU: ${seen}`, how: 'float32' } : null;
  },
};
