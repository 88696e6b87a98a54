/** Rows of a batch that answer the same prompt, and statistics over them. */
import { EstimatorError, showValue } from '../errors';
import { checkTensor } from '../losses/check';
import { concat, groupAdvantages, groupMoments, ones, stack, tensor, Tensor, where, type Device, type GroupAdvantageOptions } from '../tensor';
import { DISPOSED } from '../tensor/handle';

/** One id a row: strings or integers, in any order, groups of any size. */
export type GroupIds = readonly (string | number | bigint)[] | Int32Array | Tensor;

/** The rows of some groups of about one size, [groups, rows of the largest of them], and whether there is one. */
interface Table {
  rows: Tensor;
  present: Tensor;
}

/**
 * Group statistics of per-row numbers. Methods take and return tensors of shape [batch], unless they say otherwise: each row gets the statistic of its group. Statistics are
 * taken in float64 in row order, from differences to the mean, so that an offset of the scores costs no digits.
 */
export class Groups {
  /** The id of each group, by its number. */
  readonly ids: readonly (string | number | bigint)[];
  /** Number of groups. */
  readonly count: number;
  /** Rows of the smallest group; 0 in an empty batch. */
  readonly smallest: number;
  /** The size of all groups where they are of one size and their rows stand together, as a sampler of n answers leaves them; else null. */
  private readonly even: number | null;
  /** The rows, group by group, and where each group starts. */
  private readonly rows: Tensor;
  private readonly starts: Tensor;
  private readonly everyRow: Tensor;
  private readonly order: { index: Int32Array; rows: Int32Array; starts: Int32Array };
  /** What few ask for, once somebody did. */
  private asked: { index?: Tensor; sizes?: Tensor } = {};
  private tabled: { tables: readonly Table[]; place: Tensor } | null = null;
  private last: { scores: Tensor; valid: Tensor; result: ReturnType<typeof groupMoments> } | null = null;

  constructor(ids: GroupIds, batch: number, device?: Device) {
    if (!Number.isInteger(batch) || batch < 0) throw new EstimatorError(`Groups: expected batch, the number of rows, got ${showValue(batch)}`);
    const { index, count, list } = numbered(ids, batch);
    const { rows, starts, smallest, largest, inOrder } = gathered(index, count);
    this.count = count;
    this.rows = tensor(rows, { device });
    this.starts = tensor(starts, { device });
    this.order = { index, rows, starts };
    this.smallest = smallest;
    this.even = count > 0 && smallest === largest && inOrder ? smallest : null;
    this.ids = Array.from({ length: count }, (_, group) => list[rows[starts[group]!]!]!);
    this.everyRow = ones([batch], { dtype: 'uint8' });
  }

  /** int32 [batch]: the group of each row, numbered in order of appearance. */
  get index(): Tensor {
    return this.once('index', () => this.order.index);
  }

  /** float32 [batch]: the number of rows in each row's group. */
  get sizes(): Tensor {
    const { index, starts } = this.order;
    return this.once('sizes', () => Float32Array.from(index, (group) => starts[group + 1]! - starts[group]!));
  }

  private once(name: 'index' | 'sizes', values: () => Int32Array | Float32Array): Tensor {
    const before = this.asked[name];
    return before && !before.isDisposed ? before : (this.asked[name] = tensor(values(), { device: this.rows.device }));
  }

  /** The number of rows. */
  private get batch(): number {
    return this.order.index.length;
  }

  /** Σ over the group. */
  sum(scores: Tensor): Tensor {
    const { count, mean } = this.moments(scores);
    return mean.mul(count).cast(scores.dtype);
  }

  /** The mean of each row's group. */
  mean(scores: Tensor): Tensor {
    const { mean } = this.moments(scores);
    return mean.cast(scores.dtype);
  }

  /** score − mean of the group. */
  centre(scores: Tensor): Tensor {
    const { mean } = this.moments(scores);
    return scores.cast('float64').sub(mean).cast(scores.dtype);
  }

