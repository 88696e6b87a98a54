/** Generalised advantage estimation: the kernel, the estimator with its whitening, and episodes that end within rows. */
import { computeAdvantages, generalizedAdvantage } from 'vantage-rl';
import { everyToken, flags, ragged, uniform } from '../inputs';
import * as reference from '../reference';
import { checkedRowsOf, float32, type ArrayType, type Data, type Device, type NativeJob, type Workload } from '../workload';

const [gamma, lambda] = [0.99, 0.95];

/** The loop, with values and advantages in float64 as JavaScript has them anyway. */
export function gaeInJavaScript({ rewards, values, mask }: Data, out: Data, [rows, time]: readonly number[]): void {
  const [r, v, m, advantages, returns]: [Float32Array, Float32Array, Uint8Array, Float32Array, Float32Array] = [rewards, values, mask, out.advantages, out.returns];
  for (let b = 0; b < rows!; b++) {
    let advantage = 0;
    let next = 0;
    for (let i = (b + 1) * time! - 1; i >= b * time!; i--) {
      if (m[i]) {
        advantage = r[i]! + gamma * next - v[i]! + gamma * lambda * advantage;
        next = v[i]!;
        advantages[i] = advantage;
        returns[i] = advantage + next;
      } else {
        advantages[i] = 0;
        returns[i] = 0;
      }
    }
  }
}

/** With `ends`, 1 where an episode ends behind a token. */
function gaeWithEndsInJavaScript({ rewards, values, mask, ends }: Data, out: Data, [rows, time]: readonly number[]): void {
  const [r, v, m, e, advantages, returns]: [Float32Array, Float32Array, Uint8Array, Uint8Array, Float32Array, Float32Array] = [
    rewards,
    values,
    mask,
    ends,
    out.advantages,
    out.returns,
  ];
  for (let b = 0; b < rows!; b++) {
    let advantage = 0;
    let next = 0;
    for (let i = (b + 1) * time! - 1; i >= b * time!; i--) {
      if (e[i]) advantage = next = 0;
      if (m[i]) {
        advantage = r[i]! + gamma * next - v[i]! + gamma * lambda * advantage;
        next = v[i]!;
        advantages[i] = advantage;
        returns[i] = advantage + next;
      } else {
        advantages[i] = 0;
        returns[i] = 0;
      }
    }
  }
}

/** x ← (x − μ)/√(σ² + 1e-8) over the valid positions; what is masked holds 0 and keeps it. */
export function whitenInJavaScript(x: Float32Array, mask: Uint8Array, out: Float32Array): void {
  let count = 0;
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    if (mask[i]) {
      sum += x[i]!;
      count++;
    }
  }
  const mean = sum / count;
  let squares = 0;
  for (let i = 0; i < x.length; i++) {
    if (mask[i]) squares += (x[i]! - mean) * (x[i]! - mean);
  }
  const scale = 1 / Math.sqrt(squares / Math.max(1, count - 1) + 1e-8);
  for (let i = 0; i < x.length; i++) out[i] = mask[i] ? (x[i]! - mean) * scale : 0;
}

/** What a kernel leaves out: the views stand there, empty. */
export const noMoments: ArrayType = { dtype: 'float64', shape: [0, 3] };
const noEnds: NativeJob['scratch'] = { none: { dtype: 'uint8', shape: [0, 0] }, noBootstrap: float32(0, 0) };

function common(shape: [number, number]) {
  return { shape, dtype: 'float32' as const, tokens: shape[0] * shape[1], outputs: { advantages: float32(...shape), returns: float32(...shape) } };
}

const critic = (shape: [number, number]) => ({ rewards: uniform(1, shape), values: uniform(2, shape) });

