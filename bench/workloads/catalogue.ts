/**
 * Every registered estimator, and every registered policy loss with its gradient, on one batch of 1024 × 4096 with its default options. An entry that is
 * registered later has its row without a line here, as long as its inputs are among those below.
 */
import {
  computeAdvantages,
  computePolicyLoss,
  getAdvantageEstimator,
  getPolicyLoss,
  gradients,
  listAdvantageEstimators,
  listPolicyLosses,
  tensor,
  tidy,
  type AdvantageInputs,
  type DType,
  type PolicyLossInputs,
  type PolicyLossOptions,
  type Tensor,
} from 'vantage-rl';
import { flags, integers, ragged, uniform } from '../inputs';
import { byteSize, float32, product, rowsOf, type Data, type HostArray, type Workload } from '../workload';

type Shape = [rows: number, time: number];
const [GROUP, TURN, COMPONENTS] = [8, 512, 4];
const options = { gamma: 0.99, lambda: 0.95 };
/** What an estimator has to be told of these batches: totals of a row lie far beyond 0 and 1. */
const told: Record<string, object> = { bnpo: { minReward: -4096, maxReward: 4096 } };

/** Small numbers, such that log-ratios are within a clip range about half of the time. */
const logProbs = (seed: number) => (shape: Shape) => uniform(seed, shape, -2, -1.5);

const makers: Record<string, (shape: Shape) => HostArray> = {
  rewards: (shape) => uniform(1, shape, -1, 1),
  masks: ragged,
  values: (shape) => uniform(2, shape, -1, 1),
  groupIds: ([rows]) => integers(rows, (b) => Math.floor(b / GROUP)),
  oldLogProbs: logProbs(3),
  refLogProbs: logProbs(4),
  rolloutLogProbs: logProbs(25),
  teacherLogProbs: logProbs(6),
  importanceWeights: (shape) => uniform(7, shape, 0.5, 2),
  sumSquaredProbs: (shape) => uniform(8, shape, 0.1, 0.9),
  baselines: ([rows]) => uniform(9, [rows]),
  rewardComponents: ([rows]) => uniform(10, [rows, COMPONENTS]),
  terminated: (shape) => flags(11, shape, 0.001),
  truncated: (shape) => flags(12, shape, 0.001),
  bootstrapValues: ([rows]) => uniform(13, [rows]),
  turnIds: (shape) => ({ dtype: 'int32', shape, data: Int32Array.from({ length: product(shape) }, (_, i) => Math.floor((i % shape[1]) / TURN)) }),
  anchorIds: ([rows, time]) => ({ dtype: 'int32', shape: [rows, time], data: Int32Array.from({ length: rows * time }, (_, i) => (Math.floor(i / time) + Math.floor((i % time) / TURN)) % 5) }),
  policyDivergences: ([rows]) => uniform(16, [rows], 0, 0.1),
  logProbs: logProbs(14),
  advantages: (shape) => uniform(15, shape, -1, 1.5),
  mask: ragged,
};

const made = (names: readonly string[], shape: Shape): Record<string, HostArray> => Object.fromEntries(names.map((name) => [name, makers[name]!(shape)]));

/** The inputs as the API takes them: group ids as they are on the host. */
function asInputs(tensors: Record<string, Tensor>, { groupIds }: Data): AdvantageInputs & PolicyLossInputs {
  return { ...tensors, ...(groupIds && { groupIds }) } as unknown as AdvantageInputs & PolicyLossInputs;
}

/** What the library itself answers in float64 on the CPU: the formulas are held against loops of plain JavaScript in the tests, sizes and kernels here. */
function inFloat64(run: Workload['ours'], names: readonly string[], outputs: readonly string[], shape: Shape) {
  return (host: Data): Record<string, Float64Array> =>
    tidy(() => {
      const wide = (array: HostArray, data: never): Tensor => {
        const dtype: DType = array.dtype === 'float32' ? 'float64' : array.dtype;
        return tensor(dtype === 'float64' ? Float64Array.from(data) : data, { dtype, shape: array.shape, device: 'cpu' });
      };
      const tensors = Object.fromEntries(Object.entries(made(names, shape)).map(([name, array]) => [name, wide(array, host[name] as never)]));
      const results = run(tensors, host);
      return Object.fromEntries(outputs.map((name) => [name, Float64Array.from(results[name]!.dataSync())]));
    });
}

