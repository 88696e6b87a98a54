/** Log-probability of the sampled token and entropy, from bfloat16 logits; a policy loss with its gradient in the logits. */
import { gradients, logitsPolicyLoss, tokenLogProbs } from 'vantage-rl';
import { everyToken, integers, uniform, uniformBfloat16, widened } from '../inputs';
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

function tokens([rows, vocabulary]: [number, number], devices?: Device[]): Workload {
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
    checkedRows: Math.min(rows, 256),
    reference: (inputs, checked) => reference.tokenLogProbs(inputs, vocabulary, checked),
    ours: ({ logits, ids }) => tokenLogProbs(logits!, ids!),
    native: { scratch: { lse: float32(rows) }, calls: [{ kernel: 'token_log_probs', views: ['logits', 'ids', 'logProbs', 'entropy', 'lse'], scalars: [1] }] },
    javascript: (inputs, outputs) => inJavaScript(inputs, outputs, shape),
    peer: { name: 'token_log_probs', parameters: {} },
  };
}

const clip = 0.2;

/** The clipped policy loss of the sampled tokens, and its gradient in the logits. */
function loss([rows, vocabulary]: [number, number], devices?: Device[]): Workload {
  // Of so many logits, uniform in ±1, log Σ exp is V·sinh 1 but for a few thousandths: near enough for ratios around 1.
  const logSum = Math.log(vocabulary * Math.sinh(1));
  return {
    name: `logits-loss/${rows}x${vocabulary}-bf16`,
    shape: [rows, vocabulary],
    dtype: 'bfloat16',
    tokens: rows,
    bytesPerToken: 4 * vocabulary,
    devices,
    outputs: { gradient: { dtype: 'bfloat16', shape: [rows, vocabulary] } },
    checkedRows: Math.min(rows, 64),
    // Gradients are as small as probabilities, and rounded to eight bits.
    tolerance: { relative: 2 ** -8, absolute: 1e-9 },
    inputs: () => {
      const logits = uniformBfloat16(1, [rows, vocabulary], -1, 1);
      const ids = integers(rows, (i) => (i * 7919) % vocabulary);
      const noise = uniform(2, [rows], -0.3, 0.3).data;
      const chosen = widened(Uint16Array.from({ length: rows }, (_, n) => logits.data[(n * vocabulary + ids.data[n]!) % logits.data.length]!));
      const oldLogProbs = { dtype: 'float32' as const, shape: [rows], data: chosen.map((x, n) => x - logSum + noise[n]!) };
      const weights = { dtype: 'float32' as const, shape: [rows], data: new Float32Array(rows).fill(1) };
      return { logits, ids, oldLogProbs, advantages: uniform(3, [rows], -1, 1), mask: everyToken([rows]), weights };
    },
    reference: (inputs, checked) => reference.logitsLoss(inputs, vocabulary, checked, clip),
    ours: ({ logits, ids, oldLogProbs, advantages, mask }) => {
      const { loss: total } = logitsPolicyLoss(logits!, ids!, { oldLogProbs: oldLogProbs!, advantages: advantages!, mask: mask! }, { epsClipLow: clip, epsClipHigh: clip });
      const [gradient] = gradients(total, [logits!]);
      return { total, gradient: gradient! };
    },
    variants: {
      // Log-probs, loss and gradient one after the other: the logits are read twice.
      composed: ({ logits, ids, oldLogProbs, advantages }) => {
        const { logProbs } = tokenLogProbs(logits!, ids!);
        const ratio = logProbs.sub(oldLogProbs!).exp();
        const total = ratio.mul(advantages!).minimum(ratio.clamp(1 - clip, 1 + clip).mul(advantages!)).neg().sum();
        const [gradient] = gradients(total, [logits!]);
        return { total, gradient: gradient! };
      },
    },
    native: {
      scratch: { noReference: float32(0), losses: float32(rows), logProbs: float32(rows), entropy: float32(rows) },
      calls: [
        {
          kernel: 'token_policy_gradient',
          views: ['logits', 'ids', 'oldLogProbs', 'advantages', 'weights', 'noReference', 'losses', 'logProbs', 'entropy', 'gradient'],
          // Neither a bound of the dual clip nor one of the ratio.
          scalars: [1, clip, clip, 1e30, 1e30, 0, 0],
          attributes: [0],
        },
      ],
    },
    peer: { name: 'logits_loss', parameters: { clip } },
  };
}

export const workloads: Workload[] = [
  tokens([512, 151936], ['cpu']),
  tokens([64, 32000]),
  tokens([8192, 151936], ['cuda']),
  tokens([8192, 131072], ['cuda']),
  loss([64, 32000]),
  loss([8192, 151936], ['cuda']),
];
