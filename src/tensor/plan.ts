/**
 * Evaluates graphs: looks up or writes the plan for a graph's structure (native/core/plan.h), binds its buffers and numbers, and runs it in one call.
 *
 * A plan depends on the structure alone (operations, shapes, dtypes, which inputs are the same array and which numbers are equal), not on the
 * numbers: a training step finds its plan again each time.
 */
import { TensorError } from '../errors';
import { callNative, native, nativeDescription } from '../native';
import { aliasOf, bind, pinned, writtenBuffer, type Binding } from './binding';
import { dtypes, type DType } from './dtype';
import { distinct, release, retain, windowOf, type Node, type ReduceOp } from './graph';
import { defaultDevice, DeviceBuffer, devices, type Device } from './memory';
import { mergeEqual } from './merge';
import { ProgramWriter, type Place, type PlanContext } from './program';
import { Scheduler } from './schedule';
import { contiguousStrides, formatShape, sameShape, sizeOf } from './shape';
import { Words } from './structure';

interface Plan {
  id: number;
  hash: number;
  key: Int32Array;
  /** The arguments of a run, written anew for each: ids of the buffers (arrays, then results), and the graph's numbers. The scalars that belong to the plan follow. */
  ids: Int32Array;
  scalars: Float64Array;
}

const ALIGNMENT = 64;
const MAX_PLANS = 1024;
const plans = new Map<number, Plan[]>();
const order: Plan[] = [];
/** The structure of the graph that is looked up. */
const key = new Words();

/** Evaluates nodes together (those of each device), each operation once; they hold their results in memory afterwards. */
export function realize(requested: readonly Node[]): void {
  const wanted = unevaluated(requested);
  if (wanted.length === 0) return;
  const device = deviceOf(wanted[0]!);
  if (wanted.every((node) => deviceOf(node) === device)) return realizeOn(device, wanted);
  for (const each of devices) realizeOn(each, wanted.filter((node) => deviceOf(node) === each));
}

function deviceOf(node: Node): Device {
  return node.device ?? defaultDevice();
}

function realizeOn(device: Device, wanted: Node[]): void {
  if (wanted.length === 0) return;
  const binding = bind(wanted, device, key);
  const { roots, leaves, scalars, writes } = binding;
  const plan = lookUp(binding, device);
  const results: DeviceBuffer[] = [];
  try {
    for (const root of roots) results.push(writtenBuffer(root) ?? new DeviceBuffer(device, root.size * dtypes[root.dtype].bytes));
    for (let i = 0; i < leaves.length; i++) plan.ids[i] = leaves[i]!.id;
    for (let i = 0; i < results.length; i++) plan.ids[leaves.length + i] = results[i]!.id;
    for (let i = 0; i < scalars.length; i++) plan.scalars[i] = scalars[i]!;
    callNative((addon) => addon.execute(plan.id, plan.ids, plan.scalars));
  } catch (error) {
    for (const buffer of results) {
      buffer.retain();
      buffer.release();
    }
    throw error;
  }
  const versions = writes.length > 0 ? versionsWritten(writes) : null;
  for (const root of roots) retain(root);
  roots.forEach((root, i) => root.become(results[i]!, versions?.get(root)));
  for (const root of roots) release(root);
}

/** The version of its array that each write leaves: of several writes to one array only the last one's result stands for what it holds now. */
function versionsWritten(writes: readonly Node[]): Map<Node, number> {
  const versions = new Map<Node, number>();
  for (const node of writes) {
    const buffer = writtenBuffer(node);
    if (buffer) versions.set(node, ++buffer.version);
  }
  return versions;
}

/** The arrays behind nodes that are not in memory yet, each once. */
function unevaluated(nodes: readonly Node[]): Node[] {
  const found: Node[] = [];
  for (const node of nodes) {
    const base = node.op === 'view' ? node.inputs[0]! : node;
    if (base.op !== 'buffer') found.push(base);
  }
  return found.length > 1 ? distinct(found) : found;
}

/** The programs and kernels that an evaluation of the nodes would run, as text. */
export function explainNodes(nodes: readonly Node[]): string {
  const roots = unevaluated(nodes);
  if (roots.length === 0) return 'in memory: nothing to run';
  return devices.flatMap((device) => {
    const here = roots.filter((node) => deviceOf(node) === device);
    if (here.length === 0) return [];
    const writer = new PlanWriter(bind(here, device, key));
    writer.write();
    return writer.steps;
  }).join('\n');
}

/** What a reduction of no elements is. */
function ofNothing(reduction: ReduceOp, dtype: DType): number {
  const [lowest, highest] = dtypes[dtype].bounds;
  return { sum: 0, product: 1, maximum: lowest, minimum: highest, spread: 0 }[reduction];
}

/** What the addon takes of elements of one array (native/core/read_plan.cpp). */
const MOST_ELEMENTS = 2 ** 40;

