import { generate, padPrompts, Transformer } from '../../src/models';
import { bucket } from '../../src/models/generate';
import { memory, randomKey, tensor } from '../../src/tensor';
import { expectClose, int32, randomModel, tiny, weightsOf } from './helpers';
import { referenceLogProb, referenceLogits } from './reference';

const eosId = 10;
const padId = 0;
const prompts = [[3, 1, 4], [1, 5, 9, 2, 6], [5], [3, 5, 8, 9]];
const base = { maxLength: 9, eosId, padId, key: randomKey(11) };

/** A model of no weights but an embedding: its next-token distribution is the same after every token. */
function constantPolicy(logits: number[]): Transformer {
  const config = tiny({
    vocabSize: logits.length,
    hiddenSize: 8,
    numLayers: 1,
    numHeads: 1,
    numKvHeads: 1,
    intermediateSize: 4,
    tieWordEmbeddings: false,
  });
  const model = Transformer.initialize(config, randomKey(0), { std: 0 });
  const ones = new Array<number>(8 * logits.length).fill(1);
  model.parameters.set('model.embed_tokens.weight', tensor(ones, { shape: [logits.length, 8] }));
  model.parameters.set(
    'lm_head.weight',
    tensor(
      logits.flatMap((logit) => new Array<number>(8).fill(logit / 8)),
      { shape: [logits.length, 8] },
    ),
  );
  return model;
}

