/** Element-wise operations on every dtype and pair of shapes against plain doubles. */
import { full, gradients, tensor, where, type DType } from '../../src/tensor';
import { expectMatches, Random, tolerances } from './helpers';
import { Ref } from './reference';

const dtypes: DType[] = ['float32', 'float64', 'bfloat16', 'int32', 'uint8', 'bool'];
const rank: Record<DType, number> = { bool: 0, uint8: 1, int32: 2, bfloat16: 3, float32: 4, float64: 5 };
const floating = (dtype: DType) => rank[dtype] >= 3;
const widest = (a: DType, b: DType) => (rank[a] >= rank[b] ? a : b);

const modulo = (a: number, b: number, integers: boolean) => {
  if (integers && b === 0) return 0;
  const r = a % b;
  return r !== 0 && r < 0 !== b < 0 ? r + b : r;
};
const either = (a: number, b: number, f: (...values: number[]) => number) => (Number.isNaN(a) || Number.isNaN(b) ? NaN : f(a, b));

/** Each operation with its kind, which says the dtype of the result. */
type Binary = 'add' | 'sub' | 'mul' | 'div' | 'mod' | 'pow' | 'maximum' | 'minimum' | 'equal' | 'notEqual' | 'less' | 'lessEqual' | 'greater' | 'greaterEqual';
const binary: Record<Binary, { kind: 'arithmetic' | 'true division' | 'choice' | 'comparison'; f: (a: number, b: number, integers: boolean) => number }> = {
  add: { kind: 'arithmetic', f: (a, b) => a + b },
  sub: { kind: 'arithmetic', f: (a, b) => a - b },
  mul: { kind: 'arithmetic', f: (a, b) => a * b },
  mod: { kind: 'arithmetic', f: modulo },
  div: { kind: 'true division', f: (a, b) => a / b },
  pow: { kind: 'true division', f: (a, b) => (a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b) },
  maximum: { kind: 'choice', f: (a, b) => either(a, b, Math.max) },
  minimum: { kind: 'choice', f: (a, b) => either(a, b, Math.min) },
  equal: { kind: 'comparison', f: (a, b) => Number(a === b) },
  notEqual: { kind: 'comparison', f: (a, b) => Number(a !== b) },
  less: { kind: 'comparison', f: (a, b) => Number(a < b) },
  lessEqual: { kind: 'comparison', f: (a, b) => Number(a <= b) },
  greater: { kind: 'comparison', f: (a, b) => Number(a > b) },
  greaterEqual: { kind: 'comparison', f: (a, b) => Number(a >= b) },
};

function resultDType(op: Binary, a: DType, b: DType): DType {
  const common = widest(a, b);
  const { kind } = binary[op];
  if (kind === 'comparison') return 'bool';
  if (kind === 'true division') return floating(common) ? common : 'float32';
  return kind === 'arithmetic' ? widest(common, 'int32') : common;
}

const roundHalfEven = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
type Unary = 'neg' | 'abs' | 'sign' | 'square' | 'floor' | 'ceil' | 'round' | 'exp' | 'expm1' | 'log' | 'log1p' | 'sqrt' | 'rsqrt' | 'sin' | 'cos' | 'tanh' | 'sigmoid' | 'softplus';
const unary: Record<Unary, { kind: 'arithmetic' | 'rounding' | 'function'; f: (a: number) => number }> = {
  neg: { kind: 'arithmetic', f: (a) => -a },
  abs: { kind: 'arithmetic', f: Math.abs },
  sign: { kind: 'arithmetic', f: Math.sign },
  square: { kind: 'arithmetic', f: (a) => a * a },
  floor: { kind: 'rounding', f: Math.floor },
  ceil: { kind: 'rounding', f: Math.ceil },
  round: { kind: 'rounding', f: roundHalfEven },
  exp: { kind: 'function', f: Math.exp },
  expm1: { kind: 'function', f: Math.expm1 },
  log: { kind: 'function', f: Math.log },
  log1p: { kind: 'function', f: Math.log1p },
  sqrt: { kind: 'function', f: Math.sqrt },
  rsqrt: { kind: 'function', f: (a) => 1 / Math.sqrt(a) },
  sin: { kind: 'function', f: Math.sin },
  cos: { kind: 'function', f: Math.cos },
  tanh: { kind: 'function', f: Math.tanh },
  sigmoid: { kind: 'function', f: (a) => 1 / (1 + Math.exp(-a)) },
  softplus: { kind: 'function', f: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))) },
};

