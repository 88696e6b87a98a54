/** Gradients of arithmetic, reductions and views against central differences in float64. */
import { concat, evaluate, gradients, ones, scan, stack, stopGradient, tensor, where, type Tensor } from '../../src/tensor';
import { checkGradients, expectMatches, Random } from './helpers';
import { Ref } from './reference';
import { randomChain } from './views';
import { expectClose } from '../closeness';

const random = new Random(51);
const subsets = [[], [0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]];

describe('arithmetic', () => {
  const positive = ['log', 'log1p', 'sqrt', 'rsqrt'] as const;
  const everywhere = ['neg', 'abs', 'sign', 'square', 'exp', 'expm1', 'sin', 'cos', 'tanh', 'sigmoid', 'softplus', 'floor', 'ceil', 'round'] as const;
  test.each([...positive, ...everywhere])('%s', (op) => {
    const low = (positive as readonly string[]).includes(op) ? 0.2 : -2;
    checkGradients((x) => x[op](), [random.smooth([3, 4], low)]);
  });

  test.each(['add', 'sub', 'mul', 'div', 'mod', 'pow', 'maximum', 'minimum'] as const)('%s, shapes that broadcast', (op) => {
    for (const [a, b] of [[[2, 3], [2, 3]], [[2, 1], [3]], [[], [2, 2]], [[3, 1, 2], [2, 1]], [[0, 2], [1]]]) {
      checkGradients((x, y) => x[op](y), [random.smooth(a!, op === 'pow' ? 0.3 : -2), random.smooth(b!, 0.5)]);
      checkGradients((x) => x[op](1.3), [random.smooth(a!, 0.3)]);
      checkGradients((x) => x.neg()[op](x), [random.smooth(b!, op === 'pow' ? -2 : 0.3, -0.1)]);
    }
  });

  test('where and clamp; nothing flows to the side that was not taken', () => {
    const condition = random.ref([4, 1], 'bool').tensor('bool');
    checkGradients((x, y) => where(condition, x, y), [random.smooth([4, 3]), random.smooth([3])]);
    checkGradients((x) => where(x.greater(0), x.square(), x.mul(3)), [random.smooth([4, 3])]);
    checkGradients((x) => x.clamp(-1, 1), [random.smooth([9])]);
    checkGradients((x, low, high) => x.clamp(low, high), [random.smooth([9]), random.smooth([9], -2, -0.5), random.smooth([1], 0.5, 2)]);
  });

  test('casts to float32 and back pass gradients on', () => {
    const x = tensor([0.5, 2], { dtype: 'float64' });
    const [dx] = gradients(x.cast('float32').square().sum(), [x]);
    expect(dx!.dtype).toBe('float64');
    expect(dx!.toArray()).toEqual([1, 4]);
    const [none] = gradients(x.cast('int32').cast('float64').add(x).sum(), [x]);
    expect(none!.toArray()).toEqual([1, 1]);
  });

  test('at equal operands: two tensors share, a bound passes on, elements of max share', () => {
    const x = tensor([1, 2, 3]);
    const y = tensor([1, 5, 0]);
    const both = gradients(x.maximum(y).sum(), [x, y]).map((g) => g.toArray());
    expect(both).toEqual([[0.5, 0, 1], [0.5, 1, 0]]);
    expect(gradients(x.clamp(1, 3).sum(), [x])[0]!.toArray()).toEqual([1, 1, 1]);
    expect(gradients(tensor([2, 7, 7]).mul(x.sub(x).add(1)).max(), [x], { allowUnused: true })[0]!.toArray()).toEqual([0, 0, 0]);
    const ties = tensor([2, 7, 7]);
    expect(gradients(ties.max(), [ties])[0]!.toArray()).toEqual([0, 0.5, 0.5]);
  });

  test('pow at 0', () => {
    const x = tensor([0, 2], { dtype: 'float64' });
    expect(gradients(x.pow(2).sum(), [x])[0]!.toArray()).toEqual([0, 4]);
    expect(gradients(x.pow(1).sum(), [x])[0]!.toArray()).toEqual([1, 1]);
    expect(gradients(x.pow(0).sum(), [x])[0]!.toArray()).toEqual([0, 0]);
    const exponent = tensor([2, 0], { dtype: 'float64' });
    expect(gradients(x.pow(exponent).sum(), [exponent])[0]!.toArray()).toEqual([0, Math.log(2)]);
  });
});