describe('generate', () => {
  test.each([
    [1, 1],
    [0.7, 3],
    [1.6, 2],
  ])('reported log-probs equal the full forward pass (temperature %d, %d samples)', (temperature, samplesPerPrompt) => {
    const config = tiny();
    const model = randomModel(config, 'float32');
    const weights = weightsOf(model);
    const { responses, logProbs } = generate(model, prompts, { ...base, temperature, samplesPerPrompt, topP: 0.95 });
    expect(responses).toHaveLength(prompts.length * samplesPerPrompt);
    responses.forEach((response, row) => {
      const prompt = prompts[Math.floor(row / samplesPerPrompt)]!;
      const logits = referenceLogits(config, weights, [...prompt, ...response]);
      const plain = response.map((id, t) => referenceLogProb(logits[prompt.length + t - 1]!, id, temperature).logProb);
      expectClose(logProbs[row]!, plain, 1e-5);
      const padded = padPrompts([prompt], padId, 7);
      const ids = int32([[...padded.ids, ...response]]);
      const full = model.logProbs(ids, tensor(padded.start), { from: 7, temperature }).logProbs.dataSync();
      expectClose(logProbs[row]!, full, 1e-5);
    });
  });

  test('temperature 0 takes the likeliest token of the full forward pass', () => {
    const config = tiny();
    const model = randomModel(config, 'float32');
    const { responses, logProbs } = generate(model, prompts, { ...base, temperature: 0 });
    responses.forEach((response, row) => {
      const logits = referenceLogits(config, weightsOf(model), [...prompts[row]!, ...response]);
      response.forEach((id, t) => {
        const step = logits[prompts[row]!.length + t - 1]!;
        expect(step[id]).toBeGreaterThan(Math.max(...step) - 1e-5);
        expectClose([logProbs[row]![t]!], [referenceLogProb(step, id).logProb], 1e-5);
      });
    });
  });

  test('ends a row at eos, which it includes, and all rows at maxLength', () => {
    const { responses, logProbs, stopReasons } = generate(randomModel(tiny(), 'float32'), prompts, {
      ...base,
      samplesPerPrompt: 8,
      temperature: 1.5,
    });
    expect(new Set(stopReasons)).toEqual(new Set(['stop', 'length']));
    responses.forEach((response, row) => {
      expect(logProbs[row]).toHaveLength(response.length);
      expect(response.slice(0, -1)).not.toContain(eosId);
      if (stopReasons[row] === 'stop') expect(response.at(-1)).toBe(eosId);
      else expect(response).toHaveLength(base.maxLength);
    });
  });

  test('ends a row where isComplete says so, at the same tokens as without', () => {
    const model = randomModel(tiny(), 'float32');
    const free = generate(model, prompts, { ...base, samplesPerPrompt: 4 });
    const isComplete = (response: readonly number[]): boolean => response.length >= 2 && response.at(-1)! % 2 === 0;
    const { responses, logProbs, stopReasons } = generate(model, prompts, { ...base, samplesPerPrompt: 4, isComplete });
    responses.forEach((response, row) => {
      const whole = free.responses[row]!;
      const end = whole.findIndex((_, i) => isComplete(whole.slice(0, i + 1)));
      expect(response).toEqual(end < 0 ? whole : whole.slice(0, end + 1));
      expect(stopReasons[row]).toBe(end < 0 ? free.stopReasons[row] : 'stop');
      expect(logProbs[row]).toHaveLength(response.length);
    });
    expect(responses.flat().length).toBeLessThan(free.responses.flat().length);
  });

  test('stops early once every row has ended', () => {
    const always = constantPolicy([-50, 50, -50]);
    const { responses, stopReasons } = generate(always, [[0], [2]], { ...base, maxLength: 40, eosId: 1 });
    expect(responses).toEqual([[1], [1]]);
    expect(stopReasons).toEqual(['stop', 'stop']);
  });

  test('the same key gives the same responses, another key others', () => {
    const model = randomModel(tiny(), 'float32');
    const run = (seed: number) => generate(model, prompts, { ...base, samplesPerPrompt: 4, key: randomKey(seed) });
    expect(run(1)).toEqual(run(1));
    expect(run(1).responses).not.toEqual(run(2).responses);
  });

  test('a row does not depend on the others', () => {
    const model = randomModel(tiny(), 'float32');
    const all = generate(model, prompts, base);
    const fewer = generate(model, prompts.slice(0, 2), base);
    const others = generate(model, [prompts[0]!, prompts[1]!, [7, 7], [2]], base);
    expect(fewer.responses).toEqual(all.responses.slice(0, 2));
    expect(others.responses.slice(0, 2)).toEqual(all.responses.slice(0, 2));
    expectClose(others.logProbs.slice(0, 2).flat(), all.logProbs.slice(0, 2).flat(), 1e-5);
  });

  test('samples of a prompt equal those of the prompt given several times', () => {
    const model = randomModel(tiny(), 'float32');
    const repeated = generate(
      model,
      prompts.flatMap((prompt) => [prompt, prompt]),
      base,
    );
    const samples = generate(model, prompts, { ...base, samplesPerPrompt: 2 });
    expect(samples.responses).toEqual(repeated.responses);
    expect(samples.prompts.start.length).toBe(prompts.length);
  });

  test('tokens are drawn with the probabilities of the model (chi-square)', () => {
    const probabilities = [0.4, 0.25, 0.2, 0.1, 0.05];
    const model = constantPolicy(probabilities.map(Math.log));
    const count = (options: { topP?: number; topK?: number; minP?: number }) => {
      const { responses } = generate(model, [[0], [1]], { ...base, maxLength: 20, eosId: -1, samplesPerPrompt: 200, ...options });
      const counts = new Array<number>(5).fill(0);
      for (const id of responses.flat()) counts[id]!++;
      return counts;
    };
    const chiSquare = (counts: number[], expected: number[]): number => {
      const total = expected.reduce((sum, p) => sum + p, 0);
      return expected.reduce((sum, p, i) => (p === 0 ? sum : sum + (counts[i]! - (8000 * p) / total) ** 2 / ((8000 * p) / total)), 0);
    };
    // The 99.9% points of chi-square for 4, 2 and 1 degrees of freedom.
    expect(chiSquare(count({}), probabilities)).toBeLessThan(18.5);
    for (const cut of [{ topK: 3 }, { topP: 0.8 }, { minP: 0.4 }]) {
      const counts = count(cut);
      expect(counts.slice(3)).toEqual([0, 0]);
      expect(chiSquare(counts, [0.4, 0.25, 0.2, 0, 0])).toBeLessThan(13.8);
    }
  });

  test('memory is flat, and plans are found again', () => {
    const model = randomModel(tiny(), 'float32');
    const run = (seed: number) => generate(model, prompts, { ...base, eosId: -1, samplesPerPrompt: 2, key: randomKey(seed) });
    run(0);
    const before = memory();
    for (let seed = 1; seed < 5; seed++) run(seed);
    const after = memory();
    expect(after.bytes).toBe(before.bytes);
    expect(after.tensors).toBe(before.tensors);
    expect(after.plans).toBe(before.plans);
  });

  test('a callback that throws leaves neither cache nor tokens behind', () => {
    const model = randomModel(tiny(), 'float32');
    generate(model, prompts, { ...base, eosId: -1 });
    const before = memory();
    const isComplete = (response: readonly number[]) => {
      if (response.length === 3) throw new Error('stop here');
      return false;
    };
    expect(() => generate(model, prompts, { ...base, eosId: -1, isComplete })).toThrow('stop here');
    const { bytes, tensors } = memory();
    expect([bytes, tensors]).toEqual([before.bytes, before.tensors]);
  });

  test('errors name what was expected and what came', () => {
    const model = randomModel(tiny(), 'float32');
    expect(() => generate(model, [[1], []], base)).toThrow('generate: expected prompts of at least one token, got an empty one in row 1');
    expect(() => generate(model, [[1, 2]], { ...base, maxLength: 63 })).toThrow('within maxPositionEmbeddings = 64 tokens, got 2 + 63');
    expect(() => generate(model, [[1, 2]], { ...base, maxLength: 0 })).toThrow('generate: expected maxLength, a positive integer, got 0');
    expect(generate(model, [], base).responses).toEqual([]);
    expect(generate(model, [[1, 2]], { ...base, maxLength: 62, eosId: -1 }).responses[0]).toHaveLength(62);
  });
});

test('bucket: at most an eighth too long, few different lengths', () => {
  const lengths = Array.from({ length: 2000 }, (_, i) => bucket(i + 1));
  lengths.forEach((length, i) => {
    expect(length).toBeGreaterThanOrEqual(i + 1);
    expect(length).toBeLessThanOrEqual(Math.ceil(((i + 1) * 9) / 8));
  });
  expect(lengths.slice(0, 16)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
  expect(new Set(lengths).size).toBeLessThan(80);
});
