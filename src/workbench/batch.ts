/** Batches as plain numbers, and what can be done to them that should change no advantage, or change it in a known way. */
import type { EstimatorDeclaration } from '../advantages';
import type { SmallRandom } from '../data/random';

/** Rows × columns. */
export type Grid = number[][];

/** A batch in plain numbers. */
export interface Batch {
  /** [B][T] by name: rewards, masks and the inputs of tokens. */
  readonly tokens: Readonly<Record<string, Grid>>;
  /** [B] by name: the inputs of rows. */
  readonly rows: Readonly<Record<string, number[]>>;
  /** One id a row. */
  readonly groupIds: readonly (string | number)[];
  /** [B][K], where the estimator wants reward components. */
  readonly components: Grid | null;
  readonly gamma: number;
  readonly lambda: number;
  /** Inputs that are not given, though there are numbers for them. */
  readonly omitted?: readonly string[];
}

/** Inputs of tokens that are whole numbers or flags. */
const whole = new Set(['masks', 'terminated', 'truncated', 'turnIds', 'anchorIds']);
export const isWhole = (name: string): boolean => whole.has(name);

/** How a batch is drawn. */
export interface Shape {
  /** Most rows and columns. */
  rows: number;
  columns: number;
  /** Where masked positions may be. */
  masks: 'none' | 'any' | 'sides';
  /** Rows without a valid token may be there. */
  emptyRows: boolean;
  /** Rewards at the last valid token of a row only. */
  outcome?: boolean;
  /** γ = λ = 1. */
  undiscounted?: boolean;
}

const eighths = (random: SmallRandom, low: number, high: number): number => low + random.below(Math.round((high - low) * 8) + 1) / 8;
const pick = <T>(random: SmallRandom, list: readonly T[]): T => list[random.below(list.length)];

/** A batch with the inputs of these names. All numbers are multiples of 1/64, and the discounts powers of ½, so that little rounding stands between two ways to one result. */
export function drawBatch(random: SmallRandom, shape: Shape, inputs: readonly string[], declared: EstimatorDeclaration): Batch {
  const smallest = declared.smallestGroup ?? 1;
  const columns = 1 + random.below(shape.columns);
  const groups: number[] = [];
  const wanted = 1 + random.below(Math.max(shape.rows, smallest));
  for (let id = 0; groups.length < wanted; id++) for (let k = smallest + random.below(3); k > 0; k--) groups.push(id);
  const order = random.below(2) === 0 ? groups : random.permutation(groups.length).map((i) => groups[i]);
  const masks = order.map(() => drawMask(random, columns, shape));
  const grid = (cell: (row: number, column: number) => number): Grid => masks.map((row, b) => row.map((_, t) => cell(b, t)));
  const { low = -Infinity, high = Infinity, integer = false } = declared.rewardRange ?? {};
  // Rewards that are often equal, and 0, are those of verifiers.
  const binary = random.below(3) === 0;
  const reward = (): number => {
    const [from, to] = [Math.max(low, high === Infinity ? Math.max(low, -2) : -Infinity, Math.min(-2, high - 1)), Math.min(high, Math.max(2, low + 4))];
    if (random.below(4) === 0) return Math.min(to, Math.max(from, 0));
    return integer || binary ? Math.min(to, Math.max(from, 0) + random.below(2)) : eighths(random, from, to);
  };
  const outcome = shape.outcome === true || declared.rewardRange !== undefined || random.below(2) === 0;
  const ends = masks.map((row) => row.lastIndexOf(1));
  const rewards = grid((b, t) => (masks[b][t] && (!outcome || t === ends[b]) ? reward() : 0));
  const turn = order.map(() => 1 + random.below(3));
  const draws: Record<string, () => Grid> = {
    values: () => grid(() => eighths(random, -1, 1)),
    terminated: () => grid(() => (random.below(6) === 0 ? 1 : 0)),
    truncated: () => grid(() => (random.below(6) === 0 ? 1 : 0)),
    turnIds: () => grid((b, t) => Math.floor(t / turn[b])),
    anchorIds: () => grid((b, t) => Math.floor(t / turn[b]) % 2),
    sumSquaredProbs: () => grid(() => eighths(random, 0.125, 1)),
    importanceWeights: () => grid(() => eighths(random, 0.5, 1.5)),
  };
  const tokens: Record<string, Grid> = { rewards, masks };
  const rows: Record<string, number[]> = {};
  for (const name of inputs) {
    if (Object.hasOwn(draws, name)) tokens[name] = draws[name]();
    else if (name.endsWith('LogProbs')) tokens[name] = grid(() => eighths(random, -2, -0.125));
    else if (name === 'policyDivergences') rows[name] = ofGroups(order, () => eighths(random, 0, 1) / 8);
    else if (name === 'baselines' || name === 'bootstrapValues') rows[name] = order.map(() => eighths(random, -1, 1));
  }
  const components = inputs.includes('rewardComponents') ? order.map(() => [reward(), reward()]) : null;
  const [gamma, lambda] = shape.undiscounted ? [1, 1] : [pick(random, [1, 0.5]), pick(random, [1, 0.5])];
  return { tokens, rows, groupIds: order.map((id) => `prompt ${id}`), components, gamma, lambda };
}

