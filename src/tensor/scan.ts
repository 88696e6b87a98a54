/**
 * `scan`: recurrences along the last axis, written as one step.
 *
 * The step is called once, with symbols. A state whose next value is affine in itself, s' = a·s + b with a and b free of it, becomes an affine scan, which
 * runs in parallel; states are taken one after the other, so that a state may use another one (GAE's advantage uses the next value) in any way.
 * What is left is a loop, run step by step for each row.
 */
import { TensorError } from '../errors';
import { thrownText } from '../frames';
import { affineIn, asNode, onArrays, type SymbolicStep } from './affine';
import { isFloating, promote, type DType } from './dtype';
import {
  broadcastTo,
  cast,
  constant,
  elementwise,
  elementwiseOps,
  expand,
  loop,
  Node,
  outputOf,
  release,
  reshape,
  retain,
  scan as scanNode,
  symbol,
  topological,
  type ElementwiseOp,
  type LoopBody,
} from './graph';
import * as ops from './operations';
import type { Operand } from './operations';
import { broadcastShapes, checkFlags, checkOptions, describe, eachOf, formatShape, sameShape, type Shape } from './shape';
import { Tensor, tensorArgument } from './tensor';

/** Options of {@link scan}. */
export interface ScanOptions<Init> {
  /** From the last element to the first. Default false. */
  reverse?: boolean;
  /** Where it is 0 the state passes through unchanged, whatever the inputs hold there. Broadcasts to the inputs' shape. */
  mask?: Tensor;
  /** The state before the first step: a number or a tensor of the inputs' shape without the last axis; an array of them for several states. Default 0. */
  init?: Init;
}

/** The state of a {@link scan} before its first step: a number, or a tensor of the inputs' shape without the last axis. */
export type ScanState = number | Tensor;

/** A Tensor for each element of a tuple. */
export type EachTensor<T extends readonly unknown[]> = { -readonly [K in keyof T]: Tensor };

/** What a step computes: a node for each state, over symbols. */
export interface LoweredScan {
  /** The states after each step, then before it: arrays of the inputs' shape. */
  after: Node[];
  before: Node[];
}

const optionNames = ['reverse', 'mask', 'init'] as const;
const arithmetic = new Set<string>([...elementwiseOps, 'cast']);

/**
 * A recurrence along the last axis. `step` gets the state and the inputs of one position, tensors of the inputs' shape without the last
 * axis, and returns the next state; it is called once, with symbols, and may use any element-wise arithmetic. The result has
 * the inputs' shape and holds the state after each position.
 *
 * Steps that are affine in the state run in parallel (along rows, and along time in long rows); `explain()` shows `loop` where a step does not. Where the factor
 * of the state is 0, by a `where` say, the state is forgotten, were it NaN or infinite.
 *
 * @throws TensorError if the step takes or returns something else, mixes rows, or its states are not as many as `init`
 * @example
 * const rewards = tensor([[0, 0, 1]]);
 * const rewardToGo = scan([rewards], { reverse: true }, (running, [r]) => r.add(running.mul(0.5)));
 */
