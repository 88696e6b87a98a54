/** Models in folders of Hugging Face's layout: `config.json`, weights in one file or in shards, and what belongs to the tokenizer. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readJsonObject, writeWhole } from '../data/files';
import { tokenizerFileNames } from '../data/huggingface_tokenizer';
import { type Tokenizer, tokenizerFiles } from '../data/tokenizer';
import { DataError, showValue, TensorError, VantageError } from '../errors';
import { makeFolder } from '../folders';
import type { DType, Tensor } from '../tensor';
import { dtypes, isFloating } from '../tensor/dtype';
import { checkOptions, formatShape, sameShape } from '../tensor/shape';
import { configJson, readEndIds, readModelConfig } from './config_json';
import { Decoder } from './decoder';
import { withSafetensors, writeSafetensors } from './safetensors';
import { policyShapes, Transformer } from './transformer';
import { valueShapes, ValueModel, valueHead } from './value_model';

/** How weights are loaded. */
export interface LoadOptions {
  /** What the weights become, whatever the files hold. Default float32. */
  dtype?: 'float32' | 'float64';
}

/** How weights are written. */
export interface SaveOptions {
  /** What the files hold. Default: the model's dtype. */
  dtype?: 'float32' | 'bfloat16' | 'float64';
  /** The most bytes of a file; a larger model becomes shards with an index. Default 5e9, as transformers writes them. */
  maxShardBytes?: number;
  /** Whose files go beside the weights. Default: those that the model was loaded with. */
  tokenizer?: Tokenizer;
}

const singleFile = 'model.safetensors';
const indexFile = 'model.safetensors.index.json';
const generationFile = 'generation_config.json';
const weightsFile = /^model(-\d{5}-of-\d{5})?\.safetensors$/;

/** Buffers of old checkpoints that follow from the configuration. */
const computed = /\.rotary_emb\.inv_freq$/;

/**
 * A language model (`Qwen2ForCausalLM`) from its folder. The files are read one after the other and tensor by tensor, so that no more than one
 * tensor is held twice.
 *
 * @throws DataError naming file, key or tensor, what was expected and what came
 * @example
 * const model = loadTransformer('models/Qwen2.5-0.5B-Instruct');
 */
export function loadTransformer(folder: string, options?: LoadOptions): Transformer {
  const dtype = checkLoading('loadTransformer', folder, options);
  const config = readModelConfig(folder);
  const isIgnored = (name: string) => computed.test(name) || (config.tieWordEmbeddings && name === 'lm_head.weight');
  const parameters = readParameters(folder, policyShapes(config), new Set(), isIgnored, dtype);
  const model = new Transformer(config, parameters, { endIds: readEndIds(folder) });
  model.companions = readCompanions(folder);
  return model;
}

/**
 * A value model whose trunk is that of a folder. Its head is the folder's `score.weight` where there is one (a critic that was saved), else
 * zeros; a language model's vocabulary projection is left where it is.
 *
 * @throws DataError as {@link loadTransformer}
 */
export function loadValueModel(folder: string, options?: LoadOptions): ValueModel {
  const dtype = checkLoading('loadValueModel', folder, options);
  const config = readModelConfig(folder);
  const isIgnored = (name: string) => computed.test(name) || name === 'lm_head.weight';
  const parameters = readParameters(folder, valueShapes(config), new Set(['score.weight']), isIgnored, dtype);
  if (!parameters.has('score.weight')) parameters.set('score.weight', valueHead(config, dtype));
  const model = new ValueModel(config, parameters);
  model.companions = readCompanions(folder);
  return model;
}

/**
 * Writes a model to a folder that transformers, vLLM and {@link loadTransformer} read: `config.json`, `generation_config.json`, weights as
 * safetensors, and the tokenizer's files. Weights of an earlier model there are deleted once the new ones stand.
 *
 * @throws DataError naming the folder
 * @example
 * saveHuggingFace('exported', model, { tokenizer, dtype: 'bfloat16' });
 */
