/** The trunk that policies and value models share: token ids in, normalised hidden states out. */
import { TensorError } from '../errors';
import { arange, attention, evaluate, ones, randomNormal, tensor, where, zeros, type DType, type RandomKey, type Tensor } from '../tensor';
import { checkKey } from '../tensor/random';
import { checkOptions, describe, formatShape, sameShape } from '../tensor/shape';
import { tensorArgument } from '../tensor/tensor';
import { KeyValueCache } from './cache';
import { checkTensors } from './check';
import { transformerConfig, type ResolvedConfig, type TransformerConfig } from './config';
import { linear, rmsNorm, rotate, rotationAt, rotationTable, swiglu, type Rotation } from './layers';

/** How random weights are made. */
export interface InitializeOptions {
  /** float32 (default), or float64 for reference checks. */
  dtype?: DType;
  /** Standard deviation of the random weights. Default 0.02 · √(1536 / hiddenSize): 0.02 at the width of Qwen2-1.5B, 0.1 at width 64. */
  std?: number;
}

/** Options of the pass through the layers. */
export interface HiddenOptions {
  /** The first position whose hidden state is wanted: the last layer computes no other. Default 0. */
  from?: number;
  /** Keys and values of the positions before ids; those of ids are added to it. */
  cache?: KeyValueCache;
}

const initializeNames = ['dtype', 'std', 'endIds'] as const;
const hiddenNames = ['from', 'cache'] as const;

/** The width at which Qwen2's own 0.02 is the default. */
const REFERENCE_WIDTH = 1536;

/**
 * Random parameters of the given shapes: embedding and linear weights are normal with mean 0, norm weights 1, biases 0. Each draws from
 * its own key.
 *
 * A projection of D coordinates of unit size comes out at σ√D. The default σ keeps that at any width what it is in Qwen2: with 0.02 a model
 * of width 64 would begin with attention so flat that reinforcement from scratch takes many times the steps. The first policy is still
 * close to uniform.
 */
export function randomParameters(
  { hiddenSize }: ResolvedConfig,
  shapes: Map<string, readonly number[]>,
  key: RandomKey,
  options?: InitializeOptions,
): Map<string, Tensor> {
  checkKey('initialize', key);
  const { dtype = 'float32', std = 0.02 * Math.sqrt(REFERENCE_WIDTH / hiddenSize) } = checkOptions('initialize', options, initializeNames);
  const parameters = new Map<string, Tensor>();
  for (const [name, shape] of shapes) {
    if (name.endsWith('norm.weight')) parameters.set(name, ones(shape, { dtype }));
    else if (name.endsWith('.bias')) parameters.set(name, zeros(shape, { dtype }));
    else parameters.set(name, randomNormal(shape, { key: key.fold(parameters.size), std, dtype }));
  }
  evaluate([...parameters.values()]);
  return parameters;
}

/**
 * A causal decoder of the Qwen2 family up to its last norm: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 *
 * Batches are left-padded: row b's first token is at column start[b], and positions count from there. What stands in padded columns, ids
 * out of range included, influences nothing.
 */
export abstract class Decoder {
  /** Its shape, every field set. */
  readonly config: ResolvedConfig;
  /** The class of transformers that reads the model's weights. */
  abstract readonly architecture: string;
  /** Files that belong beside the weights wherever they are saved (the tokenizer's, `generation_config.json`), by name. */
  companions: ReadonlyMap<string, string | Uint8Array> = new Map();
  private table: Tensor | null = null;