describe('reductions', () => {
  test.each(['sum', 'mean', 'var', 'std', 'max', 'min'] as const)('%s over every choice of axes', (op) => {
    const shape = [2, 3, 4];
    for (const axes of subsets) {
      if ((op === 'var' || op === 'std') && axes.length === 0) continue;
      checkGradients((x) => x[op](axes), [random.smooth(shape)]);
      checkGradients((x) => x.sub(x[op](axes, { keepDims: true })).square(), [random.smooth(shape)]);
    }
  });

  test.each(['sum', 'mean', 'var', 'std', 'max', 'min'] as const)('%s with a mask', (op) => {
    const mask = new Ref([2, 4], [1, 1, 0, 1, 0, 1, 1, 1]).tensor('bool');
    for (const axes of [1, null]) checkGradients((x) => x[op](axes, { mask }), [random.smooth([2, 4])]);
  });

  test('var and std of float32 rows, beside those of float64', () => {
    for (const shape of [[40], [3, 40], [2, 3, 64]]) {
      for (const axes of [[shape.length - 1], shape.map((_, d) => d)]) {
        const [values, weights] = [random.smooth(shape, 5, 7), random.smooth(shape)];
        const gradientIn = (dtype: 'float32' | 'float64') => {
          const x = values.tensor(dtype);
          const y = x.mul(x).sub(x.var(axes, { keepDims: true })).mul(x.std(axes, { keepDims: true })).mul(weights.tensor(dtype));
          return gradients(y.sum(), [x])[0]!.dataSync() as Float32Array;
        };
        // Differences of numbers in the tens are left of some.
        expectClose(gradientIn('float32'), gradientIn('float64'), 1e-5, 10);
      }
    }
  });

  test.each(['float32', 'float64'] as const)('the gradient of std is 0 where all numbers are equal, and of other rows what it is without them (%s)', (dtype) => {
    const numbers = Array.from({ length: 40 }, (_, i) => Math.sin(i));
    const x = tensor([numbers, numbers.map(() => 3), numbers.map(() => 0)], { dtype });
    const alone = tensor([numbers], { dtype });
    const [gradient] = gradients(x.std(1).sum(), [x]);
    const [expected] = gradients(alone.std(1).sum(), [alone]);
    expect(gradient!.toArray()).toEqual([...(expected!.toArray() as number[][]), ...Array.from({ length: 2 }, () => numbers.map(() => 0))]);
    const [some] = gradients(x.std(null, { mask: x.equal(3) }), [x]);
    expect(some!.abs().sum().item()).toBe(0);
  });

  test('an offset of 1e6 costs gradients of var no digits', () => {
    const values = Float32Array.from({ length: 33 }, (_, i) => 1e6 + Math.sin(i * 12.9898));
    const gradientIn = (dtype: 'float32' | 'float64') => {
      const x = tensor(Array.from(values), { dtype });
      return gradients(x.var(), [x])[0]!.dataSync() as Float32Array;
    };
    expectClose(gradientIn('float32'), gradientIn('float64'), 1e-5, 0.05);
  });

  test('cumsum along every axis', () => {
    for (const axis of [0, 1, 2]) for (const reverse of [false, true]) checkGradients((x) => x.cumsum(axis, { reverse }), [random.smooth([2, 3, 4])]);
  });
});

