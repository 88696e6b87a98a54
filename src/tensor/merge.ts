/** Finds the nodes of a graph that compute the same thing, so that each is computed once (common subexpression elimination). */
import { Node } from './graph';
import { Words, writeStructure } from './structure';

/** Operations that stay apart: each happens once for itself. */
const apart = new Set(['kernel', 'symbol', 'loop', 'assemble', 'output']);

/**
 * The same graph with equal nodes as one. `leaves` numbers, for each node without inputs, what it stands for: equal numbers are equal values. Results that were
 * asked for stay apart, since each has memory of its own; what else is equal to one is taken from it.
 *
 * Returns the nodes that are left, each after its inputs, and for each old node the one that stands for it.
 */
export function mergeEqual(nodes: readonly Node[], roots: readonly Node[], leaves: readonly number[]): { nodes: Node[]; standsFor: Map<Node, Node> } {
  const standsFor = new Map<Node, Node>();
  const known = new Map<string, Node>();
  const numbers = new Map<Node, number>();
  const kept: Node[] = [];
  const results = new Set(roots);
  const structure = new Words();
  nodes.forEach((node, i) => {
    const inputs = node.inputs.map((input) => standsFor.get(input)!);
    structure.clear();
    writeStructure(node, structure);
    const key = `${structure.copy().join()}|${node.op === 'buffer' || node.op === 'constant' ? leaves[i] : ''}|${inputs.map((input) => numbers.get(input)).join()}`;
    const equal = apart.has(node.op) ? undefined : known.get(key);
    if (equal && !results.has(node)) {
      standsFor.set(node, equal);
      return;
    }
    const changed = inputs.some((input, k) => input !== node.inputs[k]);
    const own = changed ? new Node(node.op, node.dtype, node.shape, inputs, node.attributes) : node;
    standsFor.set(node, own);
    numbers.set(own, kept.push(own));
    if (!equal) known.set(key, own);
  });
  return { nodes: kept, standsFor };
}
