/** The gradients of the tuned kernels: for each, the gradients of its inputs given those of its results (undefined where none arrives). */
import { TensorError } from '../errors';
import { cast, constant, kernel, Node, outputOf, permute, reduce, reshape, windowOf } from './graph';
import * as ops from './operations';
import type { Shape } from './shape';

type Rule = (node: Node, gradients: (Node | undefined)[]) => (Node | null)[];

function transposed(node: Node): Node {
  const last = node.shape.length - 1;
  return permute(node, [...node.shape.keys()].map((d) => (d === last ? last - 1 : d === last - 1 ? last : d)));
}

/** Whether neighbours in memory lie in one column. */
function runsDown(node: Node): boolean {
  const { strides } = windowOf(node);
  return node.op === 'view' && strides[strides.length - 2] === 1 && strides[strides.length - 1] !== 1;
}

function product(a: Node, b: Node, shape: Shape): Node {
  return kernel({ name: 'matmul', outputs: [{ shape, dtype: a.dtype }], scalars: [], attributes: [] }, [a, b])[0]!;
}

function given(node: Node, gradients: (Node | undefined)[], index: number): Node {
  const output = outputOf(node, index);
  return gradients[index] ?? constant(0, output.dtype, output.shape);
}

export const kernelGradients: Record<string, Rule> = {
  matmul(node, [g]) {
    const [a, b] = node.inputs as [Node, Node];
    // A transposed operand (a weight [out, in]) gets its gradient transposed too, so that it runs along memory under the operand's base.
    const db = runsDown(b) ? transposed(product(transposed(g!), a, transposed(b).shape)) : product(transposed(a), g!, b.shape);
    return [product(g!, transposed(b), a.shape), db];
  },

  softmax(node, [g]) {
    const y = outputOf(node, 0);
    const log = node.attributes.kernel!.attributes[0] === 1;
    const weighted = log ? g! : ops.binary('mul', g!, y);
    const total = ops.expandNode(reduce(weighted, 'sum', [1]), y.shape);
    if (log) return [ops.binary('sub', g!, ops.binary('mul', ops.unary('exp', y), total))];
    return [ops.binary('mul', y, ops.binary('sub', g!, total))];
  },

  attention(node, gradients) {
    const [q, k, v, keyStart] = node.inputs as [Node, Node, Node, Node];
    const outputs = [q, k, v].map(({ shape, dtype }) => ({ shape, dtype }));
    const call = { name: 'attention_backward', outputs, scalars: node.attributes.kernel!.scalars, attributes: [] };
    return [...kernel(call, [q, k, v, keyStart, outputOf(node, 0), outputOf(node, 1), given(node, gradients, 0)]), null];
  },

  token_log_probs(node, gradients) {
    const [logits, ids] = node.inputs as [Node, Node];
    const outputs = [{ shape: logits.shape, dtype: logits.dtype }];
    const call = { name: 'token_log_probs_backward', outputs, scalars: node.attributes.kernel!.scalars, attributes: [], reuses: [0] };
    return [...kernel(call, [logits, ids, outputOf(node, 2), outputOf(node, 1), given(node, gradients, 0), given(node, gradients, 1)]), null];
  },

  token_policy_gradient(node, [g, ...others]) {
    if (others.some((other) => other)) throw new TensorError('gradients: of token_policy_gradient only the losses have a gradient, and no second one');
    const gradient = outputOf(node, 3);
    const constants = node.inputs.slice(1).map(() => null);
    // The kernel's is that of the sum of the losses.
    if (g!.op === 'constant' && g!.attributes.value === 1) return [gradient, ...constants];
    const factor = ops.expandNode(reshape(g!, [g!.size, 1]), gradient.shape);
    return [cast(ops.binary('mul', cast(gradient, factor.dtype), factor), gradient.dtype), ...constants];
  },

  gather(node, [g]) {
    const [x, index] = node.inputs as [Node, Node];
    const { inverse } = node.attributes.kernel!;
    if (inverse) {
      const back = new Node('view', index.dtype, x.shape, [windowOf(index).base], { region: inverse });
      const padded = ops.concat([reshape(g!, [g!.size]), constant(0, g!.dtype, [1])], 0);
      return [ops.gather(padded, back, 0), null];
    }
    return [ops.scatterAdd(index, g!, node.attributes.kernel!.attributes[0]!, x.shape), null];
  },

  scatter_add(node, [g]) {
    const [index] = node.inputs as [Node, Node];
    return [null, ops.gather(g!, index, node.attributes.kernel!.attributes[0]!)];
  },

  sample: () => [null],
  philox: () => [],
};