describe('views and joins', () => {
  test('random chains of views', () => {
    for (let i = 0; i < 60; i++) {
      const x = random.smooth(random.shape(3, [1, 2, 3]));
      const chain = randomChain(random, x, random.integer(1, 4));
      if (chain.ref(x).data.length > 40) continue;
      checkGradients((t) => chain.tensor(t).square(), [x]);
    }
  });

  test('with respect to a view in the middle of a chain', () => {
    let compared = 0;
    for (let i = 0; i < 80; i++) {
      const x = random.smooth(random.shape(3, [1, 2, 3]));
      const first = randomChain(random, x, random.integer(1, 3));
      const middle = first.ref(x);
      const second = randomChain(random, middle, random.integer(1, 3));
      const seen = second.ref(middle);
      // Σ second(m)²·w + Σ m³ at m = first(x): differentiate by m, once as a view of x and once as a tensor of its own.
      const weights = random.smooth(seen.shape);
      const loss = (m: Tensor) => second.tensor(m).square().mul(weights.tensor()).sum().add(m.pow(3).sum());
      const view = first.tensor(x.tensor());
      const own = middle.tensor();
      const [byOwn] = gradients(loss(own), [own]);
      const ofView = loss(view);
      let byView: Tensor;
      try {
        [byView] = gradients(ofView, [view]) as [Tensor];
      } catch (error) {
        // Where the second chain leads back to x itself the graph cannot tell the two apart, and says so.
        expect((error as Error).message).toMatch(/a view that another view undid/);
        continue;
      }
      compared++;
      expectMatches(byView, new Ref(middle.shape, Array.from(byOwn!.dataSync())), 1e-10, `${first.name} | ${second.name}`);
    }
    expect(compared).toBeGreaterThan(50);
  });

  test('a view that only broadcasts, and views of views with respect to both', () => {
    const x = random.smooth([6]).tensor();
    const row = x.reshape(1, 6);
    const part = row.slice([0, 2]);
    const loss = row.mul(ones([3, 6], { dtype: 'float64' })).sum().add(part.mul(tensor([[2], [3]], { dtype: 'float64' })).sum());
    const [dx, drow, dpart] = gradients(loss, [x, row, part]);
    expect(dpart!.toArray()).toEqual([[5, 5, 5, 5]]);
    expect(drow!.toArray()).toEqual([[3, 3, 8, 8, 8, 8]]);
    expect(dx!.toArray()).toEqual([3, 3, 8, 8, 8, 8]);
  });

  test('concat and stack, along every axis, the same tensor twice', () => {
    for (const axis of [0, 1]) {
      checkGradients((x, y) => concat([x, y.square(), x], axis).square(), [random.smooth([2, 2]), random.smooth([2, 2])]);
      checkGradients((x, y) => stack([x, y.exp(), x.transpose()], axis).square(), [random.smooth([2, 2]), random.smooth([2, 2])]);
      checkGradients((x) => concat([x.slice([1]), x.flip(axis)], 0).square(), [random.smooth([3, 2])]);
    }
  });

  test('columns of a loop over time', () => {
    checkGradients((x) => {
      const columns: Tensor[] = [];
      let running: Tensor = x.select(1, 4);
      for (let t = 3; t >= 0; t--) columns.unshift(running = x.select(1, t).add(running.mul(0.9)));
      return stack(columns, 1).square();
    }, [random.smooth([3, 5])]);
  });
});

