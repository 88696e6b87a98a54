/** The smallest batch that still shows the same. */
import { mapTokens, sizeOf, takeColumns, takeRows, withTokens, type Batch } from './batch';
import { range } from './property';

const MOST_TRIES = 400;

/** One thing less: half of the rows or columns, a row, a column, an input, a reward, a discount. */
function* smaller(batch: Batch): Generator<Batch> {
  const [rows, columns] = sizeOf(batch);
  for (const half of rows > 3 ? [0, 1] : []) yield takeRows(batch, range(rows).filter((b) => (b < rows / 2) === (half === 0)));
  for (const half of columns > 3 ? [0, 1] : []) yield takeColumns(batch, range(rows).map(() => range(columns).filter((t) => (t < columns / 2) === (half === 0))));
  for (let row = 0; rows > 1 && row < rows; row++) yield takeRows(batch, range(rows).filter((b) => b !== row));
  for (let column = 0; columns > 1 && column < columns; column++) yield takeColumns(batch, range(rows).map(() => range(columns).filter((t) => t !== column)));
  if (batch.gamma !== 1) yield { ...batch, gamma: 1 };
  if (batch.lambda !== 1) yield { ...batch, lambda: 1 };
  for (const [name, grid] of Object.entries(batch.tokens)) {
    if (name === 'masks') continue;
    if (grid.flat().filter((x) => x !== 0).length > 1) yield withTokens(batch, name, grid.map((row) => row.map(() => 0)));
    for (const [row, numbers] of grid.entries()) {
      for (const [column, x] of numbers.entries()) {
        if (x === 0 || (name !== 'rewards' && x === 1)) continue;
        for (const simple of [0, 1]) if (x !== simple) yield withTokens(batch, name, grid.map((r, b) => (b === row ? r.map((y, t) => (t === column ? simple : y)) : r)));
      }
    }
  }
  const { masks } = batch.tokens;
  for (const [row, marks] of masks.entries()) {
    if (marks.includes(0)) yield mapTokens(batch, (grid, name) => (name === 'masks' ? grid.map((r, b) => (b === row ? r.map(() => 1) : r)) : grid));
  }
}

/** @param fails whether a batch still shows it */
export function shrink(batch: Batch, fails: (batch: Batch) => boolean): Batch {
  let best = batch;
  let tries = 0;
  for (let progress = true; progress;) {
    progress = false;
    for (const candidate of smaller(best)) {
      if (++tries > MOST_TRIES) return best;
      if (!fails(candidate)) continue;
      best = candidate;
      progress = true;
      break;
    }
  }
  return best;
}
