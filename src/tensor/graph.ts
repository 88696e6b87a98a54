/**
 * The graph that operations on tensors build. A node is an operation that has not run yet, or (op `buffer`) memory that holds its result.
 *
 * Nodes behind tensors count their references, so that a graph, and the memory under it, is let go as soon as nothing can ask for
 * it. Nothing here recurses: graphs may be many thousands of nodes deep.
 */
import { TensorError } from '../errors';
import { rounded, type DType } from './dtype';
import type { Device, DeviceBuffer } from './memory';
import { contiguousStrides, formatShape, liesAcross, reshapeStrides, sameShape, sizeOf, type Shape } from './shape';

/** Arithmetic on elements: the rows of the table in native/core/instructions.h. */
// dprint-ignore
export const elementwiseOps = [
  'add', 'sub', 'mul', 'div', 'mod', 'maximum', 'minimum', 'neg', 'abs', 'sign', 'square', 'fma', 'pow', 'exp', 'expm1', 'log', 'log1p', 'sqrt',
  'rsqrt', 'sin', 'cos', 'tanh', 'sigmoid', 'softplus', 'floor', 'ceil', 'round', 'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'isnan', 'isfinite',
  'and_', 'or_', 'not_', 'where',
] as const;
export type ElementwiseOp = (typeof elementwiseOps)[number];

/** `spread` is Σ(x − mean)²: of float32 over the last axis, on a CPU. */
export type ReduceOp = 'sum' | 'product' | 'maximum' | 'minimum' | 'spread';

export const ops = [
  ...elementwiseOps,
  'buffer', // memory
  'constant', // one number at every position
  'symbol', // an argument of a scan's step; never evaluated
  'view', // a strided window on its input (taken as contiguous)
  'cast', // conversion to another dtype, or a copy
  'reduce',
  'scan', // s_t = a_t·s_{t-1} + b_t along the last axis; inputs a, b, init
  'scan_prev', // the same recurrence, s_{t-1}
  'loop', // a recurrence that is not affine; its states are read through `output`
  'assemble', // its inputs written to regions of a new array
  'kernel', // a tuned kernel; its results are read through `output`
  'output',
] as const;
export type Op = (typeof ops)[number];

/** Where an array lies in another one, taken as contiguous. */
export interface Region {
  offset: number;
  strides: Shape;
}

/** A recurrence that is not affine: its body as nodes over symbols. */
export interface LoopBody {
  /** The symbols that stand for the inputs and for the states before the step; `next` is what the states become. */
  inputs: Node[];
  states: Node[];
  next: Node[];
}

export interface KernelCall {
  name: string;
  outputs: { shape: Shape; dtype: DType }[];
  /** Numbers that may differ from run to run without a new plan. */
  scalars: number[];
  attributes: number[];
  /** Output i is the memory of input aliases[i], changed in place. */
  aliases?: (number | null)[];
  /** Output i may take the memory of input reuses[i] (alike in shape and dtype), where nothing reads that one afterwards. */
  reuses?: (number | null)[];
  /** Outputs that are computed only where something reads them; the kernel gets an empty array for them otherwise. */
  optional?: number[];
  /**
   * Of a gather along the only axis of its first input: the window, in the array that its index is a window on, that holds for each element of that input where it went,
   * or the number of results where it went nowhere. No element goes to two places. Only gradients look at it.
   */
  inverse?: Region;
  /** Runs after everything else in its evaluation (optimizer updates: others may still read what it changes). */
  last?: boolean;
}

export interface Attributes {
  value?: number;
  buffer?: DeviceBuffer;
  version?: number;
  region?: Region;
  regions?: Region[];
  fill?: boolean;
  reduction?: ReduceOp;
  axes?: number[];
  reverse?: boolean;
  loop?: LoopBody;
  kernel?: KernelCall;
  index?: number;
}

export class Node {
  /** Tensors, and nodes behind tensors, that hold this one. Back at 0 it lets go of its inputs and memory. */
  references = 0;
  /** Whether this node counts among its inputs' references: only once a tensor stands on it. */
  attached = false;
  /** The walk that saw this node last, and its place there: valid until the next walk. */
  walk = 0;
  position = 0;
  /** Where it is evaluated; null (constants, and expressions of them) wherever what it is used with lives. */
  device: Device | null;
  /** Of a kernel or a loop: its results that were asked for (see outputOf). */
  outputs: Node[] | null = null;
  /** Of a view made from a view: that one, and where in it (taken as contiguous) this one lies. Windows on windows are joined into one; gradients need the way back. */
  origin: { from: Node; region: Region } | null = null;
  /** Whether a window on this view was undone by going back to its base. */
  undone = false;
  /** Whether no gradient flows through. */
  stopsGradient = false;