/** An array of any size may be described; that it cannot be had shows when it is asked for. */
function checkSizes(nodes: readonly Node[]): void {
  for (const { size, dtype, shape } of nodes) {
    if (size <= MOST_ELEMENTS) continue;
    throw new TensorError(`an array ${dtype} ${formatShape(shape)} takes ${size * dtypes[dtype].bytes} bytes, more than can be addressed: expected at most ${MOST_ELEMENTS} elements, got ${size}`);
  }
}

/** The plan for what was bound last, whose structure is in `key`. */
function lookUp(binding: Binding, device: Device): Plan {
  const hash = key.hash();
  const alike = plans.get(hash);
  if (alike) { for (const plan of alike) if (key.equals(plan.key)) return plan; }
  checkSizes(binding.nodes);
  const writer = new PlanWriter(binding);
  const words = writer.write();
  const { leaves, roots, scalars } = binding;
  const plan = {
    id: callNative((addon) => addon.createPlan(device, words)),
    hash,
    key: key.copy(),
    ids: new Int32Array(leaves.length + roots.length),
    scalars: Float64Array.from([...scalars, ...writer.fixedScalars]),
  };
  plans.set(hash, [...(alike ?? []), plan]);
  order.push(plan);
  if (order.length > MAX_PLANS) {
    const oldest = order.shift()!;
    native().destroyPlan(oldest.id);
    plans.set(oldest.hash, plans.get(oldest.hash)!.filter((kept) => kept !== oldest));
  }
  return plan;
}

interface Slot {
  bytes: number;
  external: boolean;
  first: number;
  last: number;
  offset: number;
  /** The slot whose memory it takes over. */
  after?: Slot;
}

class PlanWriter implements PlanContext {
  readonly nodes: readonly Node[];
  private readonly roots: readonly Node[];
  readonly fixedScalars: number[] = [];
  /** One text for each step, for explain(). */
  readonly steps: string[] = [];
  private readonly slots: Slot[] = [];
  private readonly slotOfNode = new Map<string, number>();
  /** What the binding knows the leaves, constants and kernels by. */
  private readonly numbers = new Map<Node, number>();
  private readonly index = new Map<Node, number>();
  private step = 0;
  /** Results of kernels, and the inputs whose memory they may take over. */
  private readonly takeovers: { result: Slot; input: Slot }[] = [];

  constructor(private readonly bound: Binding) {
    const { nodes, standsFor } = mergeEqual(bound.nodes, bound.roots, bound.numbers);
    this.nodes = nodes;
    this.roots = bound.roots.map((root) => standsFor.get(root)!);
    this.nodes.forEach((node, i) => this.index.set(node, i));
    bound.nodes.forEach((node, i) => this.numbers.set(standsFor.get(node)!, bound.numbers[i]!));
    for (const buffer of bound.leaves) this.newSlot(buffer.bytes, true);
    for (const root of this.roots) this.slotOfNode.set(this.slotKey(root), this.newSlot(root.size * dtypes[root.dtype].bytes, true));
  }

  write(): Float64Array {
    const records: number[][] = [];
    for (const step of new Scheduler(this.nodes, this.roots).run()) {
      this.step = records.length;
      if (step.kind === 'program') {
        if (sizeOf(step.shape) === 0 && (step.scan || !step.axes)) {
          // Nothing is computed, but what folds an empty time is a number all the same.
          for (const { target } of step.sinks) {
            const { op, size, dtype, attributes } = this.nodes[target]!;
            if (op !== 'reduce' || size === 0) continue;
            this.step = records.length;
            records.push(this.filled(target, ofNothing(attributes.reduction!, dtype)));
          }
          continue;
        }
        const program = new ProgramWriter(step, this).write();
        for (const slot of [...program.slotsRead, ...program.slotsWritten]) this.touch(slot);
        records.push([0, program.words.length, ...program.words]);
        this.steps.push(program.text);
      } else if (step.kind === 'fill') {
        records.push(this.filled(step.node, 0));
      } else {
        records.push(this.kernel(this.nodes[step.node]!, step.node));
      }
    }
    const arena = this.placeTemporaries();
    const words = [1, this.slots.length, this.bound.scalars.length + this.fixedScalars.length, arena, records.length];
    for (const slot of this.slots) words.push(slot.bytes, slot.external ? -1 : slot.offset);
    for (const record of records) for (const word of record) words.push(word);
    return Float64Array.from(words);
  }

  indexOf(node: Node): number {
    return this.index.get(node)!;
  }

  scalarOf(node: Node): number {
    const at = this.numbers.get(node)!;
    return at < 0 ? this.fixedScalar(pinned[at + pinned.length]!) : at;
  }

  fixedScalar(value: number): number {
    const known = this.fixedScalars.findIndex((fixed) => Object.is(fixed, value));
    return this.bound.scalars.length + (known >= 0 ? known : this.fixedScalars.push(value) - 1);
  }

  place(node: Node): Place {
    const { base, offset, strides } = windowOf(node);
    return { slot: this.slotOf(this.indexOf(base)), dtype: base.dtype, offset, strides };
  }

