/** Sampling on until a batch holds enough prompts that teach something, or making do with those it has. */
import { SmallRandom } from '../data/random';
import { EstimatorError, showValue } from '../errors';
import { checkNumber } from '../losses/check';
import { checkObject, type Given, required, resolveOptions } from '../options';
import { type GroupId, type RowRewards, rowsOfGroups, spread, totals } from './filters';

/** Rows of a batch, as many of each. */
export interface SampledBatch<S> {
  /** The prompt that each row answers. */
  groupIds: readonly GroupId[];
  /** The rewards of each row. */
  rewards: RowRewards;
  /** Whatever belongs to each row. */
  samples: readonly S[];
}

/** Settings of {@link DynamicSamplingFilter}. */
export interface DynamicSamplingFilterSettings {
  /** Prompts that a training batch takes. */
  trainBatchSize: number;
  /** Responses to each prompt. With 1 there is nothing to compare, and every prompt counts. */
  samplesPerPrompt: number;
}

/**
 * Collects, batch after batch, the groups whose rewards differ, until there are `trainBatchSize` prompts. Yu et al. 2025, "DAPO: An Open-Source LLM Reinforcement
 * Learning System at Scale" (dynamic sampling).
 *
 * ```ts
 * const filter = new DynamicSamplingFilter<Trajectory>({ trainBatchSize: 64, samplesPerPrompt: 8 });
 * while (filter.add(await sample())) continue;
 * train(filter.take());
 * ```
 *
 * @throws EstimatorError for options that are missing, unknown or out of range
 */
export class DynamicSamplingFilter<S> {
  private readonly settings: DynamicSamplingFilterSettings;
  private groupIds: GroupId[] = [];
  private rewards: (number | readonly number[])[] = [];
  private samples: S[] = [];
  private prompts = 0;

  constructor(options: Given<DynamicSamplingFilterSettings>) {
    const who = 'DynamicSamplingFilter';
    this.settings = resolveOptions<DynamicSamplingFilterSettings>(who, { trainBatchSize: required, samplesPerPrompt: required }, options);
    checkCount(who, 'trainBatchSize', this.settings.trainBatchSize);
    checkCount(who, 'samplesPerPrompt', this.settings.samplesPerPrompt);
  }

  /** Prompts collected so far. */
  get promptsCollected(): number {
    return this.prompts;
  }

  /** What was collected so far, in order of arrival. */
  get collected(): SampledBatch<S> {
    return { groupIds: [...this.groupIds], rewards: [...this.rewards], samples: [...this.samples] };
  }

  /**
   * Takes the good groups of a batch. A batch without any adds nothing.
   * @returns whether more prompts are needed
   * @throws EstimatorError for lengths that differ
   */
  add(batch: SampledBatch<S>): boolean {
    const good = goodGroups('DynamicSamplingFilter', batch, this.settings.samplesPerPrompt);
    batch.groupIds.forEach((id, row) => {
      if (!good.has(id)) return;
      this.groupIds.push(id);
      this.rewards.push(batch.rewards[row]!);
      this.samples.push(batch.samples[row]!);
    });
    this.prompts += good.size;
    return this.prompts < this.settings.trainBatchSize;
  }

  /** The training batch: what was collected, but no more rows than it takes. The filter is empty afterwards. @throws EstimatorError where prompts are missing */
  take(): SampledBatch<S> {
    const { trainBatchSize, samplesPerPrompt } = this.settings;
    if (this.prompts < trainBatchSize) throw new EstimatorError(`DynamicSamplingFilter: expected ${trainBatchSize} prompts, got ${this.prompts} so far: add further batches`);
    const rows = trainBatchSize * samplesPerPrompt;
    const { groupIds, rewards, samples } = this;
    [this.groupIds, this.rewards, this.samples, this.prompts] = [[], [], [], 0];
    return { groupIds: groupIds.slice(0, rows), rewards: rewards.slice(0, rows), samples: samples.slice(0, rows) };
  }
}

