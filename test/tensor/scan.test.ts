/** Recurrences: affine scans and loops against a step-by-step reference. */
import { evaluate, gradients, scan, stack, tensor, where, type Tensor } from '../../src/tensor';
import { expectMatches, Random } from './helpers';
import { Ref } from './reference';

const random = new Random(71);

/** States before and after each position, one row at a time. */
function recurrence(inputs: readonly Ref[], inits: readonly Ref[], step: (state: number[], inputs: number[]) => number[], { reverse = false, mask }: { reverse?: boolean; mask?: Ref } = {}): Ref[] {
  const shape = inputs[0]!.shape;
  const time = shape.length - 1;
  const outputs = inits.map(() => new Map<string, number>());
  Ref.build(shape.slice(0, -1), (row) => {
    let state = inits.map((init) => init.at(row));
    for (let i = 0; i < shape[time]!; i++) {
      const at = [...row, reverse ? shape[time]! - 1 - i : i];
      if (!mask || mask.at(at) !== 0) state = step(state, inputs.map((input) => input.at(at)));
      state.forEach((value, k) => outputs[k]!.set(at.join(), value));
    }
    return 0;
  });
  return outputs.map((values) => Ref.build(shape, (at) => values.get(at.join())!));
}

const scalar = Ref.scalar;
const isLoop = (x: Tensor) => / loop|= loop/.test(x.explain());
const dirty = (clean: Ref, mask: Ref) => Ref.build(clean.shape, (at) => (mask.at(at) ? clean.at(at) : random.pick([NaN, Infinity, -Infinity])));