  /** √(Σ(x−μ)²/(n−ddof)); 0 where the group has no more than ddof rows. */
  std(scores: Tensor, ddof = 1): Tensor {
    if (!Number.isInteger(ddof) || ddof < 0) throw new EstimatorError(`groups: std: expected ddof, a non-negative integer, got ${showValue(ddof)}`);
    const { count, spread } = this.moments(scores);
    const free = count.sub(ddof);
    return where(free.greater(0), spread.div(free.maximum(1)), 0).sqrt().cast(scores.dtype);
  }

  /**
   * Of each row's group: how many rows are valid (all, unless told otherwise), their mean, and Σ(x−μ)² over them; float64.
   *
   * @param valid [batch], 0 for rows that do not count
   */
  moments(scores: Tensor, valid: Tensor = this.everyRow): { count: Tensor; mean: Tensor; spread: Tensor } {
    checkIsTensor('one number a row', scores);
    checkIsTensor('valid, one flag a row', valid);
    if (scores.ndim !== 1 || scores.shape[0] !== this.batch) {
      throw new EstimatorError(`groups: expected one number a row, shape [${this.batch}], got [${scores.shape.join(',')}]`);
    }
    // Mean and spread of the same scores, asked for one after the other, are one call of the kernel.
    const { last } = this;
    if (last && last.scores === scores && last.valid === valid && Object.values(last.result).every((tensor) => !tensor.isDisposed)) return last.result;
    const result = groupMoments(scores, valid, this.rows, this.starts);
    this.last = { scores, valid, result };
    return result;
  }

  /**
   * The advantages of all tokens by their row's score, the sum of its valid rewards, beside those of its group: {@link groupAdvantages} of these groups.
   *
   * @param rewards [batch, time]
   * @param masks [batch, time]
   * @returns [batch, time], and [batch], what each row's tokens get
   * @throws TensorError for shapes that do not belong together and options that are none
   */
  advantages(rewards: Tensor, masks: Tensor, options?: GroupAdvantageOptions): { advantages: Tensor; rowAdvantages: Tensor } {
    checkTensor('Groups.advantages', 'rewards', rewards);
    if (rewards.ndim === 2 && rewards.shape[0] !== this.batch) {
      throw new EstimatorError(`Groups.advantages: expected rewards of ${this.batch} rows, one for each id, got [${rewards.shape.join(',')}]`);
    }
    return groupAdvantages(rewards, masks, this.rows, this.starts, options);
  }

  /**
   * What `ofTable` says of each group of a table, [groups, …], given to each row: [batch, …]. A single table for all groups would hold as many rows of each as the largest
   * one has.
   */
  private byTable(ofTable: (table: Table) => Tensor): Tensor {
    const { tables, place } = this.inTables();
    const parts = tables.map(ofTable);
    return (parts.length === 1 ? parts[0]! : concat(parts)).take(place);
  }

  private inTables(): { tables: readonly Table[]; place: Tensor } {
    const { tabled } = this;
    if (tabled && ![tabled.place, ...tabled.tables.flatMap((table) => Object.values(table))].some((tensor: Tensor) => tensor.isDisposed)) return tabled;
    const { order: { index, rows, starts } } = this;
    const { device } = this.rows;
    const size = (group: number) => starts[group + 1]! - starts[group]!;
    // Groups of up to 1, 2, 4, … rows: no table is more than half empty.
    const alike: number[][] = this.count === 0 ? [[]] : [];
    for (let group = 0; group < this.count; group++) (alike[32 - Math.clz32(size(group) - 1)] ??= []).push(group);
    const placeOfGroup = new Int32Array(this.count);
    let placed = 0;
    const tables = alike.filter((groups) => groups !== undefined).map((groups): Table => {
      const width = Math.max(1, ...new Set(groups.map(size)));
      const members = new Int32Array(groups.length * width);
      const present = new Uint8Array(groups.length * width);
      groups.forEach((group, i) => {
        placeOfGroup[group] = placed++;
        members.set(rows.subarray(starts[group]!, starts[group + 1]!), i * width);
        present.fill(1, i * width, i * width + size(group));
      });
      const options = { shape: [groups.length, width], device };
      return { rows: tensor(members, options), present: tensor(present, options) };
    });
    return (this.tabled = { tables, place: tensor(index.map((group) => placeOfGroup[group]!), { device }) });
  }

