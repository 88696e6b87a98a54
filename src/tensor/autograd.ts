/**
 * Reverse-mode gradients. The backward pass is built from the same operations on the same graph, so that it fuses, and can be differentiated, like any other expression.
 */
import { TensorError } from '../errors';
import { isFloating } from './dtype';
import {
  assemble, cast, constant, elementwise, Node, outputOf, permute, reduce, reshape, scan, slice, topological, windowOf, type ElementwiseOp, type Region,
} from './graph';
import { kernelGradients } from './kernel_gradients';
import * as ops from './operations';
import { lowerScan, substitute } from './scan';
import { contiguousStrides, describe, formatShape, sizeOf, type Shape } from './shape';
import { Tensor, tensorArgument } from './tensor';

export interface GradientOptions {
  /** Give zeros for tensors that the loss does not depend on, instead of an error. */
  allowUnused?: boolean;
}

/**
 * The gradients of a scalar with respect to tensors: ∂loss/∂x for each x, of x's shape and dtype. Lazy: evaluate them together with the loss.
 *
 * The loss must not have been read yet: reading a tensor replaces its graph by its value. Where two operands of `maximum` or `minimum`, or
 * several elements of `max` or `min`, are equal, they share the gradient; `clamp` to a number passes it on at the bound (as PyTorch does).
 *
 * @throws TensorError if the loss is no scalar, has been evaluated, or does not depend on one of the tensors
 * @example
 * const x = tensor([1, 2, 3]);
 * const [dx] = gradients(x.square().sum(), [x]); // 2, 4, 6
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[], options: GradientOptions = {}): Tensor[] {
  const root = tensorArgument('gradients', loss);
  if (root.size !== 1 || !isFloating(root.dtype)) throw new TensorError(`gradients: expected a floating scalar loss, got ${root.dtype} ${formatShape(root.shape)}`);
  if (!Array.isArray(wrt)) throw new TensorError(`gradients: expected an array of tensors, got ${describe(wrt)}`);
  const targets = wrt.map((tensor) => tensorArgument('gradients', tensor));
  const found = backward([{ node: root, gradient: constant(1, root.dtype, root.shape) }], targets);
  return targets.map((target, i) => {
    const gradient = found[i];
    if (gradient) return new Tensor(gradient);
    if (!options.allowUnused) {
      throw new TensorError(
        `gradients: the loss does not depend on tensor ${i} (${target.dtype} ${formatShape(target.shape)})${root.op === 'buffer' ? ': it has been evaluated, and its graph is gone; ask for gradients before reading it' : ''}`,
      );
    }
    return new Tensor(constant(0, target.dtype, target.shape));
  });
}

const boundaries = new WeakSet<Node>();

/** The same values; no gradient flows through. */
export function stopGradient(x: Tensor): Tensor {
  const node = tensorArgument('stopGradient', x);
  const stopped = new Node('cast', node.dtype, node.shape, [node], {});
  boundaries.add(stopped);
  return new Tensor(stopped);
}

/** What is known of a node's gradient so far: whole arrays, and pieces that lie in regions of it. */
interface Contributions {
  whole: Node[];
  pieces: { gradient: Node; region: Region }[];
}

