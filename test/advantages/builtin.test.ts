/** The built-in estimators against plain float64 references, and what masked positions may not do. */
import { computeAdvantages, tensor } from 'vantage-rl';
import { collapsed, gae, grpo, randomBatch, reinforcePlusPlus, rloo, type Batch } from './reference';
import { expectClose } from '../closeness';

const names = ['gae', 'grpo', 'rloo', 'reinforce++'] as const;
const references = { gae, grpo, rloo, 'reinforce++': reinforcePlusPlus };
const options = { gamma: 0.95, lambda: 0.9 };

function run(name: string, batch: Batch, dtype: 'float32' | 'float64' = 'float64') {
  const { advantages, returns } = computeAdvantages(
    name,
    { rewards: tensor(batch.rewards, { dtype }), values: tensor(batch.values, { dtype }), masks: tensor(batch.masks, { dtype: 'uint8' }), groupIds: batch.groups },
    options,
  );
  return { advantages: advantages.toArray() as number[][], returns: returns.toArray() as number[][] };
}

describe.each(names)('%s', (name) => {
  test('agrees with the float64 reference on random batches', () => {
    for (let seed = 0; seed < 12; seed++) {
      const batch = randomBatch(seed, { holes: seed % 3 === 0 });
      const wanted = references[name](batch, options.gamma, options.lambda);
      for (const [dtype, tolerance] of [['float64', 1e-9], ['float32', 1e-5]] as const) {
        const got = run(name, batch, dtype);
        expectClose(got.advantages, wanted.advantages, tolerance);
        expectClose(got.returns, wanted.returns, tolerance);
      }
    }
  });

  test('a hole changes nothing: the collapsed sequence has the same numbers', () => {
    const batch = randomBatch(5, { holes: true });
    const whole = run(name, batch);
    const short = run(name, collapsed(batch));
    batch.masks.forEach((row, b) => {
      const valid = row.flatMap((m, t) => (m ? [t] : []));
      valid.forEach((t, i) => expect(whole.advantages[b]![t]).toBeCloseTo(short.advantages[b]![i]!, 9));
    });
  });

  test('NaN and Inf at masked positions change nothing, and masked outputs are 0', () => {
    const batch = randomBatch(7, { holes: true });
    const clean = run(name, batch, 'float32');
    for (const garbage of [NaN, Infinity, -Infinity, 1e30]) {
      const dirty: Batch = {
        ...batch,
        rewards: batch.rewards.map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x : garbage))),
        values: batch.values.map((row, b) => row.map((x, t) => (batch.masks[b]![t] ? x : garbage))),
      };
      expect(run(name, dirty, 'float32')).toEqual(clean);
    }
    batch.masks.forEach((row, b) => row.forEach((m, t) => m || expect(clean.advantages[b]![t]).toBe(0)));
  });

  test('T = 1, B = 1, an all-masked row, nothing valid, an empty batch', () => {
    const shapes: Batch[] = [
      { rewards: [[1], [2], [4]], values: [[0.5], [1], [0]], masks: [[1], [1], [1]], groups: ['a', 'a', 'b'] },
      { rewards: [[0, 1, 2]], values: [[1, 2, 3]], masks: [[1, 1, 1]], groups: [7] },
      { rewards: [[0, 1], [1, 0]], values: [[1, 2], [3, 4]], masks: [[1, 1], [0, 0]], groups: ['a', 'a'] },
      { rewards: [[5, 1]], values: [[1, 2]], masks: [[0, 0]], groups: ['a'] },
      { rewards: [[3]], values: [[1]], masks: [[1]], groups: ['a'] },
    ];
    for (const batch of shapes) {
      const { advantages } = run(name, batch, 'float32');
      const wanted = references[name](batch, options.gamma, options.lambda);
      expectClose(advantages, wanted.advantages, 1e-5);
    }
    const empty = computeAdvantages(name, {
      rewards: tensor([], { shape: [0, 4] }),
      values: tensor([], { shape: [0, 4] }),
      masks: tensor([], { shape: [0, 4] }),
      groupIds: [],
    });
    expect(empty.advantages.shape).toEqual([0, 4]);
  });

  test('rewards around 1e4 lose nothing', () => {
    const batch = randomBatch(3, { holes: false });
    const last = batch.masks.map((row) => row.lastIndexOf(1));
    const outcome = batch.rewards.map((row, b) => row.map((_, t) => (t === last[b] ? Math.round(row[t]! * 8) / 8 + 1e4 : 0)));
    const offset: Batch = { ...batch, rewards: outcome, values: batch.values.map((row) => row.map(() => 0)) };
    const wanted = references[name](offset, 1, 1);
    const { advantages } = computeAdvantages(name, { rewards: offset.rewards, values: offset.values, masks: offset.masks, groupIds: offset.groups });
    expectClose(advantages.toArray() as number[][], wanted.advantages, 1e-5);
  });

  test('the order of rows and the names of groups do not matter', () => {
    const batch = randomBatch(11, { holes: true });
    const order = batch.rewards.map((_, b) => b).reverse();
    const shuffled: Batch = {
      rewards: order.map((b) => batch.rewards[b]!),
      values: order.map((b) => batch.values[b]!),
      masks: order.map((b) => batch.masks[b]!),
      groups: order.map((b) => `group ${batch.groups[b]}`),
    };
    const straight = run(name, batch);
    expectClose(run(name, shuffled).advantages, order.map((b) => straight.advantages[b]!), 1e-9);
  });
});