const special = [NaN, Infinity, -Infinity, 0, 1, -1, 2.5, -2.5, 0.5, 1.5, 100, -100, 1e-3, 3e4, -3e4];

describe('two operands', () => {
  const random = new Random(11);
  for (const op of Object.keys(binary) as Binary[]) {
    test(`${op}: every pair of dtypes, shapes that broadcast`, () => {
      for (const a of dtypes) {
        for (const b of dtypes) {
          const expected = resultDType(op, a, b);
          for (const extents of [[1, 2, 3, 5], [1, 4, 17], [0, 1, 2]]) {
            const shape = random.shape(4, extents);
            const [x, y] = [random.ref(random.broadcastable(shape), a), random.ref(random.broadcastable(shape), b)];
            const result = x.tensor(a)[op](y.tensor(b));
            expect(`${a} ${op} ${b} = ${result.dtype}`).toBe(`${a} ${op} ${b} = ${expected}`);
            expectMatches(result, x.zip(y, (p, q) => binary[op].f(p, q, !floating(widest(a, b)))), tolerances[expected], `${a} ${op} ${b}`);
          }
        }
      }
    });

    test(`${op}: NaN, infinities and zeros`, () => {
      const x = new Ref([special.length, 1], special);
      const y = new Ref([special.length], special);
      for (const dtype of ['float64', 'float32'] as const) {
        const rounded = (ref: Ref) => (dtype === 'float32' ? ref.map(Math.fround) : ref);
        expectMatches(
          x.tensor(dtype)[op](y.tensor(dtype)),
          rounded(x).zip(rounded(y), (a, b) => {
            const exact = binary[op].f(a, b, false);
            return dtype === 'float32' ? Math.fround(exact) : exact;
          }),
          tolerances[dtype],
          `${dtype} ${op}`,
        );
      }
    });
  }

  describe.each([1, 2, 3, 4, -1, -2])('pow(%d), which is taken by products', (exponent) => {
    const isNegative = (value: number) => value < 0 || Object.is(value, -0);
    // On both sides of where the power, or its square, leaves float32: 2^±149 to 2^±20.
    const wide = Array.from({ length: 331 }, (_, i) => 1.37 * 2 ** (i - 165)).flatMap((a) => [a, -a]);

    test.each(['float32', 'float64'] as const)('%s: as by the instruction, the gradient too', (dtype) => {
      const x = tensor([...special, -0, ...wide], { dtype });
      const byInstruction = tensor(new Float64Array(x.size).fill(exponent), { dtype });
      const [product, power] = [x.pow(exponent), x.pow(byInstruction)];
      expect(product.explain()).not.toMatch(/\bpow\b/);
      expect(power.explain()).toMatch(/\bpow\b/);
      const slopes = [product, power].map((result) => gradients(result.sum(), [x])[0]!.dataSync());
      // What is below the normal numbers has fewer digits.
      const least = dtype === 'float32' ? 2 ** -126 : 2 ** -1022;
      const near = dtype === 'float32' ? 2 ** -21 : 2 ** -50;
      for (const [got, wanted] of [[product.dataSync(), power.dataSync()], slopes] as const) {
        const wrong = Array.from(got, (value, i) => ({ x: x.dataSync()[i], value, wanted: wanted[i]! })).filter(({ value, wanted }) =>
          Number.isFinite(wanted) ? !(Math.abs(value - wanted) <= near * Math.max(Math.abs(wanted), least)) || isNegative(value) !== isNegative(wanted) : !Object.is(value, wanted)
        );
        expect(wrong).toEqual([]);
      }
    });

    test('dtypes and shapes are those of pow', () => {
      for (const dtype of dtypes) {
        const x = full([2, 1], 2, { dtype });
        expect(x.pow(exponent).dtype).toBe(resultDType('pow', dtype, dtype));
        const tall = x.pow(full([3], exponent, { dtype: 'float64' }));
        expect([tall.shape, tall.dtype]).toEqual([[2, 3], resultDType('pow', dtype, 'float64')]);
      }
    });
  });

  test('a number keeps the kind of the tensor beside it', () => {
    const kinds: [DType, number, DType][] = [
      ['float32', 0.5, 'float32'],
      ['bfloat16', 0.5, 'bfloat16'],
      ['float64', 2, 'float64'],
      ['int32', 3, 'int32'],
      ['int32', 0.5, 'float32'],
      ['int32', 2 ** 40, 'float32'],
      ['uint8', 3, 'int32'],
      ['bool', 1, 'int32'],
      ['bool', 0.5, 'float32'],
    ];
    for (const [dtype, number, expected] of kinds) {
      const result = full([2], 1, { dtype }).add(number);
      expect(`${dtype} + ${number} = ${result.dtype}`).toBe(`${dtype} + ${number} = ${expected}`);
      expectMatches(result, new Ref([2], [1 + number, 1 + number]));
    }
  });

  test('integers wrap, divide by zero to zero remainder, and a uint8 beside a number that it cannot hold becomes int32', () => {
    const x = tensor([2147483647, -2147483648], { dtype: 'int32' });
    expect(x.add(1).toArray()).toEqual([-2147483648, -2147483647]);
    expect(x.mul(2).toArray()).toEqual([-2, 0]);
    expect(x.mod(0).toArray()).toEqual([0, 0]);
    expect(tensor([7, -7], { dtype: 'int32' }).mod(-3).toArray()).toEqual([-2, -1]);
    const small = tensor([1, 200], { dtype: 'uint8' });
    expect(small.maximum(300).dtype).toBe('int32');
    expect(small.maximum(300).toArray()).toEqual([300, 300]);
    expect(small.minimum(-1).toArray()).toEqual([-1, -1]);
    expect(small.maximum(100).dtype).toBe('uint8');
  });
});