/** Gradients of Σ seeds·gradient with respect to the targets; undefined where nothing reaches one. */
export function backward(seeds: readonly { node: Node; gradient: Node }[], targets: readonly Node[]): (Node | undefined)[] {
  const order = topological(seeds.map((seed) => seed.node));
  const wanted = new Set<Node>(targets);
  const reached = new Set<Node>();
  for (const node of order) {
    if (wanted.has(node) || (!boundaries.has(node) && node.inputs.some((input) => reached.has(input)))) reached.add(node);
  }
  const contributions = new Map<Node, Contributions>();
  const give = (node: Node, gradient: Node | null, region?: Region) => {
    if (gradient === null || !reached.has(node) || !isFloating(node.dtype)) return;
    let entry = contributions.get(node);
    if (!entry) contributions.set(node, (entry = { whole: [], pieces: [] }));
    if (region) entry.pieces.push({ gradient, region });
    else entry.whole.push(gradient);
  };
  for (const { node, gradient } of seeds) give(node, gradient);
  const results = new Map<Node, Node>();
  // The outputs of one kernel or loop are differentiated together, when the kernel's own turn comes.
  const outputGradients = new Map<Node, (Node | undefined)[]>();
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i]!;
    if (!reached.has(node)) continue;
    if (node.op === 'kernel' || node.op === 'loop') {
      const outputs = outputGradients.get(node);
      if (outputs) (node.op === 'kernel' ? differentiateKernel : differentiateLoop)(node, outputs, give);
      continue;
    }
    const entry = contributions.get(node);
    if (!entry) continue;
    contributions.delete(node);
    const gradient = total(node, entry);
    if (wanted.has(node)) results.set(node, gradient);
    if (boundaries.has(node)) continue;
    if (node.op === 'output') {
      const source = node.inputs[0]!;
      const outputs = outputGradients.get(source) ?? [];
      outputs[node.attributes.index!] = outputs[node.attributes.index!] ? ops.binary('add', outputs[node.attributes.index!]!, gradient) : gradient;
      outputGradients.set(source, outputs);
    } else {
      differentiate(node, gradient, give);
    }
  }
  return targets.map((target) => results.get(target));
}

type Give = (node: Node, gradient: Node | null, region?: Region) => void;

function differentiateKernel(node: Node, outputs: (Node | undefined)[], give: Give): void {
  const { name } = node.attributes.kernel!;
  const rule = kernelGradients[name];
  if (!rule) throw new TensorError(`gradients: ${name} has no gradient`);
  rule(node, outputs).forEach((gradient, k) => give(node.inputs[k]!, gradient));
}

function total(node: Node, { whole, pieces }: Contributions): Node {
  const parts = [...whole];
  if (pieces.length > 1 && apart(node.shape, pieces)) {
    const covered = pieces.reduce((size, piece) => size + piece.gradient.size, 0) === node.size;
    parts.push(assemble(pieces.map((p) => p.gradient), pieces.map((p) => p.region), node.shape, node.dtype, !covered));
  } else {
    for (const { gradient, region } of pieces) parts.push(assemble([gradient], [region], node.shape, node.dtype, gradient.size !== node.size));
  }
  return parts.reduce((sum, part) => ops.binary('add', sum, part));
}

/** Whether pieces are boxes that differ along one dimension and do not overlap there (the columns of a loop over time). */
function apart(shape: Shape, pieces: readonly { gradient: Node; region: Region }[]): boolean {
  const strides = contiguousStrides(shape);
  const boxes = pieces.map(({ gradient, region }) => {
    let rest = region.offset;
    const starts = strides.map((stride) => {
      const start = Math.floor(rest / stride);
      rest -= start * stride;
      return start;
    });
    const extents = strides.map((stride) => {
      const d = region.strides.findIndex((s, at) => s === stride && gradient.shape[at] !== 1);
      return d >= 0 ? gradient.shape[d]! : 1;
    });
    return { starts, extents, whole: sizeOf(extents) === gradient.size };
  });
  if (boxes.some((box) => !box.whole)) return false;
  const first = boxes[0]!;
  const differing = strides.map((_, d) => d).filter((d) => boxes.some((box) => box.starts[d] !== first.starts[d] || box.extents[d] !== first.extents[d]));
  if (differing.length !== 1) return false;
  const d = differing[0]!;
  boxes.sort((a, b) => a.starts[d]! - b.starts[d]!);
  return boxes.every((box, i) => i === 0 || boxes[i - 1]!.starts[d]! + boxes[i - 1]!.extents[d]! <= box.starts[d]!);
}

