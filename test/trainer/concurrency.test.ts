import { setTimeout as sleep } from 'node:timers/promises';
import { forEachConcurrently, TimeoutError, within } from '../../src/trainer/concurrency';

it.each([
  [1, 1],
  [3, 3],
  [Infinity, 20],
])('at most %d run at once, begun in order', async (limit, most) => {
  const begun: number[] = [];
  let [running, peak] = [0, 0];
  await forEachConcurrently(Array.from({ length: 20 }, (_, i) => i), limit, async (item, index) => {
    begun.push(item);
    expect(index).toBe(item);
    peak = Math.max(peak, ++running);
    await sleep((item * 7) % 5);
    running--;
  });
  expect([begun, peak, running]).toEqual([Array.from({ length: 20 }, (_, i) => i), most, 0]);
  await forEachConcurrently([], limit, async () => {});
});

it('all are done before the first failure, by their order, is thrown', async () => {
  let done = 0;
  const work = forEachConcurrently([0, 1, 2, 3], 2, async (item) => {
    await sleep(item === 1 ? 20 : 1);
    done++;
    if (item !== 0) throw new Error(`item ${item}`);
  });
  await expect(work).rejects.toThrow('item 1');
  expect(done).toBe(4);
});

it('what takes too long is given up, what it throws later is lost', async () => {
  await expect(within(0.02, () => sleep(60_000, 1, { ref: false }))).rejects.toThrow(new TimeoutError('no answer within 0.02 s'));
  const late = within(0.01, async () => {
    await sleep(30);
    throw new Error('late');
  });
  await expect(late).rejects.toThrow(TimeoutError);
  await sleep(40);
  expect(await within(10, () => 3)).toBe(3);
  expect(await within(null, async () => 4)).toBe(4);
  await expect(
    within(10, () => {
      throw new Error('at once');
    }),
  ).rejects.toThrow('at once');
});
