/**
 * Reverse-mode gradients. The backward pass is built from the same operations on the same graph, so that it fuses, and can be differentiated, like any other expression.
 */
import { TensorError } from '../errors';
import { isFloating } from './dtype';
import { differentiateElementwise } from './elementwise_gradients';
import { assemble, cast, constant, elementwise, elementwiseOps, foldingConstants, Node, outputOf, permute, reduce, reshape, scan, slice, symbol, topological, windowOf, type Region } from './graph';
import { kernelGradients } from './kernel_gradients';
import * as ops from './operations';
import { lowerScan, substitute } from './scan';
import { checkOptions, contiguousStrides, describe, formatShape, sizeOf, type Shape } from './shape';
import { Tensor, tensorArgument } from './tensor';

/** Options of {@link gradients}. */
export interface GradientOptions {
  /** Give zeros for tensors that the loss does not depend on, instead of an error. */
  allowUnused?: boolean;
}

const optionNames = ['allowUnused'] as const;

/**
 * The gradients of a scalar with respect to tensors: ∂loss/∂x for each x, of x's shape and dtype. Lazy: evaluate them together with the loss.
 *
 * Neither the loss nor anything between it and these tensors may have been read yet: `item`, `toArray`, `realize` and `evaluate` put a value in the place of the graph
 * behind it, and no gradient flows through a value (that of what lies beside it does). Read, and log, afterwards. Where two operands of `maximum` or `minimum`, or
 * several elements of `max` or `min`, are equal, they share the gradient; `clamp` to a number passes it on at the bound (as PyTorch does).
 *
 * @throws TensorError if the loss is no scalar, has been evaluated, or does not depend on one of the tensors
 * @example
 * const x = tensor([1, 2, 3]);
 * const [dx] = gradients(x.square().sum(), [x]); // 2, 4, 6
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[], options?: GradientOptions): Tensor[] {
  const { allowUnused = false } = checkOptions('gradients', options, optionNames);
  const root = tensorArgument('gradients loss', loss);
  if (root.size !== 1 || !isFloating(root.dtype)) throw new TensorError(`gradients: expected a floating scalar loss, got ${root.dtype} ${formatShape(root.shape)}`);
  if (!Array.isArray(wrt)) throw new TensorError(`gradients: expected an array of tensors, got ${describe(wrt)}`);
  const targets = Array.from(wrt, (tensor, i) => tensorArgument('gradients wrt', tensor, i));
  targets.forEach((target, i) => checkTarget(target, i));
  const seeds = [{ node: root, gradient: constant(1, root.dtype, root.shape) }];
  const found = foldingConstants(() => backward(seeds, targets));
  return targets.map((target, i) => {
    const gradient = found[i];
    if (gradient) return new Tensor(gradient);
    if (!allowUnused && !dependsOn(root, target)) {
      const read = windowOf(root).base.op === 'buffer'
        ? ': the loss has been evaluated, and its graph is gone; ask for gradients before reading it'
        : '. What was read or realized between the two is a value since: ask for gradients first. Where it is to have none, allowUnused gives 0';
      throw new TensorError(`gradients: the loss does not depend on tensor ${i} (${target.dtype} ${formatShape(target.shape)})${read}`);
    }
    return new Tensor(constant(0, target.dtype, target.shape));
  });
}

/** Refuses what the graph keeps no trace of: constants, which join expressions as numbers, and views that were undone. */
function checkTarget(target: Node, i: number): void {
  const what = `gradients: tensor ${i} (${target.dtype} ${formatShape(target.shape)})`;
  if (!isFloating(target.dtype)) throw new TensorError(`${what}: expected a floating tensor`);
  if (target.op === 'constant') throw new TensorError(`${what} is a constant (full, zeros, ones): call realize() on it before it is used`);
  if (target.undone) throw new TensorError(`${what} is a view that another view undid: ask for the gradient of the tensor it shows`);
}

/** The same values; no gradient flows through. */
export function stopGradient(x: Tensor): Tensor {
  const node = tensorArgument('stopGradient', x);
  const stopped = new Node('cast', node.dtype, node.shape, [node], {});
  stopped.stopsGradient = true;
  return new Tensor(stopped);
}

