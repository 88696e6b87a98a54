/** Plans found again, memory given back, values that do not depend on when or by how many threads they are computed. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { native } from '../../src/native';
import { concat, evaluate, full, gradients, keep, memory, scan, tensor, tidy, UpdateList, where, zeros, type Tensor } from '../../src/tensor';
import { readsTypeScript } from '../programs';
import { expectMatches, Random } from './helpers';
import { Ref, sum } from './reference';

const random = new Random(91);

describe('plans', () => {
  test('one structure, one plan: other numbers and other data use it again', () => {
    const run = (x: Ref, factor: number, shift: number) => {
      const t = x.tensor('float32');
      expectMatches(t.mul(factor).add(shift).sub(t.mean()).exp(), x.map((v) => Math.exp(v * factor + shift - sum(x.data) / x.data.length)), 1e-5);
    };
    run(random.smooth([5, 7]), 1.5, 0.5);
    const { plans } = memory();
    for (let i = 1; i < 20; i++) run(random.smooth([5, 7]), 1.5 + i / 10, -i / 10);
    expect(memory().plans).toBe(plans);
    run(random.smooth([5, 8]), 1.5, 0.5);
    run(random.smooth([7, 5]), 1.5, 0.5);
    expect(memory().plans).toBe(plans + 2);
  });

  test('structures that look alike keep apart: shared operands, order, dtypes, windows, axes', () => {
    const x = random.smooth([3, 3]);
    const [a, b] = [x.tensor(), x.map((v) => v * 2).tensor()];
    expectMatches(a.mul(b).add(a), x.map((v) => 2 * v * v + v));
    expectMatches(a.mul(a).add(a), x.map((v) => v * v + v));
    expectMatches(a.mul(b).add(b), x.map((v) => 2 * v * v + 2 * v));
    expectMatches(b.mul(a).add(a), x.map((v) => 2 * v * v + v));
    expectMatches(a.sub(b), x.map((v) => -v));
    expectMatches(b.sub(a), x);
    expectMatches(a.sub(a.transpose()), x.zip(x.permute([1, 0]), (p, q) => p - q));
    expectMatches(a.sum(0), x.fold([0], sum), 1e-12);
    expectMatches(a.sum(1), x.fold([1], sum), 1e-12);
    expectMatches(a.cumsum(1, { reverse: true }).select(1, 0), x.fold([1], sum), 1e-12);
    expectMatches(a.cumsum(1).select(1, 0), x.select(1, 0));
    expectMatches(a.cast('float32').cast('int32').add(0), x.map(Math.trunc), 0);
    expectMatches(scan([a], {}, (s, [v]) => s.mul(s).add(v)).select(1, 1), x.select(1, 0).zip(x.select(1, 1), (p, q) => p * p + q));
    expectMatches(scan([a], {}, (s, [v]) => s.mul(v).add(s.square())).select(1, 1), x.select(1, 0).map(() => 0));
  });

  test('structures that differ in a constant, a direction, or what a step takes from outside', () => {
    const x = tensor([[1, 2, 3]]);
    const weight = (value: number) => tensor([value]);
    const recur = (factor: number | Tensor, reverse: boolean) => scan([x], { reverse }, (s, [v]) => s.mul(factor).add(v)).toArray();
    const loop = (value: number) => scan([x], {}, (s, [v]) => where(v.greater(2), value, s.mul(s))).select(1, 2).item();
    for (let pass = 0; pass < 2; pass++) {
      expect(recur(2, false)).toEqual([[1, 4, 11]]);
      expect(recur(2, true)).toEqual([[17, 8, 3]]);
      expect(recur(3, false)).toEqual([[1, 5, 18]]);
      expect(recur(weight(2), false)).toEqual([[1, 4, 11]]);
      expect(recur(weight(3), false)).toEqual([[1, 5, 18]]);
      expect(recur(0, false)).toEqual([[1, 2, 3]]);
      expect(recur(1, false)).toEqual([[1, 3, 6]]);
      expect([loop(0), loop(-0), loop(0.5)]).toEqual([0, -0, 0.5]);
      for (const dtype of ['float32', 'float64', 'int32'] as const)
        expect(full([1, 3], 1.1, { dtype }).add(x).select(1, 0).item()).toBe({ float32: Math.fround(Math.fround(1.1) + 1), float64: 2.1, int32: 2 }[dtype]);
    }
  });

  test('more structures than are kept', () => {
    const x = tensor([1, 2, 3]);
    const before = memory().plans;
    for (let n = 1; n <= 1100; n++) expect(x.broadcastTo([n, 3]).add(1).select(0, n - 1).toArray()).toEqual([2, 3, 4]);
    expect(memory().plans).toBeLessThanOrEqual(before + 1024);
    expect(x.broadcastTo([1, 3]).add(1).toArray()).toEqual([[2, 3, 4]]);
  });

  test('results do not depend on when parts are read', () => {
    const x = random.smooth([4, 6]);
    const build = () => {
      const a = x.tensor().mul(2);
      const b = a.sum(1, { keepDims: true });
      const c = a.sub(b).tanh();
      const d = c.transpose().matmul(c);
      return [a, b, c, d, d.add(d.max()).softmax().sum(0)];
    };
    const atOnce = build();
    evaluate(atOnce);
    for (let trial = 0; trial < 10; trial++) {
      const parts = build();
      for (const i of random.shuffle([0, 1, 2, 3, 4])) expect(Array.from(parts[i]!.dataSync())).toEqual(Array.from(atOnce[i]!.dataSync()));
    }
  });

  test('the same bits for one thread and for two', () => {
    const [x, y] = [random.smooth([300, 400]), random.smooth([400, 200])];
    const mask = Ref.build([300, 400], () => Number(random.next() < 0.9));
    const results = () => {
      const [a, b, m] = [x.tensor('float32'), y.tensor('float32'), mask.tensor('bool')];
      const advantages = scan([a], { reverse: true, mask: m }, (s, [r]) => r.add(s.mul(0.97)));
      const long = scan([a.reshape(1, -1)], {}, (s, [r]) => s.mul(0.999).add(r));
      const all = [a.exp().mul(2).sum(), a.sum(0), a.mean(1), a.std(null, { mask: m }), a.matmul(b), a.softmax(), advantages, long, a.max(0), long.sum()];
      const [gradient] = gradients(all[4]!.square().mean(), [a]);
      evaluate([...all, gradient!]);
      return [...all, gradient!].map((t) => Buffer.from(t.dataSync().buffer).toString('base64'));
    };
    const { threads } = native().describe();
    const runs = [1, 2, 3].map((count) => {
      native().setThreads(count);
      return results();
    });
    native().setThreads(threads);
    expect(runs[1]).toEqual(runs[0]);
    expect(runs[2]).toEqual(runs[0]);
  });
});

describe('memory', () => {
  test('a training step in tidy leaves nothing behind, 2,000 times', () => {
    const [x, target] = [random.smooth([16, 8]).tensor('float32'), random.smooth([16, 1]).tensor('float32')];
    const parameters = [random.smooth([8, 4]), random.smooth([4, 1])].map((ref) => {
      const param = ref.tensor('float32');
      return { param, m: zeros(ref.shape).realize(), v: zeros(ref.shape).realize() };
    });
    const losses: number[] = [];
    const step = (n: number) =>
      tidy(() => {
        const weights = parameters.map(({ param }) => param);
        const loss = x.matmul(weights[0]!).tanh().matmul(weights[1]!).sub(target).square().mean();
        const found = gradients(loss, weights);
        const norm = found.map((g) => g.square().sum()).reduce((a, b) => a.add(b)).sqrt();
        const updates = new UpdateList();
        const scale = norm.maximum(1).rsqrt().square();
        parameters.forEach(({ param, m, v }, i) => updates.adamw(param, m, v, found[i]!, scale, { lr: 0.01 / (1 + n / 1000), beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, step: n + 1 }));
        updates.evaluate([loss, norm]);
        return loss.item();
      });
    for (let n = 0; n < 10; n++) losses.push(step(n));
    const before = memory();
    for (let n = 10; n < 2010; n++) losses.push(step(n));
    const { cachedBytes, ...after } = memory();
    const { cachedBytes: _, ...expected } = before;
    expect(after).toEqual(expected);
    expect(cachedBytes).toBeLessThan(before.cachedBytes + 2 ** 20);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2);
  });

  test('tidy gives back what it made, but for what it returns, nested or kept', () => {
    const before = memory();
    let kept: Tensor | undefined;
    const result = tidy(() => {
      const x = tensor([1, 2, 3]);
      const lazy = x.mul(2);
      kept = keep(x.add(1).realize());
      lazy.sum().item();
      return { a: [lazy, { b: x.sub(1) }], map: new Map([['c', x.square()]]), number: 3, nothing: null, inner: tidy(() => [x.neg()]) };
    });
    expect((result.a[0] as Tensor).toArray()).toEqual([2, 4, 6]);
    expect((result.a[1] as { b: Tensor }).b.toArray()).toEqual([0, 1, 2]);
    expect(result.map.get('c')!.toArray()).toEqual([1, 4, 9]);
    expect(result.inner[0]!.toArray()).toEqual([-1, -2, -3]);
    expect(kept!.toArray()).toEqual([2, 3, 4]);
    for (const t of [...(result.a as [Tensor, { b: Tensor }]).map((v) => ('b' in v ? v.b : v) as Tensor), result.map.get('c')!, ...result.inner, kept!]) t.dispose();
    expect(memory().tensors).toBe(before.tensors);
    expect(memory().buffers).toBe(before.buffers);
  });

  test('tensors of an outer tidy can be disposed of or kept in an inner one', () => {
    const before = memory();
    let kept: Tensor[] = [];
    const returned = tidy(() => {
      const [a, b, c, d] = [1, 2, 3, 4].map((value) => tensor([value]).realize());
      tidy(() => {
        a!.dispose();
        kept = [keep(c!), keep(keep(tensor([5])))];
        return [b, d];
      });
      expect(b!.add(d!).toArray()).toEqual([6]);
      return d;
    });
    expect([...kept, returned!].map((t) => t.item())).toEqual([3, 5, 4]);
    for (const t of [...kept, returned!]) t.dispose();
    expect(memory().tensors).toBe(before.tensors);
    expect(memory().buffers).toBe(before.buffers);
  });

  test('what a tidy returned or let go of is freed when it is collected', async () => {
    // A process of its own: a collection takes as long as the heap is large, and Jest's is.
    const command = ['--expose-gc', ...readsTypeScript, join(__dirname, '../memory/collected.ts')];
    const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: join(__dirname, '../..') });
    const { made, left } = JSON.parse(stdout) as Record<'made' | 'left', { tensors: number; buffers: number }>;
    expect(made.tensors).toBe(300);
    expect(left.tensors).toBeLessThan(10);
    expect(left.buffers).toBeLessThan(10);
  }, 60_000);

  test('tidy gives back on errors and refuses Promises', () => {
    const before = memory();
    expect(() =>
      tidy(() => {
        tensor([1]).add(1).realize();
        throw new Error('mine');
      })
    ).toThrow('mine');
    expect(() => tidy(async () => tensor([1]))).toThrow(/returns a Promise/);
    const { tensors, buffers } = memory();
    expect({ tensors, buffers }).toEqual({ tensors: before.tensors, buffers: before.buffers });
  });

  test('dispose: the memory goes, using the tensor is an error, expressions on it stay valid', () => {
    const before = memory();
    const x = full([1000], 1).realize();
    expect(memory().bytes).toBeGreaterThanOrEqual(before.bytes + 4000);
    const y = x.add(1);
    x.dispose();
    x.dispose();
    expect(x.isDisposed).toBe(true);
    const uses = { shape: () => x.shape, add: () => x.add(1), dataSync: () => x.dataSync() };
    for (const [name, use] of Object.entries(uses)) expect(use).toThrow(`${name}: expected a Tensor that is there, got one that was disposed`);
    expect(y.sum().item()).toBe(2000);
    y.dispose();
    expect(String(x)).toBe('Tensor(disposed)');
    expect(memory().buffers).toBeLessThanOrEqual(before.buffers + 1);
  });

  test('using frees at the end of its block', () => {
    const before = memory();
    let outside: Tensor;
    {
      using x = tensor([1, 2]);
      using y = x.add(1).realize();
      outside = y;
      expect(y.toArray()).toEqual([2, 3]);
    }
    expect(outside.isDisposed).toBe(true);
    expect(memory().buffers).toBe(before.buffers);
    expect(memory().tensors).toBe(before.tensors);
  });

  test('a chain of a hundred thousand operations is built, run and freed without recursion', () => {
    const before = memory();
    tidy(() => {
      let x: Tensor = tensor([1, 2]);
      for (let i = 0; i < 100_000; i++) x = i % 2 ? x.neg() : x.abs().neg();
      expect(x.toArray()).toEqual([1, 2]);
    });
    expect(memory().tensors).toBe(before.tensors);
    expect(memory().buffers).toBe(before.buffers);
  });
});

describe('updates in place', () => {
  const scalars = { lr: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01, step: 1 };
  const fresh = () => ({ param: tensor([1, 2], { dtype: 'float64' }), m: zeros([2], { dtype: 'float64' }).realize(), v: zeros([2], { dtype: 'float64' }).realize() });

  test('AdamW follows its formula; what is evaluated with it sees the old values', () => {
    const { param, m, v } = fresh();
    const gradient = [0.5, -1];
    let [p, mean, square] = [[1, 2], [0, 0], [0, 0]];
    for (let step = 1; step <= 3; step++) {
      const before = param.mul(2);
      const updates = new UpdateList();
      updates.adamw(param, m, v, tensor(gradient, { dtype: 'float64' }), tensor([0.5], { dtype: 'float64' }), { ...scalars, step });
      updates.evaluate([before]);
      expectMatches(before, new Ref([2], p.map((value) => 2 * value)), 1e-12);
      mean = mean.map((value, i) => 0.9 * value + 0.1 * gradient[i]! * 0.5);
      square = square.map((value, i) => 0.99 * value + 0.01 * (gradient[i]! * 0.5) ** 2);
      p = p.map((value, i) => value - 0.1 * (mean[i]! / (1 - 0.9 ** step) / (Math.sqrt(square[i]! / (1 - 0.99 ** step)) + 1e-8) + 0.01 * value));
      expectMatches(param, new Ref([2], p), 1e-12);
      expectMatches(m, new Ref([2], mean), 1e-12);
      expectMatches(v, new Ref([2], square), 1e-12);
    }
  });

  test('an expression on the old values is refused afterwards', () => {
    const { param, m, v } = fresh();
    const stale = param.add(1);
    const view = param.slice([1]);
    const updates = new UpdateList();
    updates.adamw(param, m, v, param.mul(0.1), tensor([1], { dtype: 'float64' }), scalars);
    updates.evaluate();
    expect(() => stale.toArray()).toThrow(/changed in place \(by an optimizer step or writeAt\) before the expression was evaluated/);
    expect(() => concat([view, view]).toArray()).toThrow(/changed in place/);
    expect(param.add(1).toArray()).not.toEqual([2, 3]);
  });

  test('parameters have memory of their own', () => {
    const { param, m, v } = fresh();
    const gradient = tensor([1], { dtype: 'float64' });
    expect(() => new UpdateList().adamw(param.slice([1]), m.slice([1]), v.slice([1]), gradient, gradient, scalars)).toThrow(/memory of their own, got a view/);
  });
});
