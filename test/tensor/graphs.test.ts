/** Random graphs: mixed operations, shapes, views and reductions, evaluated at once, in pieces, and by the reference. */
import { concat, evaluate, gradients, memory, scan, stack, tidy, where, type Tensor } from '../../src/tensor';
import { expectMatches, Random } from './helpers';
import { concatenate, mean, Ref, softmax, sum, variance } from './reference';
import { randomView } from './views';

/** One value of a graph: how the engine makes it from those before it, and what it is. */
interface Value {
  ref: Ref;
  make: (earlier: readonly Tensor[]) => Tensor;
  name: string;
}

const LIMIT = 3000;

/** Keeps values in a range where float64 comparison means something. */
const tame = { engine: (x: Tensor) => x.div(x.abs().add(1)), reference: (v: number) => v / (Math.abs(v) + 1) };

function randomValue(random: Random, values: readonly Value[]): Value | null {
  const pickIndex = () => random.integer(Math.max(0, values.length - 12), values.length - 1);
  const i = pickIndex();
  const x = values[i]!.ref;
  const axis = random.integer(0, Math.max(0, x.shape.length - 1));
  const partner = () => {
    const candidates = [...values.keys()].filter((j) =>
      values[j]!.ref.shape.every((extent, d, shape) => {
        const other = x.shape[x.shape.length - shape.length + d];
        return other === undefined || extent === 1 || other === 1 || extent === other;
      })
    );
    return random.pick(candidates);
  };
  const makers: (() => Value | null)[] = [
    () => {
      const [op, f] = random.pick(
        [
          ['sin', Math.sin],
          ['tanh', Math.tanh],
          ['square', (v: number) => v * v],
          ['neg', (v: number) => -v],
          ['abs', Math.abs],
          ['sigmoid', (v: number) => 1 / (1 + Math.exp(-v))],
          ['softplus', (v: number) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)))],
        ] as const,
      );
      return { name: op, make: (e) => e[i]![op](), ref: x.map(f) };
    },
    () => ({ name: 'tame', make: (e) => tame.engine(e[i]!), ref: x.map(tame.reference) }),
    () => {
      const j = partner();
      const [op, f] = random.pick(
        [
          ['add', (a: number, b: number) => a + b],
          ['sub', (a: number, b: number) => a - b],
          ['mul', (a: number, b: number) => a * b],
          ['maximum', Math.max],
          ['minimum', Math.min],
        ] as const,
      );
      return { name: `${op} ${j}`, make: (e) => e[i]![op](e[j]!), ref: x.zip(values[j]!.ref, (a, b) => f(a, b)) };
    },
    () => {
      const [j, k] = [partner(), random.integer(-2, 2) + 0.3137];
      return { name: `where > ${k}`, make: (e) => where(e[i]!.greater(k), e[i]!, e[j]!), ref: x.map((v) => Number(v > k)).where(x, values[j]!.ref) };
    },
    () => {
      const view = randomView(random, x.shape);
      return { name: view.name, make: (e) => view.tensor(e[i]!), ref: view.ref(x) };
    },
    () => {
      const axes = [...x.shape.keys()].filter(() => random.next() < 0.5);
      const keepDims = random.next() < 0.5;
      const [op, f] = random.pick(
        [['sum', sum], ['mean', mean], ['max', (v: number[]) => Math.max(...v)], ['min', (v: number[]) => Math.min(...v)], ['var', (v: number[]) => variance(v, 0)]] as const,
      );
      return { name: `${op}(${axes})`, make: (e) => (op === 'var' ? e[i]!.var(axes, { keepDims, ddof: 0 }) : e[i]![op](axes, { keepDims })), ref: x.fold(axes, f, { keepDims }) };
    },
    () => {
      if (x.shape.length === 0) return null;
      const reverse = random.next() < 0.5;
      const order = (row: number[]) => (reverse ? row.toReversed() : row);
      const affine = random.next() < 0.6;
      const next = (s: number, v: number) => (affine ? s * 0.5 + v : Math.tanh(s + v));
      const run = (row: number[]) => {
        let state = 0.1;
        return order(order(row).map((v) => (state = next(state, v))));
      };
      return {
        name: `scan ${affine} ${reverse}`,
        make: (e) => scan([e[i]!], { reverse, init: 0.1 }, (s, [v]) => (affine ? s.mul(0.5).add(v) : s.add(v).tanh())),
        ref: x.rows(x.shape.length - 1, run),
      };
    },
    () => (x.shape.length === 0 ? null : { name: `softmax(${axis})`, make: (e) => e[i]!.softmax(axis), ref: x.rows(axis, softmax) }),
    () => {
      if (x.shape.length < 2) return null;
      const order = [...x.shape.keys()];
      order.push(order.splice(order.length - 2, 1)[0]!);
      return { name: 'matmul', make: (e) => tame.engine(e[i]!.matmul(e[i]!.transpose(order))), ref: x.matmul(x.permute(order)).map(tame.reference) };
    },
    () => {
      if (x.shape.length === 0) return null;
      const same = [...values.keys()].filter((j) => values[j]!.ref.shape.join() === x.shape.join());
      const parts = [i, random.pick(same), random.pick(same)];
      const joined = random.next() < 0.5;
      const refs = parts.map((j) => values[j]!.ref);
      const raised = refs.map((r) => r.reshape(x.shape.toSpliced(axis, 0, 1)));
      return { name: joined ? 'concat' : 'stack', make: (e) => (joined ? concat : stack)(parts.map((j) => e[j]!), axis), ref: concatenate(joined ? refs : raised, axis) };
    },
    () => {
      if (x.shape.length === 0 || x.shape[axis] === 0) return null;
      const index = Ref.build(x.shape.with(axis, random.integer(1, 3)), () => random.integer(0, x.shape[axis]! - 1));
      return { name: `gather(${axis})`, make: (e) => e[i]!.gather(index.tensor('int32'), axis), ref: Ref.build(index.shape, (at) => x.at(at.with(axis, index.at(at)))) };
    },
  ];
  const value = random.pick(makers)();
  if (!value || value.ref.data.length === 0 || value.ref.data.length > LIMIT || value.ref.shape.length > 6) return null;
  if (!value.ref.data.every((v) => Math.abs(v) < 50)) return null;
  return { ...value, name: `${values.length} = ${value.name} of ${i}` };
}

