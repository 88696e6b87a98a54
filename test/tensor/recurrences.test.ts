/** The tuned recurrences and statistics against plain loops in float64, with what masked positions hold being garbage. */
import { affineScan, discountedReturn, generalizedAdvantage, groupAdvantages, groupMoments, rowMoments, tensor, Tensor, vtrace, whiten, explain, where, type DType } from '../../src/tensor';
import { isZeroWhereMasked } from '../../src/tensor/recurrences';
import { expectMatches, Random } from './helpers';
import { Ref } from './reference';

interface Batch {
  rows: number;
  time: number;
  mask: Ref;
  /** 0, 1 (terminated) or 2 (truncated). */
  ends: Ref;
  /** Garbage where the mask is 0. */
  field(offset?: number): Ref;
}

const garbage = [NaN, Infinity, -Infinity, 1e30];

function batchOf(random: Random, rows: number, time: number, kind: 'full' | 'ragged' | 'holes'): Batch {
  const length = Array.from({ length: rows }, () => random.integer(0, time));
  const valid = ([b, t]: number[]) => (kind === 'full' ? true : kind === 'ragged' ? t! < length[b]! : random.next() < 0.8);
  const mask = Ref.build([rows, time], (at) => (valid(at) ? 1 : 0));
  const ends = Ref.build([rows, time], () => (random.next() < 0.85 ? 0 : random.integer(1, 2)));
  const field = (offset = 0) => {
    const x = random.smooth([rows, time]);
    return new Ref(x.shape, x.data.map((value, i) => (mask.data[i] ? Math.fround(value + offset) : random.pick(garbage))));
  };
  return { rows, time, mask, ends, field };
}

/** Calls `step` for each valid position of each row, last first. */
function backwards({ rows, time, mask }: Batch, start: (row: number) => void, step: (i: number, row: number) => void): void {
  for (let b = 0; b < rows; b++) {
    start(b);
    for (let i = (b + 1) * time - 1; i >= b * time; i--) if (mask.data[i]) step(i, b);
  }
}

function moments(x: readonly number[], mask: readonly number[]): { count: number; mean: number; spread: number } {
  const valid = x.filter((_, i) => mask[i]);
  const count = valid.length;
  const mean = count === 0 ? 0 : valid.reduce((sum, value) => sum + value, 0) / count;
  return { count, mean, spread: valid.reduce((sum, value) => sum + (value - mean) ** 2, 0) };
}

const shapes = [[1, 1], [3, 7], [5, 64], [9, 33], [2, 1000], [33, 8], [17, 129]] as const;
const cases = shapes.flatMap(([rows, time]) => (['full', 'ragged', 'holes'] as const).map((kind) => [rows, time, kind] as const));
const tolerance = (dtype: DType) => (dtype === 'float64' ? 1e-11 : 1e-5);
const dtypes = ['float32', 'float64'] as const;

