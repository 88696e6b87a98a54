/** Estimators written in TypeScript by a user, beside the built-in ones that compute the same. */
import { AdvantageEstimator, computeAdvantages, generalizedAdvantage, registerAdvantageEstimator, scan, where, type AdvantageContext, type AdvantageResult, type Tensor } from 'vantage-rl';
import { everyToken, ragged, uniform } from '../inputs';
import * as reference from '../reference';
import { checkedRowsOf, float32, type Data, type Device, type Workload } from '../workload';
import { gaeInJavaScript, whitenInJavaScript } from './gae';

const [gamma, lambda] = [0.99, 0.95];

/** The one of the README. */
class RewardToGo extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    const advantages = scan([rewards, masks], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.99)));
    return advantages.sub(advantages.mean()).div(advantages.std().add(1e-8));
  }
}
registerAdvantageEstimator('bench_reward_to_go', RewardToGo, { override: true });

class CustomGae extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, context: AdvantageContext): AdvantageResult {
    const [advantages] = scan([rewards, values!], { reverse: true, mask: masks, init: [0, 0] }, ([a, next], [r, v]) => [
      r.add(next.mul(context.gamma)).sub(v).add(a.mul(context.gamma * context.lambda)),
      v,
    ]);
    return { advantages, returns: where(masks, advantages.add(values!), 0) };
  }
}
registerAdvantageEstimator('bench_gae', CustomGae, { override: true });

/** Every token counts: there the normalisation of the README's estimator is the whitening of `reinforce++`. */
function rewardToGo(shape: [number, number]): Workload {
  const estimate = (name: string) => ({ rewards, mask }: Record<string, Tensor>) => ({
    advantages: computeAdvantages(name, { rewards: rewards!, masks: mask! }, { gamma }).advantages,
  });
  return {
    name: `custom/reward-to-go/${shape.join('x')}`,
    shape,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 18,
    outputs: { advantages: float32(...shape) },
    inputs: () => ({ rewards: uniform(1, shape), mask: everyToken(shape) }),
    reference: (inputs) => ({ advantages: reference.whiten(reference.discountedReturn(inputs, shape, gamma), inputs.mask) }),
    ours: estimate('bench_reward_to_go'),
    variants: { 'built-in': estimate('reinforce++') },
    javascript: ({ rewards, mask }: Data, { advantages }: Data) => {
      const [r, m, out]: [Float32Array, Uint8Array, Float32Array] = [rewards, mask, advantages];
      const [rows, time] = shape;
      for (let b = 0; b < rows; b++) {
        let running = 0;
        for (let i = (b + 1) * time - 1; i >= b * time; i--) {
          running = r[i]! + gamma * running * m[i]!;
          out[i] = running;
        }
      }
      whitenInJavaScript(out, m, out);
    },
  };
}

function customGae(shape: [number, number]): Workload {
  const estimate = (name: string, options: object) => ({ rewards, values, mask }: Record<string, Tensor>) => {
    const { advantages, returns } = computeAdvantages(name, { rewards: rewards!, values: values!, masks: mask! }, { gamma, lambda, ...options });
    return { advantages, returns };
  };
  return {
    name: `custom/gae/${shape.join('x')}`,
    shape,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 17,
    outputs: { advantages: float32(...shape), returns: float32(...shape) },
    inputs: () => ({ rewards: uniform(1, shape), values: uniform(2, shape), mask: ragged(shape) }),
    checkedRows: checkedRowsOf(shape),
    reference: (inputs, rows) => reference.gae(inputs, [rows, shape[1]], gamma, lambda),
    ours: estimate('bench_gae', {}),
    variants: {
      'built-in': estimate('gae', { whiten: false }),
      kernel: ({ rewards, values, mask }) => {
        const { advantages, returns } = generalizedAdvantage(rewards!, values!, mask!, { gamma, lambda });
        return { advantages, returns };
      },
    },
    javascript: (inputs, outputs) => gaeInJavaScript(inputs, outputs, shape),
  };
}

/** The sizes of a CPU, and those of a GPU. */
const sizes: [[number, number], Device][] = [[[4096, 128], 'cpu'], [[1024, 1024], 'cpu'], [[4096, 2048], 'cpu'], [[16384, 512], 'cuda'], [[8192, 4096], 'cuda']];

export const workloads: Workload[] = [rewardToGo, customGae].flatMap((workload) => sizes.map(([shape, device]) => ({ ...workload(shape), devices: [device] })));
