export { configKeys } from './keys';
export { loadConfig, loadConfigFromArguments, type LoadConfigOptions, type LoadedConfig } from './load';
export type { Config, ModelConfig, OptimizerConfig, SamplingConfig } from './schema';
export { type Names, validateConfig, validateDatasetSize, type ValidationContext } from './validate';