  /**
   * @param parameters tensors under their Hugging Face names, all of one floating dtype; the model owns them from now on
   * @param endIds the token ids that end a text by the model's own account
   * @throws TensorError naming a parameter that is missing, unknown or of another shape or dtype
   */
  protected constructor(
    config: TransformerConfig,
    readonly parameters: Map<string, Tensor>,
    shapesOf: (config: ResolvedConfig) => Map<string, number[]>,
    readonly endIds: readonly number[] = [],
  ) {
    this.config = transformerConfig(config);
    checkTensors(new.target.name, 'parameters', parameters);
    const shapes = shapesOf(this.config);
    for (const [name, shape] of shapes) {
      const given = parameters.get(name);
      if (!given) throw new TensorError(`parameter '${name}': expected shape ${formatShape(shape)}, got none`);
      if (!sameShape(given.shape, shape)) {
        throw new TensorError(`parameter '${name}': expected shape ${formatShape(shape)}, got ${formatShape(given.shape)}`);
      }
      if (given.dtype !== this.dtype) {
        throw new TensorError(`parameter '${name}': expected ${this.dtype}, as the embedding, got ${given.dtype}`);
      }
    }
    for (const [name, parameter] of parameters) {
      if (!shapes.has(name)) throw new TensorError(`parameter '${name}': no such parameter in this configuration`);
      parameter.keep();
    }
  }

  /** The dtype of its parameters. */
  get dtype(): DType {
    return this.parameters.get('model.embed_tokens.weight')!.dtype;
  }

  /** Number of weights. */
  get size(): number {
    let size = 0;
    for (const parameter of this.parameters.values()) size += parameter.size;
    return size;
  }

  /** A parameter by its name in Hugging Face's layout, one of those in `parameters`. @internal A parameter by name. */
  parameter(name: string): Tensor {
    return this.parameters.get(name)!;
  }

  /**
   * Hidden states after the last norm.
   *
   * @param ids int32 [B, T], left-padded
   * @param start int32 [B], the column of each row's first token
   * @returns [B, T − from, D]
   */
  hidden(ids: Tensor, start: Tensor, options?: HiddenOptions): Tensor {
    const [, columns] = checkBatch(ids, start);
    const { from = 0, cache } = checkOptions('hidden', options, hiddenNames);
    if (cache !== undefined && !(cache instanceof KeyValueCache)) throw new TensorError(`hidden: expected a KeyValueCache as cache, got ${describe(cache)}`);
    const offset = cache?.length ?? 0;
    if (!Number.isInteger(from) || from < 0 || from >= columns) {
      throw new TensorError(`hidden: expected from, an integer from 0 to ${columns - 1}, got ${describe(from)}`);
    }
    const end = offset + columns;
    if (end > this.config.maxPositionEmbeddings) {
      throw new TensorError(`hidden: expected at most maxPositionEmbeddings = ${this.config.maxPositionEmbeddings} columns, got ${end}`);
    }
    const positions = positionsOf(start, offset, columns);
    // A padded column stands at position 0: no query sees it.
    const rotation = rotationAt(this.rotations(end), positions.maximum(0));
    let x = this.parameter('model.embed_tokens.weight').take(withoutPadding(ids, positions));
    const { numLayers, rmsNormEps } = this.config;
    for (let layer = 0; layer < numLayers; layer++) {
      const first = layer === numLayers - 1 ? from : 0;
      x = this.layer(x, layer, rotation, start, first, cache);
    }
    cache?.advance(columns);
    return rmsNorm(x, this.parameter('model.norm.weight'), rmsNormEps);
  }

  /** Lets go of all parameters. */
  dispose(): void {
    for (const parameter of this.parameters.values()) parameter.dispose();
    this.table?.dispose();
  }

  /** The parameters copied, for a model that keeps them as they are now. */
  protected copyParameters(): Map<string, Tensor> {
    return new Map(
      [...this.parameters].map(([name, x]) => [name, tensor(x.dataSync(), { shape: x.shape, dtype: x.dtype, device: x.device })]),
    );
  }

