/** Views, and what arithmetic and copies make of them. */
import { arange, concat, full, ones, stack, tensor, zeros, type DType } from '../../src/tensor';
import { expectMatches, Random } from './helpers';
import { concatenate, Ref } from './reference';
import { randomChain, randomView } from './views';

const dtypes: DType[] = ['float32', 'float64', 'bfloat16', 'int32', 'uint8', 'bool'];

describe('views', () => {
  test('each view alone, on every dtype', () => {
    const random = new Random(21);
    for (const dtype of dtypes) {
      for (let i = 0; i < 60; i++) {
        const x = random.ref(random.shape(4, i % 10 === 0 ? [0, 1, 2] : [1, 2, 3, 5]), dtype);
        const view = randomView(random, x.shape);
        expectMatches(view.tensor(x.tensor(dtype)), view.ref(x), 0, `${dtype} ${view.name}`);
      }
    }
  });

  test('chains of views, then arithmetic with another chain, a sum and a copy', () => {
    const random = new Random(22);
    for (let i = 0; i < 150; i++) {
      const x = random.ref(random.shape(4, [1, 2, 3, 4]));
      const chain = randomChain(random, x, random.integer(2, 6));
      const expected = chain.ref(x);
      const shown = chain.tensor(x.tensor());
      expectMatches(shown, expected, 0, chain.name);
      const y = random.ref(random.broadcastable(expected.shape));
      expectMatches(chain.tensor(x.tensor()).mul(y.tensor()).add(shown), expected.zip(y, (a, b) => a * b + a), 1e-12, chain.name);
      expectMatches(chain.tensor(x.tensor().square()).sum(), Ref.scalar(expected.data.reduce((a, b) => a + b * b, 0)), 1e-12, chain.name);
      expectMatches(chain.tensor(x.tensor().add(1)).cast('float32').neg(), expected.map((v) => -(v + 1)), 1e-6, chain.name);
    }
  });

  test('slices follow negative indices and clip to the extent', () => {
    const x = arange(10);
    expect(x.slice([-3]).toArray()).toEqual([7, 8, 9]);
    expect(x.slice([2], [-2]).toArray()).toEqual([2, 3, 4, 5, 6, 7]);
    expect(x.slice([5], [100]).toArray()).toEqual([5, 6, 7, 8, 9]);
    expect(x.slice([8], [2]).shape).toEqual([0]);
    expect(x.reshape(2, -1).slice([], [1]).toArray()).toEqual([[0, 1, 2, 3, 4]]);
  });

  test('views of constants stay constants', () => {
    expect(full([2, 3], 7).transpose().slice([1]).toArray()).toEqual([[7, 7], [7, 7]]);
    expect(zeros([2]).broadcastTo([3, 2]).sum().item()).toBe(0);
    expect(ones([2, 2], { dtype: 'int32' }).flip(0).add(1).toArray()).toEqual([[2, 2], [2, 2]]);
  });
});

describe('joining', () => {
  const random = new Random(23);
  const arrange = (dtype: DType) => {
    const shape = [random.integer(1, 3), random.integer(1, 4), random.integer(1, 3)];
    const axis = random.integer(0, 2);
    const parts = Array.from({ length: random.integer(1, 4) }, () => random.ref(shape.with(axis, random.integer(0, 3)), dtype));
    return { axis, parts };
  };

  test('concat along every axis, of memory, views and arithmetic', () => {
    for (const dtype of dtypes) {
      for (let i = 0; i < 20; i++) {
        const { axis, parts } = arrange(dtype);
        const expected = concatenate(parts, axis);
        expectMatches(concat(parts.map((part) => part.tensor(dtype)), axis), expected, 0, `${dtype} concat`);
        const reversed = parts.map((part) => part.tensor(dtype).transpose());
        expectMatches(concat(reversed, 2 - axis), expected.permute([2, 1, 0]), 0, `${dtype} concat of views`);
        const computed = concat(parts.map((part) => part.tensor(dtype).cast('float32').mul(2)), axis - 3);
        expectMatches(computed.add(1), expected.map((v) => 2 * v + 1), 0, `${dtype} concat of arithmetic`);
      }
    }
  });

  test('stack along every axis; the same tensor twice', () => {
    for (let i = 0; i < 60; i++) {
      const shape = random.shape(3);
      const parts = Array.from({ length: random.integer(1, 4) }, () => random.ref(shape));
      const axis = random.integer(0, shape.length);
      const expected = concatenate(parts.map((part) => part.reshape(shape.toSpliced(axis, 0, 1))), axis);
      expectMatches(stack(parts.map((part) => part.tensor()), axis), expected);
      const x = parts[0]!.tensor().mul(3);
      const twice = parts[0]!.map((v) => 3 * v).reshape(shape.toSpliced(axis, 0, 1));
      expectMatches(stack([x, x], axis).add(x.expandDims(axis)), concatenate([twice, twice], axis).zip(twice, (a, b) => a + b));
    }
  });

  test('parts are brought to one dtype', () => {
    expect(concat([tensor([1, 2], { dtype: 'int32' }), tensor([0.5])]).dtype).toBe('float32');
    expect(concat([tensor([1, 2], { dtype: 'int32' }), tensor([0.5])]).toArray()).toEqual([1, 2, 0.5]);
    expect(stack([tensor([true]), tensor([7], { dtype: 'uint8' })]).toArray()).toEqual([[1], [7]]);
  });

  test('hundreds of parts', () => {
    const columns = Array.from({ length: 700 }, (_, i) => full([3], i).add(tensor([0, 1000, 2000])));
    const joined = stack(columns, 1);
    expectMatches(joined, Ref.build([3, 700], ([row, i]) => row! * 1000 + i!));
  });
});