describe.each([{ reverse: false }, { reverse: true }])('%p', ({ reverse }) => {
  const shapes = [[1], [7], [1, 1], [3, 5], [9, 33], [2, 3, 4], [17, 130], [2, 4097], [0, 3], [3, 0]];

  test('affine in many forms', () => {
    const forms: [(s: Tensor, x: Tensor, y: Tensor) => Tensor, (s: number, x: number, y: number) => number][] = [
      [(s, x, y) => s.mul(x).add(y), (s, x, y) => s * x + y],
      [(s, x, y) => x.sub(s.mul(0.9).mul(y)), (s, x, y) => x - s * 0.9 * y],
      [(s, x) => s.add(x).div(2).neg(), (s, x) => -(s + x) / 2],
      [(s, x, y) => where(x.greater(0), s.mul(0.5).add(y), y), (s, x, y) => (x > 0 ? s * 0.5 + y : y)],
      [(s, x, y) => s.mul(x.add(y).tanh()).add(x.exp().mul(s).mul(0.1)).sub(s), (s, x, y) => s * Math.tanh(x + y) + Math.exp(x) * s * 0.1 - s],
      [(_, x) => x.square(), (_, x) => x * x],
      [(s) => s, (s) => s],
      [(s) => s.mul(0).add(3), () => 3],
    ];
    for (const shape of shapes) {
      const [x, y] = [random.smooth(shape, -0.9, 0.9), random.smooth(shape)];
      for (const [step, expected] of forms) {
        const result = scan([x.tensor(), y.tensor()], { reverse, init: 0.25 }, (s, [a, b]) => step(s, a, b));
        expect(isLoop(result)).toBe(false);
        const [reference] = recurrence([x, y], [scalar(0.25)], ([s], [a, b]) => [expected(s!, a!, b!)], { reverse });
        expectMatches(result, reference!, 1e-11, `[${shape}] ${step}`);
      }
    }
  });

  test('float32, an init tensor, inputs that broadcast, views, integers', () => {
    const x = random.smooth([6, 1], -0.9, 0.9);
    const y = random.smooth([40]);
    const init = random.smooth([6]);
    const [reference] = recurrence([x.expand([6, 40]), y.expand([6, 40])], [init], ([s], [a, b]) => [s! * a! + b!], { reverse });
    expectMatches(scan([x.tensor('float32'), y.tensor('float32')], { reverse, init: init.tensor('float32') }, (s, [a, b]) => s.mul(a).add(b)), reference!, 1e-5);
    const z = random.smooth([40, 6], -0.9, 0.9);
    const [flipped] = recurrence([z.permute([1, 0]).flip(1)], [init], ([s], [a]) => [s! * a! + 1], { reverse });
    expectMatches(scan([z.tensor().transpose().flip(1)], { reverse, init: init.tensor() }, (s, [a]) => s.mul(a).add(1)), flipped!, 1e-11);
    const counts = scan([tensor([[1, 0, 1]], { dtype: 'bool' })], { reverse }, (s, [c]) => s.add(c));
    expect(counts.dtype).toBe('float32');
    expect(counts.toArray()).toEqual(reverse ? [[2, 1, 1]] : [[1, 1, 2]]);
  });

  test('a mask lets the state pass; what masked positions hold reaches nothing', () => {
    for (const shape of [[3, 6], [9, 70], [1, 300]]) {
      const mask = random.ref(shape, 'bool');
      const [x, y] = [random.smooth(shape, -0.9, 0.9), random.smooth(shape)];
      const [reference] = recurrence([x, y], [scalar(2)], ([s], [a, b]) => [s! * a! + b!], { reverse, mask });
      for (const dtype of ['bool', 'float64', 'uint8'] as const) {
        expectMatches(scan([dirty(x, mask).tensor(), dirty(y, mask).tensor()], { reverse, mask: mask.tensor(dtype), init: 2 }, (s, [a, b]) => s.mul(a).add(b)), reference!, 1e-11);
      }
      const [looped] = recurrence([x, y], [scalar(0.5)], ([s], [a, b]) => [Math.tanh(s! * a!) + b!], { reverse, mask });
      const loop = scan([dirty(x, mask).tensor(), dirty(y, mask).tensor()], { reverse, mask: mask.tensor('bool'), init: 0.5 }, (s, [a, b]) => s.mul(a).tanh().add(b));
      expect(isLoop(loop)).toBe(true);
      expectMatches(loop, looped!, 1e-11);
    }
  });

  test('several states: chains of affine ones, loops, and both', () => {
    for (const shape of [[3, 6], [10, 65], [2, 2, 9]]) {
      const mask = random.ref(shape, 'bool');
      const [r, v] = [random.smooth(shape), random.smooth(shape)];
      const gae = recurrence([r, v], [scalar(0), scalar(0)], ([a, next], [x, y]) => [x! + 0.99 * next! - y! + 0.95 * a!, y!], { reverse, mask });
      const pair = scan(
        [dirty(r, mask).tensor(), dirty(v, mask).tensor()],
        { reverse, mask: mask.tensor('bool'), init: [0, 0] },
        ([a, next], [x, y]) => [x.add(next.mul(0.99)).sub(y).add(a.mul(0.95)), y],
      );
      expect(pair.map(isLoop)).toEqual([false, false]);
      pair.forEach((state, k) => expectMatches(state, gae[k]!, 1e-11));

      const init = random.smooth(shape.slice(0, -1));
      const three = scan([r.tensor(), v.tensor()], { reverse, init: [init.tensor(), 0.5, 0] }, ([p, q, n], [x, y]) => [p.mul(0.5).add(x), q.mul(p).sin().add(y), n.add(q)]);
      const expected = recurrence([r, v], [init, scalar(0.5), scalar(0)], ([p, q, n], [x, y]) => [p! * 0.5 + x!, Math.sin(q! * p!) + y!, n! + q!], { reverse });
      expect(three.map(isLoop)).toEqual([false, true, true]);
      three.forEach((state, k) => expectMatches(state, expected[k]!, 1e-11, `state ${k}`));

      const coupled = scan([r.tensor()], { reverse, init: [1, 0] }, ([p, q], [x]) => [p.mul(0.6).sub(q.mul(0.8)).add(x), p.mul(0.8).add(q.mul(0.6))]);
      const rotation = recurrence([r], [scalar(1), scalar(0)], ([p, q], [x]) => [p! * 0.6 - q! * 0.8 + x!, p! * 0.8 + q! * 0.6], { reverse });
      coupled.forEach((state, k) => expectMatches(state, rotation[k]!, 1e-10));
    }
  });

  test('states in any order, and states and inputs that nothing uses', () => {
    const shape = [4, 11];
    const mask = random.ref(shape, 'bool');
    const [x, y, unused] = [random.smooth(shape, -0.9, 0.9), random.smooth(shape), random.smooth(shape)];
    const inits = [0.25, -1, 2, 0.5];
    // p is made of q and q of r; nothing is made of n.
    const step = (p: Tensor, q: Tensor, r: Tensor, a: Tensor, b: Tensor) => [p.mul(0.5).add(q), q.mul(a).add(r), b.sub(r.mul(0.3)), a.mul(b)] as const;
    const reference = recurrence([x, y, unused], inits.map(scalar), ([p, q, r], [a, b]) => [0.5 * p! + q!, a! * q! + r!, b! - 0.3 * r!, a! * b!], { reverse, mask });
    for (const order of [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]]) {
      const place = inits.map((_, k) => order.indexOf(k));
      const options = { reverse, mask: mask.tensor('bool'), init: order.map((k) => inits[k]!) };
      const states = scan([x.tensor(), y.tensor(), unused.tensor()], options, (given, [a, b]) => {
        const next = step(given[place[0]!]!, given[place[1]!]!, given[place[2]!]!, a, b);
        return order.map((k) => next[k]!);
      });
      expect(states.map(isLoop)).toEqual([false, false, false, false]);
      order.forEach((k, i) => expectMatches(states[i]!, reference[k]!, 1e-11, `state ${k} of ${order}`));
    }
  });

  test('tensors from outside: numbers, rows, and their arithmetic', () => {
    const x = random.smooth([4, 9], -0.9, 0.9);
    const row = random.smooth([4]);
    const [affine] = recurrence([x, row.reshape([4, 1]).expand([4, 9])], [scalar(0)], ([s], [a, o]) => [s! * Math.exp(-o! * o!) + a! * o!], { reverse });
    const outer = row.tensor();
    expectMatches(scan([x.tensor()], { reverse }, (s, [a]) => s.mul(outer.square().neg().exp()).add(a.mul(outer))), affine!, 1e-11);
    const [loop] = recurrence([x, row.reshape([4, 1]).expand([4, 9])], [scalar(0)], ([s], [a, o]) => [Math.max(s! * o!, a!) + 2], { reverse });
    expectMatches(scan([x.tensor()], { reverse }, (s, [a]) => s.mul(outer).maximum(a).add(tensor(2, { dtype: 'float64' }))), loop!, 1e-11);
  });

  test('a step that forgets the state forgets one that is no number', () => {
    for (const shape of [...shapes, [20, 300], [1, 40_000]]) {
      const reset = Ref.build(shape, () => Number(random.next() < 0.1));
      const mask = Ref.build(shape, () => Number(random.next() < 0.9));
      const odd = Ref.build(shape, () => (random.next() < 0.03 ? random.pick([NaN, Infinity, -Infinity]) : 0));
      const x = random.smooth(shape).zip(odd, (a, b) => a + b);
      const [expected] = recurrence([x, reset], [scalar(0)], ([s], [a, k]) => [k ? a! : 0.9 * s! + a!], { reverse, mask });
      const [terms] = recurrence([x], [scalar(Infinity)], (_, [a]) => [a!], { reverse, mask });
      for (const dtype of ['float32', 'float64'] as const) {
        const inputs = [x.tensor(dtype), reset.tensor('bool')] as const;
        const options = { reverse, mask: mask.tensor('bool') };
        const result = scan(inputs, options, (s, [a, k]) => where(k, a, s.mul(0.9).add(a)));
        expect(isLoop(result)).toBe(false);
        expectMatches(result, expected!, dtype === 'float32' ? 1e-5 : 1e-11, `[${shape}] ${dtype}`);
        expectMatches(scan([inputs[0]], { ...options, init: Infinity }, (_, [a]) => a), terms!, 1e-6, `[${shape}] ${dtype}`);
      }
    }
  });

  test('long rows: parallel along time, affine and chained', () => {
    const shape = [1, 100_000];
    const [r, v] = [random.smooth(shape), random.smooth(shape)];
    const mask = Ref.build(shape, () => Number(random.next() < 0.9));
    const gae = recurrence([r, v], [scalar(0), scalar(0)], ([a, next], [x, y]) => [x! + 0.99 * next! - y! + 0.95 * a!, y!], { reverse, mask });
    const step = ([a, next]: readonly Tensor[], [x, y]: readonly Tensor[]) => [x!.add(next!.mul(0.99)).sub(y!).add(a!.mul(0.95)), y!] as const;
    expectMatches(scan([r.tensor(), v.tensor()], { reverse, mask: mask.tensor('bool'), init: [0, 0] }, step)[0], gae[0]!, 1e-10);
    expectMatches(scan([r.tensor('float32'), v.tensor('float32')], { reverse, mask: mask.tensor('bool'), init: [0, 0] }, step)[0], gae[0]!, 1e-5);
    const [clipped] = recurrence([r], [scalar(0)], ([s], [x]) => [Math.min(s! + x!, 1)], { reverse });
    expectMatches(scan([r.tensor()], { reverse }, (s, [x]) => s.add(x).minimum(1)), clipped!, 1e-10);
  });
});

