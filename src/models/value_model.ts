/** The critic: a decoder with a scalar head. */
import type { DType, RandomKey, Tensor } from '../tensor';
import { zeros } from '../tensor';
import { checkOptions } from '../tensor/shape';
import { parameterShapes, transformerConfig, type ResolvedConfig, type TransformerConfig } from './config';
import { checkBatch, checkFrom, Decoder, randomParameters, type InitializeOptions } from './decoder';

/** A value model: the trunk of a {@link Transformer}, then one weight vector, `score.weight` [1, D]. */
export class ValueModel extends Decoder {
  readonly architecture: string = 'Qwen2ForSequenceClassification';

  constructor(config: TransformerConfig, parameters: Map<string, Tensor>) {
    super(config, parameters, valueShapes);
  }

  /** A value model with a random trunk and a head of zeros: every value is 0 until it has learnt. */
  static initialize(config: TransformerConfig, key: RandomKey, options?: InitializeOptions): ValueModel {
    const resolved = transformerConfig(config);
    const parameters = randomParameters(resolved, parameterShapes(resolved), key, options);
    return new ValueModel(resolved, parameters.set('score.weight', valueHead(resolved, options?.dtype)));
  }

  /**
   * V of the state before each token ids[:, from..T): the value at the position that predicts it.
   *
   * @param ids int32 [B, T], left-padded
   * @param start int32 [B], the column of each row's first token
   * @returns [B, T − from]
   */
  values(ids: Tensor, start: Tensor, options: { from: number }): Tensor {
    const { from } = checkOptions('values', options, ['from']);
    const [rows, columns] = checkBatch(ids, start);
    checkFrom('values', from, columns);
    const states = this.hidden(ids.slice([0, 0], [rows, columns - 1]), start, { from: from - 1 });
    return states.mul(this.parameter('score.weight').reshape(this.config.hiddenSize)).sum(-1);
  }

  /** A copy with weights of its own. */
  clone(): ValueModel {
    return new ValueModel(this.config, this.copyParameters());
  }
}

/** Names and shapes of a value model's parameters. */
export function valueShapes(config: ResolvedConfig): Map<string, number[]> {
  return parameterShapes(config).set('score.weight', [1, config.hiddenSize]);
}

/** A head that has learnt nothing yet. */
export function valueHead({ hiddenSize }: ResolvedConfig, dtype?: DType): Tensor {
  return zeros([1, hiddenSize], { dtype }).realize();
}