/**
 * Where a gradient counts: at the positions that a `where` chose. It travels with the gradient through arithmetic and is applied after it, so that
 * what stands at other positions (NaN, infinities) does not get in: 0·NaN would.
 */
interface Guard {
  condition: Node;
  /** Whether it counts where the condition holds, or where it does not. */
  holds: boolean;
}

function guarded(gradient: Node, guard: Guard | undefined): Node {
  if (!guard) return gradient;
  return guard.holds ? ops.where(guard.condition, gradient, 0) : ops.where(guard.condition, constant(0, gradient.dtype), gradient);
}

function sameGuard(a: Guard | undefined, b: Guard | undefined): boolean {
  return a === b || (a?.condition === b?.condition && a?.holds === b?.holds);
}

function both(a: Guard | undefined, b: Guard): Guard {
  if (!a || sameGuard(a, b)) return b;
  const truth = ({ condition, holds }: Guard) => (holds ? condition : ops.logical('not_', [condition]));
  return { condition: ops.logical('and_', [truth(a), truth(b)]), holds: true };
}

/** What is known of a node's gradient so far: whole arrays, and pieces that lie in regions of it. */
interface Contributions {
  whole: { gradient: Node; guard?: Guard }[];
  pieces: { gradient: Node; region: Region }[];
}

/** What counts as the inputs of a node: where a target is a view, views that were made from it lead to it, not past it. */
type InputsOf = (node: Node) => readonly Node[];

/** The nodes under `roots`, each after its inputs. */
function orderTowards(roots: readonly Node[], wanted: ReadonlySet<Node>): { order: Node[]; inputsOf: InputsOf } {
  const order = topological(roots);
  const leading = new Set<Node>();
  for (const node of [...wanted].some((target) => target.op === 'view') ? order : []) {
    const path: Node[] = [];
    for (let view: Node | undefined = node; view; view = view.origin?.from) {
      if (view !== node && wanted.has(view)) { for (const passed of path) leading.add(passed); }
      path.push(view);
    }
  }
  const inputsOf: InputsOf = (node) => (leading.has(node) ? [node.origin!.from] : node.inputs);
  return { order: leading.size === 0 ? order : topological(roots, inputsOf), inputsOf };
}

/** Whether a target stands under the root with no stop in between. */
function dependsOn(root: Node, target: Node): boolean {
  const { order, inputsOf } = orderTowards([root], new Set([target]));
  const reached = new Set([target]);
  for (const node of order) if (!node.stopsGradient && inputsOf(node).some((input) => reached.has(input))) reached.add(node);
  return reached.has(root) && order.includes(target);
}

/** Gradients of Σ seeds·gradient with respect to the targets; undefined where nothing reaches one. */
export function backward(seeds: readonly { node: Node; gradient: Node }[], targets: readonly Node[]): (Node | undefined)[] {
  const wanted = new Set<Node>(targets);
  const { order, inputsOf } = orderTowards(seeds.map((seed) => seed.node), wanted);
  const reached = new Set<Node>();
  for (const node of order) {
    if (wanted.has(node) || (!node.stopsGradient && inputsOf(node).some((input) => reached.has(input)))) reached.add(node);
  }
  const contributions = new Map<Node, Contributions>();
  const give: Give = (node, gradient, { region, guard } = {}) => {
    if (gradient === null || !reached.has(node) || !isFloating(node.dtype)) return;
    let entry = contributions.get(node);
    if (!entry) contributions.set(node, entry = { whole: [], pieces: [] });
    if (region) entry.pieces.push({ gradient, region });
    else entry.whole.push({ gradient, guard });
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
    const { gradient, guard } = total(node, entry);
    if (wanted.has(node)) results.set(node, guarded(gradient, guard));
    if (node.stopsGradient) continue;
    if (node.op === 'output') {
      const source = node.inputs[0]!;
      const outputs = outputGradients.get(source) ?? [];
      const own = guarded(gradient, guard);
      const index = node.attributes.index!;
      outputs[index] = outputs[index] ? ops.binary('add', outputs[index], own) : own;
      outputGradients.set(source, outputs);
    } else if (node.op === 'view') {
      const [parent] = inputsOf(node);
      const region = parent === node.inputs[0] ? node.attributes.region! : node.origin!.region;
      differentiateView(node, parent!, region, guarded(gradient, guard), give);
    } else if (node.op === 'where') {
      differentiateWhere(node, gradient, guard, give);
    } else if (arithmetic.has(node.op)) {
      differentiateElementwise(node, gradient, (input, part) => give(input, part, { guard }));
    } else {
      differentiate(node, guarded(gradient, guard), give);
    }
  }
  return targets.map((target) => results.get(target));
}

