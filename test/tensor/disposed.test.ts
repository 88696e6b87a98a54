/** Tensors that are no longer there, that another copy of the library made, or that are sent elsewhere. */
import { computeAdvantages } from '../../src/advantages';
import { TensorError } from '../../src/errors';
import * as engine from '../../src/tensor';
import {
  affineScan,
  attention,
  concat,
  discountedReturn,
  full,
  generalizedAdvantage,
  gradients,
  randomKey,
  sampleTokens,
  scan,
  tensor,
  Tensor,
  tidy,
  tokenLogProbs,
  UpdateList,
  vtrace,
  where,
  whiten,
  writeAt,
} from '../../src/tensor';

const x = () => tensor([[1, 2, 3], [4, 5, 6]]);
const disposed = () => {
  const gone = tensor([1]);
  gone.dispose();
  return gone;
};

describe('a disposed tensor is named', () => {
  const whole = (values: number[]) => tensor(values, { dtype: 'int32' });
  const of = (name: string, gone: Tensor) => ({ targetLogProbs: x(), behaviourLogProbs: x(), rewards: x(), values: x(), mask: x(), [name]: gone });
  test.each<[string, (gone: Tensor) => unknown]>([
    ['add', (gone) => x().add(gone)],
    ['logicalAnd', (gone) => x().logicalAnd(gone)],
    ['clamp high', (gone) => x().clamp(0, gone)],
    ['sum mask', (gone) => x().sum(0, { mask: gone })],
    ['take indices', (gone) => x().take(gone)],
    ['where condition', (gone) => where(gone, x(), x())],
    ['where b', (gone) => where(x(), 0, gone)],
    ['concat 1', (gone) => concat([x(), gone])],
    ['evaluate 0', (gone) => engine.evaluate([gone])],
    ['scan input 1', (gone) => scan([x(), gone], {}, (s, [a]) => s.add(a))],
    ['scan mask', (gone) => scan([x()], { mask: gone }, (s, [a]) => s.add(a))],
    ['scan init', (gone) => scan([x()], { init: gone }, (s, [a]) => s.add(a))],
    ['gradients wrt 1', (gone) => {
      const at = x();
      return gradients(at.sum(), [at, gone]);
    }],
    ['attention v', (gone) => attention(full([1, 2, 3, 4], 1), full([1, 2, 3, 4], 1), gone, { scale: 1, keyStart: whole([0]) })],
    ['tokenLogProbs logits', (gone) => tokenLogProbs(gone, whole([0, 0]))],
    ['sampleTokens logits', (gone) => sampleTokens(gone, { key: randomKey(1) })],
    ['writeAt values', (gone) => writeAt(full([1, 2, 3], 0), gone, 0)],
    ['padRows x', (gone) => engine.padRows(gone, [0, 1])],
    ['rowOffsets', (gone) => engine.padRows(tensor([1]), gone)],
    ['adamw m', (gone) => new UpdateList().adamw(tensor([1]), gone, tensor([1]), tensor([1]), tensor([1]), { lr: 0, beta1: 0, beta2: 0, epsilon: 0, weightDecay: 0, step: 1 })],
    ['affineScan initial', (gone) => affineScan(x(), x(), { initial: gone })],
    ['discountedReturn rewards', (gone) => discountedReturn(gone, x(), { gamma: 1 })],
    ['generalizedAdvantage values', (gone) => generalizedAdvantage(x(), gone, x(), { gamma: 1, lambda: 1 })],
    ['generalizedAdvantage bootstrap', (gone) => generalizedAdvantage(x(), x(), x(), { gamma: 1, lambda: 1, ends: x(), bootstrap: gone })],
    ['vtrace values', (gone) => vtrace(of('values', gone), { gamma: 1 })],
    ['vtrace mask', (gone) => vtrace(of('mask', gone), { gamma: 1 })],
    ['whiten mask', (gone) => whiten(x(), gone)],
    ['whiten moments', (gone) => whiten(x(), x(), { moments: gone })],
    ['rowMoments x', (gone) => engine.rowMoments(gone, x())],
    ['groupMoments valid', (gone) => engine.groupMoments(tensor([1, 2]), gone, whole([0, 1]), whole([0, 2]))],
    ['groupAdvantages rewards', (gone) => engine.groupAdvantages(gone, x(), whole([0, 1]), whole([0, 2]))],
    ['groupAdvantages starts', (gone) => engine.groupAdvantages(x(), x(), whole([0, 1]), gone)],
  ])('%s', (name, call) => {
    expect(() => call(disposed())).toThrow(new TensorError(`${name}: expected a Tensor that is there, got one that was disposed`));
  });

  const axis: unknown[] = [0];
  const args: Record<string, unknown[]> = {
    ...Object.fromEntries(['sum', 'mean', 'var', 'std', 'max', 'min', 'cumsum', 'softmax', 'logSoftmax', 'expandDims', 'squeeze', 'flip'].map((name) => [name, axis])),
    ...{ reshape: [1], transpose: [], broadcastTo: [[1]], slice: [[0]], select: [0, 0], cast: ['int32'], to: ['cpu'] },
  };
  const methods = Object.getOwnPropertyNames(Tensor.prototype).filter((name) => !['constructor', 'toString', 'with', 'unary', 'reduced', 'extreme'].includes(name));
  test.each(methods)('what %s is called on', (name) => {
    const gone = disposed() as unknown as Record<string, unknown>;
    const use = async () => {
      const member = gone[name];
      return typeof member === 'function' ? (member as (...given: unknown[]) => unknown).call(gone, ...(args[name] ?? [x()])) : member;
    };
    return expect(use()).rejects.toThrow(new TensorError(`${name === 'toJSON' ? 'toArray' : name}: expected a Tensor that is there, got one that was disposed`));
  });
});

test('a tensor of another copy of the library is called that', () => {
  jest.isolateModules(() => {
    const { tensor: other } = jest.requireActual<typeof engine>('../../src/tensor');
    const foreign = other([1, 2]);
    expect(foreign).not.toBeInstanceOf(Tensor);
    expect(() => x().add(foreign)).toThrow('add: expected a Tensor or a number, got a Tensor of another copy of vantage-rl');
    expect(() => gradients(foreign, [])).toThrow('got a Tensor of another copy of vantage-rl');
    expect(() => tensor(foreign as never)).toThrow('tensor: expected numbers in nested arrays, got a Tensor of another copy of vantage-rl');
    expect(() => computeAdvantages(foreign as never, {} as never)).toThrow('got a Tensor of another copy of vantage-rl');
  });
  expect(() => full([1], x() as never)).toThrow('full: expected a number, got a Tensor');
});

test('a tensor is not cloned, nor is what holds one', () => {
  const [held, lazy] = [tensor([1, 2]), tensor([1, 2]).add(1)];
  for (const value of [held, lazy, { values: [held] }]) expect(() => structuredClone(value)).toThrow('a Tensor: send what its dataSync() gives');
  tidy(() => expect(() => structuredClone(held.mul(2))).toThrow('a Tensor: send what its dataSync() gives'));
});
