/** The clipped policy loss with a k3 KL term: the loss, what it reports, and its gradient in the log-probs. */
import { computePolicyLoss, gradients, klDivergence } from 'vantage-rl';
import { ragged, uniform } from '../inputs';
import * as reference from '../reference';
import { float32, type Data, type Workload } from '../workload';

const parameters = { clip: 0.2, klCoefficient: 0.001 };

function inJavaScript(inputs: Data, out: Data): void {
  const [l, old, ref, a]: Float32Array[] = [inputs.logProbs, inputs.oldLogProbs, inputs.refLogProbs, inputs.advantages];
  const [m, gradient]: [Uint8Array, Float32Array] = [inputs.mask, out.gradient];
  const { clip, klCoefficient } = parameters;
  let [loss, clipped, count] = [0, 0, 0];
  for (let i = 0; i < m.length; i++) {
    if (!m[i]) {
      gradient[i] = 0;
      continue;
    }
    const ratio = Math.exp(l![i]! - old![i]!);
    const x = ref![i]! - l![i]!;
    const slope = Math.expm1(x);
    const unclipped = ratio * a![i]!;
    const bounded = Math.min(Math.max(ratio, 1 - clip), 1 + clip) * a![i]!;
    count++;
    if (bounded < unclipped) {
      clipped++;
      loss += klCoefficient * (slope - x) - bounded;
      gradient[i] = -klCoefficient * slope;
    } else {
      loss += klCoefficient * (slope - x) - unclipped;
      gradient[i] = -klCoefficient * slope - unclipped;
    }
  }
  out.loss[0] = loss;
  out.clipRatio[0] = clipped / Math.max(1, count);
}

function clippedLoss(rows: number, time: number): Workload {
  const shape: [number, number] = [rows, time];
  return {
    name: `clipped-loss/${rows * time}`,
    shape,
    dtype: 'float32',
    tokens: rows * time,
    bytesPerToken: 21,
    outputs: { loss: float32(1), clipRatio: float32(1), gradient: float32(...shape) },
    inputs: () => ({
      logProbs: uniform(1, shape, -2, -1.5),
      oldLogProbs: uniform(2, shape, -2, -1.5),
      refLogProbs: uniform(3, shape, -2, -1.5),
      advantages: uniform(4, shape, -1, 1.5),
      mask: ragged(shape),
    }),
    reference: (inputs) => reference.clippedLoss(inputs, parameters),
    ours: ({ logProbs, oldLogProbs, refLogProbs, advantages, mask }) => {
      const policy = computePolicyLoss('regular', { logProbs: logProbs!, oldLogProbs: oldLogProbs!, advantages: advantages!, mask: mask! });
      const kl = klDivergence(logProbs!, refLogProbs!, 'k3', mask!).sum(null, { mask: mask! });
      const loss = policy.loss.add(kl.mul(parameters.klCoefficient));
      const [gradient] = gradients(loss, [logProbs!]);
      return { ...policy.metrics, loss, clipRatio: policy.metrics.clip_ratio!, gradient: gradient! };
    },
    javascript: inJavaScript,
    peer: { name: 'clipped_loss', parameters },
  };
}

export const workloads: Workload[] = [clippedLoss(64, 1024), clippedLoss(2048, 4096)];