function ofGroups(groups: readonly number[], draw: () => number): number[] {
  const known = new Map<number, number>();
  return groups.map((id) => known.get(id) ?? (known.set(id, draw()), known.get(id)!));
}

function drawMask(random: SmallRandom, columns: number, { masks, emptyRows }: Shape): number[] {
  if (masks === 'none') return new Array<number>(columns).fill(1);
  if (emptyRows && random.below(8) === 0) return new Array<number>(columns).fill(0);
  const length = 1 + random.below(columns);
  const start = random.below(columns - length + 1);
  const row: number[] = Array.from({ length: columns }, (_, t) => (t >= start && t < start + length ? 1 : 0));
  if (masks === 'any' && length > 2 && random.below(2) === 0) { for (let t = start + 1; t < start + length - 1; t++) row[t] = random.below(2); }
  return row;
}

/** [rows, columns] */
export const sizeOf = ({ tokens: { masks } }: Batch): [number, number] => [masks.length, masks[0]?.length ?? 0];

/** Every input of tokens through a function. */
export function mapTokens(batch: Batch, change: (grid: Grid, name: string) => Grid): Batch {
  return { ...batch, tokens: Object.fromEntries(Object.entries(batch.tokens).map(([name, grid]) => [name, change(grid, name)])) };
}

/** The rows of these numbers, in this order. */
export function takeRows(batch: Batch, order: readonly number[]): Batch {
  const take = <T>(list: readonly T[]): T[] => order.map((row) => list[row]);
  const rows = Object.fromEntries(Object.entries(batch.rows).map(([name, list]) => [name, take(list)]));
  return { ...mapTokens(batch, take), rows, groupIds: take(batch.groupIds), components: batch.components && take(batch.components) };
}

/** Each row's columns of these numbers; −1: a masked position with 0. */
export function takeColumns(batch: Batch, columns: readonly (readonly number[])[]): Batch {
  return mapTokens(batch, (grid) => grid.map((row, b) => columns[b].map((t) => (t < 0 ? 0 : row[t]))));
}

/** Masked columns more on either side; they hold garbage that is finite. */
export function pad(batch: Batch, left: number, right: number): Batch {
  return mapTokens(batch, (grid, name) => {
    const filler = isWhole(name) ? 0 : name === 'rewards' || name === 'values' ? 0 : -1;
    return grid.map((row) => [...new Array<number>(left).fill(filler), ...row, ...new Array<number>(right).fill(filler)]);
  });
}

/** Other numbers at masked positions. */
export function soil(batch: Batch, garbage: (name: string) => number | null): Batch {
  const { masks } = batch.tokens;
  return mapTokens(batch, (grid, name) => {
    const value = name === 'masks' ? null : garbage(name);
    return value === null ? grid : grid.map((row, b) => row.map((x, t) => (masks[b][t] ? x : value)));
  });
}

/** The columns of each row's valid tokens. */
export const validColumns = ({ tokens: { masks } }: Batch): number[][] => masks.map((row) => row.flatMap((m, t) => (m ? [t] : [])));

/** The batch without holes and padding on the left: valid tokens first. */
export function collapse(batch: Batch): Batch {
  const valid = validColumns(batch);
  const length = Math.max(1, ...valid.map((row) => row.length));
  return takeColumns(batch, valid.map((row) => Array.from({ length }, (_, i) => row[i] ?? -1)));
}

/** Another grid in place of one. */
export const withTokens = (batch: Batch, name: string, grid: Grid): Batch => ({ ...batch, tokens: { ...batch.tokens, [name]: grid } });

/** The rows of each group, in order of appearance. */
export function groupsOf({ groupIds }: Batch): number[][] {
  const members = new Map<string | number, number[]>();
  for (const [row, id] of groupIds.entries()) members.set(id, [...(members.get(id) ?? []), row]);
  return [...members.values()];
}

/** total + shift, times a factor, for the rows of a choice: at the last valid token, and in every component. */
export function changeRewards(batch: Batch, rows: ReadonlySet<number>, { shift = 0, scale = 1 }: { shift?: number; scale?: number }): Batch {
  const valid = validColumns(batch);
  const rewards = batch.tokens.rewards.map((row, b) => (rows.has(b) ? row.map((x, t) => x * scale + (t === valid[b].at(-1) ? shift : 0)) : row));
  const components = batch.components && batch.components.map((row, b) => (rows.has(b) ? row.map((x) => x * scale + shift) : row));
  return { ...withTokens(batch, 'rewards', rewards), components };
}
