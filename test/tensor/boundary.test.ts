/** The addon itself, given anything: every failure is a JavaScript error; nothing ends the process or touches foreign memory. */
import { types } from 'node:util';
import { native, nativeDescription, type NativeAddon } from '../../src/native';
import { tensor } from '../../src/tensor';
import { Random } from './helpers';

const random = new Random(111);
const addon = native() as unknown as Record<keyof NativeAddon, (...args: unknown[]) => unknown>;

const shared = new Float64Array(new SharedArrayBuffer(64));
const detached = () => {
  const buffer = new ArrayBuffer(64);
  const view = new Float64Array(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  return view;
};

const numbers = [NaN, Infinity, -Infinity, -1, 0, 1, 2, 3, 7.5, 64, 1e6, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 40, 2 ** 53, 1e300];
const garbage: (() => unknown)[] = [
  ...numbers.map((value) => () => value),
  () => undefined,
  () => null,
  () => '',
  () => 'cpu',
  () => 'cuda',
  () => 'avx2',
  () => true,
  () => Symbol('s'),
  () => 10n,
  () => ({}),
  () => [],
  () => [1, 2],
  () => () => 1,
  () => new ArrayBuffer(8),
  () => new Uint8Array(0),
  () => new Uint8Array(16),
  () => new Float32Array(4),
  () => Float64Array.of(1, 0, 0, 0, 0),
  () => Int32Array.of(1, 2),
  () => new DataView(new ArrayBuffer(16), 4),
  () => new BigInt64Array(2),
  () => shared,
  detached,
  () => new Proxy({}, {}),
  () => Object.create(null),
  () => Promise.resolve(),
];

/** A valid plan for x·2 over eight floats, and the buffers and numbers it takes. */
const op = (name: string) => {
  const { ops, instructions, firstInstruction } = nativeDescription();
  return name in ops ? ops[name as keyof typeof ops] : firstInstruction + instructions.findIndex((row) => row.name === name);
};
const doubling = () =>
  Float64Array.of(
    1,
    2,
    1,
    0,
    1,
    32,
    -1,
    32,
    -1,
    0,
    40,
    1,
    8,
    1,
    0,
    0,
    0,
    3,
    2,
    0,
    0,
    0,
    1,
    1,
    0,
    0,
    1,
    3,
    op('load'),
    0,
    0,
    0,
    0,
    0,
    op('constant'),
    0,
    1,
    0,
    0,
    0,
    op('mul'),
    0,
    2,
    0,
    1,
    0,
    1,
    0,
    0,
    2,
    1,
  );

const attempt = (f: () => unknown): unknown => {
  try {
    return f();
  } catch (error) {
    // The addon throws errors of Node's own realm, which is not the one Jest runs tests in.
    expect(types.isNativeError(error)).toBe(true);
    expect((error as Error).message.length).toBeGreaterThan(0);
    return undefined;
  }
};

/** The engine still works. */
afterEach(() => {
  addon.setThreads(2);
  attempt(() => addon.setIsa(nativeDescription().isa));
  expect(tensor([1, 2, 3]).mul(2).sum().item()).toBe(12);
});

describe('random arguments', () => {
  const names = Object.keys(addon).filter((name) => name !== 'destroyPlan' && name !== 'free') as (keyof NativeAddon)[];
  test.each(names)('%s', (name) => {
    const made: number[] = [];
    for (let i = 0; i < 1500; i++) {
      const args = Array.from({ length: random.integer(0, 5) }, () => random.pick(garbage)());
      // Threads are real: a number that is accepted is set.
      if (name === 'setThreads' && typeof args[0] === 'number' && args[0] > 8 && args[0] < 5000) continue;
      const result = attempt(() => addon[name](...args));
      if (name === 'allocate' && typeof result === 'number') made.push(result);
    }
    for (const id of made) addon.free(id);
  });

  test.each(['free', 'destroyPlan'] as const)('%s: of what does not exist', (name) => {
    for (const make of garbage) {
      const value = make();
      // Small ids are in use by the engine.
      if (typeof value !== 'number' || value > 1e5 || value < 0) expect(() => addon[name](value)).toThrow();
    }
    expect(() => addon[name]()).toThrow();
  });
});

describe('buffers', () => {
  test('freed ids, ranges, and arrays that are not whole', () => {
    const id = addon.allocate('cpu', 64) as number;
    addon.upload(id, 0, Float64Array.of(1, 2, 3));
    const into = new Float64Array(2);
    addon.download(id, 8, into);
    expect(Array.from(into)).toEqual([2, 3]);
    for (const offset of [-1, 57, 64, 2 ** 40, NaN, 0.5]) {
      expect(() => addon.upload(id, offset, new Float64Array(1))).toThrow();
      expect(() => addon.download(id, offset, new Float64Array(1))).toThrow();
    }
    expect(() => addon.upload(id, 0, new Uint8Array(65))).toThrow();
    for (const array of [detached(), shared]) {
      attempt(() => addon.upload(id, 0, array));
      attempt(() => addon.download(id, 0, array));
    }
    addon.free(id);
    expect(() => addon.free(id)).toThrow();
    expect(() => addon.upload(id, 0, into)).toThrow();
    expect(() => addon.download(id, 0, into)).toThrow();
    expect(() => addon.allocate('cpu', 2 ** 52)).toThrow();
  });
});

describe('plans', () => {
  const run = (plan: number) => {
    const ids = [addon.allocate('cpu', 32) as number, addon.allocate('cpu', 32) as number];
    addon.upload(ids[0]!, 0, Float32Array.from({ length: 8 }, (_, i) => i));
    try {
      addon.execute(plan, Int32Array.from(ids), Float64Array.of(2));
      const into = new Float32Array(8);
      addon.download(ids[1]!, 0, into);
      return Array.from(into);
    } finally {
      for (const id of ids) addon.free(id);
    }
  };

  test('a plan written by hand runs', () => {
    const plan = addon.createPlan('cpu', doubling()) as number;
    expect(run(plan)).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    addon.destroyPlan(plan);
    expect(() => run(plan)).toThrow();
  });

  test('words changed at random: refused or harmless', () => {
    let refused = 0;
    for (let i = 0; i < 4000; i++) {
      let words = doubling();
      for (let n = random.integer(1, 3); n > 0; n--) words[random.integer(0, words.length - 1)] = random.next() < 0.5 ? random.pick(numbers) : random.integer(-3, 12);
      if (random.next() < 0.1) words = words.slice(0, random.integer(0, words.length));
      const plan = attempt(() => addon.createPlan('cpu', words)) as number | undefined;
      if (plan === undefined) {
        refused++;
        continue;
      }
      attempt(() => run(plan));
      addon.destroyPlan(plan);
    }
    expect(refused).toBeGreaterThan(1000);
  });

  test('execution with too few, too small, freed or foreign buffers and too few numbers', () => {
    const plan = addon.createPlan('cpu', doubling()) as number;
    const [a, b, small] = [32, 32, 31].map((bytes) => addon.allocate('cpu', bytes) as number) as [number, number, number];
    const two = Float64Array.of(2);
    for (const ids of [[], [a], [a, b, b], [a, small], [small, b], [a, 0], [a, -1], [a, 2 ** 30]]) expect(() => addon.execute(plan, Int32Array.from(ids), two)).toThrow();
    for (const scalars of [new Float64Array(0), new Float32Array(1), [2], null]) expect(() => addon.execute(plan, Int32Array.of(a, b), scalars)).toThrow();
    for (const ids of [[a, b], new Float64Array(2), null, detached()]) expect(() => addon.execute(plan, ids, two)).toThrow();
    addon.free(b);
    expect(() => addon.execute(plan, Int32Array.of(a, b), two)).toThrow();
    addon.destroyPlan(plan);
    for (const id of [a, small]) addon.free(id);
  });
});
