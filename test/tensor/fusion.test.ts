/** What runs: chains of arithmetic are one program, whatever masks, casts and views are in them. */
import { computePolicyLoss, klDivergence } from '../../src/losses';
import { attention, concat, defaultDevice, full, gradients, scan, tensor, where, tokenLogProbs, type Tensor } from '../../src/tensor';
import { expectMatches, Random, steps } from './helpers';
import { Ref } from './reference';

const random = new Random(81);
const onCpu = defaultDevice() === 'cpu';
const matrix = (dtype: 'float32' | 'bool' | 'int32' = 'float32') => random.ref([32, 48], dtype).tensor(dtype);

test('a chain with masks, casts and broadcasts is one program', () => {
  const [a, b, mask] = [matrix(), matrix(), matrix('bool')];
  const column = random.ref([32, 1]).tensor('float32');
  expect(steps(a.mul(b).add(a).exp())).toEqual(['program over [32,48], 2 loads, 3 instructions, 1 outputs']);
  const masked = where(mask, a.sub(column).square().cast('float64'), 0).cast('float32').mul(b.greater(0)).clamp(-1, 1);
  expect(steps(masked)).toHaveLength(1);
  expect(steps(a.transpose().add(b.transpose()).mul(2))).toHaveLength(1);
  expect(steps(a.slice([1, 2], [9, 30]).mul(b.slice([3, 4], [11, 32])).tanh())).toHaveLength(1);
});

/** The steps that walk the whole index space; what is left works on rows or scalars. */
const passes = (x: Tensor | readonly Tensor[]) => steps(x).filter((line) => line.startsWith('program over [32,48]'));

test('reductions take the arithmetic in front of them along', () => {
  const [a, b] = [matrix(), matrix()];
  expect(passes(a.mul(b).sum())).toHaveLength(1);
  expect(steps(a.mul(b).exp().max(0))).toHaveLength(1);
  expect(steps(a.mul(b).mean(1).add(1))).toHaveLength(2);
  expect(passes([a.mul(b).sum(), a.square().mean(), a.mean(1)])).toHaveLength(1);
});

test('an advantage that is normalised: a pass for each that its mathematics needs', () => {
  const [a, mask] = [matrix(), matrix('bool')];
  // The sums for the mean, the sums around it, the result.
  expect(passes(a.sub(a.mean(null, { mask })).div(a.std(null, { mask }).add(1e-8)))).toHaveLength(3);
  // Without a mask a CPU needs no mean to know the deviation.
  expect(passes(a.std())).toHaveLength(onCpu ? 1 : 2);
  expect(passes(a.sub(a.mean()).div(a.std().add(1e-8)))).toHaveLength(onCpu ? 2 : 3);
});

test('GAE written as a scan is one program, with its returns and mask', () => {
  const [rewards, values, mask] = [matrix(), matrix(), matrix('bool')];
  const [advantages] = scan([rewards, values], { reverse: true, mask, init: [0, 0] }, ([a, next], [r, v]) => [r.add(next.mul(0.99)).sub(v).add(a.mul(0.99 * 0.95)), v]);
  const text = steps(advantages.add(values));
  expect(text).toHaveLength(1);
  expect(text[0]).toContain('scan reverse');
  expect(steps([advantages, advantages.add(values)])).toHaveLength(1);
  expect(steps(where(mask, advantages, 0).sum(1))).toHaveLength(1);
});

test('a clipped policy loss, forward and backward', () => {
  const [old, advantages, mask] = [matrix(), matrix(), matrix('bool')];
  const logProbs = matrix();
  const ratio = logProbs.sub(old).exp();
  const loss = ratio.mul(advantages).minimum(ratio.clamp(0.8, 1.2).mul(advantages)).neg().mean(null, { mask });
  // Both sums, of the loss and of the mask, in one pass.
  expect(passes(loss)).toHaveLength(1);
  // The count of the mask, and the gradient, which computes the ratio where it needs it.
  const [gradient] = gradients(loss, [logProbs]);
  expect(passes(gradient!)).toEqual([expect.stringMatching(/, 1 loads, /), expect.stringMatching(/, 5 loads, \d+ instructions, 1 outputs$/)]);
  expect(passes([loss, gradient!])).toHaveLength(2);
  expect(steps([loss, gradient!]).length).toBeLessThanOrEqual(7);
});

test('a loss that is a sum, its metrics, a KL term and the gradient are one pass, and one program on single numbers', () => {
  const [logProbs, oldLogProbs, reference, advantages, mask] = [matrix(), matrix(), matrix(), matrix(), matrix('bool')];
  const { loss, metrics } = computePolicyLoss('regular', { logProbs, oldLogProbs, advantages, mask });
  const total = loss.add(klDivergence(logProbs, reference, 'k3', mask).sum(null, { mask }).mul(0.001));
  const [gradient] = gradients(total, [logProbs]);
  const text = steps([total, ...Object.values(metrics), gradient!]);
  expect(text).toEqual([expect.stringMatching(/^program over \[32,48\] \(reduce over 0,1\), 5 loads, \d+ instructions, 11 outputs$/), expect.stringMatching(/^program over \[\]/)]);
});