export function saveHuggingFace(folder: string, model: Decoder, options?: SaveOptions): void {
  checkFolder('saveHuggingFace', folder);
  if (!(model instanceof Decoder)) throw new TensorError(`saveHuggingFace: model: expected a Transformer or a ValueModel, got ${showValue(model)}`);
  const { dtype = model.dtype, maxShardBytes = 5e9, tokenizer } = checkOptions('saveHuggingFace', options, ['dtype', 'maxShardBytes', 'tokenizer']);
  checkDType('saveHuggingFace', dtype, ['float32', 'bfloat16', 'float64']);
  if (typeof maxShardBytes !== 'number' || !(maxShardBytes > 0)) throw new TensorError(`saveHuggingFace: maxShardBytes: expected a positive number, got ${showValue(maxShardBytes)}`);
  try {
    writeModel(folder, model, dtype, maxShardBytes, tokenizer);
  } catch (error) {
    if (error instanceof VantageError) throw error;
    throw new DataError(`${folder}: the model cannot be written (${(error as Error).message})`, { cause: error });
  }
}

function writeModel(folder: string, model: Decoder, dtype: DType, maxShardBytes: number, tokenizer: Tokenizer | undefined): void {
  makeFolder(folder);
  const { endIds, companions: own } = model;
  const companions = new Map<string, string | Uint8Array>(tokenizer ? tokenizerFiles(tokenizer) : own);
  const generation = own.get(generationFile);
  if (generation) companions.set(generationFile, generation);
  else if (endIds.length > 0) {
    companions.set(generationFile, json({ eos_token_id: endIds.length === 1 ? endIds[0] : endIds, ...(tokenizer && { pad_token_id: tokenizer.padId }) }));
  }
  for (const [name, content] of companions) writeWhole(join(folder, name), content);
  writeWhole(join(folder, 'config.json'), json(configJson(model.config, model.architecture, dtype, endIds)));
  const shards = inShards(model.parameters, dtypes[dtype].bytes, maxShardBytes);
  const names = shards.map((_, i) => (shards.length === 1 ? singleFile : `model-${padded(i + 1)}-of-${padded(shards.length)}.safetensors`));
  shards.forEach((shard, i) => writeSafetensors(join(folder, names[i]!), shard, { format: 'pt' }, dtype));
  if (shards.length > 1) {
    const map = shards.flatMap((shard, i) => [...shard.keys()].map((name) => [name, names[i]!]));
    writeWhole(join(folder, indexFile), json({ metadata: { total_size: model.size * dtypes[dtype].bytes }, weight_map: Object.fromEntries(map) }));
  } else rmSync(join(folder, indexFile), { force: true });
  for (const name of readdirSync(folder)) if (weightsFile.test(name) && !names.includes(name)) rmSync(join(folder, name));
}

function checkLoading(operation: string, folder: unknown, options: LoadOptions | undefined): DType {
  checkFolder(operation, folder);
  const { dtype = 'float32' } = checkOptions(operation, options, ['dtype']);
  checkDType(operation, dtype, ['float32', 'float64']);
  return dtype;
}

function checkFolder(operation: string, folder: unknown): void {
  if (typeof folder !== 'string' || folder === '') throw new DataError(`${operation}: folder: expected a path, got ${showValue(folder)}`);
}