/** Settings of {@link dynamicSamplingReplace}. */
export interface DynamicSamplingReplaceSettings {
  /** Rows of each prompt. */
  samplesPerPrompt: number;
  /** The share of prompts with differing rewards that has to be exceeded. Default 0.3. */
  minReplaceRatio: number;
  /** Of the draw, such as the number of the step: the same seed gives the same groups. Default 0. */
  seed: number;
}

/**
 * Puts groups whose rewards differ in the place of those whose rewards do not: drawn without repetition while there are enough, with repetition
 * otherwise. The rows of a larger group repeat those of a smaller one. Where too few prompts are good, nothing is replaced and `keepSampling` is true. An et al. 2025, "POLARIS: A Post-Training Recipe for Scaling
 * Reinforcement Learning on Advanced Reasoning Models".
 *
 * @returns the batch, and `rows`: which row of the old one stands in each place
 * @throws EstimatorError for lengths that differ and options that are missing, unknown or out of range
 */
export function dynamicSamplingReplace<S>(batch: SampledBatch<S>, options: Given<DynamicSamplingReplaceSettings>): SampledBatch<S> & { keepSampling: boolean; rows: number[] } {
  const who = 'dynamicSamplingReplace';
  const { samplesPerPrompt, minReplaceRatio, seed } = resolveOptions<DynamicSamplingReplaceSettings>(who, { samplesPerPrompt: required, minReplaceRatio: 0.3, seed: 0 }, options);
  checkCount(who, 'samplesPerPrompt', samplesPerPrompt);
  checkNumber(who, 'minReplaceRatio', minReplaceRatio, 0, 1);
  if (!Number.isInteger(seed)) throw new EstimatorError(`${who}: seed: expected an integer, got ${showValue(seed)}`);
  const good = goodGroups(who, batch, samplesPerPrompt);
  const groups = rowsOfGroups(batch.groupIds);
  const rows = batch.groupIds.map((_, row) => row);
  const keepSampling = good.size <= groups.size * minReplaceRatio;
  if (!keepSampling) {
    const bad = [...groups.keys()].filter((id) => !good.has(id));
    const drawn = draw([...good], bad.length, new SmallRandom(seed));
    bad.forEach((id, place) => {
      const source = groups.get(drawn[place]!)!;
      groups.get(id)!.forEach((row, i) => (rows[row] = source[i % source.length]!));
    });
  }
  const pick = <T>(list: readonly T[]) => rows.map((row) => list[row]!);
  return { groupIds: pick(batch.groupIds), rewards: pick(batch.rewards), samples: pick(batch.samples), keepSampling, rows };
}

/** The groups in which rewards differ; all where a prompt has one response. */
function goodGroups<S>(who: string, batch: SampledBatch<S>, samplesPerPrompt: number): Set<GroupId> {
  checkObject(who, 'batch', batch);
  const scores = totals(who, batch.rewards, batch.groupIds);
  if (!Array.isArray(batch.samples) || batch.samples.length !== scores.length) {
    throw new EstimatorError(`${who}: samples: expected ${scores.length}, one a row, got ${Array.isArray(batch.samples) ? batch.samples.length : showValue(batch.samples)}`);
  }
  const groups = [...rowsOfGroups(batch.groupIds)];
  return new Set(groups.filter(([, rows]) => samplesPerPrompt === 1 || spread(rows, scores) > 0).map(([id]) => id));
}

/** `count` of the candidates, each at most once where they suffice. */
function draw<T>(candidates: readonly T[], count: number, random: SmallRandom): T[] {
  if (candidates.length < count) return Array.from({ length: count }, () => candidates[random.below(candidates.length)]!);
  return random.permutation(candidates.length).slice(0, count).map((at) => candidates[at]!);
}

function checkCount(who: string, name: string, value: unknown): void {
  if (!Number.isInteger(value) || (value as number) < 1) throw new EstimatorError(`${who}: ${name}: expected an integer, 1 or more, got ${showValue(value)}`);
}
