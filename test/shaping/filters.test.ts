/** Filters of batches. */
import { DynamicSamplingFilter, dynamicSamplingReplace, overlongFilter, tensor, zeroVarianceFilter } from 'vantage-rl';

describe('zeroVarianceFilter', () => {
  const ids = ['a', 'b', 'a', 'b', 'c', 'd', 'd'];

  test('drops groups without a difference, keeps single rows', () => {
    expect(zeroVarianceFilter([1, 0, 1, 1, 5, 2, 2], ids)).toEqual([1, 3, 4]);
    expect(zeroVarianceFilter([1, 0, 1.05, 1, 5, 2, 2.2], ids, { tolerance: 0.1 })).toEqual([1, 3, 4, 5, 6]);
    expect(zeroVarianceFilter([[1, 1], [2, 0], [2], [1], [], [1], [0.5, 0.25]], ids)).toEqual([1, 3, 4, 5, 6]);
    expect(zeroVarianceFilter([], [])).toEqual([]);
  });

  test('rows that are not live do not count, but stay with their group', () => {
    expect(zeroVarianceFilter([1, 0, 1, 1, 5, 2, 7], ids, {}, [1, 1, 1, 1, 1, 1, 0])).toEqual([1, 3, 4, 5, 6]);
    expect(zeroVarianceFilter([1, 1, 0], ['a', 'a', 'a'], {}, [true, true, false])).toEqual([]);
  });

  test('errors', () => {
    expect(() => zeroVarianceFilter([1], ids)).toThrow('groupIds: expected 1 ids, one a row, got 7');
    expect(() => zeroVarianceFilter([1], ['a'], { tolerence: 1 } as never)).toThrow("Did you mean 'tolerance'?");
    expect(() => zeroVarianceFilter([1], ['a'], {}, [])).toThrow('live: expected 1 flags, one a row, got 0');
  });
});

describe('overlongFilter', () => {
  test('rows that were cut off are masked, in tensors and ragged lists', () => {
    const reasons = ['stop', 'length', 'abort'];
    expect(overlongFilter([[1, 0], [1, 1, 1], []], reasons)).toEqual([[1, 0], [0, 0, 0], []]);
    const masks = tensor([[1, 0], [1, 1], [0, 1]], { dtype: 'uint8' });
    expect(overlongFilter(masks, reasons).toArray()).toEqual([[1, 0], [0, 0], [0, 0]]);
    expect(overlongFilter(masks, reasons, { kept: ['stop', 'abort'] }).toArray()).toEqual([[1, 0], [0, 0], [0, 1]]);
    expect(() => overlongFilter(masks, ['stop'])).toThrow('overlongFilter: stopReasons: expected 3 reasons, one a row, got 1');
    const holes = new Array<never>(4_294_967_295);
    expect(() => overlongFilter([holes], ['stop'])).toThrow('overlongFilter: masks: expected numbers, got undefined in row 0 at position 0');
    expect(() => overlongFilter(holes, holes)).toThrow('overlongFilter: masks: expected a Tensor [batch, time] or an array of numbers for each row');
    expect(() => overlongFilter([[1], ['x' as never]], ['stop', 'stop'])).toThrow('masks: expected numbers, got "x" in row 1 at position 0');
    expect(() => overlongFilter([[1], [1]], ['stop', 3 as never])).toThrow('stopReasons: expected a reason for each row, got 3 in row 1');
  });
});

