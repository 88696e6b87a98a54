/** The estimator that is checked: how it is made, what it declares, and what it gives for a batch. */
import { computeAdvantages, createAdvantageEstimator, getAdvantageEstimator } from '../advantages';
import type { AdvantageEstimator, AdvantageEstimatorClass, AdvantageInput, AdvantageInputs, AdvantageResult, EstimatorDeclaration, PackedAdvantageInputs } from '../advantages';
import { declarationOf } from '../advantages/registry';
import { VantageError } from '../errors';
import { thrownText } from '../frames';
import { Tensor, tensor, tidy, type Device } from '../tensor';
import { isWhole, type Batch, type Grid } from './batch';

/** What an estimator gave, or why it gave nothing. */
export type Outcome = { advantages: Grid; returns: Grid; error: null } | { advantages: null; returns: null; error: string };

/** How a batch is computed. */
export interface RunSettings {
  /** Default: a new one. */
  instance?: AdvantageEstimator;
  /** Of all inputs that are no whole numbers. Default float64. */
  dtype?: 'float32' | 'float64';
  device?: Device;
  /** Rows one after the other, without what lies behind their last valid token. */
  packed?: boolean;
}

/** Inputs that a training run has. An estimator that does not say what it reads may look at them. */
const usual: readonly AdvantageInput[] = ['groupIds', 'values', 'oldLogProbs', 'refLogProbs', 'rolloutLogProbs'];

export class Subject {
  readonly Class: AdvantageEstimatorClass;
  readonly options: Readonly<Record<string, unknown>>;
  readonly declared: EstimatorDeclaration;
  /** Whether the class itself declares something. */
  readonly isDeclared: boolean;
  readonly requires: readonly AdvantageInput[];
  /** What the class itself says to read, beside what it requires; null where it says nothing. */
  readonly reads: readonly string[] | null;
  /** Inputs that runs usually have, and that it does not say to read. */
  readonly undeclared: readonly AdvantageInput[];
  /** What it gets: all that it requires or reads. */
  readonly inputs: readonly AdvantageInput[];
  readonly scope: 'row' | 'group' | 'batch';

  constructor(readonly estimator: string | AdvantageEstimatorClass, readonly name: string, readonly given: Readonly<Record<string, unknown>>, override: EstimatorDeclaration) {
    this.Class = typeof estimator === 'string' ? getAdvantageEstimator(estimator) : estimator;
    const instance = this.create();
    this.options = instance.options ?? {};
    const declares = declarationOf(this.Class, this.options);
    this.isDeclared = declares !== undefined || Object.keys(override).length > 0;
    this.declared = { ...declares, ...override };
    this.scope = this.declared.scope ?? 'batch';
    this.requires = this.Class.requires ?? [];
    // What a class says holds for it alone, not for those that extend it.
    const { reads: own } = Object.hasOwn(this.Class, 'reads') ? this.Class : {};
    this.reads = (typeof own === 'function' ? own(this.options) : own) ?? null;
    const reads = (this.reads ?? usual).filter((name): name is AdvantageInput => name !== 'gamma' && name !== 'lambda');
    this.inputs = [...new Set([...this.requires, ...reads])];
    this.undeclared = usual.filter((name) => !this.inputs.includes(name));
  }

  create(): AdvantageEstimator {
    return typeof this.estimator === 'string' ? createAdvantageEstimator(this.estimator, this.given) : new this.estimator({ ...this.estimator.options, ...this.given });
  }

  /** What a new instance gives for a batch in float64 is computed once: many properties begin with it. */
  private readonly known = new WeakMap<Batch, Outcome>();

  run(batch: Batch, settings: RunSettings = {}): Outcome {
    if (Object.keys(settings).length > 0) return this.compute(batch, settings);
    let outcome = this.known.get(batch);
    if (outcome === undefined) this.known.set(batch, outcome = this.compute(batch, {}));
    return outcome;
  }

  private readonly batches = new Map<string, Batch>();

  /** A batch that several properties begin with. */
  drawn(key: string, draw: () => Batch): Batch {
    let batch = this.batches.get(key);
    if (batch === undefined) this.batches.set(key, batch = draw());
    return batch;
  }

  /** {@link run}, computed anew. */
  compute(batch: Batch, settings: RunSettings = {}): Outcome {
    const { gamma, lambda } = batch;
    const instance = settings.instance ?? this.create();
    try {
      return tidy(() => {
        const inputs = settings.packed ? packedInputs(batch, settings) : tensorsOf(batch, settings);
        const { advantages, returns } = computeAdvantages(instance, inputs, { gamma, lambda });
        const offsets = settings.packed ? packing(batch).offsets : null;
        return { advantages: gridOf(advantages, offsets, batch), returns: gridOf(returns, offsets, batch), error: null };
      });
    } catch (error) {
      return { advantages: null, returns: null, error: errorText(error) };
    }
  }

