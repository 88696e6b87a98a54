/** What nobody would write on purpose, and must not break anything: found by `npm run fuzz`. */
import { computeAdvantages } from '../../src/advantages';
import { showValue } from '../../src/errors';
import { concat, evaluate, gradients, memory, RandomKey, scan, Tensor, tensor, tidy, zeros } from '../../src/tensor';

const usage = () => {
  const { tensors, buffers, bytes } = memory();
  return { tensors, buffers, bytes };
};

describe('a tidy disposes of its tensors', () => {
  test('where looking into its result throws', () => {
    const before = usage();
    const result = {
      get tensor(): Tensor {
        throw new Error('not to be read');
      },
    };
    expect(() =>
      tidy(() => {
        tensor([1, 2]).add(1).realize();
        return result;
      })
    ).toThrow('not to be read');
    expect(usage()).toEqual(before);
    const trap = new Proxy({}, {
      get: (): never => {
        throw new Error('nothing is to be read');
      },
    });
    expect(() =>
      tidy(() => {
        tensor([1, 2]).add(1).realize();
        return trap;
      })
    ).toThrow('nothing is to be read');
    expect(usage()).toEqual(before);
  });

  test('where a tensor comes back in a Proxy, which is kept', () => {
    const before = usage();
    const kept = tidy(() => {
      const [first] = [tensor([1, 2, 3]), tensor([4]), tensor([5])];
      return new Proxy(first, { get: (target, key) => Reflect.get(target, key, target) as unknown });
    });
    expect(kept.toArray()).toEqual([1, 2, 3]);
    expect(memory().tensors).toBe(before.tensors + 1);
    kept.dispose();
    expect(usage()).toEqual(before);
    // Neither through the Proxy nor by itself is it given back again.
    const again = tensor([1]);
    new Proxy(again, {}).dispose();
    again.dispose();
    expect(usage()).toEqual(before);
  });
});

test('a step of a scan may dispose of its inputs', () => {
  const before = usage();
  const [x, mask, init] = [tensor([[1, 2, 3]]), tensor([[true, true, false]]), tensor([10])];
  const total = scan([x], { mask, init }, (state, [y]) => {
    for (const each of [x, mask, init]) each.dispose();
    return state.add(y);
  });
  expect(total.toArray()).toEqual([[11, 13, 13]]);
  total.dispose();
  // The step's own sum, a tensor without memory, is the collector's.
  expect(usage()).toEqual({ ...before, tensors: before.tensors + 1 });
});

test('a tidy gives back lists of any length', () => {
  expect(tidy(() => new Array<number>(300_000).fill(1))).toHaveLength(300_000);
  expect(tidy(() => new Array<number>(2 ** 32 - 1))).toHaveLength(2 ** 32 - 1);
});

test('a promise that is refused does not end the process by its own rejection', async () => {
  const seen: unknown[] = [];
  const listen = (error: unknown) => seen.push(error);
  process.on('unhandledRejection', listen);
  const late = async (): Promise<never> => {
    throw new Error('late');
  };
  expect(() => tidy(late)).toThrow(/Promise/);
  expect(() => scan([tensor([[1, 2]])], {}, late as unknown as () => Tensor)).toThrow(/Promise/);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', listen);
  expect(seen).toEqual([]);
});

test('a Tensor that no operation has made is refused', () => {
  expect(() => new (Tensor as unknown as new () => Tensor)()).toThrow(/tensors are made by/);
  const hollow = Object.create(Tensor.prototype) as Tensor;
  expect(() => tensor([1]).add(hollow)).toThrow(/expected a tensor that an operation/);
});

test('holes in lists are refused, however long the list', () => {
  const holes = new Array<Tensor>(2);
  const long = new Array<Tensor>(2 ** 32 - 1);
  for (const list of [holes, long]) {
    expect(() => concat(list)).toThrow(/expected a Tensor, got undefined/);
    expect(() => evaluate(list)).toThrow(/expected a Tensor, got undefined/);
    expect(() => gradients(tensor([1]).sum(), list)).toThrow(/expected a Tensor, got undefined/);
    expect(() => scan(list, {}, (state) => state)).toThrow(/expected a Tensor, got undefined/);
  }
});

test('holes among the states of a scan are refused, and nothing is held', () => {
  const x = tensor([1, 2, 3, 4]);
  const before = usage();
  const states = new Array<number>(2);
  states[1] = 1;
  expect(() => tidy(() => scan([x], { init: states }, ([a, b]) => [a!, b!]))).toThrow(/scan init 0: expected a number, or a Tensor of shape \[\], got undefined/);
  const next = new Array<Tensor>(2);
  expect(() => tidy(() => scan([x], { init: [0, 1] }, ([a]) => ((next[1] = a), next)))).toThrow(/expected the step to return a Tensor for state 0, got undefined/);
  expect(usage()).toMatchObject({ buffers: before.buffers, bytes: before.bytes });
});

test('lists of axes and extents are refused before they are gone through', () => {
  const long = new Array<number>(2 ** 32 - 1);
  expect(() => tensor([1]).sum(long)).toThrow('sum: expected at most 1 axes, got an array of 4294967295');
  expect(() => tensor([1]).reshape(long)).toThrow(/reshape: expected at most 8 dimensions/);
  expect(() => tensor([1]).transpose(long)).toThrow(/transpose: expected an order of the 1 axes/);
  expect(() => tensor([[1]]).sum(new Array<number>(2))).toThrow('sum: expected an axis from -2 to 1, got undefined');
});

test('an array that holds itself has too many dimensions', () => {
  const cyclic: unknown[] = [1];
  cyclic.unshift(cyclic);
  expect(() => tensor(cyclic as number[])).toThrow('tensor: expected at most 8 dimensions');
  expect(() => computeAdvantages('raw_reward', { rewards: cyclic as number[], masks: [[1]] })).toThrow(/at most 8 dimensions/);
});

test('more values than the host has room for', () => {
  expect(() => zeros([1e12]).dataSync()).toThrow(/reading float32 \[1000000000000\]: no room for 4000000000000 bytes/);
});

test('a message about a tensor does not write it out', () => {
  const inputs = { rewards: zeros([2, 2 ** 31]), list: new Array<number>(2 ** 32 - 1), text: 'x'.repeat(1e6), bytes: Buffer.alloc(1e6) };
  expect(showValue(inputs)).toBe('{"rewards":Tensor(float32 [2,2147483648], not evaluated),"list":[null,null,nu…');
  expect(showValue(inputs.bytes)).toMatch(/^\{"0":0,"1":0,.*…$/);
  expect(showValue(inputs.bytes)).toHaveLength(78);
  expect(showValue([1, NaN, 'a', undefined, 10n, { b: [true, null], c: undefined }])).toBe('[1,null,"a",null,10n,{"b":[true,null]}]');
  const cyclic: unknown[] = [1];
  cyclic.push(cyclic);
  expect(showValue(cyclic)).toBe('[1,…]');
});

test('a random key is two words', () => {
  expect(() => new RandomKey(-1, 0)).toThrow(/RandomKey: expected low, an integer from 0/);
  expect(() => new RandomKey(1, '2' as unknown as number)).toThrow(/RandomKey: expected high/);
});