describe('the plain loop over columns', () => {
  /** running = r + 0.99·running·m, written with select and stack. */
  function byColumns(rewards: Tensor, mask: Tensor): Tensor {
    const length = rewards.shape[1]!;
    const columns = new Array<Tensor>(length);
    let running: Tensor | null = null;
    for (let t = length - 1; t >= 0; t--) {
      const r = rewards.select(1, t);
      running = running === null ? r : r.add(running.mul(mask.select(1, t)).mul(0.99));
      columns[t] = running;
    }
    return stack(columns, 1);
  }
  const byScan = (rewards: Tensor, mask: Tensor) => scan([rewards, mask], { reverse: true }, (running, [r, m]) => r.add(running.mul(m).mul(0.99)));

  test('4,096 columns: the same values and gradient as scan, in less than two seconds', () => {
    const shape = [2, 4096];
    const rewards = random.smooth(shape);
    const mask = Ref.build(shape, () => Number(random.next() < 0.97)).tensor('float32');
    const weights = random.smooth(shape).tensor('float32');
    const run = (f: typeof byScan) => {
      const x = rewards.tensor('float32').realize();
      const start = performance.now();
      const values = f(x, mask);
      const [gradient] = gradients(values.mul(weights).sum(), [x]);
      evaluate([values, gradient!]);
      return { values, gradient: gradient!, milliseconds: performance.now() - start };
    };
    const scanned = run(byScan);
    const looped = run(byColumns);
    expectMatches(looped.values, new Ref(shape, Array.from(scanned.values.dataSync())), 1e-5);
    expectMatches(looped.gradient, new Ref(shape, Array.from(scanned.gradient.dataSync())), 1e-5);
    // The best of several: other processes may be using the machine.
    expect(Math.min(looped.milliseconds, ...[1, 2, 3].map(() => run(byColumns).milliseconds))).toBeLessThan(2000);
  });
});

