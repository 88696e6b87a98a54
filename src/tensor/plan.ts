/**
 * Evaluates graphs: looks up or writes the plan for a graph's structure (native/core/plan.h), binds its buffers and numbers, and runs it in one call.
 *
 * A plan depends on the structure alone (operations, shapes, dtypes, which inputs are the same array and which numbers are equal), not on the
 * numbers: a training step finds its plan again each time.
 */
import { TensorError } from '../errors';
import { callNative, native, nativeDescription } from '../native';
import { dtypes } from './dtype';
import { release, retain, topological, windowOf, type Node } from './graph';
import { defaultDevice, DeviceBuffer, devices, type Device } from './memory';
import { mergeEqual } from './merge';
import { ProgramWriter, type Place, type PlanContext } from './program';
import { Scheduler } from './schedule';
import { contiguousStrides, sameShape, sizeOf } from './shape';

interface Plan {
  id: number;
  key: Int32Array;
  /** Scalars that belong to the plan, after those of the graph. */
  fixedScalars: number[];
}

/** A graph ready to be looked up: its nodes, inputs and numbers in order of the walk. */
interface Bound {
  nodes: Node[];
  roots: Node[];
  leaves: DeviceBuffer[];
  leafOf: Map<DeviceBuffer, number>;
  scalars: number[];
  /** Where in `scalars` a constant stands, or the first scalar of a kernel. Below 0 for the constants that belong to the plan (see `pinned`). */
  scalarAt: Map<Node, number>;
  key: Int32Array;
}

const ALIGNMENT = 64;
/** Constants whose value is part of the plan: the scheduler's own comparisons and masks use them, too. */
const pinned = [0, 1];
const MAX_PLANS = 1024;
const plans = new Map<number, Plan[]>();
const order: { hash: number; plan: Plan }[] = [];

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
  const bound = bind(wanted, device);
  const plan = lookUp(bound, device);
  const results: DeviceBuffer[] = [];
  try {
    for (const root of bound.roots) results.push(writtenBuffer(root) ?? new DeviceBuffer(device, root.size * dtypes[root.dtype].bytes));
    const ids = Int32Array.from([...bound.leaves, ...results], (buffer) => buffer.id);
    const scalars = Float64Array.from([...bound.scalars, ...plan.fixedScalars]);
    callNative((addon) => addon.execute(plan.id, ids, scalars));
  } catch (error) {
    for (const buffer of results) {
      buffer.retain();
      buffer.release();
    }
    throw error;
  }
  // Of several writes to one array only the last one's result stands for what it holds now.
  const versions = new Map<Node, number>();
  for (const node of bound.nodes) {
    const buffer = writtenBuffer(node);
    if (buffer) versions.set(node, ++buffer.version);
  }
  for (const root of bound.roots) retain(root);
  bound.roots.forEach((root, i) => root.become(results[i]!, versions.get(root)));
  for (const root of bound.roots) release(root);
}

function unevaluated(nodes: readonly Node[]): Node[] {
  return [...new Set(nodes.map((node) => windowOf(node).base))].filter((node) => node.op !== 'buffer');
}

/** The programs and kernels that an evaluation of the nodes would run, as text. */
export function explainNodes(nodes: readonly Node[]): string {
  const roots = unevaluated(nodes);
  if (roots.length === 0) return 'in memory: nothing to run';
  return devices.flatMap((device) => {
    const here = roots.filter((node) => deviceOf(node) === device);
    if (here.length === 0) return [];
    const writer = new PlanWriter(bind(here, device));
    writer.write();
    return writer.steps;
  }).join('\n');
}

/** The memory that an in-place kernel changes, for a node that is its result. */
function writtenBuffer(node: Node): DeviceBuffer | undefined {
  let target = aliasOf(node);
  while (target && aliasOf(target)) target = aliasOf(target);
  return target?.attributes.buffer;
}

function aliasOf(node: Node): Node | undefined {
  if (node.op !== 'output' || node.inputs[0]!.op !== 'kernel') return undefined;
  const alias = node.inputs[0]!.attributes.kernel!.aliases?.[node.attributes.index!] ?? null;
  return alias === null ? undefined : node.inputs[0]!.inputs[alias];
}

/** Refuses to write to an array that others may read afterwards, expecting what it held before. */
function checkWrites(nodes: readonly Node[], writes: readonly Node[]): void {
  const readers = new Map<Node, Node[]>();
  for (const node of nodes) {
    if (node.op === 'view') continue;
    for (const input of node.inputs) {
      const { base } = windowOf(input);
      const known = readers.get(base);
      if (known) known.push(node);
      else readers.set(base, [node]);
    }
  }
  for (const write of writes) {
    const kernel = write.inputs[0]!;
    const others = new Set(readers.get(aliasOf(write)!)!.filter((reader) => reader !== kernel));
    if (others.size === 0) continue;
    const stack = [kernel];
    for (const seen = new Set<Node>(); stack.length > 0; ) {
      const node = stack.pop()!;
      if (seen.has(node)) continue;
      seen.add(node);
      others.delete(node);
      stack.push(...node.inputs);
    }
    if (others.size > 0) throw new TensorError('writeAt: the array is read by an expression that is evaluated together with the write: use the tensor that writeAt returned, or evaluate the expression first');
  }
}

