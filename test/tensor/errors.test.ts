/** Wrong arguments: every public function answers with a VantageError that says what was expected, whatever it is given. */
import * as engine from '../../src/tensor';
import {
  affineScan,
  arange,
  attention,
  concat,
  discountedReturn,
  full,
  generalizedAdvantage,
  gradients,
  memory,
  randomKey,
  randomNormal,
  randomUniform,
  sampleTokens,
  scan,
  stack,
  tensor,
  Tensor,
  tidy,
  tokenLogProbs,
  UpdateList,
  vtrace,
  where,
  whiten,
  writeAt,
  zeros,
} from '../../src/tensor';
import { TensorError, VantageError } from '../../src/errors';
import { Random } from './helpers';

const random = new Random(101);

const x = () => tensor([[1, 2, 3], [4, 5, 6]]);
const disposed = () => {
  const gone = tensor([1]);
  gone.dispose();
  return gone;
};

/** JavaScript values of every kind, tensors of every kind among them. */
const garbage: (() => unknown)[] = [
  () => undefined,
  () => null,
  () => NaN,
  () => Infinity,
  () => -1,
  () => 0,
  () => 2.5,
  () => 2 ** 53,
  () => -(2 ** 53),
  () => 1e308,
  () => 10n,
  () => '',
  () => 'float32',
  () => 'x'.repeat(50),
  () => true,
  () => Symbol('s'),
  () => ({}),
  () => ({ shape: [1] }),
  () => [],
  () => [1, 2],
  () => [-1],
  () => [null],
  () => [[1], [1, 2]],
  () => ['a'],
  () => [Symbol('s')],
  () => [10n],
  () => new Array(20).fill(1),
  () => [2 ** 40, 2 ** 40],
  () => () => 1,
  () => (v: unknown) => v,
  () => new Map(),
  () => new Date(0),
  () => Promise.resolve(1),
  () => new Float32Array(3),
  () => new Float64Array(0),
  () => new BigInt64Array(2),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(8),
  () => Object.create(null),
  () => new Proxy({}, {}),
  x,
  disposed,
  () => tensor(1),
  () => tensor([1, 0], { dtype: 'int32' }),
  () => tensor([true, false]),
  () => full([0, 3], 1),
  () => [x(), x()],
  () => [x(), 1],
  () => x().add(1),
  () => ({ keepDims: 1, mask: x() }),
  () => ({ mask: 'm' }),
  () => ({ dtype: 'complex' }),
  () => ({ shape: [2, -1] }),
  () => ({ device: 'cuda' }),
  () => ({ device: 10n }),
  () => ({ key: randomKey(1) }),
  () => ({ key: 3 }),
  () => ({ temperature: -1 }),
  () => ({ temperature: 'hot', topK: 'k', key: randomKey(1) }),
  () => ({ scale: 'a', keyStart: tensor([0], { dtype: 'int32' }) }),
  () => ({ init: [1, 'a'] }),
  () => ({ ddof: -1 }),
  () => ({ reverse: 1, init: x() }),
];

const show = (
  value: unknown,
) => (value instanceof Tensor
  ? String(value)
  : typeof value === 'symbol'
  ? 'symbol'
  : typeof value === 'function'
  ? 'function'
  : Array.isArray(value)
  ? `array of ${value.length}`
  : typeof value === 'object'
  ? Object.prototype.toString.call(value)
  : String(value));

/** Calls `f` and evaluates what comes back: nothing but a VantageError may come out. */
function probe(name: string, f: (...args: never[]) => unknown, args: unknown[]): void {
  try {
    tidy(() => {
      const result = f(...(args as never[]));
      if (result instanceof Promise) {
        result.catch((error: unknown) => {
          if (!(error instanceof VantageError)) throw error;
        });
        return undefined;
      }
      const found = (Array.isArray(result) ? result : result instanceof Tensor ? [result] : Object.values(Object(result) as object)) as unknown[];
      for (const value of found.slice(0, 4)) if (value instanceof Tensor && !value.isDisposed && value.size < 1e6) value.dataSync();
      return undefined;
    });
  } catch (error) {
    if (!(error instanceof VantageError)) throw new Error(`${name}(${args.map(show).join(', ')}): ${String((error as Error).stack ?? error)}`);
  }
}

