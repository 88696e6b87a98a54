/** Whether a step of `scan` is affine in a state, s' = a·s + b: then a scan takes it, in parallel. */
import { isFloating, type DType } from './dtype';
import { cast, constant, elementwise, expand, type ElementwiseOp, type Node } from './graph';
import * as ops from './operations';
import type { Operand } from './operations';
import type { Shape } from './shape';

/** A step on symbols. Lists and not maps, by the nodes' positions: those hold until the next walk. */
export interface SymbolicStep {
  /** The nodes of the walk. */
  order: readonly Node[];
  /** Those of them that depend on a symbol, each after its inputs. */
  steps: readonly Node[];
  /** The arrays, of all rows and times, that are known for the nodes. */
  arrays: (Node | undefined)[];
}

/** A node of a step on the arrays that are known for its inputs; null where one is not. */
export function onArrays({ op, dtype, inputs }: Node, { arrays }: SymbolicStep, shape: Shape): Node | null {
  const known: Node[] = [];
  for (const input of inputs) {
    const array = arrays[input.position];
    if (!array) return null;
    known.push(array);
  }
  return op === 'cast' ? cast(known[0]!, dtype) : elementwise(op as ElementwiseOp, known, shape, dtype);
}

interface Affine {
  a: Operand;
  b: Operand;
}

/** next = a·state + b with a and b free of the state and made of known arrays; null where it is not so. What is free of the state is added to what is known. */
export function affineIn(next: Node, state: Node, step: SymbolicStep, shape: Shape): Affine | null {
  const { order, steps, arrays } = step;
  const known = arrays[next.position];
  if (known) return { a: 0, b: next.op === 'constant' ? next.attributes.value! : known };
  const parts = new Array<Affine | null | undefined>(order.length);
  // A state that nothing uses was not met.
  if (order[state.position] === state) parts[state.position] = { a: 1, b: 0 };
  const part = (node: Node): Affine | null => {
    if (node.op === 'constant') return { a: 0, b: node.attributes.value! };
    const array = arrays[node.position];
    return array ? { a: 0, b: array } : (parts[node.position] ?? null);
  };
  for (const node of steps) {
    if (arrays[node.position]) continue;
    const array = onArrays(node, step, shape);
    if (array) {
      arrays[node.position] = array;
      continue;
    }
    const inputs = node.inputs.map(part);
    if (!inputs.includes(null)) parts[node.position] = combine(node, inputs as Affine[]);
  }
  return part(next);
}

function combine(node: Node, inputs: Affine[]): Affine | null {
  const [x, y, z] = inputs as [Affine, Affine, Affine];
  switch (node.op) {
    case 'add':
    case 'sub':
      return { a: calculate(node.op, x.a, y.a), b: calculate(node.op, x.b, y.b) };
    case 'neg':
      return { a: calculate('mul', x.a, -1), b: calculate('mul', x.b, -1) };
    case 'mul':
      if (y.a === 0) return { a: calculate('mul', x.a, y.b), b: calculate('mul', x.b, y.b) };
      if (x.a === 0) return { a: calculate('mul', x.b, y.a), b: calculate('mul', x.b, y.b) };
      return null;
    case 'div':
      return y.a === 0 ? { a: calculate('div', x.a, y.b), b: calculate('div', x.b, y.b) } : null;
    case 'where':
      if (x.a !== 0 || typeof x.b === 'number') return null;
      return { a: choose(x.b, y.a, z.a, node.dtype), b: choose(x.b, y.b, z.b, node.dtype) };
    case 'cast':
      if (!isFloating(node.dtype)) return null;
      return { a: recast(x.a, node.dtype), b: recast(x.b, node.dtype) };
    default:
      return null;
  }
}

/** Arithmetic in which 0 and 1 are known: 0·x is 0, whatever x holds. */
function calculate(op: 'add' | 'sub' | 'mul' | 'div', x: Operand, y: Operand): Operand {
  if (typeof x === 'number' && typeof y === 'number') return op === 'add' ? x + y : op === 'sub' ? x - y : op === 'mul' ? x * y : x / y;
  if (op === 'mul' && (x === 0 || y === 0)) return 0;
  if (op === 'div' && x === 0) return 0;
  if (op === 'add' && x === 0) return y;
  return ops.binary(op, x, y);
}

function choose(condition: Node, x: Operand, y: Operand, dtype: DType): Operand {
  if (x === y) return x;
  const side = (operand: Operand) => (typeof operand === 'number' ? constant(operand, dtype) : operand);
  return ops.where(condition, side(x), side(y));
}

function recast(operand: Operand, dtype: DType): Operand {
  return typeof operand === 'number' ? operand : cast(operand, dtype);
}

export function asNode(operand: Operand, dtype: DType, shape: Shape): Node {
  if (typeof operand === 'number') return constant(operand, dtype, shape);
  const node = cast(operand, dtype);
  return node.op === 'constant' ? constant(node.attributes.value!, dtype, shape) : expand(node, shape);
}
