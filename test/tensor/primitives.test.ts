/** Caches written in place, sampling, attention and token log-probs against their formulas. */
import { attention, concat, full, memory, randomKey, randomNormal, randomUniform, sampleTokens, tensor, tidy, tokenLogProbs, writeAt, zeros, type Tensor } from '../../src/tensor';
import { expectMatches, Random } from './helpers';
import { mean, Ref, softmax, sum, variance } from './reference';

const random = new Random(121);

describe('writeAt', () => {
  const filled = (value: number, length: number) => full([2, length, 3], value);

  test('writes in place: memory, constants, several writes before one is read', () => {
    for (const make of [() => zeros([2, 4, 3]).realize(), () => zeros([2, 4, 3]), () => zeros([2, 4, 3]).add(tensor([0])), () => zeros([2, 4, 3]).gather(zeros([2, 4, 3], { dtype: 'int32' }), 1)]) {
      const first = writeAt(make(), filled(1, 2), 1);
      const second = writeAt(first, filled(2, 1), 3);
      const third = writeAt(second, filled(3, 1), 0);
      expect(third.select(2, 0).toArray()).toEqual([[3, 1, 1, 2], [3, 1, 1, 2]]);
      expect(third.sum().item()).toBe(2 * 3 * 7);
    }
  });

  test('a cache that grows token by token, each read once', () => {
    let cache = zeros([1, 5, 2]).realize();
    const before = memory().buffers;
    for (let t = 0; t < 5; t++) {
      cache = tidy(() => {
        const next = writeAt(cache, full([1, 1, 2], t + 1), t);
        const seen = next.sum();
        expect(seen.item()).toBe(2 * sum([...Array(t + 1).keys()].map((i) => i + 1)));
        return next;
      });
    }
    expect(cache.select(2, 1).toArray()).toEqual([[1, 2, 3, 4, 5]]);
    expect(memory().buffers - before).toBeLessThanOrEqual(1);
  });

  test('what was built on the cache before is refused after the write', () => {
    const cache = zeros([1, 2, 1]).realize();
    const stale = cache.add(1);
    writeAt(cache, full([1, 1, 1], 5), 0).realize();
    expect(() => stale.toArray()).toThrow(/changed in place/);
  });

  test('reads of the old content together with the write are refused, unless the write depends on them', () => {
    const cache = full([1, 2, 1], 3).realize();
    const read = cache.sum().mul(cache);
    expect(() => concat([read, writeAt(cache, full([1, 1, 1], 5), 0)]).toArray()).toThrow(/writeAt: the array is read by an expression that is evaluated together with the write/);
    const updated = writeAt(cache, cache.slice([0, 0], [1, 1]).mul(2), 1);
    expect(updated.toArray()).toEqual([[[3], [6]]]);
  });

  test('a view is no cache', () => {
    const cache = zeros([2, 4, 3]).realize();
    expect(() => writeAt(cache.transpose([1, 0, 2]), full([4, 1, 3], 1), 0)).toThrow(/writeAt: expected a cache with memory of its own, got a view/);
  });
});

/** Attention as its definition says, one query at a time. */
function attentionOf(q: Ref, k: Ref, v: Ref, scale: number, keyStart: readonly number[], offset: number): Ref {
  const group = q.shape[1]! / k.shape[1]!;
  return Ref.build(q.shape, ([b, h, i, d]) => {
    const head = Math.floor(h! / group);
    const keys: number[] = [];
    for (let j = keyStart[b!]!; j <= Math.min(offset + i!, k.shape[2]! - 1); j++) keys.push(j);
    if (keys.length === 0) return 0;
    const width = [...Array(q.shape[3]!).keys()];
    const weights = softmax(keys.map((j) => scale * sum(width.map((e) => q.at([b!, h!, i!, e]) * k.at([b!, head, j, e])))));
    return sum(keys.map((j, n) => weights[n]! * v.at([b!, head, j, d!])));
  });
}

test('attention: grouped heads, padding, offsets, views', () => {
  for (const [heads, keyHeads, queries, keys, offset] of [[1, 1, 1, 1, 0], [4, 2, 5, 5, 0], [6, 2, 3, 9, 6], [2, 2, 1, 33, 32], [3, 1, 40, 40, 0]] as const) {
    const starts = [0, 2, Math.max(0, keys - 1)];
    const [q, k, v] = [random.smooth([3, heads, queries, 8]), random.smooth([3, keyHeads, keys, 8]), random.smooth([3, keyHeads, keys, 8])];
    const expected = attentionOf(q, k, v, 0.35, starts, offset);
    const options = { scale: 0.35, keyStart: tensor(starts, { dtype: 'int32' }), queryOffset: offset };
    expectMatches(attention(q.tensor(), k.tensor(), v.tensor(), options), expected, 1e-11);
    expectMatches(attention(q.tensor('float32'), k.tensor('float32'), v.tensor('float32'), options), expected, 1e-5);
    const byHead = [0, 2, 1, 3];
    const seen = (x: Ref) => x.permute(byHead).tensor().transpose(byHead);
    expectMatches(attention(seen(q), seen(k), seen(v), options), expected, 1e-11);
  }
});

