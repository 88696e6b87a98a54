/** The language model: a decoder with a vocabulary projection. */
import { tokenLogProbs, type RandomKey, type Tensor } from '../tensor';
import { checkOptions } from '../tensor/shape';
import { tensorArgument } from '../tensor/tensor';
import { parameterShapes, transformerConfig, type ResolvedConfig, type TransformerConfig } from './config';
import { checkBatch, checkFrom, Decoder, positionsOf, randomParameters, withoutPadding, type InitializeOptions } from './decoder';
import { linear } from './layers';

/** Options of {@link Transformer.logProbs}. */
export interface LogProbsOptions {
  /** The column of the first token whose log-probability is wanted, at least 1: usually the prompts' width. */
  from: number;
  /** Divides the logits. Default 1. */
  temperature?: number;
}

const logProbsNames = ['from', 'temperature'] as const;

/** What a model says of tokens. */
export interface LogProbs {
  /** log p(token | what precedes), [B, T − from]. */
  logProbs: Tensor;
  /** Entropy of the distribution that the token came from, in nats, [B, T − from]. */
  entropy: Tensor;
}

/** What a model knows beside its weights. */
export interface TransformerOptions {
  /** The token ids that end a text by the model's own account (`generation_config.json`): sampling stops at each of them. Default none. */
  endIds?: readonly number[];
}

/**
 * A causal language model of the Qwen2 family, from tens of thousands of weights to billions.
 *
 * @example
 * const config = transformerConfig({ vocabSize: 16, hiddenSize: 64, numLayers: 2, numHeads: 4, intermediateSize: 172 });
 * const model = Transformer.initialize(config, randomKey(0));
 * const { logProbs } = model.logProbs(tensor([[3, 9, 11, 9]], { dtype: 'int32' }), tensor([0], { dtype: 'int32' }), { from: 2 });
 */
export class Transformer extends Decoder {
  readonly architecture: string = 'Qwen2ForCausalLM';

  constructor(config: TransformerConfig, parameters: Map<string, Tensor>, { endIds }: TransformerOptions = {}) {
    super(config, parameters, policyShapes, endIds);
  }

  /** A model with random weights: normal with the standard deviation `options.std`; norms are 1, biases 0. */
  static initialize(config: TransformerConfig, key: RandomKey, options?: InitializeOptions & TransformerOptions): Transformer {
    const resolved = transformerConfig(config);
    return new Transformer(resolved, randomParameters(resolved, policyShapes(resolved), key, options), options);
  }

  /** hidden [.., D] → logits [.., vocabSize]. */
  logits(hidden: Tensor): Tensor {
    tensorArgument('logits', hidden);
    return linear(hidden, this.parameter(this.config.tieWordEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'));
  }

  /**
   * Log-probabilities of the tokens ids[:, from..T), each given what precedes it, and the entropies of their distributions. Only these
   * positions go through the last layer and the vocabulary.
   *
   * @param ids int32 [B, T], left-padded
   * @param start int32 [B], the column of each row's first token
   */
  logProbs(ids: Tensor, start: Tensor, options: LogProbsOptions): LogProbs {
    const { from, temperature = 1 } = checkOptions('logProbs', options, logProbsNames);
    const [rows, columns] = checkBatch(ids, start);
    checkFrom('logProbs', from, columns);
    const count = columns - from;
    const states = this.hidden(ids.slice([0, 0], [rows, columns - 1]), start, { from: from - 1 });
    const logits = this.logits(states).reshape(rows * count, this.config.vocabSize);
    const chosen = withoutPadding(ids.slice([0, from]), positionsOf(start, from, count)).reshape(rows * count);
    const { logProbs, entropy } = tokenLogProbs(logits, chosen, { temperature });
    return { logProbs: logProbs.reshape(rows, count), entropy: entropy.reshape(rows, count) };
  }

  /** A copy with weights of its own, which later updates leave alone: a reference policy. */
  clone(): Transformer {
    return new Transformer(this.config, this.copyParameters(), this);
  }
}

/** Names and shapes of a language model's parameters. */
export function policyShapes(config: ResolvedConfig): Map<string, number[]> {
  const shapes = parameterShapes(config);
  return config.tieWordEmbeddings ? shapes : shapes.set('lm_head.weight', [config.vocabSize, config.hiddenSize]);
}
