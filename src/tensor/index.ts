/** The tensor engine's public surface. */
export { gradients, stopGradient, type GradientOptions } from './autograd';
export { arange, concat, full, ones, onesLike, stack, tensor, where, zeros, zerosLike, type TensorOptions } from './creation';
export type { DType } from './dtype';
export { defaultDevice, keep, memory, setDefaultDevice, synchronize, tidy, type Device, type Disposable, type MemoryInfo } from './memory';
export { deviceInfo, type DeviceInfo } from '../native';
export { attention, evaluate, explain, sampleTokens, tokenLogProbs, UpdateList, writeAt, type AdamWScalars, type AttentionOptions, type SamplingOptions } from './primitives';
export {
  affineScan,
  discountedReturn,
  generalizedAdvantage,
  groupAdvantages,
  groupMoments,
  rowMoments,
  vtrace,
  whiten,
  type EpisodeEnds,
  type GeneralizedAdvantageOptions,
  type GroupAdvantageOptions,
  type RowMoments,
  type VTraceInputs,
  type VTraceOptions,
  type WhitenOptions,
} from './recurrences';
export { RandomKey, randomKey, randomNormal, randomUniform, type RandomOptions } from './random';
export type { NestedArray, TensorData } from './nested';
export { packRows, padRows, RowLayout, type PadRowsOptions, type RowLayoutOptions, type RowOffsets } from './rows';
export { scan, type EachTensor, type ScanOptions, type ScanState } from './scan';
export type { Shape } from './shape';
export type { Axes, ReduceOptions, VarianceOptions } from './reduce_options';
export { Tensor } from './tensor';
