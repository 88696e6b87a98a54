/** Log-probability of the sampled token and entropy, from bfloat16 logits. */
import { tokenLogProbs } from 'vantage-rl';
import { integers, uniformBfloat16 } from '../inputs';
import * as reference from '../reference';
import { float32, type Data, type Device, type Workload } from '../workload';

function inJavaScript({ logits, ids }: Data, out: Data, [rows, vocabulary]: readonly number[]): void {
  const [x, id, logProbs, entropy]: [Uint16Array, Int32Array, Float32Array, Float32Array] = [logits, ids, out.logProbs, out.entropy];
  const words = new Uint32Array(vocabulary!);
  const row = new Float32Array(words.buffer);
  for (let n = 0; n < rows!; n++) {
    const from = n * vocabulary!;
    let largest = -Infinity;
    for (let j = 0; j < vocabulary!; j++) {
      words[j] = x[from + j]! << 16;
      if (row[j]! > largest) largest = row[j]!;
    }
    let sum = 0;
    let weighted = 0;
    for (let j = 0; j < vocabulary!; j++) {
      const score = row[j]! - largest;
      const weight = Math.exp(score);
      sum += weight;
      weighted += weight * score;
    }
    logProbs[n] = row[id[n]!]! - largest - Math.log(sum);
    entropy[n] = Math.log(sum) - weighted / sum;
  }
}

function workload([rows, vocabulary]: [number, number], devices?: Device[]): Workload {
  const shape = [rows, vocabulary];
  return {
    name: `token-log-probs/${rows}x${vocabulary}-bf16`,
    shape,
    dtype: 'bfloat16',
    tokens: rows,
    bytesPerToken: 2 * vocabulary + 12,
    devices,
    outputs: { logProbs: float32(rows), entropy: float32(rows) },
    inputs: () => ({ logits: uniformBfloat16(1, shape, -8, 8), ids: integers(rows, (i) => (i * 7919) % vocabulary) }),
    reference: (inputs) => reference.tokenLogProbs(inputs, shape),
    ours: ({ logits, ids }) => tokenLogProbs(logits!, ids!),
    native: { scratch: { lse: float32(rows) }, calls: [{ kernel: 'token_log_probs', views: ['logits', 'ids', 'logProbs', 'entropy', 'lse'], scalars: [1] }] },
    javascript: (inputs, outputs) => inJavaScript(inputs, outputs, shape),
    peer: { name: 'token_log_probs', parameters: {} },
  };
}

export const workloads: Workload[] = [
  workload([512, 151936], ['cpu']),
  workload([64, 32000]),
  workload([8192, 151936], ['cuda']),
  workload([8192, 131072], ['cuda']),
];