function randomGraph(seed: number, leaves: number): Value[] {
  const random = new Random(seed);
  const values: Value[] = Array.from({ length: leaves }, (_, i) => {
    const ref = random.smooth(random.shape(3, [1, 2, 3, 4]));
    return { name: `${i} = leaf`, make: () => ref.tensor(), ref };
  });
  const length = leaves + random.integer(20, 60);
  while (values.length < length) {
    const value = randomValue(random, values);
    if (value) values.push(value);
  }
  return values;
}

function build(values: readonly Value[]): Tensor[] {
  const tensors: Tensor[] = [];
  for (const value of values) tensors.push(value.make(tensors));
  return tensors;
}

const describeGraph = (seed: number, values: readonly Value[]) => `graph ${seed}: ${values.map((value) => `${value.name} [${value.ref.shape}]`).join(', ')}`;

test('300 random graphs: at once, and their last value alone, as the reference computes them', () => {
  for (let seed = 0; seed < 300; seed++) {
    tidy(() => {
      const values = randomGraph(seed, 3);
      const what = describeGraph(seed, values);
      expectMatches(build(values).at(-1)!, values.at(-1)!.ref, 1e-8, what);
      const tensors = build(values);
      evaluate(tensors);
      tensors.forEach((x, i) => expectMatches(x, values[i]!.ref, 1e-8, `value ${i} of ${what}`));
    });
  }
});

test('100 random graphs read piece by piece in random order', () => {
  for (let seed = 1000; seed < 1100; seed++) {
    tidy(() => {
      const values = randomGraph(seed, 3);
      const what = describeGraph(seed, values);
      const random = new Random(seed);
      const tensors = build(values);
      for (const i of random.shuffle([...values.keys()])) expectMatches(tensors[i]!, values[i]!.ref, 1e-8, `value ${i} of ${what}`);
      // Part of the graph in memory, the rest built anew on it.
      const again: Tensor[] = [];
      for (const value of values) {
        again.push(value.make(again));
        if (random.next() < 0.2) again.at(-1)!.realize();
        if (random.next() < 0.05) again[random.integer(0, again.length - 1)]!.dataSync();
      }
      expectMatches(again.at(-1)!, values.at(-1)!.ref, 1e-8, what);
    });
  }
});

test('100 random graphs: directional derivatives against central differences', () => {
  for (let seed = 2000; seed < 2100; seed++) {
    tidy(() => {
      const random = new Random(seed);
      const values = randomGraph(seed, 2);
      const leaves = values.slice(0, 2).map((value) => value.ref);
      const directions = leaves.map((leaf) => random.smooth(leaf.shape));
      const weights = values.map((value) => (random.next() < 0.3 || value === values.at(-1) ? random.smooth(value.ref.shape) : null));
      const lossOf = (moved: readonly Ref[]) => {
        const tensors = build(values.map((value, i) => (i < 2 ? { ...value, make: () => moved[i]!.tensor() } : value)));
        const terms = tensors.flatMap((x, i) => (weights[i] ? [x.mul(weights[i].tensor()).sum()] : []));
        return { leaves: tensors.slice(0, 2), loss: terms.reduce((a, b) => a.add(b)) };
      };
      const along = (t: number) => lossOf(leaves.map((leaf, k) => leaf.zip(directions[k]!, (v, d) => v + t * d))).loss.item();
      const step = 1e-6;
      const numeric = (along(step) - along(-step)) / (2 * step);
      const wider = (along(2 * step) - along(-2 * step)) / (4 * step);
      // Differences that disagree among themselves stand on a kink or a steep slope: nothing to compare with.
      if (Math.abs(numeric - wider) > 1e-5 * Math.max(1, Math.abs(numeric))) return;
      const { leaves: at, loss } = lossOf(leaves);
      const found = gradients(loss, at, { allowUnused: true });
      const analytic = sum(found.map((gradient, k) => sum(directions[k]!.data.map((d, j) => d * gradient.dataSync()[j]!))));
      if (!(Math.abs(analytic - numeric) <= 1e-4 * Math.max(1, Math.abs(numeric)))) throw new Error(`expected ${numeric}, got ${analytic}: ${describeGraph(seed, values)}`);
    });
  }
});

test('random graphs leave no memory behind', () => {
  const before = memory();
  for (let seed = 3000; seed < 3020; seed++) tidy(() => evaluate(build(randomGraph(seed, 3))));
  const { tensors, buffers, bytes } = memory();
  expect({ tensors, buffers, bytes }).toEqual({ tensors: before.tensors, buffers: before.buffers, bytes: before.bytes });
});
