/**
 * Vantage: the reinforcement-learning mathematics between a rollout and a gradient, and the training loop that uses it.
 *
 * Everything a user imports comes from here.
 */
export * from './tensor';
export * from './advantages';
export * from './losses';
export * from './shaping';
export * from './models';
export * from './config';
export * from './data';
export * from './environments';
export * from './tracking';
export * from './trainer';
export * from './lab';
export * from './workbench';
export { conventionNames, type ConventionName, type Given, type NumberRange } from './options';
export type { RegisterOptions, Registry } from './registry';
export { ConfigError, DataError, EnvironmentError, EstimatorError, NativeError, RegistryError, TensorError, TrainingError, VantageError } from './errors';