function differentiate(node: Node, g: Node, give: Give): void {
  const [a, b, c] = node.inputs as [Node, Node, Node];
  switch (node.op) {
    case 'buffer':
    case 'constant':
    case 'symbol':
      return;
    case 'view':
      return differentiateView(node, g, give);
    case 'cast':
      return give(a, cast(g, a.dtype));
    case 'reduce':
      return give(a, differentiateReduce(node, g));
    case 'assemble':
      node.inputs.forEach((part, k) => {
        const { offset, strides } = node.attributes.regions![k]!;
        const whole = windowOf(ops.contiguous(g));
        const base = whole.base.op === 'constant' ? null : whole;
        give(part, base ? new Node('view', g.dtype, part.shape, [base.base], { region: { offset: base.offset + offset, strides } }) : constant(g.attributes.value!, g.dtype, part.shape));
      });
      return;
    case 'scan':
    case 'scan_prev': {
      const reverse = !node.attributes.reverse;
      const zero = constant(0, g.dtype);
      // λ is the gradient of the state after each step, μ that of the state before it: μ_t = a_t·λ_t (+ g_t for scan_prev), λ_t = μ_{t+1} (+ g_t for scan).
      const own = node.op === 'scan' ? ops.binary('mul', expandTo(a, g), g) : g;
      const later = scan(expandTo(a, g), own, zero, reverse, 'scan_prev');
      const lambda = node.op === 'scan' ? ops.binary('add', g, later) : later;
      const previous = node.op === 'scan' ? scan(a, b, c, node.attributes.reverse!, 'scan_prev') : node;
      give(b, lambda);
      if (a.op !== 'constant') give(a, ops.binary('mul', lambda, previous));
      if (c.op !== 'constant') {
        const mu = scan(expandTo(a, g), own, zero, reverse, 'scan');
        give(c, firstStep(mu, node.attributes.reverse!));
      }
      return;
    }
    default:
      differentiateElementwise(node, g, give);
  }
}

function expandTo(node: Node, like: Node): Node {
  return node.op === 'constant' ? constant(node.attributes.value!, node.dtype, like.shape) : node;
}

/** Zeros but for the position of a scan's first step, which keeps its value. */
function firstStep(mu: Node, reverse: boolean): Node {
  const time = mu.shape.length - 1;
  const at = reverse ? mu.shape[time]! - 1 : 0;
  const column = slice(mu, mu.shape.map((_, d) => (d === time ? at : 0)), mu.shape.map(() => 1), [...mu.shape.slice(0, time), 1]);
  return assemble([column], [{ offset: at, strides: contiguousStrides(mu.shape) }], mu.shape, mu.dtype, mu.shape[time] !== 1);
}

/** The gradient of a window: repeated positions add up, the rest goes back to where it was. */
function differentiateView(node: Node, g: Node, give: Give): void {
  const base = node.inputs[0]!;
  const { offset, strides } = node.attributes.region!;
  const repeated = node.shape.map((_, d) => d).filter((d) => strides[d] === 0 && node.shape[d] !== 1);
  const folded = ops.dropAxes(reduce(g, 'sum', repeated), repeated, false);
  const kept = strides.filter((_, d) => !repeated.includes(d));
  if (folded.size === base.size && offset === 0) {
    // A permutation or another shape: undone by the inverse window.
    const byStride = kept.map((_, d) => d).filter((d) => folded.shape[d] !== 1).sort((x, y) => kept[y]! - kept[x]!);
    const sorted = permute(folded, [...byStride, ...kept.map((_, d) => d).filter((d) => folded.shape[d] === 1)]);
    const plain = contiguousStrides(sorted.shape);
    if (byStride.every((d, i) => kept[d] === plain[i])) return give(base, reshape(sorted, base.shape));
  }
  give(base, folded, { offset, strides: kept });
}

function differentiateReduce(node: Node, g: Node): Node {
  const x = node.inputs[0]!;
  const { reduction, axes } = node.attributes;
  if (reduction === 'sum') return ops.expandNode(g, x.shape);
  if (reduction === 'product') throw new TensorError('gradients: a product over an axis has no gradient');
  const chosen = ops.binary('eq', x, ops.expandNode(node, x.shape));
  const share = ops.binary('div', g, cast(ops.sum(chosen, axes!), g.dtype));
  return ops.where(chosen, ops.expandNode(share, x.shape), 0);
}

