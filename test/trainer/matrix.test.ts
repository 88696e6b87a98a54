/** Each estimator, each loss and each reduction in a run of three steps; `npm run test:matrix` runs them all with each other. */
import { temporaryFolder } from './helpers';
import { allCells, axes, runCell } from './matrix';
import { smallBase } from './small_runs';

const base = smallBase(temporaryFolder());
const { estimator, loss, reduction } = axes;
const cells = estimator.map((name, i) => ({ estimator: name, loss: loss[i % loss.length]!, reduction: reduction[i % reduction.length]! }));

test('the cells hold everything', () => {
  for (const axis of ['estimator', 'loss', 'reduction'] as const) expect(new Set(cells.map((cell) => cell[axis]))).toEqual(new Set(axes[axis]));
  expect([...allCells()]).toHaveLength(estimator.length * loss.length * reduction.length);
});

test.each(cells)('$estimator, $loss, $reduction', async (cell) => {
  await runCell(cell, base);
});
