/** Models, sampling, optimizer and weights on disk. */
export { KeyValueCache } from './cache';
export { parameterShapes, transformerConfig, type ResolvedConfig, type TransformerConfig, type TransformerSizes } from './config';
export { Decoder, type HiddenOptions, type InitializeOptions } from './decoder';
export { generate, padPrompts, type GenerateOptions, type Generation, type PaddedPrompts, type StopReason } from './generate';
export { learningRate, type LearningRateOptions } from './learning_rate';
export { AdamW, type AdamWOptions, type OptimizerState, type StepOptions } from './optimizer';
export { type LoadOptions, loadTransformer, loadValueModel, saveHuggingFace, type SaveOptions } from './pretrained';
export { readSafetensors, writeSafetensors, type SafetensorsFile } from './safetensors';
export { Transformer, type LogProbs, type LogProbsOptions, type TransformerOptions } from './transformer';
export { ValueModel } from './value_model';