export function scan<const I extends readonly Tensor[]>(inputs: I, options: ScanOptions<ScanState>, step: (state: Tensor, inputs: EachTensor<I>) => Tensor): Tensor;
export function scan<const I extends readonly Tensor[], const S extends readonly ScanState[]>(
  inputs: I,
  options: ScanOptions<S>,
  step: (state: EachTensor<S>, inputs: EachTensor<I>) => readonly Tensor[],
): EachTensor<S>;
export function scan(inputs: readonly Tensor[], options: ScanOptions<ScanState> | ScanOptions<readonly ScanState[]>, step: unknown): unknown {
  if (!Array.isArray(inputs) || inputs.length === 0) throw new TensorError(`scan: expected an array of at least one input, got ${describe(inputs)}`);
  if (typeof step !== 'function') throw new TensorError(`scan: expected a step function, got ${describe(step)}`);
  if (options === undefined || options === null) throw new TensorError(`scan: expected options ({reverse, mask, init}), got ${describe(options)}`);
  const { reverse = false, mask, init = 0 } = checkOptions('scan', options, optionNames);
  checkFlags('scan', { reverse });
  const several = Array.isArray(init);
  if (several && init.length === 0) throw new TensorError('scan: expected init to hold at least one state, got an empty array');
  const given = eachOf(inputs, (input, i) => tensorArgument('scan input', input, i));
  const shape = broadcastShapes('scan', given.map((node) => node.shape));
  if (shape.length === 0) throw new TensorError('scan: expected inputs of at least one dimension, got scalars');
  const maskNode = mask === undefined ? null : broadcastTo('scan mask', tensorArgument('scan mask', mask), shape);
  const full = given.map((node) => expand(node, shape));
  let dtype: DType = full.map((node) => node.dtype).reduce(promote);
  if (!isFloating(dtype)) dtype = 'float32';
  if (dtype === 'bfloat16') dtype = 'float32';

  const row = shape.slice(0, -1);
  const inits = several ? eachOf(init as readonly ScanState[], (value, k) => initial(value, k, shape, dtype)) : [initial(init, undefined, shape, dtype)];
  const body: LoopBody = {
    inputs: full.map((node) => symbol(node.dtype, row)),
    states: inits.map(() => symbol(dtype, row)),
    next: [],
  };
  const states = body.states.map((node) => new Tensor(node));
  const symbols = body.inputs.map((node) => new Tensor(node));
  // The step is the caller's, and may dispose of what the recurrence runs over.
  const held = [...given, ...inits];
  if (maskNode) held.push(maskNode);
  held.forEach(retain);
  try {
    body.next = nextStates(callStep(step as Step, several ? states : states[0]!, symbols), several, inits.length, row, dtype);
    const lowered = lowerScan(full, inits, body, reverse, maskNode ? expand(ops.condition(maskNode), shape) : null);
    const after = lowered.after.map((node) => new Tensor(node));
    for (const state of states) state.dispose();
    for (const each of symbols) each.dispose();
    return several ? after : after[0]!;
  } finally {
    held.forEach(release);
  }
}

type Step = (state: Tensor | Tensor[], inputs: Tensor[]) => unknown;

/** A step that takes its arguments for something else ends in V8's words, which do not say what they are. */
function callStep(step: Step, state: Tensor | Tensor[], inputs: Tensor[]): unknown {
  try {
    return step(state, inputs);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const states = Array.isArray(state) ? `an array of tensors, as init is one of ${state.length} states (for numbers of rows it is a Tensor)` : 'a Tensor, as init is no array';
    throw new TensorError(`scan: step: ${thrownText(error, callStep.name)}. It takes (state, inputs): the state is ${states}, the inputs are an array of ${inputs.length} tensors`, { cause: error });
  }
}

/** The state before the first step, of several the one at `place`. */
function initial(value: unknown, place: number | undefined, shape: Shape, dtype: DType): Node {
  if (typeof value === 'number') return constant(value, dtype);
  const name = place === undefined ? 'scan init' : `scan init ${place}`;
  const each = shape.slice(0, -1);
  if (!(value instanceof Tensor)) throw new TensorError(`${name}: expected a number, or a Tensor of shape ${formatShape(each)}, got ${describe(value)}`);
  const node = cast(tensorArgument(name, value), dtype);
  const row = broadcastTo(name, node, each);
  return expand(reshape(row, [...row.shape, 1]), shape);
}

function nextStates(result: unknown, several: boolean, count: number, row: Shape, dtype: DType): Node[] {
  const list = several ? result : [result];
  if (!Array.isArray(list) || list.length !== count) {
    throw new TensorError(`scan: expected the step to return ${several ? `an array of ${count} tensors, as many as init` : 'a Tensor'}, got ${describe(result)}`);
  }
  return eachOf<unknown, Node>(list, (value, k) => {
    if (!(value instanceof Tensor) || value.isDisposed) {
      const got = value instanceof Tensor ? 'one that was disposed' : describe(value);
      throw new TensorError(`scan: expected the step to return a Tensor for state ${k}, got ${got}${!several && Array.isArray(value) ? ' (as init is no array, there is one state)' : ''}`);
    }
    const node = cast(value.node, dtype);
    if (sameShape(node.shape, row)) return node;
    if (node.shape.length > row.length || node.shape.some((extent, d) => extent !== 1 && extent !== row[d + row.length - node.shape.length])) {
      throw new TensorError(`scan: expected the step to return shape ${formatShape(row)} for state ${k}, got ${formatShape(node.shape)}`);
    }
    return expand(node, row);
  });
}

