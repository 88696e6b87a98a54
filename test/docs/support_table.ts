/** What works where: each operation, tried in each element type on a device; the rows of docs/support.md. */
import {
  affineScan,
  attention,
  concat,
  discountedReturn,
  type Device,
  type DType,
  full,
  generalizedAdvantage,
  gradients,
  groupAdvantages,
  groupMoments,
  logitsPolicyLoss,
  packRows,
  padRows,
  randomKey,
  randomNormal,
  randomUniform,
  rowMoments,
  sampleTokens,
  scan,
  stack,
  tensor,
  Tensor,
  type TensorData,
  tidy,
  tokenLogProbs,
  UpdateList,
  vtrace,
  where,
  whiten,
  writeAt,
} from '../../src';
import { elementwiseOps } from '../../src/tensor/graph';

export const dtypes: readonly DType[] = ['float32', 'float64', 'bfloat16', 'int32', 'uint8', 'bool'];

/** What an operation is tried with: arrays of the element type under trial, and others on the same device. */
interface Trial {
  dtype: DType;
  /** [2,4], numbers above 0 (true, of bool). */
  x: Tensor;
  /** A tensor of these numbers in the type under trial. */
  of: (data: TensorData) => Tensor;
  /** One whose type does not depend on it. */
  fixed: (data: TensorData, dtype: DType) => Tensor;
  device: Device;
}

export interface Operation {
  name: string;
  /** The tuned kernels (native/core/kernels.h) that it runs, beside fused programs. */
  kernels?: readonly string[];
  run: (trial: Trial) => Tensor;
}

export interface Section {
  title: string;
  /** What stands above its table. */
  text: string;
  operations: readonly Operation[];
}

type Method = Exclude<{ [K in keyof Tensor]: Tensor[K] extends (...args: never[]) => Tensor ? K : never }[keyof Tensor], symbol>;

/** A row for a method of tensors of that name. */
const method = (name: Method, ...args: readonly unknown[]): Operation => ({ name, run: ({ x }) => (x[name] as (...args: unknown[]) => Tensor).apply(x, [...args]) });