  /**
   * Each row beside the others of its group that are valid (all, unless told otherwise), [batch] float64: how far it is from their mean, and Σ(x−μ)² over them, about it. Without any
   * others both are 0. Of rows that are not valid they say nothing.
   *
   * @param x [batch]
   * @param valid [batch], 0 for rows that do not count
   * @throws EstimatorError for an x that is no Tensor [batch]
   */
  besideOthers(x: Tensor, valid: Tensor = this.everyRow): { difference: Tensor; spread: Tensor } {
    checkIsTensor('one number a row', x);
    const known = x.cast('float64');
    const { count, mean } = this.moments(known, valid);
    // Once more from the differences: of the mean's own rounding, which matters for the spread that is left without a row, nothing remains.
    const centred = known.sub(mean);
    const again = this.moments(centred, valid);
    const exact = centred.sub(again.mean);
    const difference = exact.mul(count.div(count.sub(1).maximum(1)));
    const less = again.spread.sub(exact.mul(difference));
    // What rounding leaves of a difference of equal numbers is 0. Beside an outlier, of which a group has one, nothing would be left: the others are added up without it.
    const distance = where(valid, exact.abs(), -1);
    const farthest = distance.greater(this.maxOfOthers(distance));
    const { spread } = this.moments(known, farthest.logicalNot().logicalAnd(valid));
    return { difference, spread: where(farthest, spread, where(less.greater(again.spread.mul(count).mul(1e-15)), less, 0)) };
  }

  /** Σ over the rows of the group, column by column: [batch, time] → [batch, time]. */
  sumColumns(x: Tensor): Tensor {
    checkIsTensor('numbers of shape [batch, time]', x);
    if (x.ndim !== 2 || x.shape[0] !== this.batch) throw new EstimatorError(`groups: expected shape [${this.batch}, time], got [${x.shape.join(',')}]`);
    const { split, sum, join } = this.columns();
    const rows = split(x);
    return join(sum(rows).broadcastTo([...rows.shape]));
  }

  /**
   * For arithmetic with such sums that does not spread them to the rows first. `split` shows an array [batch, n] as `sum` takes it: [groups, rows of each, n] where the groups are of one size and
   * their rows stand together, else as it is. What `sum` gives broadcasts to that. `join` shows the result as [batch, n] again.
   */
  columns(): { split: (x: Tensor) => Tensor; sum: (x: Tensor) => Tensor; join: (x: Tensor) => Tensor } {
    const { even, count, batch } = this;
    if (even === null) {
      const asItIs = (x: Tensor) => x;
      return { split: asItIs, sum: (x) => this.byTable(({ rows, present }) => where(present.expandDims(2), x.take(rows), 0).sum(1)), join: asItIs };
    }
    return {
      split: (x) => x.reshape([count, even, x.shape[1]!]),
      sum: (x) => x.sum(1, { keepDims: true }),
      join: (x) => x.reshape([batch, x.shape[2]!]),
    };
  }

  /** The largest score of the other rows of the group; −Infinity where there is none. */
  maxOfOthers(scores: Tensor): Tensor {
    checkIsTensor('one number a row', scores);
    const firstTwo = this.byTable(({ rows, present }) => {
      const inGroups = where(present, scores.take(rows), -Infinity);
      const most = inGroups.max(1, { keepDims: true });
      const best = inGroups.equal(most);
      const next = where(best.sum(1).greater(1), most.squeeze(1), where(best, -Infinity, inGroups).max(1));
      return stack([most.squeeze(1), next], 1);
    });
    const [most, next] = [firstTwo.select(1, 0), firstTwo.select(1, 1)];
    return where(scores.equal(most), next, most);
  }
}