/** Turns a recurrence into affine scans where it can, and one loop for the rest. */
export function lowerScan(inputs: readonly Node[], inits: readonly Node[], body: LoopBody, reverse: boolean, mask: Node | null): LoweredScan {
  const shape = inputs[0]!.shape;
  const before = new Array<Node | undefined>(inits.length);
  const after = new Array<Node | undefined>(inits.length);
  const inputOf = (node: Node): Node | undefined => {
    const k = node.op === 'symbol' ? body.inputs.indexOf(node) : -1;
    return k < 0 ? undefined : inputs[k];
  };
  const step = stepsUnder(body.next, inputOf, shape, body.states);
  const { order, arrays } = step;
  const isLowered = (k: number): boolean => {
    const state = body.states[k]!;
    const affine = affineIn(body.next[k]!, state, step, shape);
    if (!affine) return false;
    const a = factorOrTerm(affine.a, mask, 1, state.dtype, shape);
    const b = factorOrTerm(affine.b, mask, 0, state.dtype, shape);
    // A state that forgets the one before is what is computed for it.
    after[k] = a.op === 'constant' && a.attributes.value === 0 ? b : scanNode(a, b, inits[k]!, reverse, 'scan');
    before[k] = scanNode(a, b, inits[k]!, reverse, 'scan_prev');
    if (order[state.position] === state) arrays[state.position] = before[k];
    return true;
  };
  // From the last one on: what a state is computed from is most often written behind it.
  let waiting = inits.map((_, k) => inits.length - 1 - k);
  for (let count = Infinity; waiting.length < count;) {
    count = waiting.length;
    waiting = waiting.filter((k) => !isLowered(k));
  }
  waiting.reverse();
  if (waiting.length > 0) {
    const known = new Map<Node, Node>();
    record(step, known);
    lowerLoop(inputs, inits, body, reverse, mask, waiting, known, before, after);
  }
  return { after: after as Node[], before: before as Node[] };
}

/** What the state is multiplied with, or what is added to it; where it is masked, the number that changes nothing. */
function factorOrTerm(operand: Operand, mask: Node | null, neutral: number, dtype: DType, shape: Shape): Node {
  if (!mask) return asNode(operand, dtype, shape);
  return elementwise('where', [mask, ops.prepare(operand, dtype, shape), constant(neutral, dtype)], shape, dtype);
}

function lowerLoop(
  inputs: readonly Node[],
  inits: readonly Node[],
  body: LoopBody,
  reverse: boolean,
  mask: Node | null,
  left: number[],
  known: Map<Node, Node>,
  before: (Node | undefined)[],
  after: (Node | undefined)[],
): void {
  const shape = inputs[0]!.shape;
  const states = left.map((k) => body.states[k]!);
  let next = left.map((k) => body.next[k]!);
  observer?.(whyLoop(next, states));
  const row = body.states[0]!.shape;
  const extra = new Map<Node, Node>();
  if (mask) {
    const flag = symbol(mask.dtype, row);
    extra.set(flag, mask);
    next = next.map((node, i) => elementwise('where', [flag, node, states[i]!], row, node.dtype));
  }
  // Whatever does not depend on the states enters the loop as an input, computed beforehand for all positions at once.
  const dependent = dependents(next, new Set(states));
  const symbols = new Map<Node, Node>();
  const rebuilt = new Map<Node, Node>();
  const arrays: Node[] = [];
  const entering: Node[] = [];
  for (const node of topological(next)) {
    if (states.includes(node)) rebuilt.set(node, node);
    else if (node.op === 'constant') rebuilt.set(node, constant(node.attributes.value!, node.dtype, row));
    else if (!dependent.has(node)) {
      const used = next.includes(node) || [...dependent].some((user) => user.inputs.includes(node));
      if (!used) continue;
      const input = symbol(node.dtype, row);
      symbols.set(node, input);
      rebuilt.set(node, input);
      entering.push(input);
      arrays.push(extra.get(node) ?? substitute(node, known, shape));
    } else {
      rebuilt.set(
        node,
        node.op === 'cast'
          ? new Node('cast', node.dtype, row, [rebuilt.get(node.inputs[0]!)!], {})
          : elementwise(node.op as ElementwiseOp, node.inputs.map((input) => rebuilt.get(input)!), row, node.dtype),
      );
    }
  }
  const loopBody = { inputs: entering, states, next: next.map((node) => rebuilt.get(node)!) };
  const node = loop(arrays, left.map((k) => inits[k]!), loopBody, reverse, shape);
  left.forEach((k, i) => {
    after[k] = outputOf(node, i);
    before[k] = outputOf(node, left.length + i);
  });
}

