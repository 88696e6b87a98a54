/** The shape of a decoder of the Qwen2 family. */
import { ConfigError } from '../errors';
import { describe } from '../tensor/shape';

/** Sizes and constants of a decoder. Names follow Hugging Face's `config.json`, in camelCase. */
export interface TransformerConfig {
  /** Rows of the embedding: token ids run from 0 to vocabSize − 1. */
  vocabSize: number;
  /** Width D of the residual stream. */
  hiddenSize: number;
  /** Decoder layers. */
  numLayers: number;
  /** Query heads. */
  numHeads: number;
  /** Key and value heads; a divisor of `numHeads`. Fewer than that is grouped-query attention. */
  numKvHeads: number;
  /** Width of a head, even. Default hiddenSize / numHeads. */
  headDim?: number;
  /** Width of the SwiGLU layer. */
  intermediateSize: number;
  /** Base of the rotary frequencies θ^(−2i/headDim). */
  ropeTheta: number;
  /** ε of RMSNorm. */
  rmsNormEps: number;
  /** The vocabulary projection is the embedding itself. */
  tieWordEmbeddings: boolean;
  /** Biases on the query, key and value projections. */
  attentionBias: boolean;
  /** Tokens a sequence can have, prompt and response together. */
  maxPositionEmbeddings: number;
}

/** A config with every field set. */
export type ResolvedConfig = Required<TransformerConfig>;

/** Each layer has twelve tensors by name: a file that asks for a million times as many is damaged. */
const MOST_LAYERS = 10_000;

/** The fields of a config that have no default. */
export type TransformerSizes = Pick<TransformerConfig, 'vocabSize' | 'hiddenSize' | 'numLayers' | 'numHeads' | 'intermediateSize'>;

/**
 * Fills in Qwen2's constants (θ 1e6, ε 1e-6, tied embedding, biases on q, k and v, as many key heads as query heads, 32,768 positions)
 * and checks the result.
 *
 * @throws ConfigError naming the field, what was expected and what came
 * @example
 * const config = transformerConfig({ vocabSize: 16, hiddenSize: 64, numLayers: 2, numHeads: 4, intermediateSize: 172 });
 */
export function transformerConfig(given: TransformerSizes & Partial<TransformerConfig>): ResolvedConfig {
  check('', given, typeof given === 'object' && given !== null, 'an object of sizes (vocabSize, hiddenSize, …)');
  const config: ResolvedConfig = {
    ...given,
    numKvHeads: given.numKvHeads ?? given.numHeads,
    headDim: given.headDim ?? (typeof given.hiddenSize === 'number' && typeof given.numHeads === 'number' ? given.hiddenSize / given.numHeads : NaN),
    ropeTheta: given.ropeTheta ?? 1e6,
    rmsNormEps: given.rmsNormEps ?? 1e-6,
    tieWordEmbeddings: given.tieWordEmbeddings ?? true,
    attentionBias: given.attentionBias ?? true,
    maxPositionEmbeddings: given.maxPositionEmbeddings ?? 32_768,
  };
  for (
    const field of [
      'vocabSize',
      'hiddenSize',
      'numLayers',
      'numHeads',
      'numKvHeads',
      'intermediateSize',
      'maxPositionEmbeddings',
    ] as const
  ) {
    check(field, config[field], Number.isSafeInteger(config[field]) && config[field] > 0, 'a positive integer');
  }
  check('numLayers', config.numLayers, config.numLayers <= MOST_LAYERS, `at most ${MOST_LAYERS}`);
  for (const field of ['ropeTheta', 'rmsNormEps'] as const) {
    check(field, config[field], Number.isFinite(config[field]) && config[field] > 0, 'a positive number');
  }
  for (const field of ['tieWordEmbeddings', 'attentionBias'] as const) {
    check(field, config[field], typeof config[field] === 'boolean', 'true or false');
  }
  check(
    'headDim',
    config.headDim,
    Number.isInteger(config.headDim) && config.headDim > 0 && config.headDim % 2 === 0,
    'a positive even integer (by default hiddenSize / numHeads)',
  );
  check('numKvHeads', config.numKvHeads, config.numHeads % config.numKvHeads === 0, `a divisor of numHeads = ${config.numHeads}`);
  return config;
}

function check(field: string, value: unknown, holds: boolean, expected: string): void {
  if (!holds) throw new ConfigError(`TransformerConfig${field === '' ? '' : '.'}${field}: expected ${expected}, got ${describe(value)}`);
}

/** Names and shapes of a decoder's parameters, as in Hugging Face's checkpoints: linear weights are [out, in]. */
export function parameterShapes(config: ResolvedConfig): Map<string, number[]> {
  const { vocabSize, hiddenSize, headDim, intermediateSize } = transformerConfig(config);
  const queries = config.numHeads * headDim;
  const keys = config.numKvHeads * headDim;
  const shapes = new Map<string, number[]>([['model.embed_tokens.weight', [vocabSize, hiddenSize]]]);
  for (let i = 0; i < config.numLayers; i++) {
    const layer = `model.layers.${i}`;
    shapes.set(`${layer}.input_layernorm.weight`, [hiddenSize]);
    for (
      const [name, width] of [
        ['q_proj', queries],
        ['k_proj', keys],
        ['v_proj', keys],
      ] as const
    ) {
      shapes.set(`${layer}.self_attn.${name}.weight`, [width, hiddenSize]);
      if (config.attentionBias) shapes.set(`${layer}.self_attn.${name}.bias`, [width]);
    }
    shapes.set(`${layer}.self_attn.o_proj.weight`, [hiddenSize, queries]);
    shapes.set(`${layer}.post_attention_layernorm.weight`, [hiddenSize]);
    shapes.set(`${layer}.mlp.gate_proj.weight`, [intermediateSize, hiddenSize]);
    shapes.set(`${layer}.mlp.up_proj.weight`, [intermediateSize, hiddenSize]);
    shapes.set(`${layer}.mlp.down_proj.weight`, [hiddenSize, intermediateSize]);
  }
  return shapes.set('model.norm.weight', [hiddenSize]);
}