/** Random arguments. */
function attack(name: string, f: (...args: never[]) => unknown, rounds: number): void {
  for (let i = 0; i < rounds; i++) probe(name, f, Array.from({ length: random.integer(0, 4) }, () => random.pick(garbage)()));
}

describe('any arguments', () => {
  const functions = Object.entries(engine).filter(([, value]) => typeof value === 'function' && !/^[A-Z]/.test(value.name)) as [string, (...args: never[]) => unknown][];
  test.each(functions)('%s', (name, f) => attack(name, f, 400));

  const methods = Object.getOwnPropertyNames(Tensor.prototype).filter((name) => {
    const { value } = Object.getOwnPropertyDescriptor(Tensor.prototype, name)!;
    return typeof value === 'function' && !['constructor', 'replace', 'with', 'unary', 'reduced', 'extreme'].includes(name);
  });
  const receivers = [x, () => tensor(2), () => tensor([1, 2, 3], { dtype: 'int32' }), () => full([0, 3], 1), () => x().add(1), () => tensor([true, false])];
  test.each(methods)('Tensor.%s', (name) => {
    for (const receiver of receivers) attack(name, (...args: unknown[]) => (receiver() as unknown as Record<string, (...a: unknown[]) => unknown>)[name]!(...args), 80);
  });

  const heads = () => full([1, 2, 3, 4], 0.5).add(1);
  const int = (values: number[]) => tensor(values, { dtype: 'int32' });
  const options = (): { mask?: Tensor; init: number; reverse: boolean } => ({ mask: x().greater(2), init: 0, reverse: true });
  /** The state of a step, which is another thing where `init` is wrong. */
  const one = (state: unknown): Tensor => {
    if (state instanceof Tensor) return state;
    throw new VantageError('not the state that this step is for');
  };
  /** Arguments that are right. */
  const valid: Record<string, () => [(...args: never[]) => unknown, ...unknown[]]> = {
    attention: () => [attention, heads(), heads(), heads(), { scale: 0.5, keyStart: int([0]), queryOffset: 0 }],
    tokenLogProbs: () => [tokenLogProbs, x(), int([0, 1]), { temperature: 1 }],
    sampleTokens: () => [sampleTokens, x(), { temperature: 1, topK: 2, topP: 0.9, minP: 0.1, key: randomKey(1), counter: 0 }],
    writeAt: () => [writeAt, full([1, 3, 2], 1), full([1, 1, 2], 1), 1],
    randomUniform: () => [randomUniform, [2, 3], { key: randomKey(1), low: 0, high: 2, dtype: 'float32' }],
    randomNormal: () => [randomNormal, [2, 3], { key: randomKey(1), mean: 0, std: 2, dtype: 'float32' }],
    scan: () => [scan as never, [x(), x()], options(), (s: unknown, [r]: Tensor[]) => one(s).mul(0.5).add(r!)],
    'scan of two': () => [
      scan as never,
      [x()],
      { ...options(), init: [0, tensor([1, 2])] },
      (states: unknown, [r]: Tensor[]) => (Array.isArray(states) ? [one(states[0]).mul(one(states[1])).add(r!), one(states[0])] : states),
    ],
    'scan that loops': () => [scan as never, [x()], options(), (s: unknown, [r]: Tensor[]) => one(s).tanh().add(r!)],
    gradients: () => {
      const at = x();
      return [gradients as never, at.square().sum(), [at], { allowUnused: false }];
    },
    concat: () => [concat as never, [x(), x()], 1],
    stack: () => [stack as never, [x(), x()], 1],
    where: () => [where as never, x(), x(), x()],
    tensor: () => [tensor as never, [[1, 2], [3, 4]], { dtype: 'float32', shape: [4], device: 'cpu' }],
    full: () => [full as never, [2, 2], 3, { dtype: 'float32', device: 'cpu' }],
    arange: () => [arange as never, 0, 5, 2, { dtype: 'float32', device: 'cpu' }],
    sum: () => [(...rest: []) => x().sum(...rest), [0, 1], { keepDims: true, mask: x() }],
    std: () => [(...rest: []) => x().std(...rest), [0, 1], { keepDims: true, mask: x(), ddof: 1 }],
    slice: () => [(...rest: never[]) => x().slice(...(rest as unknown as [number[]])), [0, 1], [1, 3]],
    cumsum: () => [(...rest: []) => x().cumsum(...rest), 1, { reverse: true }],
    adamw: () => [
      ((...args: []) => {
        const updates = new UpdateList();
        (updates.adamw as (...a: unknown[]) => void)(...args);
        updates.evaluate();
      }) as never,
      tensor([1, 2]),
      tensor([0, 0]),
      tensor([0, 0]),
      tensor([1, 1]),
      tensor([1]),
      { lr: 0.1, beta1: 0.9, beta2: 0.9, epsilon: 1e-8, weightDecay: 0, step: 1 },
    ],
  };
  test.each(Object.keys(valid))('%s with one argument or option wrong', (name) => {
    const [f, ...right] = valid[name]!();
    tidy(() => f(...(right as never[])));
    for (const make of garbage) {
      for (let i = 0; i < right.length; i++) {
        const [, ...args] = valid[name]!();
        probe(name, f, args.with(i, make()));
        const own = args[i];
        if (Array.isArray(own)) { for (const k of own.keys()) probe(name, f, valid[name]!().slice(1).with(i, own.with(k, make()))); }
        else if (typeof own === 'object' && Object.getPrototypeOf(own) === Object.prototype) {
          for (const k of Object.keys(own as object)) probe(name, f, valid[name]!().slice(1).with(i, { ...own, [k]: make() }));
        }
      }
    }
  });

  test('RandomKey.fold and UpdateList', () => {
    attack('fold', (n: unknown) => (randomKey(1) as unknown as { fold(n: unknown): unknown }).fold(n), 100);
    attack('adamw', (...args: never[]) => (new UpdateList().adamw as (...a: unknown[]) => unknown).apply(new UpdateList(), args), 300);
    attack('evaluate', (...args: never[]) => (new UpdateList().evaluate as (...a: unknown[]) => unknown).apply(new UpdateList(), args), 100);
  });

  test('the steps of a scan return anything', () => {
    for (const make of garbage) {
      for (const init of [0, [0, 0]]) {
        try {
          (scan as unknown as (i: unknown, o: unknown, s: unknown) => unknown)([x()], { init }, make);
          (scan as unknown as (i: unknown, o: unknown, s: unknown) => unknown)([x()], { init }, () => [make(), make()]);
        } catch (error) {
          expect(error).toBeInstanceOf(VantageError);
        }
      }
    }
  });

  test('the attacks leave no memory behind', () => {
    const before = memory().buffers;
    attack('concat', concat as (...args: never[]) => unknown, 300);
    expect(memory().buffers - before).toBeLessThan(2000);
  });
});

