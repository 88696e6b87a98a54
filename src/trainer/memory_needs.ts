/** What a run takes at least: one that cannot fit is refused before it begins, as a process that runs out of memory is ended without a word. */
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';
import type { Config, ModelConfig } from '../config';
import { ConfigError } from '../errors';
import { parameterShapes, transformerConfig } from '../models';
import { bucket } from '../models/generate';
import { deviceInfo } from '../native';
import { defaultDevice } from '../tensor';

/** What the configuration does not say. */
export interface RunSizes {
  vocabSize: number;
  /** Tokens of the longest prompt. */
  promptWidth: number;
  /** Prompts of the validation data; 0: no evaluation. */
  evalPrompts: number;
  /** Whether there is a frozen copy of the policy. */
  hasReference: boolean;
}

export interface MemoryLimits {
  /** Bytes of the device where models live. */
  device: number;
  /** Bytes of the JavaScript heap. */
  heap: number;
}

interface Part {
  what: string;
  bytes: number;
}

/** Of the JavaScript objects of one trajectory (its environment, arrays of ids and log-probs, turns): less than was ever seen. */
const TRAJECTORY_BYTES = 600;
/** Of the objects that stand for one weight of a trained model: tensor, moments, nodes. */
const WEIGHT_BYTES = 1000;
/** Float32: a weight that is trained has a gradient and two moments. */
const TRAINED_BYTES = 16;

/** What this machine has for a run; a container's limit counts. */
export function memoryLimits(): MemoryLimits {
  const host = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  const device = defaultDevice();
  return { device: device === 'cpu' ? host : (deviceInfo(device).memoryBytes ?? Infinity), heap: getHeapStatistics().heap_size_limit };
}

/**
 * Estimates from below: models of random weights with what trains them, the sampler's cache, the logits of a micro-batch; trajectories.
 * @throws ConfigError that says how many bytes the run takes, which keys they come from, and how many there are
 */
export function checkMemory(config: Config, sizes: RunSizes, limits: MemoryLimits = memoryLimits()): void {
  const models = (['policy', 'critic'] as const).flatMap((part) => {
    const { model } = config.trainer[part];
    return model === null || model.path !== null ? [] : [{ part, model, ...countWeights(model, sizes.vocabSize) }];
  });
  const samplings = samplingsOf(config, sizes);
  const weights = models.map(({ part, model, weights }) => ({
    what:
      `weights, gradients and moments of trainer.${part}.model (${weights} weights: hidden_size=${model.hidden_size}, num_layers=${model.num_layers}, intermediate_size=${model.intermediate_size})`,
    bytes: weights * (TRAINED_BYTES + (part === 'policy' && sizes.hasReference ? 4 : 0)),
  }));
  const objects = models.map(({ part, model, tensors }) => ({ what: `the tensors of trainer.${part}.model (num_layers=${model.num_layers})`, bytes: tensors * WEIGHT_BYTES }));
  const trajectories = samplings.map(({ what, rows }) => ({ what, bytes: rows * TRAJECTORY_BYTES }));
  refuse('memory', [...weights, largest([...cacheParts(config, samplings), ...logitsPart(config, sizes)])], limits.device);
  refuse('JavaScript heap (NODE_OPTIONS=--max-old-space-size=MIB raises it)', [...objects, largest(trajectories)], limits.heap);
}

function refuse(of: string, parts: readonly Part[], limit: number): void {
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  if (total <= limit) return;
  const told = [...parts].sort((a, b) => b.bytes - a.bytes).filter(({ bytes }) => bytes > total / 100);
  const lines = told.map(({ what, bytes }) => `\n  - ${showBytes(bytes)}: ${what}`);
  throw new ConfigError(`this run takes at least ${showBytes(total)} of ${of}, expected at most ${showBytes(limit)}, which there are:${lines.join('')}`);
}

/** Not all are there at the same time. */
function largest(parts: readonly Part[]): Part {
  return parts.reduce((most, part) => (part.bytes > most.bytes ? part : most), { what: '', bytes: 0 });
}

/** Layers are alike: the second one is what each takes. */
function countWeights(model: ModelConfig, vocabSize: number): { weights: number; tensors: number } {
  const count = (numLayers: number) => {
    const { hidden_size: hiddenSize, num_heads: numHeads, num_kv_heads: numKvHeads, intermediate_size: intermediateSize } = model;
    const shapes = [...parameterShapes(transformerConfig({ vocabSize, hiddenSize, numLayers, numHeads, numKvHeads, intermediateSize })).values()];
    return { weights: shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b), 0), tensors: shapes.length };
  };
  const [one, two] = [count(1), count(2)];
  const grown = (name: 'weights' | 'tensors') => one[name] + (model.num_layers - 1) * (two[name] - one[name]);
  return { weights: grown('weights'), tensors: grown('tensors') };
}

interface Sampling {
  what: string;
  rows: number;
  columns: number;
}

/** The responses that are sampled together, in a step and in an evaluation. */
function samplingsOf({ trainer, generator }: Config, { promptWidth, evalPrompts }: RunSizes): Sampling[] {
  const training = trainer.train_batch_size * generator.n_samples_per_prompt;
  const evaluated = Math.min(trainer.eval_batch_size, evalPrompts) * generator.eval_n_samples_per_prompt;
  const own = (rows: number, length: number, keys: string, lengthKey: string): Sampling => ({
    what: `${rows} responses (${keys}) of up to ${length} tokens (${lengthKey})`,
    rows,
    columns: bucket(promptWidth + length),
  });
  const [trainLength, evalLength] = [generator.sampling_params.max_generate_length, generator.eval_sampling_params.max_generate_length];
  return [
    own(
      training,
      trainLength,
      `trainer.train_batch_size=${trainer.train_batch_size} × generator.n_samples_per_prompt=${generator.n_samples_per_prompt}`,
      'generator.sampling_params.max_generate_length',
    ),
    own(evaluated, evalLength, `an evaluation's, generator.eval_n_samples_per_prompt=${generator.eval_n_samples_per_prompt}`, 'generator.eval_sampling_params.max_generate_length'),
  ];
}

/** Keys and values of all positions, in every layer. */
function cacheParts({ trainer }: Config, samplings: readonly Sampling[]): Part[] {
  const { path, num_kv_heads, hidden_size, num_heads, num_layers } = trainer.policy.model;
  if (path !== null) return [];
  const width = (num_kv_heads * hidden_size) / num_heads;
  return samplings.map(({ what, rows, columns }) => ({ what: `keys and values of ${what}`, bytes: 2 * 4 * rows * columns * num_layers * width }));
}

function logitsPart({ trainer, generator }: Config, { vocabSize }: RunSizes): Part[] {
  // Several turns have batches as wide as what was sampled.
  if (generator.max_turns > 1) return [];
  const rows = Math.min(trainer.micro_train_batch_size_per_gpu, trainer.policy_mini_batch_size * generator.n_samples_per_prompt);
  const length = generator.sampling_params.max_generate_length;
  const keys = `trainer.micro_train_batch_size_per_gpu=${trainer.micro_train_batch_size_per_gpu}, generator.sampling_params.max_generate_length=${length}`;
  return [{ what: `logits of a micro-batch (${keys}, ${vocabSize} tokens)`, bytes: 4 * rows * length * vocabSize }];
}

/** `3000000000 bytes (2.8 GiB)`. */
function showBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return power === 0 ? `${bytes} bytes` : `${Math.round(bytes)} bytes (${(bytes / 2 ** (10 * power)).toPrecision(3)} ${units[power]})`;
}