function differentiateElementwise(node: Node, g: Node, give: Give): void {
  const [a, b, c] = node.inputs as [Node, Node, Node];
  const { binary, unary } = ops;
  const times = (x: ops.Operand, y: ops.Operand) => binary('mul', x, y);
  switch (node.op as ElementwiseOp) {
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
      // A bound passes the gradient on; two tensors share it where they are equal.
      const share = (x: Node, y: Node) => {
        if (y.op === 'constant') return ops.where(binary(ties, x, y), g, 0);
        return ops.where(binary(wins, x, y), g, ops.where(binary('eq', x, y), times(g, 0.5), 0));
      };
      if (a.op !== 'constant') give(a, share(a, b));
      if (b.op !== 'constant') give(b, share(b, a));
      return;
    }
    case 'neg':
      return give(a, unary('neg', g));
    case 'abs':
      return give(a, times(g, unary('sign', a)));
    case 'square':
      return give(a, times(times(g, 2), a));
    case 'pow':
      give(a, times(times(g, b), binary('pow', a, binary('sub', b, 1))));
      if (b.op !== 'constant') give(b, times(g, ops.where(binary('gt', a, 0), times(node, unary('log', a)), 0)));
      return;
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
    case 'where':
      // The side not taken gets 0, whatever stands there.
      give(b, ops.where(a, g, 0));
      return give(c, ops.where(a, constant(0, g.dtype), g));
    default:
      // sign, floor, ceil, round and comparisons are flat.
      return;
  }
}

/** The gradient of a recurrence that is not affine: its adjoint is a recurrence in the other direction, affine in the adjoint state. */
function differentiateLoop(node: Node, outputs: (Node | undefined)[], give: Give): void {
  const body = node.attributes.loop!;
  const states = body.states.length;
  const shape = node.shape;
  const row = body.states[0]!.shape;
  const arrays = node.inputs.slice(0, body.inputs.length);
  const before = body.states.map((_, k) => outputOf(node, states + k));
  const known = new Map<Node, Node>();
  body.inputs.forEach((symbol, k) => known.set(symbol, arrays[k]!));
  body.states.forEach((symbol, k) => known.set(symbol, before[k]!));

  const symbolFor = (like: Node) => new Node('symbol', like.dtype, row, [], {});
  const array = (k: number, like: Node) => outputs[k] ?? constant(0, like.dtype, shape);
  const afterSymbols = body.states.map(symbolFor);
  const beforeSymbols = body.states.map(symbolFor);
  const mu = body.states.map(symbolFor);
  const lambda = mu.map((symbol, k) => elementwise('add', [symbol, afterSymbols[k]!], row, symbol.dtype));
  const through = backward(body.next.map((next, k) => ({ node: next, gradient: lambda[k]! })), body.states);
  const adjoint = {
    inputs: [...body.inputs, ...body.states, ...afterSymbols, ...beforeSymbols],
    states: mu,
    next: through.map((gradient, k) => (gradient ? elementwise('add', [gradient, beforeSymbols[k]!], row, mu[k]!.dtype) : beforeSymbols[k]!)),
  };
  const external = [...arrays, ...before, ...body.states.map((s, k) => array(k, s)), ...body.states.map((s, k) => array(states + k, s))];
  const lowered = lowerScan(external, mu.map((symbol) => constant(0, symbol.dtype)), adjoint, !node.attributes.reverse, null);

  mu.forEach((symbol, k) => known.set(symbol, lowered.before[k]!));
  body.states.forEach((symbol, k) => known.set(afterSymbols[k]!, array(k, symbol)));
  const toInputs = backward(body.next.map((next, k) => ({ node: next, gradient: lambda[k]! })), body.inputs);
  toInputs.forEach((gradient, k) => give(arrays[k]!, gradient ? substitute(gradient, known, shape) : null));
  node.inputs.slice(body.inputs.length).forEach((init, k) => {
    if (init.op !== 'constant') give(init, firstStep(lowered.after[k]!, node.attributes.reverse!));
  });
}