describe('higher order, stops and errors', () => {
  test('second derivatives', () => {
    const second = (f: (x: Tensor) => Tensor) => checkGradients((x) => gradients(f(x), [x])[0]!, [random.smooth([2, 3], 0.3)], { tolerance: 1e-5 });
    second((x) => x.exp().mul(x.log()).sum());
    second((x) => x.std().mul(x.tanh().sum()));
    second((x) => x.softmax().square().sum());
    second((x) => x.logSoftmax(0).mul(x).sum());
    second((x) => x.matmul(x.transpose()).square().sum());
    second((x) => scan([x], {}, (s, [v]) => s.mul(0.5).add(v.square())).square().sum());
    second((x) => scan([x], {}, (s, [v]) => s.tanh().add(v.square())).square().sum());
    second((x) => x.slice([0, 1]).pow(3).sum().add(x.transpose().reshape(-1).cumsum().square().sum()));
  });

  test('stopGradient: same values, no gradient; also through views and sums', () => {
    const x = tensor([1, 2, 3]);
    const stopped = stopGradient(x);
    expect(stopped.toArray()).toEqual([1, 2, 3]);
    const [dx] = gradients(x.mul(stopGradient(x.square())).sum(), [x]);
    expect(dx!.toArray()).toEqual([1, 4, 9]);
    expect(() => gradients(stopGradient(x).reshape(3, 1).sum(), [x])).toThrow(/does not depend on tensor 0/);
  });

  test('masked positions: no NaN in the gradient, whatever they hold', () => {
    const mask = tensor([[1, 0, 1], [0, 1, 1]], { dtype: 'bool' });
    for (const bad of [NaN, Infinity, -Infinity]) {
      const logProbs = tensor([[0.1, bad, 0.3], [bad, -0.2, 0.5]], { dtype: 'float64' });
      const old = tensor([[0, 0.1, bad], [0.2, 0.1, 0.4]].map((row) => row.map((v) => (Number.isFinite(v) ? v : 0))), { dtype: 'float64' });
      const ratio = logProbs.sub(old).exp();
      const loss = ratio.mul(2).minimum(ratio.clamp(0.8, 1.2).mul(2)).add(ratio.log().square()).mean(null, { mask }).add(logProbs.std(null, { mask }));
      const [d] = gradients(loss, [logProbs]);
      const values = Array.from(d!.dataSync());
      expect(values.every(Number.isFinite)).toBe(true);
      expect([values[1], values[3]]).toEqual([0, 0]);
    }
  });

  test('nested choices: each side gets what it was chosen for', () => {
    const inner = random.ref([3, 4], 'bool').tensor('bool');
    const outer = random.ref([4], 'bool').tensor('bool');
    checkGradients((x, y) => where(outer, where(inner, x.exp().mul(y), y.square()), x.mul(y).sin()).mul(x), [random.smooth([3, 4]), random.smooth([3, 4])]);
    checkGradients((x) => where(inner, x.square(), x.exp()).add(where(inner, x, 0).exp()).add(x.sum(0)), [random.smooth([3, 4])]);
  });

  test('a tensor in the middle: its own gradient', () => {
    const x = tensor([1, 2]);
    const y = x.square();
    const [dx, dy] = gradients(y.mul(3).sum().add(x.sum()), [x, y]);
    evaluate([dx!, dy!]);
    expect(dx!.toArray()).toEqual([7, 13]);
    expect(dy!.toArray()).toEqual([3, 3]);
  });

  test('errors say what is wrong', () => {
    const x = tensor([1, 2]);
    const other = tensor([1]);
    expect(() => gradients(x.mul(2), [x])).toThrow('gradients: expected a floating scalar loss, got float32 [2]');
    expect(() => gradients(x.cast('int32').sum(), [x])).toThrow(/floating scalar loss, got int32/);
    expect(() => gradients(x.sum(), [x, other])).toThrow('gradients: the loss does not depend on tensor 1 (float32 [1])');
    expect(gradients(x.sum(), [x, other], { allowUnused: true })[1]!.toArray()).toEqual([0]);
    const read = x.square().sum();
    read.item();
    expect(() => gradients(read, [x])).toThrow(/has been evaluated, and its graph is gone/);
    const between = x.mul(2).realize();
    expect(() => gradients(between.square().sum(), [x])).toThrow(/does not depend on tensor 0 \(float32 \[2\]\)\. What was read or realized between the two/);
    const weights = ones([2]);
    expect(() => gradients(x.mul(weights).sum(), [weights])).toThrow(/tensor 0 .*constant.*realize/);
    expect(gradients(x.mul(weights.realize()).sum(), [weights])[0]!.toArray()).toEqual([1, 2]);
  });
});