describe('messages name the operation, what was expected and what came', () => {
  const cases: [string, () => unknown, string | RegExp][] = [
    ['add', () => x().add(tensor([1, 2])), 'add: shapes [2,3] and [2] do not broadcast together'],
    ['equal', () => x().equal('a' as never), "equal: expected a Tensor or a number, got 'a'"],
    ['less', () => x().less(null as never), 'less: expected a Tensor or a number, got null'],
    ['logicalAnd', () => x().logicalAnd(1 as never), 'logicalAnd: expected a Tensor, got 1'],
    ['sum', () => x().sum(2), 'sum: expected an axis from -2 to 1, got 2'],
    ['mean', () => x().mean([0, 0]), 'mean: axis 0 is named twice'],
    ['max', () => x().max(0, { mask: tensor([1, 1]) }), 'max: expected a mask that broadcasts to [2,3], got [2]'],
    ['var', () => x().var(0, { ddof: 0.5 }), 'var: expected ddof, a non-negative integer, got 0.5'],
    ['reshape', () => x().reshape(4, -1), 'reshape: cannot show shape [2,3] as [4,-1]'],
    ['transpose', () => x().transpose([0, 0]), /transpose: expected an order of the 2 axes/],
    ['squeeze', () => x().squeeze(0), 'squeeze: expected extent 1 at axis 0, got 2'],
    ['broadcastTo', () => x().broadcastTo([3, 3]), 'broadcastTo: shape [2,3] does not broadcast to [3,3]'],
    ['select', () => x().select(1, 3), 'select: expected an index from -3 to 2 on axis 1, got 3'],
    ['slice', () => x().slice([0, 0, 0]), /slice: expected at most 2 starts and ends/],
    ['gather', () => x().gather(tensor([[0]])), /gather: expected integer indices/],
    ['matmul', () => x().matmul(x()), 'matmul: shapes [2,3] and [2,3] do not fit: inner dimensions 3 and 2'],
    ['cast', () => x().cast('half' as never), /cast: expected a dtype \(float32, .*got 'half'/],
    ['transpose', () => x().transpose([0, 0]), 'transpose: expected an order of the 2 axes, got [0,0]'],
    ['expandDims', () => full(new Array<number>(8).fill(1), 1).expandDims(0), 'expandDims: expected at most 8 dimensions, got 9'],
    ['take', () => full(new Array<number>(5).fill(1), 1).take(full(new Array<number>(5).fill(1), 0, { dtype: 'int32' })), 'take: expected at most 8 dimensions, got 9'],
    ['stack', () => stack([full(new Array<number>(8).fill(1), 1)]), 'stack: expected at most 8 dimensions, got 9'],
    ['randomUniform', () => randomUniform([2], { key: randomKey(1), low: 5, high: 2 }), 'randomUniform: expected low no greater than high, got 5 and 2'],
    ['randomNormal', () => randomNormal([2], { key: randomKey(1), std: -1 }), 'randomNormal: expected std, 0 or more, got -1'],
    ['item', () => x().item(), 'item: expected a tensor of one element, got shape [2,3]'],
    ['to', () => x().to('tpu' as never), "to: expected device 'cpu' or 'cuda', got 'tpu'"],
    ['concat', () => concat([x(), tensor([[1]])]), /concat: expected shapes equal but for axis 0, got \[2,3\] and \[1,1\]/],
    ['stack', () => stack([x(), tensor([1])]), 'stack: expected equal shapes, got [2,3] and [1]'],
    ['where', () => where(1 as never, x(), x()), 'where condition: expected a Tensor, got 1'],
    ['tensor rows', () => tensor([[1, 2], [3]]), 'tensor: expected rows of one shape, got [2] and [1]'],
    ['tensor values', () => tensor(['a'] as never), "tensor: expected numbers in nested arrays, got 'a'"],
    ['tensor shape', () => tensor([1, 2, 3], { shape: [2, 2] }), 'tensor: shape [2,2] holds 4 values, got 3'],
    ['tensor device', () => tensor(1, { device: 'tpu' as never }), /tensor: expected device 'cpu' or 'cuda', got 'tpu'/],
    ['full', () => full([2], '1' as never), "full: expected a number, got '1'"],
    ['full shape', () => full([-1], 1), 'full: expected a shape of non-negative integers, got [-1]'],
    ['gradients', () => gradients(x(), []), 'gradients: expected a floating scalar loss, got float32 [2,3]'],
    ['attention', () => attention(x(), x(), x(), { scale: 1, keyStart: tensor([0]) }), /attention: expected q of shape \[B,H,Tq,D\], got \[2,3\]/],
    ['tokenLogProbs', () => tokenLogProbs(x(), tensor([0], { dtype: 'int32' })), /tokenLogProbs: expected ids of shape \[2\], got \[1\]/],
    ['sampleTokens', () => sampleTokens(x(), { key: 1 as never }), /sampleTokens: expected a RandomKey/],
    ['randomNormal', () => randomNormal([2], {} as never), /randomNormal: expected a RandomKey .*got undefined/],
    ['scan mask', () => scan([x()], { mask: tensor([1, 1]) }, (s, [a]) => s.add(a)), 'scan mask: shape [2] does not broadcast to [2,3]'],
    ['a larger scan mask', () => scan([x()], { mask: full([4, 2, 3], 1) }, (s, [a]) => s.add(a)), 'scan mask: shape [4,2,3] does not broadcast to [2,3]'],
    [
      'what is read in a step',
      () =>
        scan([x()], {}, (s, [a]) => {
          a.toArray();
          return s.add(a);
        }),
      'scan: a tensor of its step was read, or used outside of it',
    ],
    ['writeAt', () => writeAt(full([1, 2, 3], 0), full([1, 1, 3], 0), 2), /writeAt: expected a position from 0 to 1, got 2/],
  ];
  test.each(cases)('%s', (_, call, message) => {
    expect(call).toThrow(TensorError);
    expect(call).toThrow(message);
  });
});

test('memory that threads share is copied', () => {
  const shared = new Float32Array(new SharedArrayBuffer(12));
  shared.set([1, 2, 3]);
  const copy = tensor(shared);
  shared[0] = 9;
  expect(copy.toArray()).toEqual([1, 2, 3]);
  expect(tensor(shared, { dtype: 'int32', shape: [3, 1] }).toArray()).toEqual([[9], [2], [3]]);
});

describe('options that an operation does not have are refused, with the nearest', () => {
  const x = tensor([[1, 2]]);
  const key = randomKey(1);
  test.each<[string, () => unknown, string]>([
    ['sum', () => x.sum(0, { keepdims: true } as never), "sum: unknown option 'keepdims'. Did you mean 'keepDims'? Options: keepDims, mask"],
    ['mean', () => x.mean(null, { masks: x } as never), "mean: unknown option 'masks'. Did you mean 'mask'?"],
    ['max', () => x.max(0, { ddof: 1 } as never), "max: unknown option 'ddof'"],
    ['std', () => x.std(0, { dof: 0 } as never), "std: unknown option 'dof'. Did you mean 'ddof'? Options: keepDims, mask, ddof"],
    ['var', () => x.var(0, { dof: 0 } as never), "var: unknown option 'dof'"],
    ['keepDims', () => x.sum(0, { keepDims: 'yes' } as never), "sum: expected keepDims, true or false, got 'yes'"],
    ['keepDims', () => x.std(0, { keepDims: 1 } as never), 'std: expected keepDims, true or false, got 1'],
    ['cumsum', () => x.cumsum(1, { revers: true } as never), "cumsum: unknown option 'revers'. Did you mean 'reverse'?"],
    ['tensor', () => tensor([1], { type: 'int32' } as never), "tensor: unknown option 'type'. Did you mean 'dtype'?"],
    ['zeros', () => zeros([1], { shape: [1] } as never), "full: unknown option 'shape'"],
    ['arange', () => arange(0, 2, 1, { devise: 'cpu' } as never), "arange: unknown option 'devise'. Did you mean 'device'?"],
    ['randomUniform', () => randomUniform([1], { key, hi: 2 } as never), "randomUniform: unknown option 'hi'"],
    ['randomNormal', () => randomNormal([1], { key, sdt: 2 } as never), "randomNormal: unknown option 'sdt'. Did you mean 'std'?"],
    ['gradients', () => gradients(x.sum(), [x], { allowunused: true } as never), "gradients: unknown option 'allowunused'. Did you mean 'allowUnused'?"],
    ['scan', () => scan([x], { revers: true } as never, (s, [r]) => s.add(r)), "scan: unknown option 'revers'. Did you mean 'reverse'?"],
    ['generalizedAdvantage', () => generalizedAdvantage(x, x, x, { gamma: 1, lamda: 1 } as never), "generalizedAdvantage: unknown option 'lamda'. Did you mean 'lambda'?"],
    ['discountedReturn', () => discountedReturn(x, x, { gama: 1 } as never), "discountedReturn: unknown option 'gama'. Did you mean 'gamma'?"],
    ['whiten', () => whiten(x, x, { eps: 1 } as never), "whiten: unknown option 'eps'"],
    ['affineScan', () => affineScan(x, x, { init: x } as never), "affineScan: unknown option 'init'"],
    ['vtrace inputs', () => vtrace({ reward: x } as never, { gamma: 1 }), "vtrace: unknown input 'reward'. Did you mean 'rewards'?"],
    [
      'vtrace',
      () => vtrace({ targetLogProbs: x, behaviourLogProbs: x, rewards: x, values: x, mask: x }, { gamma: 1, cliprho: 2 } as never),
      "vtrace: unknown option 'cliprho'. Did you mean 'clipRho'?",
    ],
    ['tokenLogProbs', () => tokenLogProbs(x, tensor([0], { dtype: 'int32' }), { temp: 1 } as never), "tokenLogProbs: unknown option 'temp'"],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(TensorError);
    expect(call).toThrow(message);
  });
});