function bind(wanted: Node[], device: Device): Bound {
  let roots = wanted;
  let nodes = topological(roots);
  // Results of writes join the roots: a write happens once, and its result stands for the array from then on.
  const writes = nodes.filter((node) => node.op === 'output' && aliasOf(node) && !node.inputs[0]!.attributes.kernel!.last);
  if (writes.length > 0) {
    checkWrites(nodes, writes);
    roots = [...new Set([...wanted, ...writes])];
    nodes = topological(roots);
  }
  const leaves: DeviceBuffer[] = [];
  const leafOf = new Map<DeviceBuffer, number>();
  const scalars: number[] = [];
  const scalarAt = new Map<Node, number>();
  const shared = new Map<number, number>();
  const key: number[] = [devices.indexOf(device)];
  for (const node of nodes) {
    key.push(node.signature);
    for (const input of node.inputs) key.push(input.position);
    if (node.op === 'buffer') {
      const { buffer, version } = node.attributes;
      if (!buffer) throw new TensorError('a tensor of this expression was disposed');
      if (buffer.version !== version) {
        throw new TensorError('a tensor of this expression was changed in place (by an optimizer step or writeAt) before the expression was evaluated: read its value before that');
      }
      if (buffer.device !== device) {
        throw new TensorError(`a tensor without a device of its own (zeros, ones, full) was evaluated on '${buffer.device}' and is used on '${device}': give it {device: '${device}'}`);
      }
      let leaf = leafOf.get(buffer);
      if (leaf === undefined) leafOf.set(buffer, (leaf = leaves.push(buffer) - 1));
      key.push(leaf);
    } else if (node.op === 'constant') {
      const value = node.attributes.value!;
      let at = pinned.findIndex((constant) => Object.is(constant, value)) - pinned.length;
      if (at === -1 - pinned.length) {
        // Equal constants are one scalar, so that what is computed from them can be seen to be equal.
        at = (Object.is(value, -0) ? undefined : shared.get(value)) ?? scalars.push(value) - 1;
        if (!Object.is(value, -0)) shared.set(value, at);
      }
      scalarAt.set(node, at);
      key.push(at);
    } else if (node.op === 'kernel') {
      scalarAt.set(node, scalars.length);
      scalars.push(...node.attributes.kernel!.scalars);
    } else if (node.op === 'symbol') {
      throw new TensorError('scan: a tensor of its step was used outside of it; use what scan returns');
    }
  }
  for (const root of roots) key.push(-1 - root.position);
  return { nodes, roots, leaves, leafOf, scalars, scalarAt, key: Int32Array.from(key) };
}

function lookUp(bound: Bound, device: Device): Plan {
  const { key } = bound;
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key[i]!, 0x01000193) ^ (hash >>> 15);
  const known = plans.get(hash)?.find((plan) => sameKey(plan.key, key));
  if (known) return known;
  const writer = new PlanWriter(bound);
  const words = writer.write();
  const plan = { id: callNative((addon) => addon.createPlan(device, words)), key, fixedScalars: writer.fixedScalars };
  plans.set(hash, [...(plans.get(hash) ?? []), plan]);
  order.push({ hash, plan });
  if (order.length > MAX_PLANS) {
    const oldest = order.shift()!;
    native().destroyPlan(oldest.plan.id);
    plans.set(oldest.hash, plans.get(oldest.hash)!.filter((kept) => kept !== oldest.plan));
  }
  return plan;
}

function sameKey(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
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
  private readonly scalarAt = new Map<Node, number>();
  private readonly index = new Map<Node, number>();
  private step = 0;
  /** Results of kernels, and the inputs whose memory they may take over. */
  private readonly takeovers: { result: Slot; input: Slot }[] = [];

  constructor(private readonly bound: Bound) {
    const leaf = (node: Node) => (node.op === 'constant' ? bound.scalarAt.get(node)! : bound.leafOf.get(node.attributes.buffer!)!);
    const { nodes, standsFor } = mergeEqual(bound.nodes, bound.roots, leaf);
    this.nodes = nodes;
    this.roots = bound.roots.map((root) => standsFor.get(root)!);
    this.nodes.forEach((node, i) => this.index.set(node, i));
    for (const [node, at] of bound.scalarAt) this.scalarAt.set(standsFor.get(node)!, at);
    for (const buffer of bound.leaves) this.newSlot(buffer.bytes, true);
    for (const root of this.roots) this.slotOfNode.set(this.slotKey(root), this.newSlot(root.size * dtypes[root.dtype].bytes, true));
  }

  write(): Float64Array {
    const records: number[][] = [];
    for (const step of new Scheduler(this.nodes, this.roots).run()) {
      this.step = records.length;
      if (step.kind === 'program') {
        if (sizeOf(step.shape) === 0 && (step.scan || !step.axes)) continue;
        const program = new ProgramWriter(step, this).write();
        for (const slot of [...program.slotsRead, ...program.slotsWritten]) this.touch(slot);
        records.push([0, program.words.length, ...program.words]);
        this.steps.push(program.text);
      } else if (step.kind === 'fill') {
        const node = this.nodes[step.node]!;
        const place = { slot: this.slotOf(step.node), dtype: node.dtype, offset: 0, strides: [1] };
        records.push(this.kernelRecord('fill', [{ place, shape: [node.size] }], [this.fixedScalar(0)], []));
        this.steps.push(`fill [${node.shape.join()}] with 0`);
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
    const at = this.scalarAt.get(node)!;
    return at < 0 ? this.fixedScalar(pinned[at + pinned.length]!) : at;
  }

  fixedScalar(value: number): number {
    const known = this.fixedScalars.indexOf(value);
    return this.bound.scalars.length + (known >= 0 ? known : this.fixedScalars.push(value) - 1);
  }

  place(node: Node): Place {
    const { base, offset, strides } = windowOf(node);
    return { slot: this.slotOf(this.indexOf(base)), dtype: base.dtype, offset, strides };
  }

  slotOf(index: number): number {
    const node = this.nodes[index]!;
    if (node.op === 'buffer') return this.bound.leafOf.get(node.attributes.buffer!)!;
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
    if (slot === undefined) this.slotOfNode.set(key, (slot = this.newSlot(bytes, false)));
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
