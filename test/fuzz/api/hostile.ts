/** What the fuzzer's calls are made of: small valid tensors, and values that harm whoever trusts them. Calls are text, in which these names are in scope. */
import { types } from 'node:util';
import * as v from '../../../src';
import { native, nativeDescription, type NativeAddon } from '../../../src/native';

/** Thrown by hostile values, so that what is the caller's own doing can be told from what is ours. */
export class Boom extends Error {
  constructor() {
    super('thrown by a hostile value');
    this.name = 'Boom';
  }
}

const boom = (): never => {
  throw new Boom();
};

/** What `T` and its kin have made in the call under way. */
let made: v.Tensor[] = [];

export function startCase(): void {
  made = [];
}

function remember(tensor: v.Tensor): v.Tensor {
  made.push(tensor);
  return tensor;
}

/** Elements of a shape that a call gives `T` and its kin; where it is none, or large, the mistake is the caller's. */
function count(shape: readonly number[]): number {
  const size = Array.isArray(shape) && !types.isProxy(shape) && shape.length <= 8 && shape.every(Number.isInteger) ? shape.reduce((product, extent) => product * extent, 1) : -1;
  return size >= 0 && size <= 4096 ? size : boom();
}

/** A tensor of small numbers, the same each time. */
export function T(shape: readonly number[], dtype: v.DType = 'float32'): v.Tensor {
  const values = Float64Array.from({ length: count(shape) }, (_, i) => ((i * 7) % 5) / 4 - 0.5);
  return remember(v.tensor(values, { dtype, shape }));
}

/** A mask whose last element of each row is 0. */
export function M(shape: readonly number[], dtype: v.DType = 'bool'): v.Tensor {
  const size = count(shape);
  const width = shape.at(-1) ?? 1;
  return remember(v.tensor(Uint8Array.from({ length: size }, (_, i) => (width > 1 && i % width === width - 1 ? 0 : 1)), { dtype, shape }));
}

/** Integers below `limit`. */
export function I(shape: readonly number[], limit = 3, dtype: v.DType = 'int32'): v.Tensor {
  return remember(v.tensor(Int32Array.from({ length: count(shape) }, (_, i) => (i * 3 + 1) % limit), { dtype, shape }));
}

type TypedArrayClass = new (buffer: ArrayBuffer | SharedArrayBuffer, offset?: number, length?: number) => ArrayBufferView;
type ResizableClass = new (bytes: number, options: { maxByteLength: number }) => ArrayBuffer & { resize(bytes: number): void };
const Resizable = ArrayBuffer as unknown as ResizableClass;

const isObject = (value: unknown): value is object => (typeof value === 'object' && value !== null) || typeof value === 'function';

/** Every trap does what `act` does before it goes on. */
function trapped<V>(value: V, act: (key: string | symbol) => void): V {
  if (!isObject(value)) return value;
  return new Proxy(value, {
    get(target, key) {
      act(key);
      const found = Reflect.get(target, key, target) as unknown;
      return typeof found === 'function' && !Object.hasOwn(target, key) ? found.bind(target) : found;
    },
    has(target, key) {
      act(key);
      return Reflect.has(target, key);
    },
    ownKeys(target) {
      act('ownKeys');
      return Reflect.ownKeys(target);
    },
  }) as V;
}

function disposeTensors(value: unknown): void {
  if (value instanceof v.Tensor) value.dispose();
  else if (Array.isArray(value)) value.forEach(disposeTensors);
}

