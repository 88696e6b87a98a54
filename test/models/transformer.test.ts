import { ConfigError, TensorError } from '../../src/errors';
import { parameterShapes, Transformer, transformerConfig, ValueModel } from '../../src/models';
import { gradients, memory, ones, randomKey, randomNormal, tensor, tidy, type DType } from '../../src/tensor';
import { expectClose, int32, randomModel, tiny, weightsOf } from './helpers';
import { referenceHidden, referenceLogits, referenceLogProb } from './reference';

/** Rows of three lengths; what stands before a row's start is garbage, ids out of range included. */
const batch = {
  ids: [
    [3, 1, 4, 1, 5, 9, 2],
    [9, 9, 0, 2, 6, 5, 3],
    [-7, 1000, 8, 2147483647, 10, 0, 7],
  ],
  start: [0, 2, 4],
};

const configs = {
  'grouped-query attention, biases, tied': tiny(),
  'one head for each query, no biases, untied': tiny({ numKvHeads: 4, attentionBias: false, tieWordEmbeddings: false }),
  'one key head, wide heads': tiny({ numKvHeads: 1, headDim: 6, ropeTheta: 1e6 }),
  'three layers, one query head': tiny({ numHeads: 1, numKvHeads: 1, numLayers: 3, rmsNormEps: 0.1 }),
};

describe.each(Object.entries(configs))('Transformer: %s', (_, config) => {
  test.each<[DType, number]>([
    ['float32', 1e-4],
    ['float64', 1e-9],
  ])('logits equal plain loops (%s)', (dtype, tolerance) => {
    const model = randomModel(config, dtype);
    const weights = weightsOf(model);
    const logits = model.logits(model.hidden(int32(batch.ids), int32(batch.start))).toArray() as number[][][];
    batch.ids.forEach((row, b) => {
      const expected = referenceLogits(config, weights, row.slice(batch.start[b]!));
      expectClose(logits[b]!.slice(batch.start[b]!).flat(), expected.flat(), tolerance);
    });
  });

  test('log-probs and entropies equal plain loops, for any first position', () => {
    const model = randomModel(config);
    const weights = weightsOf(model);
    for (
      const [from, temperature] of [
        [5, 1],
        [6, 0.7],
        [1, 1.3],
      ] as const
    ) {
      const { logProbs, entropy } = model.logProbs(int32(batch.ids), int32(batch.start), { from, temperature });
      expect(logProbs.shape).toEqual([3, 7 - from]);
      batch.ids.forEach((row, b) => {
        const start = batch.start[b]!;
        const logits = referenceLogits(config, weights, row.slice(start));
        for (let t = Math.max(from, start + 1); t < 7; t++) {
          const expected = referenceLogProb(logits[t - 1 - start]!, row[t]!, temperature);
          expectClose([(logProbs.toArray() as number[][])[b]![t - from]!], [expected.logProb], 1e-9);
          expectClose([(entropy.toArray() as number[][])[b]![t - from]!], [expected.entropy], 1e-9);
        }
      });
    }
  });
});

