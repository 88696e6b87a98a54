/** V-trace, and the discounted return. */
import { discountedReturn, vtrace } from 'vantage-rl';
import { ragged, uniform } from '../inputs';
import * as reference from '../reference';
import { checkedRowsOf, float32, type Data, type Device, type Workload } from '../workload';
import { noMoments } from './gae';

const parameters = { gamma: 0.99, lambda: 0.95, clipRho: 1, clipC: 1, clipPgRho: 1 };

function vtraceInJavaScript(inputs: Data, out: Data, [rows, time]: readonly number[]): void {
  const [target, behaviour, r, v]: Float32Array[] = [inputs.targetLogProbs, inputs.behaviourLogProbs, inputs.rewards, inputs.values];
  const [m, bootstrap, targets, advantages]: [Uint8Array, Float32Array, Float32Array, Float32Array] = [inputs.mask, inputs.bootstrap, out.targets, out.advantages];
  const { gamma, lambda, clipRho, clipC, clipPgRho } = parameters;
  for (let b = 0; b < rows!; b++) {
    let difference = 0;
    let next = bootstrap[b]!;
    let nextTarget = next;
    for (let i = (b + 1) * time! - 1; i >= b * time!; i--) {
      if (m[i]) {
        const rho = Math.exp(target![i]! - behaviour![i]!);
        advantages[i] = Math.min(clipPgRho, rho) * (r![i]! + gamma * nextTarget - v![i]!);
        difference = Math.min(clipRho, rho) * (r![i]! + gamma * next - v![i]!) + gamma * lambda * Math.min(clipC, rho) * difference;
        next = v![i]!;
        nextTarget = next + difference;
        targets[i] = nextTarget;
      } else {
        advantages[i] = 0;
        targets[i] = 0;
      }
    }
  }
}

function vtraceWorkload(shape: [number, number], devices?: Device[]): Workload {
  return {
    name: `vtrace/${shape.join('x')}`,
    shape,
    devices,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 25,
    outputs: { targets: float32(...shape), advantages: float32(...shape) },
    inputs: () => ({
      targetLogProbs: uniform(1, shape, -3, 0),
      behaviourLogProbs: uniform(2, shape, -3, 0),
      rewards: uniform(3, shape),
      values: uniform(4, shape),
      mask: ragged(shape),
      bootstrap: uniform(5, [shape[0]]),
    }),
    checkedRows: checkedRowsOf(shape),
    reference: (inputs, rows) => reference.vtrace(inputs, [rows, shape[1]], parameters),
    ours: ({ targetLogProbs, behaviourLogProbs, rewards, values, mask, bootstrap }) => ({
      ...vtrace(
        { targetLogProbs: targetLogProbs!, behaviourLogProbs: behaviourLogProbs!, rewards: rewards!, values: values!, mask: mask!, bootstrap: bootstrap! },
        parameters,
      ),
    }),
    native: {
      calls: [
        {
          kernel: 'vtrace',
          views: ['targetLogProbs', 'behaviourLogProbs', 'rewards', 'values', 'mask', 'bootstrap', 'targets', 'advantages'],
          scalars: Object.values(parameters),
        },
      ],
    },
    javascript: (inputs, outputs) => vtraceInJavaScript(inputs, outputs, shape),
    peer: { name: 'vtrace', parameters },
  };
}

function returns(shape: [number, number], devices?: Device[]): Workload {
  const gamma = 0.99;
  return {
    name: `discounted-return/${shape.join('x')}`,
    shape,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 9,
    devices,
    outputs: { returns: float32(...shape) },
    inputs: () => ({ rewards: uniform(1, shape), mask: ragged(shape) }),
    checkedRows: checkedRowsOf(shape),
    reference: (inputs, rows) => ({ returns: reference.discountedReturn(inputs, [rows, shape[1]], gamma) }),
    ours: ({ rewards, mask }) => ({ returns: discountedReturn(rewards!, mask!, { gamma }).returns }),
    native: { scratch: { noMoments }, calls: [{ kernel: 'discounted_return', views: ['rewards', 'mask', 'returns', 'noMoments'], scalars: [gamma] }] },
    javascript: ({ rewards, mask }: Data, { returns }: Data) => {
      const [r, m, out]: [Float32Array, Uint8Array, Float32Array] = [rewards, mask, returns];
      const [rows, time] = shape;
      for (let b = 0; b < rows; b++) {
        let running = 0;
        for (let i = (b + 1) * time - 1; i >= b * time; i--) {
          if (m[i]) {
            running = r[i]! + gamma * running;
            out[i] = running;
          } else {
            out[i] = 0;
          }
        }
      }
    },
    peer: { name: 'discounted_return', parameters: { gamma } },
  };
}

export const workloads: Workload[] = [
  vtraceWorkload([1024, 1024], ['cpu']),
  vtraceWorkload([16384, 512]),
  returns([1024, 1024], ['cpu']),
  returns([16384, 512], ['cuda']),
];