export const h = {
  boom,
  Boom,
  /** Disposes of all that the call's `T`, `M` and `I` have made. */
  disposeAll: () => made.forEach((tensor) => tensor.dispose()),
  disposed<V>(value: V): V {
    disposeTensors(value);
    return value;
  },
  disposedTensor: () => h.disposed(T([2, 3])),
  realized: (tensor: v.Tensor) => tensor.realize(),
  view: (tensor: v.Tensor) => (tensor.ndim > 0 ? tensor.flip(0) : tensor),

  // ---- objects that look right ----
  proxy: <V>(value: V): V => trapped(value, () => {}),
  /** Throws when anything is asked of it. */
  throwing: <V>(value: V): V => trapped(value, boom),
  /** Throws from the third question on. */
  throwingLater<V>(value: V): V {
    let asked = 0;
    return trapped(value, () => {
      if (++asked > 2) boom();
    });
  },
  /** Disposes of the call's tensors while it is read. */
  disposing: <V>(value: V): V => trapped(value, () => h.disposeAll()),
  disposingLater<V>(value: V): V {
    let asked = 0;
    return trapped(value, () => {
      if (++asked > 3) h.disposeAll();
    });
  },
  /** Calls the library while it is read. */
  reentrant: <V>(value: V): V => trapped(value, () => void h.nested()),
  /** A getter in the place of each property. */
  getters<V extends object>(value: V): V {
    if (!isObject(value) || Object.getPrototypeOf(value) !== Object.prototype) return value;
    const result = Object.create(Object.getPrototypeOf(value) as object) as V;
    for (const key of Object.keys(value)) Object.defineProperty(result, key, { enumerable: true, get: () => (value as Record<string, unknown>)[key] });
    return result;
  },
  /** Other answers each time. */
  fickle<V>(value: V): V {
    let asked = 0;
    if (!Array.isArray(value) && !(isObject(value) && Object.getPrototypeOf(value) === Object.prototype)) return value;
    const changes = (target: object, key: string | symbol) => key !== 'length' && Object.hasOwn(target, key);
    return new Proxy(value, { get: (target, key) => (changes(target, key) && ++asked % 2 === 0 ? undefined : (Reflect.get(target, key, target) as unknown)) }) as V;
  },
  frozen: <V>(value: V): V => (Array.isArray(value) || (isObject(value) && Object.getPrototypeOf(value) === Object.prototype) ? Object.freeze(value) : value),
  withoutPrototype: <V extends object>(value: V): V => Object.assign(Object.create(null) as V, value),
  inherited: <V extends object>(value: V): V => (value instanceof v.Tensor ? value : (Object.create(value) as V)),
  holes<V>(value: V): V {
    if (Array.isArray(value) && value.length > 0) delete (value as unknown[])[0];
    return value;
  },
  revoked(): unknown {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  cyclic(): unknown {
    const list: unknown[] = [1];
    list.push(list);
    return list;
  },
  cyclicObject(): unknown {
    const object: Record<string, unknown> = {};
    object.self = object;
    return object;
  },
  deep(depth = 20000): unknown {
    let value: unknown = 1;
    for (let i = 0; i < depth; i++) value = [value];
    return value;
  },
  long: (length: number) => ({ length }),
  sparse: (length: number) => new Array<number>(length),
  text: (length: number) => 'x'.repeat(length),
  badToString: () => ({ toString: boom, valueOf: boom, toJSON: boom, [Symbol.toPrimitive]: boom }),
  badIterator: () => ({ length: 2, [Symbol.iterator]: boom }),
  badNext: () => ({ [Symbol.iterator]: () => ({ next: boom }) }),
  endless: () => ({
    *[Symbol.iterator]() {
      for (let i = 0; i < 1e7; i++) yield i;
    },
  }),
  // biome-ignore lint/suspicious/noThenProperty: it is meant to look like a promise
  thenable: () => ({ then: boom }),
  badConstructor: () => ({
    get constructor() {
      return boom();
    },
  }),
  badTag: () => ({
    get [Symbol.toStringTag]() {
      return boom();
    },
  }),
  rejected() {
    const promise = Promise.reject(new Boom());
    promise.catch(() => {});
    return promise;
  },
  /** An instance without what its constructor sets. */
  hollow: (Class: { prototype: object }) => Object.create(Class.prototype) as unknown,

  // ---- memory that is not what it seems ----
  detached(Class: TypedArrayClass, length = 4): ArrayBufferView {
    const buffer = new ArrayBuffer(64);
    const view = new Class(buffer, 0, length);
    structuredClone(buffer, { transfer: [buffer] });
    return view;
  },
  shared: (Class: TypedArrayClass, length = 4) => new Class(new SharedArrayBuffer(64), 0, length),
  resizable: (Class: TypedArrayClass) => new Class(new Resizable(16, { maxByteLength: 64 })),
  /** Over a buffer that has become too short for it. */
  outOfBounds(Class: TypedArrayClass): ArrayBufferView {
    const buffer = new Resizable(64, { maxByteLength: 64 });
    const view = new Class(buffer, 16, 4);
    buffer.resize(8);
    return view;
  },

  // ---- calls within calls ----
  nested: () => v.tidy(() => v.computeAdvantages('rloo', { rewards: [[0, 1], [1, 0]], masks: [[1, 1], [1, 1]], groupIds: [0, 0] }).advantages.dataSync()[0]),
  nestedScan: () => v.tidy(() => v.scan([v.tensor([[1, 2, 3]])], {}, (state, [x]) => state.mul(0.5).add(x)).sum().item()),
  estimator(compute: (...args: never[]) => unknown, statics: object = {}): v.AdvantageEstimator {
    class Own extends v.AdvantageEstimator {
      computeAdvantages(...args: unknown[]): v.Tensor {
        return compute(...(args as never[])) as v.Tensor;
      }
    }
    Object.assign(Own, statics);
    return new Own();
  },
  estimatorClass(compute: (...args: never[]) => unknown, statics: object = {}): v.AdvantageEstimatorClass {
    return h.estimator(compute, statics).constructor as v.AdvantageEstimatorClass;
  },
  /** What `f` makes of a value that has to be disposed of. */
  using<V extends { dispose?(): void }, R>(value: V, f: (value: V) => R): R {
    try {
      return f(value);
    } finally {
      if (typeof value?.dispose === 'function') value.dispose();
    }
  },
  closing<V extends { close(): unknown }>(value: V, f: (value: V) => unknown): unknown {
    try {
      return f(value);
    } finally {
      if (typeof value?.close === 'function') void value.close();
    }
  },
  stream: () => ({ write: () => true, isTTY: false, columns: 80 }),
  config: () => v.loadConfig({ base: { data: { train_data: ['train.jsonl'], val_data: ['validation.jsonl'] } } }).config,
  /** The number of an instruction in a plan. */
  op(name: string): number {
    const { ops, instructions, firstInstruction } = nativeDescription();
    return name in ops ? ops[name as keyof typeof ops] : firstInstruction + instructions.findIndex((row) => row.name === name);
  },
};

/** What the call under way holds in the addon. */
const held = { buffers: new Set<number>(), plans: new Set<number>() };
let newest = 0;

const kindOf = { free: 'buffers', upload: 'buffers', download: 'buffers', destroyPlan: 'plans', execute: 'plans' } as const;

/** An id that is in use, but not by the call under way, is the engine's: a call may not reach it. */
function own(kind: 'buffers' | 'plans', id: unknown): unknown {
  return typeof id === 'number' && id > 0 && id <= newest && !held[kind].has(id) ? id + 2 ** 24 : id;
}

function guarded(name: keyof NativeAddon, args: unknown[]): unknown {
  const given = [...args];
  if (name in kindOf && given.length > 0) given[0] = own(kindOf[name as keyof typeof kindOf], given[0]);
  if (name === 'execute' && given[1] instanceof Int32Array) given[1].forEach((id, i, all) => (all[i] = own('buffers', id) as number));
  const result = (native()[name] as (...all: unknown[]) => unknown)(...given);
  if (name === 'allocate' || name === 'createPlan') {
    held[name === 'allocate' ? 'buffers' : 'plans'].add(result as number);
    newest = Math.max(newest, result as number);
  }
  if (name === 'free') held.buffers.delete(given[0] as number);
  if (name === 'destroyPlan') held.plans.delete(given[0] as number);
  return result;
}

/** The addon. What a call allocates is freed when it is over. */
export const n = new Proxy({} as NativeAddon, { get: (_, name) => (...args: unknown[]) => guarded(name as keyof NativeAddon, args) });

export function freeHeld(): void {
  for (const id of held.buffers) native().free(id);
  for (const id of held.plans) native().destroyPlan(id);
  held.buffers.clear();
  held.plans.clear();
}
