/**
 * The structure of graphs as sequences of integers: two sequences are equal only where the graphs are computed in the same way, whatever the numbers
 * and arrays they are computed from. Every evaluation writes one to find its plan; so writing makes no objects, which would cost more than a small graph's arithmetic.
 */
import { dtypes, type DType } from './dtype';
import { ops, topological, type KernelCall, type LoopBody, type Node, type Region } from './graph';
import { sameShape, type Shape } from './shape';

/** Stands before the two halves of a number that may be no 32-bit integer. */
const WIDE = -0x80000000;

const halves = new Int32Array(2);
const wide = new Float64Array(halves.buffer);

/** A sequence of numbers that is written anew again and again. */
export class Words {
  private words = new Int32Array(1024);
  private length = 0;
  private lastShape: Shape = [];

  clear(): void {
    this.length = 0;
    this.lastShape = [];
  }

  put(integer: number): void {
    if ((integer | 0) === integer && integer !== WIDE) this.append(integer);
    else this.putExactly(integer);
  }

  /** Any number, to its last bit. */
  putExactly(value: number): void {
    wide[0] = value;
    this.append(WIDE);
    this.append(halves[0]!);
    this.append(halves[1]!);
  }

  /** Numbers, after how many they are. */
  putAll(values: readonly number[]): void {
    this.append(values.length);
    for (let i = 0; i < values.length; i++) this.put(values[i]!);
  }

  /** A number that is not negative, and a shape: one word where that is the shape written before, as most are. */
  putShaped(code: number, shape: Shape): void {
    if (shape === this.lastShape || sameShape(shape, this.lastShape)) return this.put(2 * code + 1);
    this.put(2 * code);
    this.lastShape = shape;
    this.putAll(shape);
  }

  hash(): number {
    const { words, length } = this;
    let hash = 0x811c9dc5;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ words[i]!, 0x01000193) ^ (hash >>> 15);
    return hash;
  }

  equals(other: Int32Array): boolean {
    const { words, length } = this;
    if (other.length !== length) return false;
    for (let i = 0; i < length; i++) if (words[i] !== other[i]) return false;
    return true;
  }

  copy(): Int32Array {
    return this.words.slice(0, this.length);
  }

  private append(word: number): void {
    if (this.length === this.words.length) {
      const longer = new Int32Array(2 * this.length);
      longer.set(this.words);
      this.words = longer;
    }
    this.words[this.length++] = word;
  }
}

const opCodes = new Map(ops.map((op, code) => [op, code]));
const DTYPES = Object.keys(dtypes).length;
const reductionCodes = { sum: 0, product: 1, maximum: 2, minimum: 3, spread: 4 } as const;

/** Kernels by the order in which they were met. */
const kernelCodes = new Map<string, number>();

function kernelCode(name: string): number {
  let code = kernelCodes.get(name);
  if (code === undefined) kernelCodes.set(name, code = kernelCodes.size);
  return code;
}

/** The dtype that was written last, as that of most nodes is, and its code. */
let lastDType: DType = 'float32';
let lastCode = dtypes[lastDType].code;

/** A node's operation, dtype and number of inputs. */
function codeOf({ op, dtype, inputs }: Node): number {
  if (dtype !== lastDType) {
    lastDType = dtype;
    lastCode = dtypes[dtype].code;
  }
  return (inputs.length * ops.length + opCodes.get(op)!) * DTYPES + lastCode;
}

/** What a node computes, from how many inputs; which these are, and run-time values, aside. */
export function writeStructure(node: Node, into: Words): void {
  const { op, attributes } = node;
  into.putShaped(codeOf(node), node.shape);
  switch (op) {
    case 'view':
      return writeRegion(attributes.region!, into);
    case 'reduce':
      into.put(reductionCodes[attributes.reduction!]);
      return into.putAll(attributes.axes!);
    case 'scan':
    case 'scan_prev':
      return into.put(attributes.reverse ? 1 : 0);
    case 'loop':
      into.put(attributes.reverse ? 1 : 0);
      return writeLoop(attributes.loop!, into);
    case 'assemble':
      into.put(attributes.fill ? 1 : 0);
      into.put(attributes.regions!.length);
      for (const region of attributes.regions!) writeRegion(region, into);
      return;
    case 'kernel':
      return writeKernel(attributes.kernel!, into);
    case 'output':
      return into.put(attributes.index!);
  }
}

function writeRegion({ offset, strides }: Region, into: Words): void {
  into.put(offset);
  into.putAll(strides);
}

function writeKernel(call: KernelCall, into: Words): void {
  into.put(kernelCode(call.name));
  into.put(call.outputs.length);
  for (const { shape, dtype } of call.outputs) {
    into.putShaped(dtypes[dtype].code, shape);
  }
  into.putAll(call.attributes);
  writeInputNumbers(call.aliases, into);
  writeInputNumbers(call.reuses, into);
  into.putAll(call.optional ?? none);
  into.put(call.last ? 1 : 0);
}

const none: readonly number[] = [];

function writeInputNumbers(numbers: readonly (number | null)[] | undefined, into: Words): void {
  into.put(numbers?.length ?? 0);
  if (numbers) { for (const number of numbers) into.put(number ?? -1); }
}

function writeLoop(loop: LoopBody, into: Words): void {
  const order = topological(loop.next);
  into.put(order.length);
  for (const node of order) {
    into.put(codeOf(node));
    if (node.op === 'symbol') {
      const input = loop.inputs.indexOf(node);
      into.put(input >= 0 ? input : -1 - loop.states.indexOf(node));
    } else if (node.op === 'constant') {
      into.putExactly(node.attributes.value!);
    }
    writePositions(node.inputs, into);
  }
  into.put(loop.next.length);
  writePositions(loop.next, into);
}

/** Where nodes stand in the walk that was made last. How many they are must have been written. */
export function writePositions(nodes: readonly Node[], into: Words): void {
  for (let i = 0; i < nodes.length; i++) into.put(nodes[i]!.position);
}