test('cheap arithmetic on an array and a mean is computed again instead of stored', () => {
  const x = matrix();
  const normalised = x.mul(x).cumsum();
  const centred = normalised.sub(normalised.mean());
  // The difference is needed for its squares and for the result, on two levels.
  const expression = centred.div(centred.square().mean().add(1e-8).sqrt()).add(centred.mean());
  const text = steps(expression);
  expect(passes(expression)).toHaveLength(3);
  expect(text.filter((line) => line.startsWith('program over [32,48] (reduce over 0,1)'))).toEqual([expect.stringContaining(', 2 outputs')]);
});

test('choices by one condition inside of each other are one, and what is not needed then is not computed', () => {
  const [a, b, mask] = [matrix(), matrix(), matrix('bool')];
  const twice = where(mask, where(mask, a, b), 0);
  expect(steps(twice)).toEqual(steps(where(mask, a, 0)));
  expect(twice.toArray()).toEqual(where(mask, a, 0).toArray());
  expect(steps(a.greater(0).logicalAnd(a.greater(0)))).toEqual(steps(a.greater(0)));
});

test('a program kept small: long chains are cut, also in front of reductions and scans, and stay right', () => {
  const x = random.smooth([4, 8], -0.01, 0.01);
  let y: Tensor = x.tensor();
  let expected = x;
  for (let i = 0; i < 3000; i++) {
    const other = i % 3 === 0 ? y : 1e-3;
    y = i % 3 === 0 ? y.mul(0.5).add(other).sub(y.mul(0.501)) : y.add(other).mul(0.9995);
    expected = expected.map((v) => (i % 3 === 0 ? v * 0.5 + v - v * 0.501 : (v + 1e-3) * 0.9995));
  }
  const folded = expected.fold([0], (values) => values.reduce((a, b) => a + b, 0));
  expectMatches(y.sum(0), folded, 1e-10);
  let running = 0;
  expectMatches(scan([y], {}, (s, [v]) => s.mul(0.5).add(v)).select(0, 3), Ref.build([8], ([t]) => (running = (t === 0 ? 0 : running * 0.5) + expected.at([3, t!]))), 1e-10);
  expectMatches(y, expected, 1e-10);
});

test('hundreds of inputs in one expression', () => {
  const parts = Array.from({ length: 300 }, () => random.smooth([3, 5]));
  const total = parts.map((part) => part.tensor()).reduce((sum, part) => sum.add(part.mul(2)));
  const expected = parts.slice(1).reduce((sum, part) => sum.zip(part, (a, b) => a + 2 * b), parts[0]!);
  expectMatches(total, expected, 1e-11);
  const again = parts.map((part) => part.tensor()).reduce((sum, part) => sum.add(part.mul(2)));
  expectMatches(again.sum(1), expected.fold([1], (values) => values.reduce((a, b) => a + b, 0)), 1e-11);
});

test('hundreds of results of one input', () => {
  const x = random.smooth([6]);
  const tensors = Array.from({ length: 200 }, (_, i) => x.tensor().mul(0).add(i));
  expectMatches(concat(tensors, 0), Ref.build([1200], ([i]) => Math.floor(i! / 6)), 0);
  const shared = x.tensor();
  const sums = Array.from({ length: 200 }, (_, i) => shared.mul(i).sum().reshape(1));
  const total = x.data.reduce((a, b) => a + b, 0);
  expectMatches(concat(sums, 0), Ref.build([200], ([i]) => i! * total), 1e-10);
});

test('explain names kernels and says when nothing is to be done', () => {
  const x = tensor([[1, 2], [3, 4]]);
  expect(x.explain()).toBe('in memory: nothing to run');
  expect(steps(x.add(1).matmul(x))).toEqual(['program over [2,2], 1 loads, 2 instructions, 1 outputs', 'matmul float32[2,2] float32[2,2] float32[2,2]']);
  expect(steps(x.softmax())[0]).toMatch(/^softmax/);
  expect(steps(tokenLogProbs(x, tensor([0, 1], { dtype: 'int32' })).logProbs)[0]).toMatch(/^token_log_probs/);
  const heads = full([1, 1, 2, 2], 1).add(x);
  expect(steps(attention(heads, heads, heads, { scale: 1, keyStart: tensor([0], { dtype: 'int32' }) })).at(-1)).toMatch(/^attention/);
  expect(x.add(1).explain()).toContain('%0 = load');
});