  /** What computeAdvantages of the class itself returns, before masked positions are set to 0: null where it threw, or returned something else. */
  raw(batch: Batch): { advantages: Grid; returns: Grid; leavesZeros: boolean } | null {
    const instance = this.create();
    let raw: { advantages: Grid; returns: Grid } | null = null;
    const inner = instance.computeAdvantages.bind(instance);
    instance.computeAdvantages = (...args) => {
      const result = inner(...args);
      const parts: AdvantageResult = result instanceof Tensor ? { advantages: result } : result;
      raw = { advantages: parts.advantages.toArray() as Grid, returns: (parts.returns ?? parts.advantages).toArray() as Grid };
      return result;
    };
    if (this.run(batch, { instance }).error !== null) return null;
    return raw && { ...(raw as { advantages: Grid; returns: Grid }), leavesZeros: instance.leavesZeros };
  }
}

/** What the library says of an estimator names the place already; anything else was thrown by code that `attempt` of advantages/compute.ts runs. */
export const errorText = (error: unknown): string => (error instanceof VantageError ? error.message : thrownText(error, 'attempt'));

const named = (batch: Batch, make: (name: string, grid: Grid) => Tensor): Record<string, Tensor> => Object.fromEntries(Object.entries(batch.tokens).map(([name, grid]) => [name, make(name, grid)]));

/** The batch as inputs of `computeAdvantages`. */
export function tensorsOf(batch: Batch, { dtype = 'float64', device }: RunSettings = {}): AdvantageInputs {
  const shape = [batch.groupIds.length, batch.tokens.masks[0]?.length ?? 0];
  return given(batch, { ...named(batch, (name, grid) => tensor(arrayOf(name, grid.flat(), dtype), { shape, device })), ...perRow(batch, dtype, device) }) as unknown as AdvantageInputs;
}

/** Without what is left out. */
const given = ({ omitted = [] }: Batch, inputs: Record<string, unknown>): Record<string, unknown> => Object.fromEntries(Object.entries(inputs).filter(([name]) => !omitted.includes(name)));

/** Numbers of an input as a typed array of the type that they have. */
export function arrayOf(name: string, numbers: readonly number[], dtype: 'float32' | 'float64'): Int32Array | Uint8Array | Float32Array | Float64Array {
  if (name.endsWith('Ids')) return Int32Array.from(numbers);
  if (isWhole(name)) return Uint8Array.from(numbers);
  return dtype === 'float32' ? Float32Array.from(numbers) : Float64Array.from(numbers);
}

function perRow(batch: Batch, dtype: 'float32' | 'float64', device?: Device): Record<string, unknown> {
  const rows = Object.entries(batch.rows).map(([name, list]) => [name, tensor(arrayOf(name, list, dtype), { device })] as const);
  const components = batch.components && tensor(arrayOf('', batch.components.flat(), dtype), { shape: [batch.components.length, batch.components[0]?.length ?? 0], device });
  return { ...Object.fromEntries(rows), groupIds: [...batch.groupIds], ...(components && { rewardComponents: components }) };
}

/** The tokens of each row up to its last valid one. */
function packing(batch: Batch): { lengths: number[]; offsets: Int32Array } {
  const lengths = batch.tokens.masks.map((row) => row.lastIndexOf(1) + 1);
  const offsets = new Int32Array(lengths.length + 1);
  for (const [row, length] of lengths.entries()) offsets[row + 1] = offsets[row] + length;
  return { lengths, offsets };
}

function packedInputs(batch: Batch, { dtype = 'float64', device }: RunSettings): PackedAdvantageInputs {
  const { lengths, offsets } = packing(batch);
  const tokens = named(batch, (name, grid) => tensor(arrayOf(name, grid.flatMap((row, b) => row.slice(0, lengths[b])), dtype), { device }));
  return given(batch, { ...tokens, ...perRow(batch, dtype, device), rowOffsets: offsets }) as unknown as PackedAdvantageInputs;
}

function gridOf(array: Tensor, offsets: Int32Array | null, { tokens: { masks } }: Batch): Grid {
  if (!offsets) return array.toArray() as Grid;
  const numbers = Array.from(array.dataSync());
  return masks.map((row, b) => {
    const own = numbers.slice(offsets[b], offsets[b + 1]);
    return row.map((_, t) => own[t] ?? 0);
  });
}