test('tokenLogProbs: log-probs and entropy of softmax(logits/temperature), any leading shape', () => {
  for (const shape of [[5], [3, 7], [2, 3, 50], [4, 1000]]) {
    const logits = random.smooth(shape, -8, 8);
    const rows = shape.slice(0, -1);
    const ids = Ref.build(rows, () => random.integer(0, shape.at(-1)! - 1));
    for (const temperature of [1, 0.5, 2]) {
      const probabilities = logits.map((v) => v / temperature).rows(shape.length - 1, softmax);
      for (const [dtype, tolerance] of [['float64', 1e-11], ['float32', 1e-5], ['bfloat16', 5e-2]] as const) {
        const { logProbs, entropy } = tokenLogProbs(logits.tensor(dtype), ids.tensor('int32'), { temperature });
        expectMatches(logProbs, Ref.build(rows, (at) => Math.log(probabilities.at([...at, ids.at(at)]))), tolerance * 10);
        expectMatches(entropy, probabilities.fold([shape.length - 1], (row) => -sum(row.map((p) => p * Math.log(p)))), tolerance * 10);
      }
    }
  }
});

describe('randomness', () => {
  test('a key gives the same numbers again; folded keys give others', () => {
    const draw = (seed: number) => Array.from(randomNormal([100], { key: randomKey(seed) }).dataSync());
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    const key = randomKey(5);
    expect(Array.from(randomUniform([9], { key: key.fold(1) }).dataSync())).not.toEqual(Array.from(randomUniform([9], { key: key.fold(2) }).dataSync()));
    expect(Array.from(randomUniform([9], { key: key.fold(1) }).dataSync())).toEqual(Array.from(randomUniform([9], { key: randomKey(5).fold(1) }).dataSync()));
  });

  test('moments and ranges', () => {
    const n = 20_000;
    const uniform = Array.from(randomUniform([n], { key: randomKey(7), low: -2, high: 4 }).dataSync());
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(-2);
    expect(Math.max(...uniform)).toBeLessThan(4);
    expect(mean(uniform)).toBeCloseTo(1, 1);
    expect(variance(uniform)).toBeCloseTo(3, 0);
    for (const dtype of ['float32', 'float64'] as const) {
      const normal = Array.from(randomNormal([n], { key: randomKey(8), mean: 3, std: 2, dtype }).dataSync());
      expect(Math.abs(mean(normal) - 3)).toBeLessThan(0.06);
      expect(Math.abs(variance(normal) - 4)).toBeLessThan(0.2);
    }
  });

  test('sampleTokens: frequencies, greedy, cuts; log-probs are those before the cuts', () => {
    const logits = [2, 1, 0, -1];
    const probabilities = softmax(logits);
    const drawn = (options: object, rows = 500) => {
      const { ids, logProbs } = sampleTokens(tensor(logits).broadcastTo([rows, 4]).add(0), { key: randomKey(9), ...options });
      return { ids: Array.from(ids.dataSync()), logProbs: Array.from(logProbs.dataSync()) };
    };
    const plain = drawn({}, 5_000);
    probabilities.forEach((p, id) => {
      const frequency = plain.ids.filter((i) => i === id).length / plain.ids.length;
      expect(Math.abs(frequency - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / plain.ids.length));
    });
    plain.ids.slice(0, 50).forEach((id, i) => expect(plain.logProbs[i]!).toBeCloseTo(Math.log(probabilities[id]!), 5));
    expect(new Set(drawn({ temperature: 0 }).ids)).toEqual(new Set([0]));
    expect(new Set(drawn({ topK: 2 }).ids)).toEqual(new Set([0, 1]));
    expect(new Set(drawn({ topP: 0.5 }).ids)).toEqual(new Set([0]));
    expect(new Set(drawn({ minP: 0.3 }).ids)).toEqual(new Set([0, 1]));
    const cut = drawn({ topK: 2 });
    cut.ids.slice(0, 50).forEach((id, i) => expect(cut.logProbs[i]!).toBeCloseTo(Math.log(probabilities[id]!), 5));
    expect(drawn({ counter: 100 }).ids.slice(0, 50)).toEqual(plain.ids.slice(100, 150));
  });
});

test('detach keeps values and cuts the graph', () => {
  const x: Tensor = tensor([1, 2]).mul(3);
  const cut = x.detach();
  expect(cut.toArray()).toEqual([3, 6]);
  expect(cut.explain()).toBe('in memory: nothing to run');
});
