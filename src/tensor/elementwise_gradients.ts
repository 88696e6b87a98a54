/** The derivatives of element-wise arithmetic. */
import { constant, type ElementwiseOp, type Node } from './graph';
import * as ops from './operations';

/** Gives each operand of an arithmetic node its share of the node's gradient g. `where` has its own rule, in autograd.ts. */
export function differentiateElementwise(node: Node, g: Node, give: (node: Node, gradient: Node) => void): void {
  const [a, b, c] = node.inputs as [Node, Node, Node];
  const { binary, unary } = ops;
  const times = (x: ops.Operand, y: ops.Operand) => binary('mul', x, y);
  const op = node.op as ElementwiseOp;
  switch (op) {
    case 'add':
      give(a, g);
      return give(b, g);
    case 'sub':
      give(a, g);
      return give(b, unary('neg', g));
    case 'mul':
      give(a, times(g, b));
      return give(b, times(g, a));
    case 'div':
      give(a, binary('div', g, b));
      return give(b, unary('neg', times(g, binary('div', node, b))));
    case 'mod':
      give(a, g);
      return give(b, unary('neg', times(g, unary('floor', binary('div', a, b)))));
    case 'fma':
      give(a, times(g, b));
      give(b, times(g, a));
      return give(c, g);
    case 'maximum':
    case 'minimum': {
      const [wins, ties] = node.op === 'maximum' ? (['gt', 'ge'] as const) : (['lt', 'le'] as const);
      const clamped = node.op === 'minimum' && a.op === 'maximum' ? a.inputs[0]! : null;
      const [low, high] = [a.inputs[1], b].map((bound) => (bound?.op === 'constant' ? bound.attributes.value! : NaN)) as [number, number];
      // Between two bounds the gradient passes where the value did: one comparison, with what is there already.
      if (clamped && low <= high) return give(clamped, ops.where(binary('eq', node, clamped), g, 0));
      // A bound passes the gradient on; two tensors share it where they are equal.
      if (b.op === 'constant') return give(a, ops.where(binary(ties, a, b), g, 0));
      if (a.op === 'constant') return give(b, ops.where(binary(ties, b, a), g, 0));
      const [first, equal, half] = [binary(wins, a, b), binary('eq', a, b), times(g, 0.5)];
      give(a, ops.where(first, g, ops.where(equal, half, 0)));
      return give(b, ops.where(first, constant(0, g.dtype), ops.where(equal, half, g)));
    }
    case 'neg':
      return give(a, unary('neg', g));
    case 'abs':
      return give(a, times(g, unary('sign', a)));
    case 'square':
      return give(a, times(times(g, 2), a));
    case 'pow': {
      const slope = () => times(times(g, b), binary('pow', a, binary('sub', b, 1)));
      // x⁰ is flat, also at 0, where 0·0⁻¹ is not.
      if (b.op !== 'constant') give(a, ops.where(binary('eq', b, 0), 0, slope()));
      else if (b.attributes.value !== 0) give(a, slope());
      if (b.op !== 'constant') give(b, times(g, ops.where(binary('gt', a, 0), times(node, unary('log', a)), 0)));
      return;
    }
    case 'exp':
      return give(a, times(g, node));
    case 'expm1':
      return give(a, times(g, binary('add', node, 1)));
    case 'log':
      return give(a, binary('div', g, a));
    case 'log1p':
      return give(a, binary('div', g, binary('add', a, 1)));
    case 'sqrt':
      return give(a, binary('div', times(g, 0.5), node));
    case 'rsqrt':
      return give(a, times(times(g, -0.5), binary('div', node, a)));
    case 'sin':
      return give(a, times(g, unary('cos', a)));
    case 'cos':
      return give(a, unary('neg', times(g, unary('sin', a))));
    case 'tanh':
      return give(a, times(g, binary('sub', 1, unary('square', node))));
    case 'sigmoid':
      return give(a, times(g, times(node, binary('sub', 1, node))));
    case 'softplus':
      return give(a, times(g, unary('sigmoid', a)));
    case 'sign':
    case 'floor':
    case 'ceil':
    case 'round':
    case 'eq':
    case 'ne':
    case 'lt':
    case 'le':
    case 'gt':
    case 'ge':
    case 'isnan':
    case 'isfinite':
    case 'and_':
    case 'or_':
    case 'not_':
      return; // flat
    case 'where':
      throw new Error('where has a rule of its own');
    default: {
      const missing: never = op;
      throw new Error(`no gradient of ${String(missing)}`);
    }
  }
}