  /**
   * x [B, T, D] → [B, T − first, D]: attention and SwiGLU, each added to what came in. Every position gives keys and values; those from
   * `first` on ask.
   */
  private layer(x: Tensor, index: number, rotation: Rotation, start: Tensor, first: number, cache?: KeyValueCache): Tensor {
    const { rmsNormEps, numHeads, numKvHeads, headDim } = this.config;
    const [b, t] = x.shape as [number, number, number];
    const weight = (name: string): Tensor => this.parameter(`model.layers.${index}.${name}`);
    const bias = (name: string): Tensor | undefined => (this.config.attentionBias ? weight(`self_attn.${name}.bias`) : undefined);
    const inHeads = (y: Tensor, count: number): Tensor => y.reshape(b, y.shape[1]!, count, headDim);
    const asking = (y: Tensor): Tensor => (first === 0 ? y : y.slice([0, first]));
    const normed = rmsNorm(x, weight('input_layernorm.weight'), rmsNormEps);
    const asked = { cos: asking(rotation.cos), sin: asking(rotation.sin) };
    const q = rotate(inHeads(linear(asking(normed), weight('self_attn.q_proj.weight')), numHeads), asked, bias('q_proj'));
    const k = rotate(inHeads(linear(normed, weight('self_attn.k_proj.weight')), numKvHeads), rotation, bias('k_proj'));
    const v = inHeads(linear(normed, weight('self_attn.v_proj.weight'), bias('v_proj')), numKvHeads);
    const offset = cache?.length ?? 0;
    const seen = cache ? cache.append(index, k, v) : { k, v };
    const heads = (y: Tensor): Tensor => y.transpose([0, 2, 1, 3]);
    const attended = attention(heads(q), heads(seen.k), heads(seen.v), {
      scale: headDim ** -0.5,
      keyStart: start,
      queryOffset: offset + first,
    });
    const joined = heads(attended).reshape(b, t - first, numHeads * headDim);
    const y = asking(x).add(linear(joined, weight('self_attn.o_proj.weight')));
    const inner = rmsNorm(y, weight('post_attention_layernorm.weight'), rmsNormEps);
    const gated = swiglu(linear(inner, weight('mlp.gate_proj.weight')), linear(inner, weight('mlp.up_proj.weight')));
    return y.add(linear(gated, weight('mlp.down_proj.weight')));
  }

  /** The rotation table for at least `length` positions; grows by doubling, so that plans see few sizes of it. */
  private rotations(length: number): Tensor {
    if (this.table === null || this.table.shape[0]! < length) {
      let size = 64;
      while (size < length) size *= 2;
      this.table?.dispose();
      this.table = rotationTable(size, this.config.headDim, this.config.ropeTheta, this.dtype).keep();
    }
    return this.table;
  }
}

/** Positions of columns first … first+count−1, [B, count]: negative in padding. */
export function positionsOf(start: Tensor, first: number, count: number): Tensor {
  return arange(count).add(first).expandDims(0).sub(start.expandDims(1));
}

/** ids with token 0 wherever there is padding. */
export function withoutPadding(ids: Tensor, positions: Tensor): Tensor {
  return where(positions.less(0), 0, ids);
}

/** The columns of ids and their start, checked: [B, T]. */
export function checkBatch(ids: Tensor, start: Tensor): [number, number] {
  tensorArgument('ids', ids);
  tensorArgument('start', start);
  if (ids.dtype !== 'int32' || ids.ndim !== 2) {
    throw new TensorError(`ids: expected int32 [B,T], got ${ids.dtype} ${formatShape(ids.shape)}`);
  }
  const [rows, columns] = ids.shape as [number, number];
  if (start.dtype !== 'int32' || !sameShape(start.shape, [rows])) {
    throw new TensorError(`start: expected int32 [${rows}], got ${start.dtype} ${formatShape(start.shape)}`);
  }
  return [rows, columns];
}

/** `from` of responses: the column of the first token that is predicted. */
export function checkFrom(operation: string, from: number, columns: number): void {
  if (!Number.isInteger(from) || from < 1 || from >= columns) {
    throw new TensorError(`${operation}: expected from, an integer from 1 to ${columns - 1}, got ${describe(from)}`);
  }
}