test('one row of a million tokens', () => {
  const time = 1_000_000;
  const rewards = new Float32Array(time);
  rewards[time - 1] = 1;
  const values = Float32Array.from({ length: time }, (_, t) => Math.sin(t) / 2);
  const [gamma, lambda] = [0.9999, 0.99];
  const { advantages, returns } = computeAdvantages(
    'gae',
    { rewards: tensor(rewards, { shape: [1, time] }), values: tensor(values, { shape: [1, time] }), masks: tensor(new Uint8Array(time).fill(1), { shape: [1, time] }) },
    { gamma, lambda, whiten: false },
  );
  const got = advantages.dataSync();
  const gotReturns = returns.dataSync();
  let [a, next, worst] = [0, 0, 0];
  for (let t = time - 1; t >= 0; t--) {
    a = rewards[t]! + gamma * next - values[t]! + gamma * lambda * a;
    next = values[t]!;
    worst = Math.max(worst, Math.abs(got[t]! - a), Math.abs(gotReturns[t]! - a - next));
  }
  expect(worst).toBeLessThan(1e-5);
});

test('the worked numbers of the literature', () => {
  const whole = { rewards: [[1, 2, 3]], values: [[0.5, 1, 1.5]], masks: [[1, 1, 1]] };
  const returnsOf = (options: { gamma?: number; lambda?: number }) => computeAdvantages('gae', whole, options).returns.toArray();
  expect(returnsOf({})).toEqual([[6, 5, 3]]);
  expect(returnsOf({ gamma: 0.5 })).toEqual([[2.75, 3.5, 3]]);
  expect(returnsOf({ lambda: 0.5 })).toEqual([[3.625, 4.25, 3]]);
  const rloo = computeAdvantages('rloo', { rewards: [[6], [3], [9], [12], [1]], masks: [[1], [1], [1], [1], [1]], groupIds: ['a', 'a', 'b', 'b', 'c'] });
  expect((rloo.advantages.toArray() as number[][]).flat()).toEqual([3, -3, -3, 3, 0]);
  const drGrpo = computeAdvantages('grpo', { rewards: [[6], [3], [9], [12]], masks: [[1], [1], [1], [1]], groupIds: [0, 0, 1, 1] }, { normByStd: false });
  expect((drGrpo.advantages.toArray() as number[][]).flat()).toEqual([1.5, -1.5, -1.5, 1.5]);
  const hole = computeAdvantages('reinforce++', { rewards: [[0, 0, 0, 0, 1]], masks: [[1, 1, 0, 1, 1]] });
  expect(hole.returns.toArray()).toEqual([[1, 1, 0, 1, 1]]);
  const gaeHole = computeAdvantages(
    'gae',
    { rewards: tensor([[0, 0, 0, 0, 1]], { dtype: 'float64' }), values: tensor([[0.1, 0.2, 99, 0.4, 0.5]], { dtype: 'float64' }), masks: [[1, 1, 0, 1, 1]] },
    { gamma: 0.9, lambda: 0.8, whiten: false },
  );
  const wanted = [0.4077, 0.4552, 0, 0.41, 0.5];
  (gaeHole.advantages.toArray() as number[][])[0]!.forEach((x, t) => expect(x).toBeCloseTo(wanted[t]!, 4));
});