const arithmetic = new Set<string>(elementwiseOps);

type Give = (node: Node, gradient: Node | null, where?: { region?: Region; guard?: Guard }) => void;

function differentiateKernel(node: Node, outputs: (Node | undefined)[], give: Give): void {
  const { name } = node.attributes.kernel!;
  const rule = kernelGradients[name];
  if (!rule) throw new TensorError(`gradients: ${name} has no gradient`);
  rule(node, outputs).forEach((gradient, k) => give(node.inputs[k]!, gradient));
}

function total(node: Node, { whole, pieces }: Contributions): { gradient: Node; guard?: Guard } {
  if (whole.length === 1 && pieces.length === 0) return whole[0]!;
  const add = (parts: Node[]) => parts.reduce((sum, part) => ops.binary('add', sum, part));
  const guard = whole[0]?.guard;
  if (pieces.length === 0 && whole.every((part) => sameGuard(part.guard, guard))) return { gradient: add(whole.map((part) => part.gradient)), guard };
  const parts = whole.map((part) => guarded(part.gradient, part.guard));
  if (pieces.length > 1 && apart(node.shape, pieces)) {
    const covered = pieces.reduce((size, piece) => size + piece.gradient.size, 0) === node.size;
    parts.push(assemble(pieces.map((p) => p.gradient), pieces.map((p) => p.region), node.shape, node.dtype, !covered));
  } else {
    for (const { gradient, region } of pieces) parts.push(assemble([gradient], [region], node.shape, node.dtype, gradient.size !== node.size));
  }
  return { gradient: add(parts) };
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
  }
}

/** The side that was not taken gets nothing, whatever stands there. */
function differentiateWhere(node: Node, g: Node, guard: Guard | undefined, give: Give): void {
  const [condition, a, b] = node.inputs as [Node, Node, Node];
  if (condition.op === 'constant') return give(condition.attributes.value !== 0 ? a : b, g, { guard });
  give(a, g, { guard: both(guard, { condition, holds: true }) });
  give(b, g, { guard: both(guard, { condition, holds: false }) });
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

/** The gradient of a window on `base`: repeated positions add up, the rest goes back to where it was. */
function differentiateView(node: Node, base: Node, { offset, strides }: Region, g: Node, give: Give): void {
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
  give(base, folded, { region: { offset, strides: kept } });
}

function differentiateReduce(node: Node, g: Node): Node {
  const x = node.inputs[0]!;
  const { reduction, axes } = node.attributes;
  if (reduction === 'sum') return ops.expandNode(cast(g, x.dtype), x.shape);
  if (reduction === 'spread') {
    // About the mean as it is added up: rounded to x's dtype, an offset would cost digits here that it does not cost the spread.
    const mean = ops.binary('div', reduce(x, 'sum', axes!, 'float64'), axes!.reduce((total, axis) => total * x.shape[axis]!, 1));
    const centred = cast(ops.binary('sub', cast(x, 'float64'), mean), x.dtype);
    return ops.binary('mul', ops.binary('mul', centred, 2), ops.expandNode(cast(g, x.dtype), x.shape));
  }
  if (reduction === 'product') throw new TensorError('gradients: a product over an axis has no gradient');
  const chosen = ops.binary('eq', x, ops.expandNode(node, x.shape));
  const share = ops.binary('div', g, cast(ops.sum(chosen, axes!), g.dtype));
  return ops.where(chosen, ops.expandNode(share, x.shape), 0);
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

  const symbolFor = (like: Node) => symbol(like.dtype, row);
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