  constructor(
    public op: Op,
    readonly dtype: DType,
    readonly shape: Shape,
    public inputs: readonly Node[],
    public attributes: Attributes,
    device?: Device | null,
  ) {
    this.device = device ?? commonDevice(this);
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  /** Turns an evaluated node into the memory of its result (as it was at a version) and lets go of the graph behind it. */
  become(buffer: DeviceBuffer, version = buffer.version): void {
    const inputs = this.inputs;
    this.op = 'buffer';
    this.inputs = noInputs;
    this.attributes = { buffer, version };
    this.device = buffer.device;
    buffer.retain();
    if (this.attached) { for (const input of inputs) release(input); }
  }
}

const noInputs: readonly Node[] = [];
const noAttributes: Attributes = Object.freeze({});

function commonDevice(node: Node): Device | null {
  const { op, inputs } = node;
  let device = op === 'buffer' ? node.attributes.buffer!.device : null;
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i]!;
    if (input.device === null || input.device === device) continue;
    if (device !== null) {
      const operation = node.attributes.kernel?.name ?? op;
      throw new TensorError(`${operation}: expected tensors on one device, got one on '${device}' and one on '${input.device}': move one with to('${device}')`);
    }
    device = input.device;
  }
  return device;
}

/** Adds one reference: the node, and the graph behind it, stay until it is released. */
export function retain(node: Node): void {
  node.references++;
  if (node.attached) return;
  const stack = [node];
  while (stack.length > 0) {
    const current = stack.pop()!;
    if (current.attached) continue;
    current.attached = true;
    for (let i = 0; i < current.inputs.length; i++) {
      const input = current.inputs[i]!;
      input.references++;
      if (!input.attached) stack.push(input);
    }
  }
}

/** Drops one reference; what nothing refers to any more lets go of its inputs and memory. */
export function release(node: Node): void {
  if (--node.references > 0) return;
  const stack = [node];
  while (stack.length > 0) {
    const current = stack.pop()!;
    if (current.op === 'buffer') current.attributes.buffer?.release();
    for (let i = 0; i < current.inputs.length; i++) {
      const input = current.inputs[i]!;
      if (--input.references <= 0) stack.push(input);
    }
    current.inputs = noInputs;
    current.attributes = noAttributes;
  }
}

let walks = 0;

/** The nodes, each once. */
export function distinct(nodes: readonly Node[]): Node[] {
  const walk = ++walks;
  const found: Node[] = [];
  for (const node of nodes) {
    if (node.walk === walk) continue;
    node.walk = walk;
    found.push(node);
  }
  return found;
}

/** The nodes that `roots` need, each after its inputs (or after what `inputsOf` says). Sets `position` of each. */
export function topological(roots: readonly Node[], inputsOf?: (node: Node) => readonly Node[]): Node[] {
  const walk = ++walks;
  const order: Node[] = [];
  const stack: Node[] = [];
  for (const root of roots) {
    if (root.walk === walk) continue;
    root.walk = walk;
    // On the way its position counts the inputs that were looked at.
    root.position = 0;
    for (let node: Node | undefined = root; node;) {
      const inputs = inputsOf ? inputsOf(node) : node.inputs;
      if (node.position < inputs.length) {
        const input: Node = inputs[node.position++]!;
        if (input.walk === walk) continue;
        input.walk = walk;
        input.position = 0;
        stack.push(node);
        node = input;
      } else {
        node.position = order.push(node) - 1;
        node = stack.pop();
      }
    }
  }
  return order;
}

export function constant(value: number, dtype: DType, shape: Shape = [], device: Device | null = null): Node {
  return new Node('constant', dtype, shape, noInputs, { value }, device);
}

/** An argument of a step. */
export function symbol(dtype: DType, shape: Shape): Node {
  return new Node('symbol', dtype, shape, noInputs, noAttributes);
}

