/** The recurrence that every temporal estimator is made of, y_t = a_t·y_{t+1} + b_t, and masked whitening by itself. */
import { affineScan, maskedWhiten, scan } from 'vantage-rl';
import { ragged, uniform, uniformBfloat16, widened } from '../inputs';
import * as reference from '../reference';
import { checkedRowsOf, float32, type Data, type Device, type Workload } from '../workload';
import { noMoments, whitenInJavaScript } from './gae';

function affine(shape: [number, number]): Workload {
  return {
    name: `affine-scan/${shape.join('x')}`,
    shape,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 12,
    outputs: { out: float32(...shape) },
    inputs: () => ({ a: uniform(1, shape, 0.5, 1), b: uniform(2, shape, -1, 1) }),
    checkedRows: checkedRowsOf(shape),
    reference: (inputs, rows) => ({ out: reference.affineScan(inputs, [rows, shape[1]]) }),
    ours: ({ a, b }) => ({ out: affineScan(a!, b!, { reverse: true }) }),
    variants: { scan: ({ a, b }) => ({ out: scan([a!, b!], { reverse: true }, (y, [a, b]) => a.mul(y).add(b)) }) },
    native: { scratch: { initial: float32(shape[0]) }, calls: [{ kernel: 'affine_scan', views: ['a', 'b', 'initial', 'out'], attributes: [1] }] },
    javascript: ({ a, b }: Data, { out }: Data) => {
      const [factor, addend, y]: Float32Array[] = [a, b, out];
      const [rows, time] = shape;
      for (let row = 0; row < rows; row++) {
        let running = 0;
        for (let i = (row + 1) * time - 1; i >= row * time; i--) {
          running = factor![i]! * running + addend![i]!;
          y![i] = running;
        }
      }
    },
    peer: { name: 'affine_scan', parameters: {} },
  };
}

function whiten(shape: [number, number]): Workload {
  return {
    name: `whiten/${shape.join('x')}-ragged`,
    shape,
    dtype: 'float32',
    tokens: shape[0] * shape[1],
    bytesPerToken: 14,
    outputs: { out: float32(...shape) },
    inputs: () => ({ x: uniform(1, shape, -1, 1), mask: ragged(shape, 0.75) }),
    reference: ({ x, mask }) => ({ out: reference.whiten(x, mask) }),
    ours: ({ x, mask }) => ({ out: maskedWhiten(x!, mask!) }),
    native: { scratch: { noMoments }, calls: [{ kernel: 'whiten', views: ['x', 'mask', 'noMoments', 'out'], scalars: [1e-8, 1], attributes: [0] }] },
    javascript: ({ x, mask }: Data, { out }: Data) => whitenInJavaScript(x, mask, out),
    peer: { name: 'whiten', parameters: {} },
  };
}

/** The same in bfloat16; each number is rounded once, when it is written. */
function affineBfloat16(shape: [number, number], devices?: Device[]): Workload {
  const { name, javascript, ...rest } = affine(shape);
  return {
    ...rest,
    name: `${name}-bf16`,
    dtype: 'bfloat16',
    bytesPerToken: 6,
    devices,
    tolerance: { relative: 2 ** -8, absolute: 1e-3 },
    outputs: { out: { dtype: 'bfloat16', shape } },
    inputs: () => ({ a: uniformBfloat16(1, shape, 0.5, 1), b: uniformBfloat16(2, shape, -1, 1) }),
    reference: ({ a, b }, rows) => ({ out: reference.affineScan({ a: widened(a), b: widened(b) }, [rows, shape[1]]) }),
    native: { ...rest.native!, scratch: { initial: { dtype: 'bfloat16', shape: [shape[0]] } } },
  };
}

export const workloads: Workload[] = [affine([12288, 1024]), affine([12288, 65536]), affineBfloat16([12288, 65536], ['cuda']), whiten([1024, 8192])];