describe('errors', () => {
  const x = tensor([[1, 2, 3], [4, 5, 6]]);
  const attempt = (step: unknown, options: object = {}) => () => (scan as unknown as (i: unknown, o: unknown, s: unknown) => unknown)([x], options, step);

  test('what the step returns', () => {
    expect(attempt(() => 3)).toThrow('scan: expected the step to return a Tensor for state 0, got 3');
    expect(attempt(async (s: Tensor) => s)).toThrow(/expected the step to return a Tensor for state 0, got a Promise/);
    expect(attempt((s: Tensor) => [s])).toThrow(/return a Tensor for state 0, got an array of 1/);
    expect(attempt(([s]: Tensor[]) => s, { init: [0, 0] })).toThrow('scan: expected the step to return an array of 2 tensors, as many as init, got a Tensor');
    expect(attempt(([s]: Tensor[]) => [s], { init: [0, 0] })).toThrow(/as many as init, got an array of 1/);
    expect(attempt(([s]: Tensor[]) => [s, 1], { init: [0, 0] })).toThrow(/a Tensor for state 1, got 1/);
    const gone = tensor([1, 2]);
    gone.dispose();
    expect(attempt(() => gone)).toThrow('scan: expected the step to return a Tensor for state 0, got one that was disposed');
    expect(attempt((s: Tensor) => [s])).toThrow('got an array of 1 (as init is no array, there is one state)');
    expect(attempt(() => tensor([1, 2, 3]))).toThrow('scan: expected the step to return shape [2] for state 0, got [3]');
    expect(attempt(() => tensor([[1], [2]]))).toThrow(/return shape \[2\] for state 0, got \[2,1\]/);
  });

  test('what the step takes its arguments for', () => {
    const inputs = ', the inputs are an array of 1 tensors';
    const add = (s: Tensor, [r]: Tensor[]) => s.add(r!);
    const many = 'It takes (state, inputs): the state is an array of tensors, as init is one of 2 states (for numbers of rows it is a Tensor)';
    expect(attempt(add, { init: [1, 2] })).toThrow(/^scan: step: s\.add is not a function, at add \(.*scan\.test\.ts:\d+:\d+\)\. It takes/);
    expect(attempt(add, { init: [1, 2] })).toThrow(`${many}${inputs}`);
    expect(attempt(([a, , c]: Tensor[]) => [a, c!.add(a!)], { init: [0, 0] })).toThrow(`${many}${inputs}`);
    const one = 'the state is a Tensor, as init is no array';
    expect(attempt(([s]: Tensor[], [r]: Tensor[]) => s!.add(r!))).toThrow(`${one}${inputs}`);
    expect(attempt((s: Tensor, [r, q]: Tensor[]) => q!.add(r!).mul(s))).toThrow(`${one}${inputs}`);
    expect(attempt(add, { init: [1, 2] })).toThrow(expect.objectContaining({ name: 'TensorError', cause: expect.any(TypeError) as TypeError }));
  });

  test('what the step may do', () => {
    const only = /the step may only use element-wise arithmetic on the state and the inputs/;
    expect(attempt((s: Tensor, [r]: Tensor[]) => s.add(r!.sum()))).toThrow(only);
    expect(attempt((s: Tensor, [r]: Tensor[]) => s.mean().add(r!))).toThrow(only);
    expect(attempt((s: Tensor) => s.flip(0))).toThrow(only);
    expect(attempt((s: Tensor, [r]: Tensor[]) => s.mul(0.5).add(r!.reshape(1, 2).sum(0)))).toThrow(only);
    expect(attempt((s: Tensor, [r]: Tensor[]) => s.add(r!.cumsum()))).toThrow(only);
    expect(attempt((s: Tensor, [r]: Tensor[]) => s.tanh().add(r!.softmax()))).toThrow(only);
    expect(attempt((s: Tensor) => s.mul(tensor([1, 2, 3])))).toThrow(/do not broadcast together/);
    expect(attempt((s: Tensor) => s.add(s.item()))).toThrow(/item|scan/);
    let leaked: Tensor | undefined;
    scan([x], {}, (s, [r]) => (leaked = s.add(r)));
    expect(() => leaked!.toArray()).toThrow(/used outside of it/);
    const foreign = 'scan: the step uses the state or an input of another scan';
    expect(attempt((_: Tensor, [r]: Tensor[]) => scan([x], {}, (s) => s.add(r!)))).toThrow(foreign);
    expect(attempt((outer: Tensor) => scan([x], { init: [0, 0] }, ([s, q]) => [s.mul(s).add(outer), q]))).toThrow(foreign);
    expect(attempt((s: Tensor) => s.add(leaked!))).toThrow(foreign);
    const thrown = new Error('mine');
    expect(attempt(() => {
      throw thrown;
    })).toThrow(thrown);
  });

  test('what scan is given', () => {
    const call = scan as unknown as (...args: unknown[]) => unknown;
    expect(() => call([], {}, () => x)).toThrow('scan: expected an array of at least one input');
    expect(() => call(x, {}, () => x)).toThrow(/array of at least one input, got a Tensor/);
    expect(() => call([x, 1], {}, () => x)).toThrow('scan input 1: expected a Tensor, got 1');
    expect(() => call([x], null, () => x)).toThrow(/expected options/);
    expect(() => call([x], {}, null)).toThrow(/expected a step function, got null/);
    expect(() => call([tensor(1)], {}, (s: Tensor) => s)).toThrow(/at least one dimension, got scalars/);
    expect(() => call([x, tensor([1, 2])], {}, (s: Tensor) => s)).toThrow(/do not broadcast together/);
    expect(attempt((s: Tensor) => s, { mask: tensor([1, 2]) })).toThrow(/scan mask: shape \[2\] does not broadcast to \[2,3\]/);
    expect(attempt((s: Tensor) => s, { init: tensor([1, 2, 3]) })).toThrow('scan init: shape [3] does not broadcast to [2]');
    expect(attempt((s: Tensor) => s, { init: 'zero' })).toThrow("scan init: expected a number, or a Tensor of shape [2], got 'zero'");
    expect(attempt(([s]: Tensor[]) => [s], { init: [null] })).toThrow('scan init 0: expected a number, or a Tensor of shape [2], got null');
    expect(attempt(([s]: Tensor[]) => [s], { init: [[1, 2]] })).toThrow('scan init 0: expected a number, or a Tensor of shape [2], got an array of 2');
    expect(attempt((s: Tensor) => s, { init: Float32Array.of(1, 2) })).toThrow('scan init: expected a number, or a Tensor of shape [2], got a Float32Array');
    expect(attempt(() => [], { init: [] })).toThrow(/init/);
  });
});
