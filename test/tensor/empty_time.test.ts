/** Sums that are folded in a scan's own pass, over no time at all: the memory that they would be left in holds anything. */
import { evaluate, scan, tensor } from '../../src/tensor';

test.each([[3, 0], [0, 4], [0, 0], [2, 3, 0]])('[%j, …]: what folds the states of a scan is a number', (...shape) => {
  // Memory that is taken over by the results next.
  for (let i = 0; i < 20; i++) tensor(new Float32Array(16).fill(7)).mul(3).realize();
  const x = tensor(new Float32Array(0), { shape });
  const states = scan([x], { reverse: true }, (running, [r]) => r.add(running.mul(0.9)));
  const [sum, most, least, count] = [states.sum(-1), states.max(-1), states.min(-1), states.greater(0).sum(-1)];
  const total = sum.add(1).mean();
  evaluate([sum, most, least, count, states, total]);
  const rows = sum.size;
  expect(Array.from(sum.dataSync())).toEqual(new Array(rows).fill(0));
  expect(Array.from(most.dataSync())).toEqual(new Array(rows).fill(-Infinity));
  expect(Array.from(least.dataSync())).toEqual(new Array(rows).fill(Infinity));
  expect(Array.from(count.dataSync())).toEqual(new Array(rows).fill(0));
  expect(total.item()).toBe(rows === 0 ? NaN : 1);
});