describe.each(cases)('%i×%i %s', (rows, time, kind) => {
  test.each(dtypes)('generalizedAdvantage, %s', (dtype) => {
    const random = new Random(rows * 1000 + time);
    const batch = batchOf(random, rows, time, kind);
    const [r, v, bootstrap] = [batch.field(), batch.field(), batch.field()];
    for (const withEnds of [false, true]) {
      const { advantages, returns, moments: taken } = generalizedAdvantage(r.tensor(dtype), v.tensor(dtype), batch.mask.tensor('uint8'), {
        gamma: 0.97,
        lambda: 0.9,
        moments: true,
        ...(withEnds && { ends: batch.ends.tensor('uint8'), bootstrap: bootstrap.tensor(dtype) }),
      });
      const [a, g] = [new Array<number>(rows * time).fill(0), new Array<number>(rows * time).fill(0)];
      let [next, value] = [0, 0];
      backwards(batch, () => ([next, value] = [0, 0]), (i) => {
        const end = withEnds ? batch.ends.data[i] : 0;
        const after = end === 1 ? 0 : end === 2 ? bootstrap.data[i]! : value;
        next = r.data[i]! + 0.97 * after - v.data[i]! + (end ? 0 : 0.97 * 0.9 * next);
        value = v.data[i]!;
        [a[i], g[i]] = [next, next + value];
      });
      expectMatches(advantages, new Ref([rows, time], a), tolerance(dtype));
      expectMatches(returns, new Ref([rows, time], g), tolerance(dtype));
      const expected = Ref.build([rows, 3], ([b, k]) => Object.values(moments(a.slice(b! * time, (b! + 1) * time), batch.mask.data.slice(b! * time, (b! + 1) * time)))[k!]!);
      expectMatches(taken!, expected, 2e-5);
    }
  });

  test.each(dtypes)('discountedReturn, %s', (dtype) => {
    const batch = batchOf(new Random(rows + time), rows, time, kind);
    const r = batch.field();
    const { returns } = discountedReturn(r.tensor(dtype), batch.mask.tensor('bool'), { gamma: 0.99 });
    const g = new Array<number>(rows * time).fill(0);
    let next = 0;
    backwards(batch, () => (next = 0), (i) => (g[i] = next = r.data[i]! + 0.99 * next));
    expectMatches(returns, new Ref([rows, time], g), tolerance(dtype));
  });

  test.each(dtypes)('vtrace, %s', (dtype) => {
    const random = new Random(3 * rows + time);
    const batch = batchOf(random, rows, time, kind);
    const [target, behaviour, r, v, after] = [batch.field(), batch.field(), batch.field(), batch.field(), random.smooth([rows])];
    const options = { gamma: 0.95, lambda: 0.9, clipRho: 1.5, clipC: 1.1, clipPgRho: 2 };
    const result = vtrace({
      targetLogProbs: target.tensor(dtype),
      behaviourLogProbs: behaviour.tensor(dtype),
      rewards: r.tensor(dtype),
      values: v.tensor(dtype),
      mask: batch.mask.tensor('uint8'),
      bootstrap: after.tensor(dtype),
    }, options);
    const [targets, advantages] = [new Array<number>(rows * time).fill(0), new Array<number>(rows * time).fill(0)];
    let [value, goal] = [0, 0];
    backwards(batch, (b) => (value = goal = after.data[b]!), (i) => {
      const w = Math.exp(target.data[i]! - behaviour.data[i]!);
      const delta = Math.min(1.5, w) * (r.data[i]! + 0.95 * value - v.data[i]!);
      advantages[i] = Math.min(2, w) * (r.data[i]! + 0.95 * goal - v.data[i]!);
      goal = v.data[i]! + delta + 0.95 * 0.9 * Math.min(1.1, w) * (goal - value);
      value = v.data[i]!;
      targets[i] = goal;
    });
    expectMatches(result.targets, new Ref([rows, time], targets), tolerance(dtype));
    expectMatches(result.advantages, new Ref([rows, time], advantages), tolerance(dtype));
  });

  test('rowMoments and whiten at an offset of 1e4', () => {
    const batch = batchOf(new Random(7 * rows + time), rows, time, kind);
    const x = batch.field(1e4);
    const all = moments(x.data, batch.mask.data);
    const taken = rowMoments(x.tensor('float32'), batch.mask.tensor('uint8'));
    for (const [keepMean, epsilonOutside, ddof] of [[false, false, 1], [true, false, 0], [false, true, 1]] as const) {
      const variance = all.spread / Math.max(1, all.count - ddof);
      const scale = epsilonOutside ? 1 / (Math.sqrt(variance) + 1e-6) : 1 / Math.sqrt(variance + 1e-6);
      const expected = new Ref(x.shape, x.data.map((value, i) => (batch.mask.data[i] ? (value - all.mean) * scale + (keepMean ? all.mean : 0) : 0)));
      for (const given of [null, taken]) {
        expectMatches(whiten(x.tensor('float32'), batch.mask.tensor('uint8'), { epsilon: 1e-6, ddof, keepMean, epsilonOutside, moments: given }), expected, 1e-5);
      }
    }
  });
});