describe('DynamicSamplingFilter', () => {
  test('collects groups whose rewards differ until there are enough, and gives no more than that', () => {
    const filter = new DynamicSamplingFilter<string>({ trainBatchSize: 2, samplesPerPrompt: 2 });
    expect(filter.add({ groupIds: ['a', 'a', 'b', 'b'], rewards: [1, 1, 0, 1], samples: ['0', '1', '2', '3'] })).toBe(true);
    expect(filter.promptsCollected).toBe(1);
    expect(() => filter.take()).toThrow('expected 2 prompts, got 1 so far');
    expect(filter.add({ groupIds: ['c', 'c'], rewards: [0, 0], samples: ['4', '5'] })).toBe(true);
    expect(filter.collected.samples).toEqual(['2', '3']);
    const rest = { groupIds: ['d', 'e', 'd', 'e'], rewards: [[1], [0, 1], [0], [2]], samples: ['6', '7', '8', '9'] };
    expect(filter.add(rest)).toBe(false);
    expect(filter.take()).toEqual({ groupIds: ['b', 'b', 'd', 'e'], rewards: [0, 1, [1], [0, 1]], samples: ['2', '3', '6', '7'] });
    expect(filter.promptsCollected).toBe(0);
  });

  test('with one sample a prompt everything counts; errors', () => {
    const filter = new DynamicSamplingFilter<number>({ trainBatchSize: 2, samplesPerPrompt: 1 });
    expect(filter.add({ groupIds: [1, 2, 3], rewards: [0, 0, 0], samples: [1, 2, 3] })).toBe(false);
    expect(filter.take().samples).toEqual([1, 2]);
    expect(() => filter.add({ groupIds: [1], rewards: [0], samples: [] })).toThrow('samples: expected 1, one a row, got 0');
    expect(() => new DynamicSamplingFilter({ trainBatchSize: 2 } as never)).toThrow('samplesPerPrompt: expected an integer, 1 or more, got undefined');
  });
});

describe('dynamicSamplingReplace', () => {
  const groupIds = ['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd'];
  const samples = [0, 1, 2, 3, 4, 5, 6, 7];

  test('good groups take the places of bad ones, each once while they suffice', () => {
    for (let seed = 0; seed < 10; seed++) {
      const result = dynamicSamplingReplace({ groupIds, samples, rewards: [1, 0, 1, 1, 0, 2, 1, 0] }, { samplesPerPrompt: 2, seed });
      expect(result.keepSampling).toBe(false);
      expect(result.samples).toEqual(result.rows);
      expect([...result.rows.slice(0, 2), ...result.rows.slice(4)]).toEqual([0, 1, 4, 5, 6, 7]);
      expect([[0, 1], [4, 5], [6, 7]]).toContainEqual(result.rows.slice(2, 4));
      expect(new Set(result.groupIds.slice(2, 4)).size).toBe(1);
      const two = dynamicSamplingReplace({ groupIds, samples, rewards: [1, 0, 1, 1, 0, 2, 1, 1] }, { samplesPerPrompt: 2, seed });
      expect(new Set([two.groupIds[2], two.groupIds[6]])).toEqual(new Set(['a', 'c']));
    }
  });

  test('the same seed draws the same; another one differs at times', () => {
    const run = (seed: number) => dynamicSamplingReplace({ groupIds, samples, rewards: [1, 0, 1, 1, 0, 2, 1, 0] }, { samplesPerPrompt: 2, seed }).rows.join();
    expect(run(3)).toBe(run(3));
    expect(new Set([0, 1, 2, 3, 4, 5, 6, 7].map(run)).size).toBeGreaterThan(1);
  });

  test('too few good ones: nothing is replaced', () => {
    const batch = { groupIds, samples, rewards: [1, 0, 1, 1, 0, 0, 1, 1] };
    const kept = dynamicSamplingReplace(batch, { samplesPerPrompt: 2, minReplaceRatio: 0.25 });
    expect([kept.keepSampling, kept.rows]).toEqual([true, samples]);
    expect(dynamicSamplingReplace(batch, { samplesPerPrompt: 2, minReplaceRatio: 0.2 }).rows).toEqual([0, 1, 0, 1, 0, 1, 0, 1]);
  });

  test('groups of other sizes; errors', () => {
    const batch = { groupIds: ['a', 'a', 'b', 'b', 'b'], samples: [0, 1, 2, 3, 4], rewards: [1, 0, 1, 1, 1] };
    expect(dynamicSamplingReplace(batch, { samplesPerPrompt: 2, minReplaceRatio: 0 }).rows).toEqual([0, 1, 0, 1, 0]);
    expect(() => dynamicSamplingReplace(batch, { samplesPerPrompt: 2, minReplaceRatio: 2 })).toThrow('minReplaceRatio: expected a number from 0 to 1, got 2');
    expect(() => dynamicSamplingReplace(batch, { samplesPerPromt: 2 } as never)).toThrow("Did you mean 'samplesPerPrompt'?");
  });
});