let observer: ((reason: string) => void) | null = null;

/** Runs `body`, and tells of each scan in it that becomes a loop which operation made its step not affine. */
export function observingLoops<T>(observe: (reason: string) => void, body: () => T): T {
  const before = observer;
  observer = observe;
  try {
    return body();
  } finally {
    observer = before;
  }
}

/** The first operation of a step that is not affine in its states. */
function whyLoop(next: readonly Node[], states: readonly Node[]): string {
  const dependent = dependents(next, new Set(states));
  for (const { op, dtype, inputs } of topological(next)) {
    const uses = inputs.map((input) => dependent.has(input));
    if (!uses.includes(true)) continue;
    if (op === 'mul' && uses[0] && uses[1]) return 'mul: a product of two terms that both depend on the state';
    if (op === 'div' && uses[1]) return 'div: a division by a term that depends on the state';
    if (op === 'where' && uses[0]) return 'where: a condition that depends on the state';
    if (op === 'cast' && !isFloating(dtype)) return `cast: the state as ${dtype}`;
    if (!['add', 'sub', 'neg', 'mul', 'div', 'where', 'cast'].includes(op)) return `${op}: a function of the state that is not a·s + b`;
  }
  return 'states that depend on one another, each on the next of the other';
}

/** The nodes of an expression that depend on one of the symbols. */
function dependents(roots: readonly Node[], symbols: ReadonlySet<Node>): Set<Node> {
  const found = new Set<Node>();
  for (const node of topological(roots)) {
    if (symbols.has(node) || node.inputs.some((input) => found.has(input))) found.add(node);
  }
  return found;
}

function checkStep(node: Node): void {
  if (!arithmetic.has(node.op)) {
    throw new TensorError(`scan: the step may only use element-wise arithmetic on the state and the inputs, got '${node.op === 'view' ? 'a change of shape' : node.op}'`);
  }
}

/** An array of the full shape from a tensor that the step took from outside: of the shape of a row, or a scalar. */
function lift(node: Node, shape: Shape): Node {
  if (node.op === 'constant') return constant(node.attributes.value!, node.dtype);
  const row = broadcastTo('scan: a tensor used in the step', node, shape.slice(0, -1));
  return expand(reshape(row, [...row.shape, 1]), shape);
}

/** An expression over symbols, for all positions at once. What is found on the way is added to what is known. */
export function substitute(root: Node, known: Map<Node, Node>, shape: Shape): Node {
  const step = stepsUnder([root], (node) => known.get(node), shape);
  for (const node of step.steps) step.arrays[node.position] ??= onArrays(node, step, shape)!;
  record(step, known);
  return known.get(root)!;
}

function record({ order, arrays }: SymbolicStep, known: Map<Node, Node>): void {
  order.forEach((node, i) => {
    if (arrays[i]) known.set(node, arrays[i]);
  });
}

/** The arithmetic of a step on symbols, and the arrays that `arrayOf` knows. What it takes from elsewhere is added, for all positions, to these. */
function stepsUnder(roots: readonly Node[], arrayOf: (node: Node) => Node | undefined, shape: Shape, states: readonly Node[] = []): SymbolicStep {
  const order = topological(roots);
  const arrays: (Node | undefined)[] = [];
  const symbolic: boolean[] = [];
  for (const node of order) {
    const array = arrayOf(node);
    const isSymbol = node.op === 'symbol';
    if (isSymbol && !array && !states.includes(node)) {
      throw new TensorError('scan: the step uses the state or an input of another scan: expected its own ones, or tensors that hold values');
    }
    arrays.push(array);
    symbolic.push(isSymbol);
  }
  const steps: Node[] = [];
  for (const node of order) {
    if (!node.inputs.some((input) => symbolic[input.position])) continue;
    checkStep(node);
    symbolic[node.position] = true;
    steps.push(node);
  }
  const take = (node: Node) => {
    if (!symbolic[node.position]) arrays[node.position] ??= lift(node, shape);
  };
  for (const { inputs } of steps) inputs.forEach(take);
  roots.forEach(take);
  return { order, steps, arrays };
}