function checkDType(operation: string, dtype: unknown, known: readonly DType[]): void {
  if (!known.some((each) => each === dtype)) throw new TensorError(`${operation}: dtype: expected ${known.join(', ')}, got ${showValue(dtype)}`);
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function padded(index: number): string {
  return String(index).padStart(5, '0');
}

/** In their order, as many to a shard as fit; at least one. */
function inShards(tensors: ReadonlyMap<string, Tensor>, bytesEach: number, most: number): Map<string, Tensor>[] {
  const shards: Map<string, Tensor>[] = [];
  let filled = 0;
  for (const [name, x] of tensors) {
    const bytes = x.size * bytesEach;
    if (shards.length === 0 || filled + bytes > most) {
      shards.push(new Map());
      filled = 0;
    }
    shards.at(-1)!.set(name, x);
    filled += bytes;
  }
  return shards;
}

function readCompanions(folder: string): Map<string, Uint8Array> {
  const present = [...tokenizerFileNames, generationFile].filter((name) => existsSync(join(folder, name)));
  return new Map(present.map((name) => [name, readFileSync(join(folder, name))]));
}

/** The files of a folder's weights, and the index that named them. */
function weightFiles(folder: string): { files: string[]; index: Record<string, unknown> | null } {
  if (existsSync(join(folder, singleFile))) return { files: [singleFile], index: null };
  const path = join(folder, indexFile);
  if (!existsSync(path)) throw new DataError(`${folder}: expected weights in ${singleFile} or ${indexFile} with its shards, got neither`);
  const { weight_map: index } = readJsonObject(path);
  if (typeof index !== 'object' || index === null || !Object.values(index).every((name) => typeof name === 'string' && /^[^/\\]+\.safetensors$/.test(name))) {
    throw new DataError(`${path}: weight_map: expected a file of the same folder for each tensor, got ${showValue(index)}`);
  }
  return { files: [...new Set(Object.values(index as Record<string, string>))].sort(), index: index as Record<string, unknown> };
}

/**
 * The tensors of `shapes`, in that order. All headers are checked before the first weight is read.
 * @param optional names of `shapes` that may be missing
 */
function readParameters(
  folder: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  optional: ReadonlySet<string>,
  isIgnored: (name: string) => boolean,
  dtype: DType,
): Map<string, Tensor> {
  const { files, index } = weightFiles(folder);
  const holders = checkHeaders(folder, files, index, shapes, isIgnored);
  for (const [name, shape] of shapes) {
    if (!holders.has(name) && !optional.has(name)) {
      throw new DataError(`${join(folder, index ? indexFile : singleFile)}: tensor '${name}': expected shape ${formatShape(shape)}, got no such tensor`);
    }
  }
  const read = new Map<string, Tensor>();
  try {
    for (const file of files) {
      withSafetensors(join(folder, file), (opened) => {
        for (const name of opened.stored.keys()) if (shapes.has(name)) read.set(name, converted(opened.read(name), dtype));
      });
    }
  } catch (error) {
    for (const x of read.values()) x.dispose();
    throw error;
  }
  return new Map([...shapes.keys()].filter((name) => read.has(name)).map((name) => [name, read.get(name)!]));
}

/** The file that holds each tensor. */
function checkHeaders(
  folder: string,
  files: readonly string[],
  index: Record<string, unknown> | null,
  shapes: ReadonlyMap<string, readonly number[]>,
  isIgnored: (name: string) => boolean,
): Map<string, string> {
  const holders = new Map<string, string>();
  for (const file of files) {
    withSafetensors(join(folder, file), ({ stored }) => {
      for (const [name, { shape, format, dtype }] of stored) {
        const fail = (expected: string, got: string): never => {
          throw new DataError(`${join(folder, file)}: tensor '${name}': expected ${expected}, got ${got}`);
        };
        const expected = shapes.get(name);
        const earlier = holders.get(name);
        if (earlier) fail('each tensor in one file', `another in ${earlier}`);
        holders.set(name, file);
        if (!expected) {
          if (!isIgnored(name)) fail('only tensors of the model that config.json describes', `${format} ${formatShape(shape)}`);
        } else if (!sameShape(shape, expected)) fail(`shape ${formatShape(expected)} (by config.json)`, formatShape(shape));
        else if (!isFloating(dtype)) fail('F32, BF16, F16 or F64', format);
      }
    });
  }
  for (const [name, file] of Object.entries(index ?? {})) {
    const got = holders.get(name);
    if (got !== file) throw new DataError(`${join(folder, indexFile)}: tensor '${name}': expected it in ${showValue(file)}, got ${got ?? 'no such tensor there'}`);
  }
  return holders;
}

function converted(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const result = x.cast(dtype).realize();
  x.dispose();
  return result;
}
