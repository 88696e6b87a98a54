/** Models and batches that several tests share. */
import { Transformer, transformerConfig, type Decoder, type ResolvedConfig, type TransformerConfig } from '../../src/models';
import { randomKey, randomNormal, tensor, type DType, type Tensor } from '../../src/tensor';
import type { Weights } from './reference';

export const tiny = (changes: Partial<TransformerConfig> = {}): ResolvedConfig =>
  transformerConfig({
    vocabSize: 11,
    hiddenSize: 16,
    numLayers: 2,
    numHeads: 4,
    numKvHeads: 2,
    intermediateSize: 20,
    ropeTheta: 10_000,
    maxPositionEmbeddings: 64,
    ...changes,
  });

/** A model whose parameters are all random, norms and biases too, and large enough to matter. */
export function randomModel(config: ResolvedConfig, dtype: DType = 'float64', seed = 3): Transformer {
  const model = Transformer.initialize(config, randomKey(seed), { dtype, std: 0.3 });
  const parameters = new Map<string, Tensor>();
  for (const [name, x] of model.parameters) {
    parameters.set(
      name,
      x.ndim === 2 ? x : x.add(randomNormal(x.shape, { key: randomKey(seed + 1).fold(parameters.size), std: 0.3, dtype })).realize(),
    );
  }
  return new Transformer(config, parameters);
}

export function weightsOf(model: Decoder): Weights {
  return new Map([...model.parameters].map(([name, x]) => [name, { shape: x.shape, data: x.dataSync() }]));
}

export const int32 = (values: number[] | number[][]): Tensor => tensor(values, { dtype: 'int32' });

export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!) / Math.max(1, Math.abs(expected[i]!));
    // Not Math.max: a NaN has to count.
    if (!(error <= worst)) worst = error;
  }
  expect(worst).toBeLessThanOrEqual(tolerance);
}