test.each(['float32', 'float64', 'bfloat16'] as const)('affineScan in both directions, %s', (dtype) => {
  for (const [rows, time] of [[3, 5], [2, 300], [11, 64]] as const) {
    const random = new Random(rows);
    const exact = (x: Ref) => new Ref(x.shape, Array.from(x.tensor(dtype).dataSync()));
    const [a, b, initial] = [exact(random.smooth([rows, time], -0.9, 0.9)), exact(random.smooth([rows, time])), exact(random.smooth([rows]))];
    for (const reverse of [false, true]) {
      const expected = new Array<number>(rows * time);
      for (let row = 0; row < rows; row++) {
        let y = initial.data[row]!;
        for (let k = 0; k < time; k++) {
          const i = row * time + (reverse ? time - 1 - k : k);
          expected[i] = y = a.data[i]! * y + b.data[i]!;
        }
      }
      const result = affineScan(a.tensor(dtype), b.tensor(dtype), { initial: initial.tensor(dtype), reverse });
      expectMatches(result, new Ref([rows, time], expected), dtype === 'bfloat16' ? 1e-2 : tolerance(dtype));
    }
  }
});

test('one row of 300,000 steps agrees with the plain loop', () => {
  const time = 300_000;
  const random = new Random(5);
  const [r, v] = [random.smooth([1, time]), random.smooth([1, time])].map((x) => new Ref(x.shape, x.data.map(Math.fround)));
  const mask = Ref.build([1, time], ([, t]) => (t! % 97 === 0 ? 0 : 1));
  const { advantages } = generalizedAdvantage(r!.tensor('float32'), v!.tensor('float32'), mask.tensor('uint8'), { gamma: 1, lambda: 1 });
  const expected = new Array<number>(time).fill(0);
  let [a, next] = [0, 0];
  for (let i = time - 1; i >= 0; i--) {
    if (!mask.data[i]) continue;
    a = r!.data[i]! + next - v!.data[i]! + a;
    next = v!.data[i]!;
    expected[i] = a;
  }
  // The sums pass through hundreds, and differences are rounded to float32.
  expectMatches(advantages, new Ref([1, time], expected), 1e-4);
});

test('groupMoments of interleaved groups, with rows that do not count', () => {
  const scores = [1e4 + 1, 5, 1e4 + 3, NaN, 1e4 + 5, 9];
  const result = groupMoments(tensor(scores, { dtype: 'float64' }), tensor([1, 1, 1, 0, 1, 1], { dtype: 'uint8' }), tensor(Int32Array.of(0, 2, 4, 3, 1, 5)), tensor(Int32Array.of(0, 3, 4, 6)));
  expect(result.count.toArray()).toEqual([3, 2, 3, 0, 3, 2]);
  expect(result.mean.toArray()).toEqual([10003, 7, 10003, 0, 10003, 7]);
  expect(result.spread.toArray()).toEqual([8, 8, 8, 0, 8, 8]);
});

test('groupAdvantages of interleaved groups, a single row and masked garbage', () => {
  const rewards = tensor([[1, 2], [NaN, 3], [5, NaN], [0.5, 0.5], [2, 2]]);
  const mask = tensor([[1, 1], [0, 3], [1, 0], [1, 1], [1, 1]], { dtype: 'uint8' });
  const groups = [tensor(Int32Array.of(0, 2, 4, 1, 3)), tensor(Int32Array.of(0, 3, 4, 5))] as const;
  const of = (options?: Parameters<typeof groupAdvantages>[4]) => groupAdvantages(rewards, mask, ...groups, options);
  expect(of({ byDeviation: false }).rowAdvantages.toArray()).toEqual([-1, 0, 1, 0, 0]);
  expect(of({ epsilon: 0 }).advantages.toArray()).toEqual([[-1, -1], [0, 0], [1, 0], [0, 0], [0, 0]]);
  expect(of({ byDeviation: false, leaveOneOut: true, keepSingletons: true }).rowAdvantages.toArray()).toEqual([-1.5, 3, 1.5, 1, 0]);
  expect(of({ ddof: 0, epsilon: 1, epsilonOutside: false, minVariance: 3 }).rowAdvantages.toArray()).toEqual([-0.5, 0, 0.5, 0, 0]);
});

