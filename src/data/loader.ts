/** Batches of examples, epoch after epoch, with a cursor that a checkpoint can keep. */
import { DataError, showValue } from '../errors';
import { checkFields, checkList, checkNumber } from './check';
import { SmallRandom } from './random';

/** Options of {@link DataLoader}. */
export interface DataLoaderOptions {
  /** Examples of a batch; those that are left over at an epoch's end are dropped. */
  batchSize: number;
  /** Each epoch has an order of its own, which depends on the seed and the epoch alone. */
  seed: number;
  /** Default true. */
  shuffle?: boolean;
}

/** Where a loader stands; plain JSON. */
export interface DataLoaderState {
  /** Epochs that are done. */
  epoch: number;
  /** Batches of the epoch that were taken. */
  batch: number;
  /** The seed of the orders. */
  seed: number;
  /** Examples of a batch. */
  batchSize: number;
  /** Examples in the dataset. */
  size: number;
}

/** Takes batches of equal size: the last, partial one of an epoch is dropped. */
export class DataLoader<T> {
  /** Batches in an epoch. */
  readonly batchesPerEpoch: number;
  private epochNumber = 0;
  private batchNumber = 0;
  private order: readonly number[] = [];

  /** @throws DataError where there is not a single batch */
  constructor(
    private readonly examples: readonly T[],
    private readonly options: DataLoaderOptions,
  ) {
    checkList('DataLoader', 'examples', examples);
    checkFields('DataLoader', 'options', options, '{ batchSize, seed, shuffle }');
    const { batchSize, seed } = options;
    checkNumber('DataLoader', 'seed', seed);
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new DataError(`DataLoader: batchSize: expected a positive integer, got ${showValue(batchSize)}`);
    }
    this.batchesPerEpoch = Math.floor(examples.length / batchSize);
    if (this.batchesPerEpoch === 0) {
      throw new DataError(`DataLoader: expected at least one batch of ${batchSize} examples, got ${examples.length} examples`);
    }
    this.beginEpoch(0);
  }

  /** The epoch, from 0, that the next batch belongs to. */
  get epoch(): number {
    return this.epochNumber;
  }

  /** The next batch; after an epoch's last one begins the next epoch. */
  next(): T[] {
    const start = this.batchNumber * this.options.batchSize;
    const batch = this.order.slice(start, start + this.options.batchSize).map((index) => this.examples[index]);
    if (++this.batchNumber === this.batchesPerEpoch) this.beginEpoch(this.epochNumber + 1);
    return batch;
  }

  /** Where it is: what {@link DataLoader.restore} takes. */
  state(): DataLoaderState {
    const { seed, batchSize } = this.options;
    return { epoch: this.epochNumber, batch: this.batchNumber, seed, batchSize, size: this.examples.length };
  }

  /** Continues where `state` was taken. @throws DataError where the dataset, the batch size or the seed is another one */
  restore(state: DataLoaderState): void {
    checkFields('DataLoader', 'saved state', state);
    const current = this.state();
    for (const key of ['seed', 'batchSize', 'size'] as const) {
      if (state[key] === current[key]) continue;
      throw new DataError(`DataLoader: ${key} of the saved state: expected ${current[key]} as in this run, got ${showValue(state[key])}`);
    }
    const inRange = (value: number, end: number) => Number.isInteger(value) && value >= 0 && value < end;
    if (!inRange(state.epoch, 2 ** 31) || !inRange(state.batch, this.batchesPerEpoch)) {
      throw new DataError(`DataLoader: saved state: expected an epoch and a batch below ${this.batchesPerEpoch}, got ${showValue(state)}`);
    }
    this.beginEpoch(state.epoch);
    this.batchNumber = state.batch;
  }

  private beginEpoch(epoch: number): void {
    const { seed, shuffle = true } = this.options;
    this.epochNumber = epoch;
    this.batchNumber = 0;
    this.order = shuffle ? new SmallRandom(seed, epoch).permutation(this.examples.length) : this.examples.map((_, i) => i);
  }
}

/** All examples once, in order, in batches of at most `size`: what evaluation reads. */
export function* inBatches<T>(examples: readonly T[], size: number): Generator<T[]> {
  checkList('inBatches', 'examples', examples);
  if (!Number.isInteger(size) || size < 1) throw new DataError(`inBatches: size: expected a positive integer, got ${showValue(size)}`);
  for (let start = 0; start < examples.length; start += size) yield examples.slice(start, start + size);
}