function workload(name: string, names: readonly string[], shape: Shape, outputs: Workload['outputs'], ours: Workload['ours']): Workload {
  const tokens = product(shape);
  const perToken = Object.values(made(names, [GROUP, TURN])).filter((array) => product(array.shape) === GROUP * TURN);
  return {
    name: `${name}/${shape.join('x')}`,
    shape,
    dtype: 'float32',
    tokens,
    bytesPerToken: [...perToken, ...Object.values(outputs).filter((array) => product(array.shape) === tokens)].reduce((sum, { dtype }) => sum + byteSize({ dtype, shape: [1] }), 0),
    outputs,
    inputs: () => made(names, shape),
    reference: inFloat64(ours, names, Object.keys(outputs), shape),
    ours,
  };
}

function estimator(name: string, shape: Shape): Workload {
  const names = ['rewards', 'masks', ...(getAdvantageEstimator(name).requires ?? [])];
  const ours = (tensors: Record<string, Tensor>, host: Data) => {
    const { advantages, returns } = computeAdvantages(name, asInputs(tensors, host), { ...options, ...told[name] });
    return { advantages, returns };
  };
  return workload(`estimator/${name}`, names, shape, { advantages: float32(...shape), ...(hasReturns(name, names) && { returns: float32(...shape) }) }, ours);
}

/** Whether an estimator's returns are not its advantages, which are written once then. */
function hasReturns(name: string, names: readonly string[]): boolean {
  return tidy(() => {
    const arrays = made(names, [GROUP, 4]);
    const tensors = Object.fromEntries(Object.entries(arrays).map(([key, array]) => [key, tensor(rowsOf(array), { dtype: array.dtype, shape: array.shape })]));
    const { advantages, returns } = computeAdvantages(name, asInputs(tensors, { groupIds: arrays.groupIds?.data }), { ...options, ...told[name] });
    return advantages !== returns;
  });
}

/** Losses that cannot do without the sampler's log-probs. */
const sampled = ['rollout_is', 'dppo'];

function loss(name: string, shape: Shape): Workload {
  const names = ['logProbs', 'oldLogProbs', 'advantages', 'mask', ...(sampled.includes(name) ? ['rolloutLogProbs'] : [])];
  const { options: { reduction = 'token_sum' } = {} } = getPolicyLoss(name) as { options?: PolicyLossOptions };
  // Of the size of a sum, where the loss is a mean: a gradient of 1e-7 would be right whatever it is.
  const factor = reduction === 'token_sum' ? 1 : reduction === 'seq_mean_token_sum' ? shape[0] : product(shape);
  const needed = reduction === 'seq_mean_token_sum_norm' ? { maxSeqLen: shape[1] } : {};
  const ours = (tensors: Record<string, Tensor>, host: Data) => {
    const { loss: value, metrics } = computePolicyLoss(name, asInputs(tensors, host), needed);
    const scaled = value.mul(factor);
    const [gradient] = gradients(scaled, [tensors.logProbs!]);
    return { ...metrics, loss: scaled, gradient: gradient! };
  };
  return workload(`policy-loss/${name}`, names, shape, { loss: float32(1), gradient: float32(...shape) }, ours);
}

const size: Shape = [1024, 4096];
const isBuiltIn = (name: string) => !name.startsWith('bench_');

export const workloads: Workload[] = [...listAdvantageEstimators().filter(isBuiltIn).map((name) => estimator(name, size)), ...listPolicyLosses().filter(isBuiltIn).map((name) => loss(name, size))];