export function bufferNode(buffer: DeviceBuffer, dtype: DType, shape: Shape): Node {
  buffer.retain();
  return new Node('buffer', dtype, shape, noInputs, { buffer, version: buffer.version });
}

/** Element-wise arithmetic. Operands have the result's shape, or are constants of shape []; their dtypes are equal (but for the condition of `where`). */
export function elementwise(op: ElementwiseOp, inputs: readonly Node[], shape: Shape, dtype: DType): Node {
  if (folds) {
    const value = folded(op, inputs, dtype);
    if (value !== null) return constant(value, dtype, shape, inputs[0]!.device);
  }
  return new Node(op, dtype, shape, inputs, noAttributes);
}

let folds = false;

/**
 * Runs `build`, in which arithmetic on constants gives constants: gradients begin with them, and as nodes they would be instructions of every program. Elsewhere they stay
 * nodes, since no gradient can be asked for of a constant.
 */
export function foldingConstants<T>(build: () => T): T {
  const before = folds;
  folds = true;
  try {
    return build();
  } finally {
    folds = before;
  }
}

const foldable: Partial<Record<ElementwiseOp, (x: number, y: number) => number>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  neg: (x) => -x,
};

/** What the kernels would compute: rounded operands, a rounded result. */
function folded(op: ElementwiseOp, inputs: readonly Node[], dtype: DType): number | null {
  const compute = foldable[op];
  if (!compute || (dtype !== 'float32' && dtype !== 'float64') || !inputs.every((input) => input.op === 'constant' && input.dtype === dtype)) return null;
  const [x, y] = inputs.map((input) => rounded(input.attributes.value!, dtype));
  return rounded(compute(x!, y!), dtype);
}

export function cast(node: Node, dtype: DType): Node {
  if (node.dtype === dtype) return node;
  if (node.op === 'constant') return constant(rounded(node.attributes.value!, dtype), dtype, node.shape, node.device);
  return new Node('cast', dtype, node.shape, [node], noAttributes);
}

/** The same values as an array of its own, in order. */
export function copy(node: Node): Node {
  return new Node('cast', node.dtype, node.shape, [node], noAttributes);
}

/** The array a node shows, and where in it. */
export function windowOf(node: Node): { base: Node; offset: number; strides: Shape } {
  const { offset, strides } = regionOf(node);
  return { base: node.op === 'view' ? node.inputs[0]! : node, offset, strides };
}

function regionOf(node: Node): Region {
  return node.op === 'view' ? node.attributes.region! : { offset: 0, strides: contiguousStrides(node.shape) };
}

/** A view of `node` under another shape; `through` says where its elements lie, given where those of the node do. */
function view(node: Node, shape: Shape, through: (window: Region) => Region): Node {
  if (node.op === 'constant') return constant(node.attributes.value!, node.dtype, shape, node.device);
  const ofView = node.op === 'view';
  const base = ofView ? node.inputs[0]! : node;
  const region = through(regionOf(node));
  if (region.offset === 0 && sameShape(base.shape, shape) && (base.size === 0 || runsAlongMemory(shape, region.strides))) {
    for (let from: Node | undefined = node; from?.op === 'view'; from = from.origin?.from) from.undone = true;
    return base;
  }
  const result = new Node('view', node.dtype, shape, [base], { region });
  if (ofView) result.origin = { from: node, region: through({ offset: 0, strides: contiguousStrides(node.shape) }) };
  return result;
}

/** Whether strides are those of an array in order; those of extent 1 mean nothing. */
export function runsAlongMemory(shape: Shape, strides: Shape): boolean {
  let stride = 1;
  for (let d = shape.length - 1; d >= 0; d--) {
    const extent = shape[d]!;
    if (extent !== 1 && strides[d] !== stride) return false;
    stride *= extent;
  }
  return true;
}

export function reshape(node: Node, shape: Shape): Node {
  if (sameShape(node.shape, shape)) return node;
  if (node.op !== 'view' && node.op !== 'constant') return new Node('view', node.dtype, shape, [node], { region: { offset: 0, strides: contiguousStrides(shape) } });
  const { strides } = regionOf(node);
  const source = reshapeStrides(node.shape, strides, shape) ? node : copy(node);
  return view(source, shape, (window) => ({ offset: window.offset, strides: reshapeStrides(source.shape, window.strides, shape)! }));
}

