/** Readies graphs for evaluation: walks them, numbers their arrays and run-time numbers, and writes their structure, by which a plan is found. */
import { TensorError } from '../errors';
import { topological, windowOf, type Node } from './graph';
import { devices, type Device, type DeviceBuffer } from './memory';
import { writePositions, writeStructure, type Words } from './structure';

/** A graph ready to be looked up: its nodes, arrays and numbers in order of the walk. */
export interface Binding {
  nodes: Node[];
  roots: Node[];
  leaves: DeviceBuffer[];
  scalars: number[];
  /**
   * For each node that stands for something from outside, the number of it: of a buffer among the leaves; of a constant, or the first one of a kernel, among
   * the scalars. Below 0 for the constants that belong to the plan (see `pinned`).
   */
  numbers: number[];
  /** Results of kernels that change their input in place. */
  writes: Node[];
}

/** Constants whose value is part of the plan: the scheduler's own comparisons and masks use them, too. */
export const pinned = [0, 1];

const NONE: Node[] = [];

let bindings = 0;

/** Binds the graph under `wanted`, for which a plan is found by what is written to `key`. */
export function bind(wanted: Node[], device: Device, key: Words): Binding {
  let roots = wanted;
  let nodes = topological(roots);
  let writes = nodes.some(isWrite) ? nodes.filter(isWrite) : NONE;
  // Results of writes join the roots: a write happens once, and its result stands for the array from then on.
  const atOnce = writes.filter((node) => !node.inputs[0]!.attributes.kernel!.last);
  if (atOnce.length > 0) {
    checkWrites(nodes, atOnce);
    roots = [...new Set([...wanted, ...atOnce])];
    nodes = topological(roots);
    writes = nodes.filter(isWrite);
  }
  const binding: Binding = { nodes, roots, leaves: [], scalars: [], numbers: new Array<number>(nodes.length), writes };
  const { leaves, scalars, numbers } = binding;
  const number = ++bindings;
  key.clear();
  let shared: Map<number, number> | undefined;
  key.put(devices.indexOf(device));
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!;
    let at = 0;
    writeStructure(node, key);
    writePositions(node.inputs, key);
    switch (node.op) {
      case 'buffer': {
        const buffer = bufferOf(node, device);
        if (buffer.binding !== number) {
          buffer.binding = number;
          buffer.leaf = leaves.push(buffer) - 1;
        }
        at = buffer.leaf;
        key.put(at);
        break;
      }
      case 'constant':
        at = numberOf(node.attributes.value!, scalars, shared ??= new Map());
        key.put(at);
        break;
      case 'kernel':
        at = scalars.length;
        for (const scalar of node.attributes.kernel!.scalars) scalars.push(scalar);
        break;
      case 'symbol':
        throw new TensorError('scan: a tensor of its step was read, or used outside of it: a step is arithmetic on the numbers of all rows and times at once; read and use what scan returns');
    }
    numbers[i] = at;
  }
  key.put(roots.length);
  writePositions(roots, key);
  return binding;
}

/** The memory of a node, which must hold what it held when the graph was built. */
function bufferOf(node: Node, device: Device): DeviceBuffer {
  const { buffer, version } = node.attributes;
  if (!buffer) throw new TensorError('a tensor of this expression was disposed');
  if (buffer.version !== version) {
    throw new TensorError('a tensor of this expression was changed in place (by an optimizer step or writeAt) before the expression was evaluated: read its value before that');
  }
  if (buffer.device !== device) {
    throw new TensorError(`a tensor without a device of its own (zeros, ones, full) was evaluated on '${buffer.device}' and is used on '${device}': give it {device: '${device}'}`);
  }
  return buffer;
}

/** Where a constant stands among the scalars. Equal constants are one scalar, so that what is computed from them can be seen to be equal. */
function numberOf(value: number, scalars: number[], shared: Map<number, number>): number {
  if (Object.is(value, -0)) return scalars.push(value) - 1;
  const at = pinned.indexOf(value);
  if (at >= 0) return at - pinned.length;
  let known = shared.get(value);
  if (known === undefined) shared.set(value, known = scalars.push(value) - 1);
  return known;
}

function isWrite(node: Node): boolean {
  return node.op === 'output' && aliasOf(node) !== undefined;
}

/** The memory that an in-place kernel changes, for a node that is its result. */
export function writtenBuffer(node: Node): DeviceBuffer | undefined {
  let target = aliasOf(node);
  while (target && aliasOf(target)) target = aliasOf(target);
  return target?.attributes.buffer;
}

/** The input whose memory a node's result takes, if the node is the result of a kernel that works in place. */
export function aliasOf(node: Node): Node | undefined {
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
    for (const seen = new Set<Node>(); stack.length > 0;) {
      const node = stack.pop()!;
      if (seen.has(node)) continue;
      seen.add(node);
      others.delete(node);
      stack.push(...node.inputs);
    }
    if (others.size > 0)
      throw new TensorError('writeAt: the array is read by an expression that is evaluated together with the write: use the tensor that writeAt returned, or evaluate the expression first');
  }
}