describe('Transformer', () => {
  test('padded columns influence nothing, bit for bit', () => {
    const model = randomModel(tiny(), 'float32');
    const clean = batch.ids.map((row, b) => row.map((id, t) => (t < batch.start[b]! ? 0 : id)));
    const run = (ids: number[][]) => model.logProbs(int32(ids), int32(batch.start), { from: 5 });
    expect(run(batch.ids).logProbs.toArray()).toEqual(run(clean).logProbs.toArray());
  });

  test('later tokens do not reach earlier ones', () => {
    const model = randomModel(tiny(), 'float32');
    const change = batch.ids.map((row) => [...row.slice(0, 6), 5]);
    const run = (ids: number[][]) => model.hidden(int32(ids), int32(batch.start)).slice([0, 4], [3, 6]).toArray();
    expect(run(batch.ids)).toEqual(run(change));
  });

  test('gradients equal finite differences', () => {
    const config = tiny({ hiddenSize: 8, headDim: 4, numHeads: 2, numKvHeads: 1, intermediateSize: 6, tieWordEmbeddings: false });
    const model = randomModel(config);
    const [ids, start] = [int32(batch.ids), int32(batch.start)];
    const weight = randomNormal([3, 2], { key: randomKey(9), dtype: 'float64' }).realize();
    const loss = () => {
      const { logProbs, entropy } = model.logProbs(ids, start, { from: 5, temperature: 0.8 });
      return logProbs.mul(weight).sum().add(entropy.square().mean());
    };
    const names = [...model.parameters.keys()];
    const found = gradients(loss(), [...model.parameters.values()]);
    names.forEach((name, k) => {
      const x = model.parameters.get(name)!;
      const values = Float64Array.from(x.dataSync());
      const gradient = found[k]!.dataSync();
      expect(found[k]!.shape).toEqual(x.shape);
      const at = (i: number, h: number): number => {
        const moved = Float64Array.from(values);
        moved[i]! += h;
        const shifted = new Transformer(config, new Map(model.parameters).set(name, tensor(moved, { shape: x.shape })));
        const { logProbs, entropy } = shifted.logProbs(ids, start, { from: 5, temperature: 0.8 });
        return logProbs.mul(weight).sum().add(entropy.square().mean()).item();
      };
      const stride = Math.max(1, Math.floor(values.length / 4));
      for (let i = 0; i < values.length; i += stride) expectClose([gradient[i]!], [(at(i, 1e-5) - at(i, -1e-5)) / 2e-5], 1e-7);
    });
  });

  test('random weights: reproducible, policy close to uniform, 100k parameters at the size of the example', () => {
    const config = transformerConfig({ vocabSize: 16, hiddenSize: 64, numLayers: 2, numHeads: 4, intermediateSize: 172 });
    const model = Transformer.initialize(config, randomKey(5));
    expect(model.size).toBe([...parameterShapes(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0));
    expect(model.size).toBeGreaterThan(95_000);
    expect(model.size).toBeLessThan(105_000);
    const again = Transformer.initialize(config, randomKey(5));
    for (const [name, x] of model.parameters) expect(x.dataSync()).toEqual(again.parameters.get(name)!.dataSync());
    const up = model.parameters.get('model.layers.0.mlp.up_proj.weight')!;
    expect(up.std().item()).toBeCloseTo(0.02 * Math.sqrt(1536 / 64), 2);
    expect(up.mean().item()).toBeCloseTo(0, 2);
    expect(up.sub(model.parameters.get('model.layers.0.mlp.gate_proj.weight')!).abs().max().item()).toBeGreaterThan(0.01);
    const { entropy } = model.logProbs(int32([[3, 9, 1, 4, 11, 10]]), int32([0]), { from: 4 });
    expect(entropy.min().item()).toBeGreaterThan(Math.log(16) - 0.8);
  });

  test('a clone keeps its weights', () => {
    const model = randomModel(tiny(), 'float32');
    const copy = model.clone();
    const before = copy.logProbs(int32(batch.ids), int32(batch.start), { from: 5 }).logProbs.toArray();
    expect(before).toEqual(model.logProbs(int32(batch.ids), int32(batch.start), { from: 5 }).logProbs.toArray());
    model.dispose();
    expect(copy.logProbs(int32(batch.ids), int32(batch.start), { from: 5 }).logProbs.toArray()).toEqual(before);
  });

  test('dispose lets go of everything', () => {
    const before = memory();
    const model = Transformer.initialize(tiny(), randomKey(0));
    tidy(() => {
      model.logProbs(int32(batch.ids), int32(batch.start), { from: 5 }).logProbs.realize();
    });
    model.dispose();
    expect(memory().bytes).toBe(before.bytes);
  });

  test('errors name what was expected and what came', () => {
    const model = randomModel(tiny(), 'float32');
    const ids = int32(batch.ids);
    const start = int32(batch.start);
    expect(() => model.hidden(tensor(batch.ids), start)).toThrow('ids: expected int32 [B,T], got float32 [3,7]');
    expect(() => model.hidden(ids, int32([0]))).toThrow('start: expected int32 [3], got int32 [1]');
    expect(() => model.logProbs(ids, start, { from: 0 })).toThrow('logProbs: expected from, an integer from 1 to 6, got 0');
    expect(() => model.logProbs(ids, start, { from: 7 })).toThrow('got 7');
    expect(() => model.hidden(ids, start, { from: 7 })).toThrow('hidden: expected from, an integer from 0 to 6, got 7');
    expect(() => model.hidden(int32([new Array<number>(65).fill(1)]), int32([0]))).toThrow(
      'at most maxPositionEmbeddings = 64 columns, got 65',
    );
    expect(() => model.hidden(int32([[3, 11]]), int32([0])).toArray()).toThrow(/index 11 .*\[0, 11\)/);
    const without = new Map(model.parameters);
    without.delete('model.norm.weight');
    expect(() => new Transformer(tiny(), without)).toThrow("parameter 'model.norm.weight': expected shape [16], got none");
    expect(() => new Transformer(tiny(), new Map(model.parameters).set('model.norm.weight', ones([4])))).toThrow(
      "parameter 'model.norm.weight': expected shape [16], got [4]",
    );
    expect(() => new Transformer(tiny(), new Map(model.parameters).set('lm_head.weight', ones([11, 16])))).toThrow(
      "parameter 'lm_head.weight': no such parameter",
    );
    expect(() => new Transformer(tiny(), new Map(model.parameters).set('model.norm.weight', ones([16], { dtype: 'float64' })))).toThrow(
      TensorError,
    );
    expect(() => tiny({ numKvHeads: 3 })).toThrow('TransformerConfig.numKvHeads: expected a divisor of numHeads = 4, got 3');
    expect(() => tiny({ hiddenSize: 0 })).toThrow(ConfigError);
    expect(() => tiny({ headDim: 5 })).toThrow('headDim: expected a positive even integer');
    expect(() => tiny({ ropeTheta: NaN })).toThrow('ropeTheta: expected a positive number, got NaN');
  });
});

describe('ValueModel', () => {
  test('values are those of the positions that predict each token', () => {
    const config = tiny();
    const trunk = randomModel(config);
    const head = randomNormal([1, 16], { key: randomKey(8), dtype: 'float64' }).realize();
    const model = new ValueModel(config, new Map(trunk.parameters).set('score.weight', head));
    const values = model.values(int32(batch.ids), int32(batch.start), { from: 5 }).toArray() as number[][];
    const score = head.dataSync();
    batch.ids.forEach((row, b) => {
      const hidden = referenceHidden(config, weightsOf(trunk), row.slice(batch.start[b]!));
      const expected = [4, 5].map((t) => hidden[t - batch.start[b]!]!.reduce((sum, x, i) => sum + x * score[i]!, 0));
      expectClose(values[b]!, expected, 1e-9);
    });
  });

  test('starts at 0, and its head learns from the first step', () => {
    const model = ValueModel.initialize(tiny(), randomKey(1));
    const values = model.values(int32(batch.ids), int32(batch.start), { from: 5 });
    const [gradient] = gradients(values.sub(1).square().mean(), [model.parameters.get('score.weight')!]);
    expect(values.toArray()).toEqual([
      [0, 0],
      [0, 0],
      [0, 0],
    ]);
    expect(gradient!.abs().max().item()).toBeGreaterThan(0.01);
  });

  test('a head of another shape is refused', () => {
    expect(() => new ValueModel(tiny(), new Map(randomModel(tiny()).parameters))).toThrow(
      "parameter 'score.weight': expected shape [1,16], got none",
    );
  });
});