export function permute(node: Node, order: readonly number[]): Node {
  return view(node, order.map((d) => node.shape[d]!), ({ offset, strides }) => ({ offset, strides: order.map((d) => strides[d]!) }));
}

/** Repeats along dimensions of extent 1 and new leading ones. `shape` is one that the node broadcasts to. */
export function expand(node: Node, shape: Shape): Node {
  if (sameShape(node.shape, shape)) return node;
  const added = shape.length - node.shape.length;
  return view(node, shape, ({ offset, strides }) => {
    const repeated = new Array<number>(shape.length).fill(0);
    for (let d = added; d < shape.length; d++) if (node.shape[d - added] !== 1 || shape[d] === 1) repeated[d] = strides[d - added]!;
    return { offset, strides: repeated };
  });
}

/** Elements start, start+step, … of each dimension; `shape` says how many. Steps may be negative. */
export function slice(node: Node, starts: readonly number[], steps: readonly number[], shape: Shape): Node {
  return view(node, shape, ({ offset, strides }) => {
    let first = offset;
    if (sizeOf(shape) > 0) { for (let d = 0; d < starts.length; d++) first += starts[d]! * strides[d]!; }
    return { offset: first, strides: strides.map((stride, d) => stride * steps[d]!) };
  });
}

/** Folds the axes away; they stay in the shape with extent 1. Sums of floating numbers may be kept as they are added up, in float64. */
export function reduce(node: Node, reduction: ReduceOp, axes: number[], dtype: DType = node.dtype): Node {
  if (axes.length === 0) return node;
  const shape = node.shape.map((extent, d) => (axes.includes(d) ? 1 : extent));
  return new Node('reduce', dtype, shape, [node], { reduction, axes });
}

/** A new array of `shape` with each part in its region; positions that no part covers are 0 (say `fill` where there are any). */
export function assemble(parts: readonly Node[], regions: Region[], shape: Shape, dtype: DType, fill: boolean): Node {
  return new Node('assemble', dtype, shape, parts, { regions, fill });
}

export function scan(a: Node, b: Node, init: Node, reverse: boolean, which: 'scan' | 'scan_prev'): Node {
  return new Node(which, b.dtype, b.shape, [a, b, init], { reverse });
}

export function loop(inputs: readonly Node[], inits: readonly Node[], body: LoopBody, reverse: boolean, shape: Shape): Node {
  return new Node('loop', body.next[0]!.dtype, shape, [...inputs, ...inits], { loop: body, reverse });
}

/** Whether a copy by blocks and reading that costs a CPU less than reading the view by rows. */
function slowToRead({ op, device, size, shape, attributes }: Node): boolean {
  return op === 'view' && device === 'cpu' && size >= 4096 && liesAcross(shape, attributes.region!.strides);
}

/** A tuned kernel's results. One without inputs needs a device of its own. */
export function kernel(call: KernelCall, inputs: readonly Node[], device?: Device): Node[] {
  const ready = inputs.map((input) => ((input.op === 'constant' && input.size > 0) || (call.name !== 'matmul' && slowToRead(input)) ? copy(input) : input));
  const node = new Node('kernel', call.outputs[0]!.dtype, call.outputs[0]!.shape, ready, { kernel: call }, device);
  return call.outputs.map((_, index) => outputOf(node, index));
}

/** One result of a kernel; or of a loop: state k after each step, and (k + number of states) before it. Always the same node while it is in use. */
export function outputOf(source: Node, index: number): Node {
  const known = (source.outputs ??= []);
  const node = known[index];
  if (node && node.inputs[0] === source) return node;
  const { kernel: call, loop: body } = source.attributes;
  const { shape, dtype } = call ? call.outputs[index]! : { shape: source.shape, dtype: body!.states[index % body!.states.length]!.dtype };
  return (known[index] = new Node('output', dtype, shape, [source], { index }));
}

export function broadcastTo(operation: string, node: Node, shape: Shape): Node {
  const added = shape.length - node.shape.length;
  const fits = added >= 0 && node.shape.every((extent, d) => extent === 1 || extent === shape[d + added]);
  if (!fits) throw new TensorError(`${operation}: shape ${formatShape(node.shape)} does not broadcast to ${formatShape(shape)}`);
  return expand(node, shape);
}
