/** Tensors without padding, [tokens], as [batch, time]. */
import { EstimatorError, VantageError } from '../errors';
import { checkTensor } from '../losses/check';
import { RowLayout, type Tensor, type RowOffsets } from '../tensor';
import { formatShape } from '../tensor/shape';

/** Whether an array has a number for each row instead of each token: such a one stays as it is. */
type IsPerRow = (name: string, array: Tensor, batch: number) => boolean;

/**
 * Packed tensors, [tokens] each, as [batch, time] with the longest row as `time` and 0 behind the rows.
 *
 * @param rowOffsets or their layout, which the caller keeps
 * @param arrays by name; the first one says how many tokens there are. What is undefined or null is left out
 * @throws EstimatorError for offsets that are none, and tensors of other lengths
 */
export function unpackRows(
  who: string,
  arrays: Readonly<Record<string, unknown>>,
  rowOffsets: RowOffsets | RowLayout,
  isPerRow: IsPerRow,
): { padded: Record<string, Tensor>; layout: RowLayout; release: () => void } {
  const entries = Object.entries(arrays);
  const given = entries.filter(([, value], i) => i === 0 || (value !== undefined && value !== null));
  for (const [name, value] of given) checkTensor(who, name, value);
  const [[first, leading]] = entries as [[string, Tensor]];
  if (leading.ndim !== 1) {
    throw new EstimatorError(`${who}: rowOffsets came with ${first} of shape ${formatShape(leading.shape)}: expected shape [tokens], the rows one after the other`);
  }
  const tokens = leading.size;
  const layout = layoutOf(who, rowOffsets, leading);
  if (layout.tokens !== tokens) throw new EstimatorError(`${who}: rowOffsets: expected ${tokens} at the end, the number of tokens in ${first}, got ${layout.tokens}`);
  const padded: Record<string, Tensor> = {};
  for (const [name, array] of given as [string, Tensor][]) {
    const perRow = isPerRow(name, array, layout.batch);
    if (!perRow && (array.ndim !== 1 || array.size !== tokens)) {
      throw new EstimatorError(`${who}: ${name}: expected shape [${tokens}], one number a token as ${first}, got ${formatShape(array.shape)}`);
    }
    padded[name] = perRow ? array : layout.pad(array);
  }
  // Its own indices go, those of the caller stay.
  return { padded, layout, release: () => layout !== rowOffsets && layout.dispose() };
}

function layoutOf(who: string, rowOffsets: RowOffsets | RowLayout, { device }: Tensor): RowLayout {
  if (rowOffsets instanceof RowLayout) return rowOffsets;
  try {
    return new RowLayout(rowOffsets, { device });
  } catch (error) {
    throw error instanceof VantageError ? new EstimatorError(`${who}: ${error.message}`, { cause: error }) : error;
  }
}