function gae(shape: [number, number], devices?: Device[]): Workload {
  return {
    ...common(shape),
    name: `gae/${shape.join('x')}`,
    bytesPerToken: 17,
    devices,
    inputs: () => ({ ...critic(shape), mask: ragged(shape) }),
    checkedRows: checkedRowsOf(shape),
    reference: (inputs, rows) => reference.gae(inputs, [rows, shape[1]], gamma, lambda),
    ours: ({ rewards, values, mask }) => {
      const { advantages, returns } = generalizedAdvantage(rewards!, values!, mask!, { gamma, lambda });
      return { advantages, returns };
    },
    variants: {
      estimator: ({ rewards, values, mask: masks }) => {
        const { advantages, returns } = computeAdvantages('gae', { rewards: rewards!, values: values!, masks: masks! }, { gamma, lambda, whiten: false });
        return { advantages, returns };
      },
    },
    native: {
      scratch: { ...noEnds, noMoments },
      calls: [{ kernel: 'gae', views: ['rewards', 'values', 'mask', 'none', 'noBootstrap', 'advantages', 'returns', 'noMoments'], scalars: [gamma, lambda] }],
    },
    javascript: (inputs, outputs) => gaeInJavaScript(inputs, outputs, shape),
    peer: { name: 'gae', parameters: { gamma, lambda, whiten: false } },
  };
}

/** One token in twenty ends an episode. */
function gaeWithEnds(shape: [number, number], devices?: Device[]): Workload {
  return {
    ...common(shape),
    name: `gae/${shape.join('x')}-done5`,
    bytesPerToken: 18,
    devices,
    inputs: () => ({ ...critic(shape), mask: everyToken(shape), ends: flags(3, shape, 0.05) }),
    checkedRows: checkedRowsOf(shape),
    reference: (inputs, rows) => reference.gae(inputs, [rows, shape[1]], gamma, lambda),
    ours: ({ rewards, values, mask, ends }) => {
      const { advantages, returns } = generalizedAdvantage(rewards!, values!, mask!, { gamma, lambda, ends: ends! });
      return { advantages, returns };
    },
    native: {
      scratch: { noBootstrap: float32(...shape), noMoments },
      calls: [{ kernel: 'gae', views: ['rewards', 'values', 'mask', 'ends', 'noBootstrap', 'advantages', 'returns', 'noMoments'], scalars: [gamma, lambda] }],
    },
    javascript: (inputs, outputs) => gaeWithEndsInJavaScript(inputs, outputs, shape),
    peer: { name: 'gae', parameters: { gamma, lambda, whiten: false } },
  };
}

/** The estimator as a training run calls it: advantages whitened over the valid tokens, and returns. */
function gaeWhiten(shape: [number, number]): Workload {
  return {
    ...common(shape),
    name: `gae-whiten/${shape.join('x')}-ragged`,
    bytesPerToken: 26,
    inputs: () => ({ ...critic(shape), mask: ragged(shape, 0.75) }),
    reference: (inputs) => {
      const { advantages, returns } = reference.gae(inputs, shape, gamma, lambda);
      return { advantages: reference.whiten(advantages, inputs.mask), returns };
    },
    ours: ({ rewards, values, mask: masks }) => {
      const { advantages, returns } = computeAdvantages('gae', { rewards: rewards!, values: values!, masks: masks! }, { gamma, lambda });
      return { advantages, returns };
    },
    native: {
      scratch: { ...noEnds, raw: float32(...shape), moments: { dtype: 'float64', shape: [shape[0], 3] } },
      calls: [
        { kernel: 'gae', views: ['rewards', 'values', 'mask', 'none', 'noBootstrap', 'raw', 'returns', 'moments'], scalars: [gamma, lambda] },
        { kernel: 'whiten', views: ['raw', 'mask', 'moments', 'advantages'], scalars: [1e-8, 1], attributes: [0] },
      ],
    },
    javascript: (inputs, outputs) => {
      gaeInJavaScript(inputs, outputs, shape);
      whitenInJavaScript(outputs.advantages, inputs.mask, outputs.advantages);
    },
    peer: { name: 'gae', parameters: { gamma, lambda, whiten: true } },
  };
}

export const workloads: Workload[] = [
  gae([256, 1024], ['cpu']),
  gae([1024, 1024]),
  gae([4096, 2048], ['cpu']),
  gae([32768, 8]),
  gae([32768, 16]),
  gae([4096, 128]),
  gae([16, 524288]),
  gae([1, 1048576]),
  gae([16384, 512], ['cuda']),
  gae([8192, 4096], ['cuda']),
  gaeWithEnds([1024, 1024], ['cpu']),
  gaeWithEnds([16384, 512], ['cuda']),
  gaeWhiten([1024, 1024]),
  gaeWhiten([1024, 8192]),
];