describe('indexing', () => {
  test('gather along every axis, of views too', () => {
    const random = new Random(24);
    for (const dtype of dtypes) {
      for (let i = 0; i < 20; i++) {
        const x = random.ref([random.integer(1, 4), random.integer(1, 4), random.integer(1, 4)], dtype);
        const axis = random.integer(0, 2);
        const extent = x.shape[axis]!;
        const index = Ref.build(x.shape.with(axis, random.integer(0, 5)), () => random.integer(0, extent - 1));
        const expected = Ref.build(index.shape, (at) => x.at(at.with(axis, index.at(at))));
        expectMatches(x.tensor(dtype).gather(index.tensor('int32'), axis), expected, 0, `${dtype} gather`);
        expectMatches(x.tensor(dtype).transpose().gather(index.tensor('int32').transpose(), 2 - axis), expected.permute([2, 1, 0]), 0, `${dtype} gather of views`);
      }
    }
  });

  test('take: rows by indices of any shape', () => {
    const random = new Random(25);
    for (let i = 0; i < 40; i++) {
      const x = random.ref([random.integer(1, 5), ...random.shape(2)]);
      const index = Ref.build(random.shape(3), () => random.integer(0, x.shape[0]! - 1));
      const expected = Ref.build([...index.shape, ...x.shape.slice(1)], (at) => x.at([index.at(at.slice(0, index.shape.length)), ...at.slice(index.shape.length)]));
      expectMatches(x.tensor().take(index.tensor('int32')), expected);
      expectMatches(x.tensor().add(1).take(index.tensor('uint8')).mul(2), expected.map((v) => 2 * v + 2));
    }
  });

  test('an index outside is an error and not a read of foreign memory', () => {
    const x = tensor([1, 2, 3]);
    for (const index of [3, -1, 2147483647]) expect(() => x.take(tensor([index], { dtype: 'int32' })).toArray()).toThrow(/index/);
  });
});

describe('creation', () => {
  test('arange counts as Python does', () => {
    expect(arange(4).toArray()).toEqual([0, 1, 2, 3]);
    expect(arange(4).dtype).toBe('int32');
    expect(arange(2, 9, 3).toArray()).toEqual([2, 5, 8]);
    expect(arange(3, 0, -1).toArray()).toEqual([3, 2, 1]);
    expect(arange(0, 1, 0.25).toArray()).toEqual([0, 0.25, 0.5, 0.75]);
    expect(arange(0, 1, 0.25).dtype).toBe('float32');
    expect(arange(5, 5).shape).toEqual([0]);
  });

  test('tensor reads numbers, nested and typed arrays', () => {
    expect(tensor(3).toArray()).toBe(3);
    expect(tensor([[1, 2], [3, 4]]).toArray()).toEqual([[1, 2], [3, 4]]);
    expect(tensor([[true, false]]).dtype).toBe('bool');
    expect(tensor([[[]]]).shape).toEqual([1, 1, 0]);
    expect(tensor([]).shape).toEqual([0]);
    expect(tensor([Float64Array.of(1, 2), Float64Array.of(3, 4)]).toArray()).toEqual([[1, 2], [3, 4]]);
    for (const [array, dtype] of [[Float32Array, 'float32'], [Float64Array, 'float64'], [Int32Array, 'int32'], [Uint8Array, 'uint8'], [Int16Array, 'float32']] as const) {
      expect(tensor(array.of(1, 2)).dtype).toBe(dtype);
      expect(tensor(array.of(1, 2)).toArray()).toEqual([1, 2]);
    }
    expect(tensor(new Float32Array([9, 1, 2, 3]).subarray(1), { shape: [3, 1] }).toArray()).toEqual([[1], [2], [3]]);
  });
});