function checkIsTensor(what: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw new EstimatorError(`groups: expected ${what}, a Tensor, got ${showValue(value)}`);
  if (value.isDisposed) throw new EstimatorError(`groups: ${what}: ${DISPOSED}`);
}

interface Gathered {
  /** The rows, group by group, and where each group starts. */
  rows: Int32Array;
  starts: Int32Array;
  smallest: number;
  largest: number;
  /** Whether the rows of each group stand together, in the order of the groups. */
  inOrder: boolean;
}

function gathered(index: Int32Array, count: number): Gathered {
  const batch = index.length;
  const starts = new Int32Array(count + 1);
  let inOrder = true;
  for (let row = 0; row < batch; row++) {
    starts[index[row]! + 1]!++;
    if (row > 0 && index[row]! < index[row - 1]!) inOrder = false;
  }
  let [smallest, largest] = count === 0 ? [0, 0] : [batch, 0];
  for (let group = 0; group < count; group++) {
    const size = starts[group + 1]!;
    if (size < smallest) smallest = size;
    if (size > largest) largest = size;
    starts[group + 1] = starts[group]! + size;
  }
  const next = starts.slice();
  const rows = new Int32Array(batch);
  for (let row = 0; row < batch; row++) rows[next[index[row]!]!++] = row;
  return { rows, starts, smallest, largest, inOrder };
}

/** The group of each row, numbered in order of appearance, how many there are, and the ids of the rows. */
function numbered(ids: GroupIds, batch: number): { index: Int32Array; count: number; list: ArrayLike<string | number | bigint> } {
  const list: ArrayLike<string | number | bigint> = ids instanceof Tensor ? ids.dataSync() : ids;
  if (ids instanceof Tensor && ids.ndim !== 1) throw new EstimatorError(`groupIds: expected one id a row, shape [${batch}], got [${ids.shape.join(',')}]`);
  if (!Array.isArray(list) && !ArrayBuffer.isView(list)) throw new EstimatorError(`groupIds: expected one id a row (strings or integers), got ${showValue(ids)}`);
  if (list.length !== batch) throw new EstimatorError(`groupIds: expected ${batch} ids, one a row, got ${list.length}`);
  const index = new Int32Array(batch);
  if (list instanceof Int32Array) {
    const dense = numberedDensely(list, index);
    if (dense !== null) return { index, count: dense, list };
  }
  const numbers = new Map<string | number | bigint, number>();
  // The rows of a group mostly stand together: comparing an id with the one before costs less than looking it up.
  let [before, group]: [unknown, number | undefined] = [NaN, undefined];
  for (let row = 0; row < batch; row++) {
    const id = list[row]!;
    if (id === before) {
      index[row] = group!;
      continue;
    }
    if (typeof id !== 'string' && typeof id !== 'bigint' && !Number.isInteger(id)) {
      throw new EstimatorError(`groupIds: expected strings or integers, got ${showValue(id)} in row ${row}`);
    }
    group = numbers.get(id);
    if (group === undefined) numbers.set(id, group = numbers.size);
    index[row] = group;
    before = id;
  }
  return { index, count: numbers.size, list };
}

/** Numbers ids that lie close together by a table, some ten times as fast as by a map; null where they do not. Returns the number of groups. */
function numberedDensely(ids: Int32Array, index: Int32Array): number | null {
  if (ids.length === 0) return 0;
  let least = ids[0]!;
  let most = least;
  for (let row = 0; row < ids.length; row++) {
    const id = ids[row]!;
    if (id < least) least = id;
    if (id > most) most = id;
  }
  if (!(most - least < 4 * ids.length + 64)) return null;
  const table = new Int32Array(most - least + 1).fill(-1);
  let count = 0;
  for (let row = 0; row < ids.length; row++) {
    const at = ids[row]! - least;
    if (table[at] === -1) table[at] = count++;
    index[row] = table[at]!;
  }
  return count;
}
