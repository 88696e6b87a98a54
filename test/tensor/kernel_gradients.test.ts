/** Gradients of the tuned kernels and of recurrences against central differences in float64. */
import { attention, scan, tokenLogProbs } from '../../src/tensor';
import { checkGradients, Random } from './helpers';
import { Ref } from './reference';

const random = new Random(61);

describe('kernels', () => {
  test('matmul: batches that broadcast, transposed views, one dimension', () => {
    const shapes: [number[], number[]][] = [[[2, 3], [3, 2]], [[2, 2, 3], [3, 2]], [[2, 3], [2, 3, 2]], [[2, 1, 2, 3], [2, 3, 1]], [[3], [3, 2]], [[2, 3], [3]], [[3], [3]], [[2, 0], [0, 2]]];
    for (const [a, b] of shapes) checkGradients((x, y) => x.matmul(y), [random.smooth(a), random.smooth(b)]);
    checkGradients((x, y) => x.transpose().matmul(y.transpose()), [random.smooth([3, 2]), random.smooth([2, 3])]);
    checkGradients((x, y) => x.flip(0).matmul(y.slice([0, 1])).exp(), [random.smooth([2, 3]), random.smooth([3, 3])]);
    checkGradients((x) => x.matmul(x.transpose()), [random.smooth([3, 2])]);
  });

  test('softmax and logSoftmax on every axis', () => {
    for (const axis of [0, 1, 2]) {
      checkGradients((x) => x.softmax(axis), [random.smooth([2, 3, 4])]);
      checkGradients((x) => x.logSoftmax(axis), [random.smooth([2, 3, 4])]);
    }
  });

  test('gather and take: what is taken twice counts twice', () => {
    for (const axis of [0, 1]) {
      const index = Ref.build([3, 3].with(axis, 5), () => random.integer(0, 2)).tensor('int32');
      checkGradients((x) => x.gather(index, axis).square(), [random.smooth([3, 3])]);
    }
    const ids = new Ref([2, 2], [0, 2, 2, 1]).tensor('int32');
    checkGradients((x) => x.take(ids).square(), [random.smooth([4, 3])]);
    checkGradients((x) => x.transpose().take(ids).exp(), [random.smooth([2, 3])]);
  });

  test('attention: grouped heads, padding on the left, an offset, transposed operands', () => {
    const start = new Ref([2], [0, 1]).tensor('int32');
    for (const [heads, keyHeads, queries, keys, queryOffset] of [[2, 2, 3, 3, 0], [4, 2, 2, 4, 2], [2, 1, 1, 4, 3], [2, 1, 3, 3, 0]] as const) {
      const inputs = [random.smooth([2, heads, queries, 2]), random.smooth([2, keyHeads, keys, 2]), random.smooth([2, keyHeads, keys, 2])];
      checkGradients((q, k, v) => attention(q, k, v, { scale: 0.7, keyStart: start, queryOffset }), inputs);
    }
    const rows = [random.smooth([2, 3, 2, 2]), random.smooth([2, 3, 1, 2]), random.smooth([2, 3, 1, 2])];
    const byHead = [0, 2, 1, 3];
    checkGradients((q, k, v) => attention(q.transpose(byHead), k.transpose(byHead), v.transpose(byHead), { scale: 1, keyStart: start }).transpose(byHead), rows);
  });

  test('tokenLogProbs: both results, with a temperature', () => {
    const ids = new Ref([2, 2], [0, 3, 2, 2]).tensor('int32');
    for (const temperature of [1, 0.6]) {
      const logits = random.smooth([2, 2, 4]);
      checkGradients((x) => tokenLogProbs(x, ids, { temperature }).logProbs, [logits]);
      checkGradients((x) => tokenLogProbs(x, ids, { temperature }).entropy, [logits]);
      checkGradients((x) => {
        const { logProbs, entropy } = tokenLogProbs(x.mul(2), ids, { temperature });
        return logProbs.exp().mul(entropy);
      }, [logits]);
    }
  });
});

describe.each([{ reverse: false }, { reverse: true }])('recurrences, %p', ({ reverse }) => {
  const mask = new Ref([2, 5], [1, 1, 0, 1, 1, 0, 1, 1, 0, 1]).tensor('bool');

  test('affine: factors, terms, init, tensors from outside', () => {
    const inputs = [random.smooth([2, 5]), random.smooth([2, 5]), random.smooth([2])];
    for (const m of [undefined, mask]) {
      checkGradients((a, b, init) => scan([a, b], { reverse, mask: m, init }, (s, [x, y]) => s.mul(x).add(y)), inputs);
      checkGradients((a, b, outer) => scan([a, b], { reverse, mask: m, init: 0.5 }, (s, [x, y]) => x.mul(y).sub(s.mul(outer).mul(0.9))), inputs);
    }
    checkGradients((a, init) => scan([a], { reverse, init }, (s, [x]) => s.mul(x)), [random.smooth([5]), random.smooth([])]);
  });

  test('several states: GAE as the pair (advantage, next value)', () => {
    const inputs = [random.smooth([2, 5]), random.smooth([2, 5])];
    for (const m of [undefined, mask]) {
      checkGradients((rewards, values) => {
        const [advantages, next] = scan([rewards, values], { reverse, mask: m, init: [0, 0] }, ([a, vNext], [r, v]) => [r.add(vNext.mul(0.9)).sub(v).add(a.mul(0.8)), v]);
        return advantages.mul(next).add(advantages);
      }, inputs);
    }
    checkGradients((x, y, init) => scan([x, y], { reverse, mask, init: [init, 1] }, ([p, q], [a, b]) => [p.mul(a).add(q.square()), q.mul(b).add(a)])[0], [...inputs, random.smooth([2])]);
  });

  test('loops: one state, two states that use each other, masks and init', () => {
    const inputs = [random.smooth([2, 5]), random.smooth([2, 5]), random.smooth([2])];
    for (const m of [undefined, mask]) {
      checkGradients((x, y, init) => scan([x, y], { reverse, mask: m, init }, (s, [a, b]) => s.mul(a).tanh().add(b)), inputs);
      checkGradients((x, y, outer) => scan([x, y], { reverse, mask: m, init: 0.3 }, (s, [a, b]) => s.sigmoid().mul(outer).add(a.mul(b)).maximum(s)), inputs);
      for (const chosen of [0, 1]) {
        checkGradients((x, y, init) => scan([x, y], { reverse, mask: m, init: [init, 0.2] }, ([p, q], [a, b]) => [p.mul(q).tanh().add(a), q.sub(p).mul(b).sin()])[chosen]!, inputs);
      }
      checkGradients((x, y, init) => {
        const [p, q] = scan([x, y], { reverse, mask: m, init: [init, init.square()] }, ([s, u], [a, b]) => [s.mul(0.5).add(u), u.mul(s).add(a).tanh().mul(b)]);
        return p.add(q.square()).mul(x);
      }, inputs);
    }
  });

  test('loops: a constant and an input as the next state', () => {
    checkGradients((x) => scan([x], { reverse, init: [0.1, 0.2, 0] }, ([p, q], [a]) => [p.mul(q).add(a), p, a])[0], [random.smooth([2, 4])]);
  });
});