describe('one operand', () => {
  const random = new Random(12);
  for (const op of Object.keys(unary) as Unary[]) {
    test(`${op}: every dtype`, () => {
      const { kind, f } = unary[op];
      for (const dtype of dtypes) {
        const expected = kind === 'rounding' ? dtype : kind === 'arithmetic' ? widest(dtype, 'int32') : floating(dtype) ? dtype : 'float32';
        for (const extents of [[1, 2, 3, 5], [19], [0, 2]]) {
          const x = random.ref(random.shape(2, extents), dtype);
          const result = x.tensor(dtype)[op]();
          expect(`${op} ${dtype} = ${result.dtype}`).toBe(`${op} ${dtype} = ${expected}`);
          expectMatches(result, x.map(f), tolerances[expected], `${op} ${dtype}`);
        }
      }
    });

    test(`${op}: NaN, infinities, zeros, large and small`, () => {
      const x = new Ref([special.length], special);
      for (const dtype of ['float64', 'float32'] as const) {
        const values = dtype === 'float32' ? x.map(Math.fround) : x;
        const expected = values.map((value) => (dtype === 'float32' ? Math.fround(unary[op].f(value)) : unary[op].f(value)));
        expectMatches(x.tensor(dtype)[op](), expected, tolerances[dtype], `${dtype} ${op}`);
      }
    });
  }

  test('float32 functions keep their relative precision over wide ranges', () => {
    const ranges: Partial<Record<Unary, [number, number]>> = {
      exp: [-80, 80],
      expm1: [-20, 20],
      log: [1e-6, 1e6],
      log1p: [-0.9, 50],
      sqrt: [0, 1e6],
      rsqrt: [1e-3, 1e6],
      tanh: [-9, 9],
      sigmoid: [-30, 30],
      softplus: [-30, 80],
    };
    for (const [op, [low, high]] of Object.entries(ranges) as [Unary, [number, number]][]) {
      const x = random.smooth([1000], low, high).map(Math.fround);
      const got = x.tensor('float32')[op]().dataSync();
      x.data.forEach((value, i) => {
        const exact = unary[op].f(value);
        expect(Math.abs(got[i]! - exact) / Math.abs(exact)).toBeLessThan(1e-6);
      });
    }
  });

  test('isNaN and isFinite', () => {
    for (const dtype of ['float32', 'float64', 'bfloat16'] as const) {
      const x = new Ref([special.length], special);
      expectMatches(x.tensor(dtype).isNaN(), x.map((v) => Number(Number.isNaN(v))));
      expectMatches(x.tensor(dtype).isFinite(), x.map((v) => Number(Number.isFinite(v))));
    }
    expect(tensor([1, 2], { dtype: 'int32' }).isNaN().toArray()).toEqual([0, 0]);
    expect(tensor([1, 2], { dtype: 'int32' }).isFinite().toArray()).toEqual([1, 1]);
  });
});