test('what the kernels are given behind a mask is read where it lies', () => {
  const x = new Ref([6, 40], Array.from({ length: 240 }, (_, i) => Math.sin(i)));
  const raw = x.tensor('float32');
  const bytes = Ref.build([6, 40], ([b, t]) => (t! < 10 + b! ? 2 : 0)).tensor('uint8');
  const cleaned = () => where(bytes.cast('bool'), raw, 0);
  expect(isZeroWhereMasked(cleaned(), bytes)).toBe(true);
  expect(isZeroWhereMasked(cleaned(), bytes.cast('bool'))).toBe(true);
  expect(isZeroWhereMasked(where(bytes, raw, 1), bytes)).toBe(false);
  expect(isZeroWhereMasked(where(bytes, raw, 0), bytes.equal(2))).toBe(false);
  expect(isZeroWhereMasked(cleaned().realize(), bytes)).toBe(false);
  // A kernel alone, with no program before it.
  expect(explain([rowMoments(cleaned(), bytes.cast('bool'))])).not.toMatch(/program/);
  for (const mask of [bytes, bytes.cast('bool')]) {
    const of = (y: Tensor) =>
      [
        ...Object.values(generalizedAdvantage(y, y, mask, { gamma: 0.9, lambda: 0.8, moments: true })),
        discountedReturn(y, mask, { gamma: 0.9 }).returns,
        ...Object.values(vtrace({ targetLogProbs: y, behaviourLogProbs: y, rewards: y, values: y, mask }, { gamma: 0.9 })),
        whiten(y, mask),
        rowMoments(y, mask),
      ].map((result) => result!.toArray());
    expect(of(cleaned())).toEqual(of(raw));
  }
});

test('NaN in a floating mask counts, as anything but 0 does', () => {
  const x = tensor([[1, 2], [3, 4]]);
  const [withNaN, ones] = [tensor([[1, NaN], [1, 0]]), tensor([[1, 1], [1, 0]])];
  const index = (values: number[]) => tensor(values, { dtype: 'int32' });
  const all = (mask: Tensor) =>
    [
      generalizedAdvantage(x, x, mask, { gamma: 0.9, lambda: 0.8 }).advantages,
      discountedReturn(x, mask, { gamma: 0.9 }).returns,
      vtrace({ targetLogProbs: x, behaviourLogProbs: x, rewards: x, values: x, mask }, { gamma: 0.9 }).advantages,
      whiten(x, mask),
      rowMoments(x, mask),
      groupAdvantages(x, mask, index([0, 1]), index([0, 2])).advantages,
    ].map((result) => result.toArray());
  expect(all(withNaN)).toEqual(all(ones));
});

test('empty batches', () => {
  for (const shape of [[0, 5], [3, 0]]) {
    const x = new Ref(shape, []);
    const { advantages, moments: taken } = generalizedAdvantage(x.tensor('float32'), x.tensor('float32'), x.tensor('uint8'), { gamma: 1, lambda: 1, moments: true });
    expect(advantages.shape).toEqual(shape);
    expect(taken!.toArray()).toEqual(Array.from({ length: shape[0]! }, () => [0, 0, 0]));
    expect(whiten(x.tensor('float32'), x.tensor('uint8'), { moments: taken }).size).toBe(0);
  }
});