// Rows of the instruction table under the names that users call them by. `fma` is what the compiler of programs makes of a product and a sum; `where` stands below.
const renamed: Partial<Record<string, Method>> = {
  eq: 'equal',
  ne: 'notEqual',
  lt: 'less',
  le: 'lessEqual',
  gt: 'greater',
  ge: 'greaterEqual',
  isnan: 'isNaN',
  isfinite: 'isFinite',
  and_: 'logicalAnd',
  or_: 'logicalOr',
  not_: 'logicalNot',
};
const binary = new Set(['add', 'sub', 'mul', 'div', 'mod', 'maximum', 'minimum', 'pow', 'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'and_', 'or_']);
const arithmetic = elementwiseOps.filter((op) => op !== 'fma' && op !== 'where').map((op): Operation => {
  const name = renamed[op] ?? (op as Method);
  return binary.has(op) ? { name, run: ({ x }) => (x[name] as (other: Tensor) => Tensor).call(x, x) } : method(name);
});

const ids = (trial: Trial): Tensor => trial.fixed([1, 3], 'int32');
const mask = (trial: Trial): Tensor => trial.fixed([[1, 1, 1, 0], [1, 0, 1, 1]], 'bool');
const heads = (trial: Trial): Tensor => trial.of([[[[0.1, 0.2], [0.3, 0.4]]]]);

export const sections: readonly Section[] = [
  {
    title: 'Arithmetic',
    text: 'Element by element, fused into programs. A plain number, or a tensor of another type, may be the other operand.',
    operations: [...arithmetic, method('clamp', 1, 2), { name: 'where', run: ({ x }) => where(x.greater(1), x, x) }],
  },
  {
    title: 'Reductions and recurrences',
    text: 'Over one axis, several or all, with a mask or without. A step of `scan` that is affine in its state runs in parallel.',
    operations: [
      ...(['sum', 'mean', 'var', 'std', 'max', 'min'] as const).map((name) => method(name, 1)),
      method('cumsum'),
      { name: '`scan`, affine', run: ({ x }) => scan([x], {}, (state, [value]) => value.add(state.mul(0.5))) },
      { name: '`scan`, a loop', run: ({ x }) => scan([x], {}, (state, [value]) => value.add(state.mul(0.5)).minimum(3)) },
    ],
  },
  {
    title: 'Shapes and indices',
    text: 'Windows on memory cost nothing; what joins or picks elements copies them.',
    operations: [
      method('reshape', [4, 2]),
      method('transpose'),
      method('expandDims', 0),
      { name: 'squeeze', run: ({ x }) => x.expandDims(0).squeeze() },
      method('broadcastTo', [3, 2, 4]),
      method('slice', [0, 1], [2, 3]),
      method('select', 1, 0),
      method('flip', 1),
      { name: 'concat', run: ({ x }) => concat([x, x], 1) },
      { name: 'stack', run: ({ x }) => stack([x, x]) },
      { name: 'gather', kernels: ['gather', 'scatter_add'], run: (trial) => trial.x.gather(trial.fixed([[0, 1], [2, 0]], 'int32'), 1) },
      { name: 'take', kernels: ['gather', 'scatter_add'], run: (trial) => trial.x.take(trial.fixed([1, 0, 1], 'int32')) },
      { name: 'padRows', kernels: ['gather'], run: ({ x }) => padRows(x.reshape(8), [0, 3, 8]) },
      { name: 'packRows', kernels: ['gather'], run: ({ x }) => packRows(x, [0, 3, 7]) },
      { name: 'writeAt', kernels: ['index_copy'], run: ({ of, x }) => writeAt(of([[[0], [0], [0]], [[0], [0], [0]]]), x.slice([0, 0], [2, 2]).expandDims(2), 1) },
      ...dtypes.map((dtype): Operation => ({ name: `cast to ${dtype}`, run: ({ x }) => x.cast(dtype) })),
    ],
  },
  {
    title: 'Making tensors',
    text: 'In the type that is asked for.',
    operations: [
      { name: 'tensor', run: ({ dtype, device }) => tensor([[1, 2], [3, 4]], { dtype, device }) },
      { name: 'full', kernels: ['fill'], run: ({ dtype, device }) => full([2, 4], 1, { dtype, device }) },
      { name: 'randomUniform', kernels: ['philox'], run: ({ dtype, device }) => randomUniform([2, 4], { key: randomKey(1), dtype, device }) },
      { name: 'randomNormal', kernels: ['philox'], run: ({ dtype, device }) => randomNormal([2, 4], { key: randomKey(1), dtype, device }) },
    ],
  },
  {
    title: 'Models',
    text: 'Masks, ids and the like are integers, whatever the type of the rest.',
    operations: [
      { name: 'matmul', kernels: ['matmul'], run: ({ x }) => x.matmul(x.transpose()) },
      { ...method('softmax'), kernels: ['softmax'] },
      { ...method('logSoftmax'), kernels: ['softmax'] },
      {
        name: 'attention',
        kernels: ['attention', 'attention_backward'],
        run: (trial) => attention(heads(trial).add(trial.x.sum().mul(0)), heads(trial), heads(trial), { scale: 0.5, keyStart: trial.fixed([0], 'int32') }),
      },
      { name: 'tokenLogProbs', kernels: ['token_log_probs', 'token_log_probs_backward'], run: (trial) => tokenLogProbs(trial.x, ids(trial)).logProbs },
      { name: 'sampleTokens', kernels: ['sample'], run: ({ x }) => sampleTokens(x, { key: randomKey(1) }).ids },
      {
        name: 'logitsPolicyLoss',
        kernels: ['token_policy_gradient'],
        run: (trial) => {
          const numbers = trial.fixed([0.5, -1], trial.dtype === 'float64' ? 'float64' : 'float32');
          return logitsPolicyLoss(trial.x, ids(trial), { oldLogProbs: numbers, advantages: numbers, mask: trial.fixed([1, 1], 'bool') }).loss;
        },
      },
      {
        name: '`AdamW`, a step',
        kernels: ['adamw'],
        run: ({ x, of, dtype, fixed }) => {
          const [parameter, m, v] = [of([1, 2]), of([0, 0]), of([0, 0])];
          const updates = new UpdateList();
          const scale = fixed([1], dtype === 'float64' ? 'float64' : 'float32');
          updates.adamw(parameter, m, v, x.slice([0, 0], [1, 2]).reshape(2), scale, { lr: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, step: 1 });
          updates.evaluate();
          return parameter;
        },
      },
    ],
  },
  {
    title: "Reinforcement learning's recurrences and statistics",
    text: 'One pass over memory each; the same formulas written with `scan`, `where` and sums have gradients. Other types become float32.',
    operations: [
      { name: 'generalizedAdvantage', kernels: ['gae'], run: (trial) => generalizedAdvantage(trial.x, trial.x, mask(trial), { gamma: 0.9, lambda: 0.8 }).advantages },
      { name: 'discountedReturn', kernels: ['discounted_return'], run: (trial) => discountedReturn(trial.x, mask(trial), { gamma: 0.9 }).returns },
      {
        name: 'vtrace',
        kernels: ['vtrace'],
        run: (trial) => vtrace({ targetLogProbs: trial.x, behaviourLogProbs: trial.x, rewards: trial.x, values: trial.x, mask: mask(trial) }, { gamma: 0.9 }).targets,
      },
      { name: 'affineScan', kernels: ['affine_scan'], run: ({ x }) => affineScan(x, x) },
      { name: 'whiten', kernels: ['whiten'], run: (trial) => whiten(trial.x, mask(trial)) },
      { name: 'rowMoments', kernels: ['masked_moments'], run: (trial) => rowMoments(trial.x, mask(trial)) },
      {
        name: 'groupAdvantages',
        kernels: ['group_advantages'],
        run: (trial) => groupAdvantages(trial.x, mask(trial), trial.fixed([0, 1], 'int32'), trial.fixed([0, 2], 'int32')).advantages,
      },
      {
        name: 'groupMoments',
        kernels: ['group_moments'],
        run: (trial) => groupMoments(trial.x.select(1, 0), trial.fixed([1, 1], 'bool'), trial.fixed([0, 1], 'int32'), trial.fixed([0, 2], 'int32')).mean,
      },
    ],
  },
];

function trialOf(dtype: DType, device: Device): Trial {
  const of = (data: TensorData) => tensor(data, { device }).cast(dtype);
  return { dtype, of, x: of([[1, 2, 3, 1], [2, 1, 4, 2]]), fixed: (data, type) => tensor(data, { dtype: type, device }), device };
}

/** The result's type and numbers; null where the operation refuses the type. */
export function tryOut({ run }: Operation, dtype: DType, device: Device): { dtype: DType; values: number[] } | null {
  return tidy(() => {
    try {
      const result = run(trialOf(dtype, device));
      return { dtype: result.dtype, values: Array.from(result.dataSync()) };
    } catch {
      return null;
    }
  });
}

/** Whether gradients flow through, in float32. */
export function hasGradient({ run }: Operation, device: Device): boolean {
  return tidy(() => {
    const trial = trialOf('float32', device);
    try {
      const [gradient] = gradients(run(trial).sum(), [trial.x]);
      return gradient!.dataSync().every(Number.isFinite);
    } catch {
      return false;
    }
  });
}