describe('logic, choice, conversion', () => {
  const random = new Random(13);
  test('and, or, not of every dtype take anything but 0 for true', () => {
    for (const a of dtypes) {
      for (const b of dtypes) {
        const shape = random.shape(3);
        const [x, y] = [random.ref(random.broadcastable(shape), a, -1, 1), random.ref(random.broadcastable(shape), b, -1, 1)];
        expectMatches(x.tensor(a).logicalAnd(y.tensor(b)), x.zip(y, (p, q) => Number(p !== 0 && q !== 0)), 0, `${a} and ${b}`);
        expectMatches(x.tensor(a).logicalOr(y.tensor(b)), x.zip(y, (p, q) => Number(p !== 0 || q !== 0)), 0, `${a} or ${b}`);
        expectMatches(x.tensor(a).logicalNot(), x.map((p) => Number(p === 0)), 0, `not ${a}`);
      }
    }
  });

  test('where: every condition, pairs of dtypes, numbers on either side', () => {
    for (const condition of dtypes) {
      for (const a of dtypes) {
        for (const b of dtypes) {
          const shape = random.shape(3);
          const [c, x, y] = [random.ref(random.broadcastable(shape), condition, -1, 1), random.ref(random.broadcastable(shape), a), random.ref(random.broadcastable(shape), b)];
          const chosen = where(c.tensor(condition), x.tensor(a), y.tensor(b));
          expect(chosen.dtype).toBe(widest(a, b));
          expectMatches(chosen, c.where(x, y), undefined, `where(${condition}, ${a}, ${b})`);
          expectMatches(where(c.tensor(condition), x.tensor(a), 2), c.where(x, Ref.scalar(2)));
          expectMatches(where(c.tensor(condition), -1.5, y.tensor(b)), c.where(Ref.scalar(-1.5), y));
        }
      }
    }
  });

  test('clamp: numbers, tensors, open sides; NaN stays', () => {
    const x = new Ref([5], [-5, -0.5, NaN, 0.5, 5]);
    const within = (low: number, high: number) => x.map((v) => (Number.isNaN(v) ? v : Math.min(Math.max(v, low), high)));
    expectMatches(x.tensor().clamp(-1, 1), within(-1, 1));
    expectMatches(x.tensor().clamp(null, 1), within(-Infinity, 1));
    expectMatches(x.tensor().clamp(-1), within(-1, Infinity));
    expectMatches(x.tensor().clamp(full([5], -1, { dtype: 'float64' }), 1), within(-1, 1));
    const same = x.tensor();
    expect(same.clamp(null)).toBe(same);
  });

  test('cast: every pair; integers truncate and saturate, bool is "not 0"', () => {
    const x = new Ref([9], [-1e10, -300.7, -1.5, 0, 0.25, 1.75, 255.5, 256, 1e10]);
    const store: Record<DType, (v: number) => number> = {
      float64: (v) => v,
      float32: Math.fround,
      bfloat16: (v) => v,
      int32: (v) => Math.min(2147483647, Math.max(-2147483648, Math.trunc(v))) + 0,
      uint8: (v) => Math.min(255, Math.max(0, Math.trunc(v))) + 0,
      bool: (v) => Number(v !== 0),
    };
    for (const from of dtypes) {
      for (const to of dtypes) {
        const values = x.map(store[from]);
        const tolerance = from === 'bfloat16' || to === 'bfloat16' ? 1e-2 : tolerances[to];
        const start = values.tensor(from);
        // What bfloat16 rounded to 256 is 256 as well: compare what is stored.
        const stored = from === 'bfloat16' ? new Ref(x.shape, Array.from(start.dataSync())) : values;
        for (const source of [start, where(full([9], 1, { dtype: 'bool' }), start, start)]) {
          expectMatches(source.cast(to), stored.map(store[to]), tolerance, `${from} to ${to}`);
        }
      }
    }
    for (const to of ['int32', 'uint8'] as const) expect(tensor([NaN, Infinity, -Infinity]).cast(to).toArray()).toEqual(to === 'int32' ? [0, 2147483647, -2147483648] : [0, 255, 0]);
    expect(tensor([NaN, 0]).cast('bool').toArray()).toEqual([1, 0]);
  });

  test('bfloat16 rounds to nearest, ties to even, for stored values and constants alike', () => {
    const values = [1 + 2 ** -8, 1 + 3 * 2 ** -8, 0.1, -0.1, 3.14159, 1e38, 3.4e38, NaN, Infinity];
    const expected = [1, 1.015625, 0.10009765625, -0.10009765625, 3.140625, 9.984018742667783e37, Infinity, NaN, Infinity];
    const stored = Array.from(tensor(values, { dtype: 'bfloat16' }).dataSync());
    const computed = Array.from(tensor(values).cast('bfloat16').dataSync());
    const constants = values.map((value) => full([1], value, { dtype: 'bfloat16' }).dataSync()[0]!);
    expect(computed).toEqual(stored);
    expect(constants).toEqual(stored);
    stored.slice(0, 5).forEach((value, i) => expect(value).toBe(expected[i]));
    expect(stored.slice(6)).toEqual(expected.slice(6));
  });

  test('a Uint16Array with the dtype bfloat16 holds bits; with none, or another, numbers', () => {
    const bits = Uint16Array.of(0x3f80, 0xbf80, 0x4049, 0x0000, 0x8000, 0x7f80, 0x7fc0, 0x0001);
    const x = tensor(bits, { dtype: 'bfloat16', shape: [2, 4] });
    expect([x.dtype, x.shape]).toEqual(['bfloat16', [2, 4]]);
    expect(Array.from(x.dataSync())).toEqual([1, -1, 3.140625, 0, -0, Infinity, NaN, 2 ** -133]);
    expect(tensor(bits.subarray(1, 3), { dtype: 'bfloat16' }).mul(2).toArray()).toEqual([-2, 6.28125]);
    expect(tensor(Uint16Array.of(1, 16256)).toArray()).toEqual([1, 16256]);
    expect(tensor(Uint16Array.of(1, 16256), { dtype: 'int32' }).toArray()).toEqual([1, 16256]);
    expect(() => tensor(bits, { dtype: 'bfloat16', shape: [3] })).toThrow('tensor: shape [3] holds 3 values, got 8');
  });
});
