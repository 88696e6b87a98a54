/** Hugging Face's `config.json` of the Qwen2 family, and the shape of ours. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readJsonObject } from '../data/files';
import { DataError, showValue } from '../errors';
import type { DType } from '../tensor';
import { transformerConfig, type ResolvedConfig } from './config';

type Json = Record<string, unknown>;

const sizes = {
  vocabSize: 'vocab_size',
  hiddenSize: 'hidden_size',
  numLayers: 'num_hidden_layers',
  numHeads: 'num_attention_heads',
  intermediateSize: 'intermediate_size',
} as const;

/**
 * The configuration of a model's folder. What `config.json` leaves out is what `Qwen2Config` of transformers says: θ 1e4, ε 1e-6, an untied
 * head, 32,768 positions.
 *
 * @throws DataError naming the file and the key: another model type, and what this decoder does not compute (sliding windows, scaled
 *   rotations, other activations, quantized weights)
 */
export function readModelConfig(folder: string): ResolvedConfig {
  const file = join(folder, 'config.json');
  if (!existsSync(file)) throw new DataError(`${folder}: expected a model's folder with config.json (Hugging Face's layout), got none there`);
  const json = readJsonObject(file);
  const expect = (key: string, holds: boolean, expected: string): void => {
    if (!holds) throw new DataError(`${file}: ${key}: expected ${expected}, got ${showValue(json[key])}`);
  };
  expect('model_type', json.model_type === 'qwen2', '"qwen2" (Qwen2 and Qwen2.5: the models that this decoder computes)');
  expect('hidden_act', isAbsent(json.hidden_act) || json.hidden_act === 'silu', '"silu"');
  expect('use_sliding_window', json.use_sliding_window !== true, 'false: attention windows are not supported');
  const layers = json.layer_types;
  expect('layer_types', isAbsent(layers) || (Array.isArray(layers) && layers.every((type) => type === 'full_attention')), 'full_attention in every layer');
  expect('rope_scaling', isPlainRotation(json.rope_scaling), 'null: scaled rotary positions are not supported');
  expect('rope_parameters', isPlainRotation(json.rope_parameters), 'rope_type "default": scaled rotary positions are not supported');
  expect('quantization_config', isAbsent(json.quantization_config), 'none: quantized weights are not supported');

  const kinds = { number: 'a number', boolean: 'true or false' } as const;
  const read = <Kind extends keyof typeof kinds>(key: string, kind: Kind): (Kind extends 'number' ? number : boolean) | undefined => {
    const value = json[key];
    expect(key, isAbsent(value) || typeof value === kind, kinds[kind]);
    return (value ?? undefined) as (Kind extends 'number' ? number : boolean) | undefined;
  };
  const required = (key: string): number => {
    expect(key, typeof json[key] === 'number', 'a number');
    return json[key] as number;
  };
  const rotation = json.rope_parameters as Json | null | undefined;
  const given = {
    vocabSize: required(sizes.vocabSize),
    hiddenSize: required(sizes.hiddenSize),
    numLayers: required(sizes.numLayers),
    numHeads: required(sizes.numHeads),
    intermediateSize: required(sizes.intermediateSize),
    numKvHeads: read('num_key_value_heads', 'number'),
    headDim: read('head_dim', 'number'),
    ropeTheta: typeof rotation?.rope_theta === 'number' ? rotation.rope_theta : (read('rope_theta', 'number') ?? 10_000),
    rmsNormEps: read('rms_norm_eps', 'number'),
    tieWordEmbeddings: read('tie_word_embeddings', 'boolean') ?? false,
    attentionBias: read('attention_bias', 'boolean'),
    maxPositionEmbeddings: read('max_position_embeddings', 'number'),
  };
  try {
    return transformerConfig(given);
  } catch (error) {
    throw new DataError(`${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** What `config.json` says of a model: the inverse of {@link readModelConfig}. */
export function configJson(config: ResolvedConfig, architecture: string, dtype: DType, endIds: readonly number[]): Json {
  const { hiddenSize, numHeads, headDim } = config;
  return {
    architectures: [architecture],
    model_type: 'qwen2',
    ...Object.fromEntries(Object.entries(sizes).map(([field, key]) => [key, config[field as keyof typeof sizes]])),
    num_key_value_heads: config.numKvHeads,
    ...(headDim !== hiddenSize / numHeads && { head_dim: headDim }),
    // Qwen2 always has these biases; transformers reads a model without them as one whose biases are 0.
    ...(!config.attentionBias && { attention_bias: false }),
    hidden_act: 'silu',
    rope_theta: config.ropeTheta,
    rope_scaling: null,
    rms_norm_eps: config.rmsNormEps,
    tie_word_embeddings: config.tieWordEmbeddings,
    max_position_embeddings: config.maxPositionEmbeddings,
    use_sliding_window: false,
    attention_dropout: 0,
    ...(endIds.length > 0 && { eos_token_id: endIds[0] }),
    // One value a token, which is what a sequence classifier of one label is.
    ...(architecture === 'Qwen2ForSequenceClassification' && { id2label: { 0: 'value' }, label2id: { value: 0 } }),
    torch_dtype: dtype,
    use_cache: true,
  };
}

/**
 * The ids that end a text by `generation_config.json`, or by `config.json` where that says none: an instruct model has several.
 * @throws DataError for ids that are no integers
 */
export function readEndIds(folder: string): number[] {
  for (const name of ['generation_config.json', 'config.json']) {
    const file = join(folder, name);
    const ids = existsSync(file) ? readJsonObject(file).eos_token_id : undefined;
    if (isAbsent(ids)) continue;
    const list: unknown[] = Array.isArray(ids) ? ids : [ids];
    if (!list.every((id) => Number.isInteger(id) && (id as number) >= 0)) {
      throw new DataError(`${file}: eos_token_id: expected a token id or a list of them, got ${showValue(ids)}`);
    }
    return list as number[];
  }
  return [];
}

function isAbsent(value: unknown): value is null | undefined {
  return value === null || value === undefined;
}

function isPlainRotation(value: unknown): boolean {
  if (isAbsent(value)) return true;
  const { rope_type: type, type: earlier } = value as Json;
  return typeof value === 'object' && (type ?? earlier) === 'default';
}