describe('arguments', () => {
  const x = () => tensor([[1, 2, 3]]);
  const ids = (...values: number[]) => tensor(Int32Array.from(values));
  test.each<[string, () => unknown, string]>([
    ['bootstrap without ends', () => generalizedAdvantage(x(), x(), x(), { gamma: 1, lambda: 1, bootstrap: x() }), 'generalizedAdvantage: bootstrap was given without ends'],
    ['ends of another shape', () => generalizedAdvantage(x(), x(), x(), { gamma: 1, lambda: 1, ends: tensor([[1]]) }), 'generalizedAdvantage: expected ends of shape [1,3], got [1,1]'],
    ['values', () => generalizedAdvantage(x(), tensor([1]), x(), { gamma: 1, lambda: 1 }), 'generalizedAdvantage: expected values of shape [1,3], got [1]'],
    ['gamma', () => discountedReturn(x(), x(), { gamma: NaN }), 'discountedReturn: expected gamma'],
    ['a clip', () => vtrace({ targetLogProbs: x(), behaviourLogProbs: x(), rewards: x(), values: x(), mask: x() }, { gamma: 1, clipRho: -1 }), 'vtrace: expected clipRho, a number of at least 0'],
    ['a missing array', () => vtrace({ targetLogProbs: x(), rewards: x(), values: x(), mask: x() } as never, { gamma: 1 }), 'vtrace behaviourLogProbs: expected a Tensor, got undefined'],
    ['dtypes', () => affineScan(x(), x().cast('float64')), 'affineScan: expected a and b of one floating dtype, got float32 and float64'],
    ['ddof', () => whiten(x(), x(), { ddof: 2 as never }), 'whiten: expected ddof 0 or 1, got 2'],
    ['moments', () => whiten(x(), x(), { moments: tensor([[1, 2]]) }), 'whiten: expected moments float64 [1,3], got float32 [1,2]'],
    ['rows', () => groupMoments(tensor([1]), tensor([1]), tensor([0]), ids(0, 1)), 'groupMoments: expected int32 rows, got float32'],
    ['rows out of range', () => groupMoments(tensor([1, 2]), tensor([1, 1]), ids(0, 7), ids(0, 2)).mean.toArray(), 'group_moments: row 7 at position 1 is outside [0, 2)'],
    ['epsilon', () => groupAdvantages(x(), x(), ids(0), ids(0, 1), { epsilon: -1 }), 'groupAdvantages: expected epsilon, a number of at least 0, got -1'],
    ['starts of nothing', () => groupAdvantages(x(), x(), ids(0), ids()), 'groupAdvantages: expected starts of shape [G+1], where the groups begin and the last one ends, got [0]'],
    ['ddof of groups', () => groupAdvantages(x(), x(), ids(0), ids(0, 1), { ddof: 3 as never }), 'groupAdvantages: expected ddof 0 or 1, got 3'],
    ['a word for a flag', () => groupAdvantages(x(), x(), ids(0), ids(0, 1), { leaveOneOut: 'false' as never }), "groupAdvantages: expected leaveOneOut, true or false, got 'false'"],
    ['null for a flag', () => whiten(x(), x(), { keepMean: null as never }), 'whiten: expected keepMean, true or false, got null'],
    ['options in a Map', () => whiten(x(), x(), new Map() as never), 'whiten: expected an object of options, got'],
    ['rows of groups', () => groupAdvantages(x(), x(), ids(0, 1), ids(0, 1)), 'groupAdvantages: expected rows of shape [1], got [2]'],
    ['starts that go back', () => groupMoments(tensor([1, 2]), tensor([1, 1]), ids(0, 1), ids(0, 2, 1, 2)).mean.toArray(), 'group_moments: starts'],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(message);
  });
});

test('results have the dtype of the rewards; bfloat16 and integers become float32', () => {
  const given = (dtype: DType): Tensor => tensor([[1, 2]], { dtype });
  const options = { gamma: 1, lambda: 1 };
  expect(generalizedAdvantage(given('bfloat16'), given('float32'), given('bool'), options).advantages.dtype).toBe('float32');
  expect(generalizedAdvantage(given('int32'), given('float64'), given('bool'), options).advantages.dtype).toBe('float32');
  expect(generalizedAdvantage(given('float64'), given('float32'), given('bool'), options).advantages.dtype).toBe('float64');
});
