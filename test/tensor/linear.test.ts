/** matmul and softmax on every arrangement of operands. */
import { full, type DType } from '../../src/tensor';
import { expectMatches, Random } from './helpers';
import { Ref, softmax } from './reference';

const random = new Random(41);

describe('matmul', () => {
  test('shapes, batches that broadcast, dtypes', () => {
    const cases: [number[], number[]][] = [
      [[2, 3], [3, 4]],
      [[1, 1], [1, 1]],
      [[17, 33], [33, 9]],
      [[64, 70], [70, 65]],
      [[5, 2, 3], [3, 4]],
      [[2, 3], [5, 3, 4]],
      [[5, 2, 3], [5, 3, 4]],
      [[2, 1, 4, 3], [3, 3, 5]],
      [[1, 2, 3], [4, 1, 3, 2]],
      [[0, 3], [3, 4]],
      [[2, 3], [3, 0]],
      [[2, 0], [0, 4]],
      [[3, 2, 0], [0, 4]],
      [[0, 2, 3], [3, 4]],
    ];
    for (const [left, right] of cases) {
      const [a, b] = [random.smooth(left), random.smooth(right)];
      for (const [dtype, tolerance] of [['float64', 1e-12], ['float32', 2e-5]] as const) {
        expectMatches(a.tensor(dtype).matmul(b.tensor(dtype)), a.matmul(b), tolerance, `${dtype} [${left}]·[${right}]`);
      }
    }
    for (const dtype of ['bfloat16', 'int32', 'bool', 'uint8'] as DType[]) {
      const [a, b] = [random.ref([4, 5], dtype, -2, 2), random.ref([5, 3], dtype, -2, 2)];
      const product = a.tensor(dtype).matmul(b.tensor(dtype));
      expect(product.dtype).toBe(dtype === 'bfloat16' ? 'bfloat16' : 'float32');
      expectMatches(product, a.matmul(b), undefined, dtype);
    }
    expect(random.ref([2, 2], 'float64').tensor('float64').matmul(random.ref([2, 2]).tensor('float32')).dtype).toBe('float64');
  });

  test('1-D operands are a row or a column', () => {
    const [v, w, m, batch] = [random.smooth([3]), random.smooth([3]), random.smooth([3, 4]), random.smooth([2, 5, 3])];
    expectMatches(v.tensor().matmul(w.tensor()), v.reshape([1, 3]).matmul(w.reshape([3, 1])).reshape([]));
    expectMatches(v.tensor().matmul(m.tensor()), v.reshape([1, 3]).matmul(m).reshape([4]));
    expectMatches(m.tensor().transpose().matmul(v.tensor()), m.permute([1, 0]).matmul(v.reshape([3, 1])).reshape([4]));
    expectMatches(batch.tensor().matmul(v.tensor()), batch.matmul(v.reshape([3, 1])).reshape([2, 5]));
    expectMatches(v.tensor().matmul(batch.tensor().transpose([0, 2, 1])), v.reshape([1, 3]).matmul(batch.permute([0, 2, 1])).reshape([2, 5]));
  });

  test('transposed, flipped, sliced and repeated operands', () => {
    const a = random.smooth([6, 4]);
    const b = random.smooth([7, 4]);
    const bt = b.permute([1, 0]);
    expectMatches(a.tensor().matmul(b.tensor().transpose()), a.matmul(bt));
    expectMatches(a.tensor().flip(1).matmul(b.tensor().flip(1).transpose()), a.matmul(bt));
    expectMatches(a.tensor().slice([1, 1], [5, 3]).matmul(b.tensor().transpose().slice([1, 2], [3])), a.slice([1, 1], [4, 2]).matmul(bt.slice([1, 2], [2, 5])));
    expectMatches(a.tensor().add(1).matmul(b.tensor().mul(2).transpose()).sub(3), a.map((v) => v + 1).matmul(bt.map((v) => 2 * v)).map((v) => v - 3));
    expectMatches(a.tensor().select(0, 2).broadcastTo([3, 4]).matmul(bt.tensor()), a.select(0, 2).expand([3, 4]).matmul(bt));
    expectMatches(full([2, 6], 1, { dtype: 'float64' }).matmul(a.tensor()), new Ref([2, 6], Array<number>(12).fill(1)).matmul(a));
    expectMatches(a.tensor().transpose().matmul(a.tensor()), a.permute([1, 0]).matmul(a));
  });

  test('an empty inner dimension gives zeros, NaN stays in its row', () => {
    expect(full([2, 0], 1).matmul(full([0, 3], 1)).toArray()).toEqual([[0, 0, 0], [0, 0, 0]]);
    const a = new Ref([2, 2], [1, NaN, 2, 3]);
    expect(a.tensor().matmul(new Ref([2, 1], [1, 1]).tensor()).toArray()).toEqual([[NaN], [5]]);
  });
});

describe('softmax', () => {
  test('every axis, dtype and view', () => {
    for (const shape of [[1], [7], [3, 4], [2, 3, 4], [2, 3, 2, 5], [3, 1000], [0, 3]]) {
      const x = random.smooth(shape, -5, 5);
      shape.forEach((_, axis) => {
        const expected = x.rows(axis, softmax);
        expectMatches(x.tensor().softmax(axis), expected, 1e-12, `axis ${axis}`);
        expectMatches(x.tensor().logSoftmax(axis), expected.map(Math.log), 1e-11, `axis ${axis}`);
        expectMatches(x.tensor('float32').softmax(axis - shape.length), expected, 3e-6, `float32 axis ${axis}`);
        expectMatches(x.tensor('float32').logSoftmax(axis), expected.map(Math.log), 1e-5, `float32 axis ${axis}`);
        expectMatches(x.tensor('bfloat16').softmax(axis), expected, 4e-2, `bfloat16 axis ${axis}`);
        expectMatches(x.tensor().transpose().mul(2).softmax(shape.length - 1 - axis), x.map((v) => 2 * v).rows(axis, softmax).permute([...shape.keys()].reverse()), 1e-12);
      });
    }
    expect(random.ref([3], 'int32').tensor('int32').softmax().dtype).toBe('float32');
  });

  test('large and infinite logits', () => {
    expectMatches(new Ref([3], [1e4, 1e4 - 1, -1e4]).tensor('float32').softmax(), new Ref([3], softmax([1, 0, -1e4])), 1e-6);
    expectMatches(new Ref([3], [0, -Infinity, 0]).tensor().softmax(), new Ref([3], [0.5, 0, 0.5]));
    expectMatches(new Ref([2], [0, -Infinity]).tensor().logSoftmax(), new Ref([2], [0, -Infinity]));
  });
});
