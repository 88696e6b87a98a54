/** Group-relative advantages from token rewards: a sum over each row, statistics over its group, one number for all tokens of the row. */
import { computeAdvantages, type Tensor } from 'vantage-rl';
import { integers, ragged, uniform } from '../inputs';
import * as reference from '../reference';
import { checkedRowsOf, float32, type Data, type Workload } from '../workload';

const GROUP = 8;

function groupedInJavaScript({ rewards, mask, groups }: Data, out: Data, [rows, time]: readonly number[], leaveOneOut: boolean): void {
  const [r, m, g, advantages]: [Float32Array, Uint8Array, Int32Array, Float32Array] = [rewards, mask, groups, out.advantages];
  const scores = new Float64Array(rows!);
  const [counts, means, squares] = [new Float64Array(rows!), new Float64Array(rows!), new Float64Array(rows!)];
  for (let b = 0; b < rows!; b++) {
    let sum = 0;
    for (let i = b * time!; i < (b + 1) * time!; i++) if (m[i]) sum += r[i]!;
    scores[b] = sum;
    counts[g[b]!]!++;
    means[g[b]!]! += sum;
  }
  for (let k = 0; k < rows!; k++) means[k]! /= counts[k]!;
  for (let b = 0; b < rows!; b++) squares[g[b]!]! += (scores[b]! - means[g[b]!]!) ** 2;
  for (let b = 0; b < rows!; b++) {
    const [count, centred] = [counts[g[b]!]!, scores[b]! - means[g[b]!]!];
    const value = leaveOneOut ? (centred * count) / Math.max(1, count - 1) : centred / (Math.sqrt(squares[g[b]!]! / Math.max(1, count - 1)) + 1e-6);
    for (let i = b * time!; i < (b + 1) * time!; i++) advantages[i] = m[i] ? value : 0;
  }
}

function grouped(name: 'grpo' | 'rloo', shape: [number, number]): Workload {
  return {
    name: `${name}/${shape.join('x')}`,
    shape,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 10,
    outputs: { advantages: float32(...shape) },
    inputs: () => ({
      rewards: uniform(1, shape, -1, 1),
      mask: ragged(shape),
      groups: integers(shape[0], (b) => Math.floor(b / GROUP)),
      rows: integers(shape[0], (b) => b),
      starts: integers(shape[0] / GROUP + 1, (group) => group * GROUP),
    }),
    checkedRows: checkedRowsOf(shape, GROUP),
    reference: (inputs, rows) => ({ advantages: reference[name](inputs, [rows, shape[1]]) }),
    ours: ({ rewards, mask: masks }: Record<string, Tensor>, { groups: groupIds }) => ({
      advantages: computeAdvantages(name, { rewards: rewards!, masks: masks!, groupIds }).advantages,
    }),
    native: {
      scratch: { perRow: float32(shape[0]) },
      calls: [
        {
          kernel: 'group_advantages',
          views: ['rewards', 'mask', 'rows', 'starts', 'advantages', 'perRow'],
          scalars: [1, 1e-6, 0],
          attributes: [name === 'rloo' ? 4 : 3],
        },
      ],
    },
    javascript: (inputs, outputs) => groupedInJavaScript(inputs, outputs, shape, name === 'rloo'),
    peer: { name: 'grouped', parameters: { leaveOneOut: name === 'rloo' } },
  };
}

export const workloads: Workload[] = [grouped('grpo', [1024, 1024]), grouped('grpo', [8192, 4096]), grouped('rloo', [8192, 4096])];