  slotOf(index: number): number {
    const node = this.nodes[index]!;
    if (node.op === 'buffer') return this.numbers.get(node)!;
    const alias = aliasOf(node);
    if (alias) return this.place(alias).slot;
    return this.slotFor(this.slotKey(node), node.size * dtypes[node.dtype].bytes);
  }

  /** What a node's buffer is known by: a kernel's results by the kernel and their number. */
  private slotKey(node: Node): string {
    const ofKernel = node.op === 'output' && node.inputs[0]!.op === 'kernel';
    return ofKernel ? `${this.index.get(node.inputs[0]!)}:${node.attributes.index}` : `${this.index.get(node)}`;
  }

  private slotFor(key: string, bytes: number): number {
    let slot = this.slotOfNode.get(key);
    if (slot === undefined) this.slotOfNode.set(key, slot = this.newSlot(bytes, false));
    return slot;
  }

  private newSlot(bytes: number, external: boolean): number {
    return this.slots.push({ bytes, external, first: Infinity, last: -1, offset: 0 }) - 1;
  }

  private touch(slot: number): void {
    const entry = this.slots[slot]!;
    entry.first = Math.min(entry.first, this.step);
    entry.last = Math.max(entry.last, this.step);
  }

  private filled(index: number, value: number): number[] {
    const { dtype, size, shape } = this.nodes[index]!;
    const place = { slot: this.slotOf(index), dtype, offset: 0, strides: [1] };
    this.steps.push(`fill [${shape.join()}] with ${value}`);
    return this.kernelRecord('fill', [{ place, shape: [size] }], [this.fixedScalar(value)], []);
  }

  private kernel(node: Node, index: number): number[] {
    const call = node.attributes.kernel!;
    const views = node.inputs.map((input) => ({ place: this.place(input), shape: input.shape }));
    call.outputs.forEach(({ shape, dtype }, k) => {
      if ((call.aliases?.[k] ?? null) !== null) return;
      if (call.optional?.includes(k) && !this.reads(node, k)) {
        const none = shape.map(() => 0);
        views.push({ place: { ...views[0]!.place, dtype, offset: 0, strides: none }, shape: none });
        return;
      }
      const slot = this.slotFor(`${index}:${k}`, sizeOf(shape) * dtypes[dtype].bytes);
      const reused = call.reuses?.[k] ?? null;
      if (reused !== null && wholeArray(node.inputs[reused]!)) this.takeovers.push({ result: this.slots[slot]!, input: this.slots[views[reused]!.place.slot]! });
      views.push({ place: { slot, dtype, offset: 0, strides: contiguousStrides(shape) }, shape });
    });
    this.steps.push(`${call.name} ${views.map((view) => `${view.place.dtype}[${view.shape.join()}]`).join(' ')}`);
    const first = this.scalarOf(node);
    return this.kernelRecord(call.name, views, call.scalars.map((_, i) => first + i), call.attributes);
  }

  /** Whether a kernel's output is part of the plan. */
  private reads(kernel: Node, index: number): boolean {
    return this.nodes.some((node) => node.op === 'output' && node.inputs[0] === kernel && node.attributes.index === index);
  }

  private kernelRecord(name: string, views: { place: Place; shape: readonly number[] }[], scalars: number[], attributes: number[]): number[] {
    const words = [nativeDescription().kernels.findIndex((row) => row.name === name)];
    for (const { place, shape } of views) {
      this.touch(place.slot);
      words.push(place.slot, dtypes[place.dtype].code, place.offset, shape.length, ...shape, ...place.strides);
    }
    words.push(...scalars, ...attributes);
    return [1, words.length, ...words];
  }

  /** Lays out what lives only during the evaluation; arrays that are not needed at the same time share memory. Returns the arena's size. */
  private placeTemporaries(): number {
    let size = 0;
    const placed: Slot[] = [];
    for (const { result, input } of this.takeovers) {
      if (result.external || input.external || input.after || input.last !== result.first || input.bytes !== result.bytes) continue;
      result.after = input;
      input.last = result.last;
    }
    for (const slot of this.slots.filter((s) => !s.external && !s.after).sort((a, b) => a.first - b.first)) {
      const bytes = aligned(slot.bytes);
      let offset = 0;
      for (const other of placed) {
        if (other.last < slot.first || slot.last < other.first) continue;
        if (offset + bytes <= other.offset) break;
        offset = Math.max(offset, other.offset + aligned(other.bytes));
      }
      slot.offset = offset;
      size = Math.max(size, offset + bytes);
      placed.splice(placed.findIndex((other) => other.offset > offset) >>> 0, 0, slot);
    }
    for (const slot of this.slots) if (slot.after) slot.offset = slot.after.offset;
    return size;
  }
}

function wholeArray(node: Node): boolean {
  const { base, offset, strides } = windowOf(node);
  return offset === 0 && base.size === node.size && sameShape([...strides], contiguousStrides(node.shape));
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
