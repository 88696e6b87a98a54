import { EstimatorError, showValue } from '../../errors';
import { tensor, where, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorState, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { toEveryToken } from '../outcome';
import { rowWhiteningChoices, whitenRows, type RowWhitening } from '../whiten';

interface SinglestreamOptions extends RowWhitening {
  whiten: 'rows' | 'none';
  initialValue: number;
  initialWeight: number;
  forgetting: number;
  minForgetting: number;
  maxForgetting: number;
  halfDivergence: number;
}

/** What is known of a prompt: the mean of its rewards, and how many the mean is worth. As Beta(α, β): α = value·weight, β = (1 − value)·weight. */
interface Tracked {
  value: number;
  weight: number;
}

/**
 * Single-stream policy optimisation (Xu & Ding, Single-stream Policy Optimization, 2025): every token of a row gets (A − mean)/(std + ε) over the rows of the batch, A = R − v̂, v̂ the value of
 * the row's prompt before this batch. Groups are not compared: one row a prompt suffices, and the value is kept from batch to batch, under the prompt's group id.
 *
 * With the n rewards of a prompt in a batch: w ← ρw + n, v̂ ← v̂ + Σ(R − v̂)/w, which for rewards of 0 and 1 is the paper's α ← ρα + ΣR, β ← ρβ + Σ(1 − R), v̂ = α/(α + β). The forgetting
 * factor is ρ = 2^(−D/D_half), from `minForgetting` to `maxForgetting`, D the prompt's `policyDivergences`: the mean of |log π − log π_then| over the tokens of the answer that the prompt
 * got last. Without that input, or where it is NaN, ρ is `forgetting`. A prompt that was never seen has `initialValue`, worth `initialWeight` rewards.
 *
 * Rows without a valid token neither count nor teach. Metrics: `value`, `weight` (means over the rows, before the update), `forgetting`, `prompts` that are tracked.
 *
 * Errors: a reward that is not finite, a D below 0, a prompt whose rows differ in D, options out of range, a state that is not this estimator's.
 */
export class SingleStream extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = ['policyDivergences'];
  static override readonly declares: EstimatorDeclares = ({ whiten }) => ({ scope: whiten === 'rows' ? 'batch' : 'row', emptyRows: 'ignore' });
  static override readonly options: Readonly<Record<string, unknown>> = {
    /** Over `rows`, or `none`: A as it is. */
    whiten: 'rows',
    whitenDdof: 1,
    whitenEpsilon: 1e-8,
    whitenEpsilonPlacement: 'outside',
    initialValue: 0.5,
    initialWeight: 1,
    forgetting: 0.9,
    minForgetting: 0.875,
    maxForgetting: 0.96,
    halfDivergence: 0.06,
  };
  static override readonly choices = { ...rowWhiteningChoices, whiten: ['rows', 'none'] };

  override readonly leavesZeros = true;

  private readonly settings = checkedOptions(this.options as unknown as SinglestreamOptions);
  private readonly prompts = new Map<string, Tracked>();

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, policyDivergences, remask }: AdvantageContext): AdvantageResult {
    const present = masks.sum(1).greater(0);
    const rows = { present: present.dataSync(), scores: rewards.sum(1).dataSync(), group: groups!.index.dataSync(), divergence: policyDivergences?.dataSync() };
    const observed = new Map<number, { scores: number[]; divergence: number }>();
    const before = Array.from(rows.group, (group) => this.tracked(keyOf(groups!.ids[group]!)));
    for (const [row, group] of rows.group.entries()) {
      if (!rows.present[row]) continue;
      const score = rows.scores[row]!;
      if (!Number.isFinite(score)) throw new EstimatorError(`expected finite rewards, got ${score} in row ${row}`);
      const divergence = rows.divergence ? rows.divergence[row]! : NaN;
      if (divergence < 0) throw new EstimatorError(`policyDivergences: expected numbers, 0 or more, or NaN, got ${divergence} in row ${row}`);
      const prompt = observed.get(group);
      if (!prompt) observed.set(group, { scores: [score], divergence });
      else if (!Object.is(prompt.divergence, divergence))
        throw new EstimatorError(`policyDivergences: expected one number a prompt, got ${prompt.divergence} and ${divergence} for ${showValue(groups!.ids[group])}`);
      else prompt.scores.push(score);
    }
    const factors = [...observed].map(([group, { scores, divergence }]) => this.update(keyOf(groups!.ids[group]!), scores, divergence));
    const baseline = tensor(Float64Array.from(before, ({ value }) => value), { shape: [before.length], dtype: 'float64', device: rewards.device });
    const advantages = where(present, rewards.sum(1).cast('float64').sub(baseline), 0);
    const result = this.settings.whiten === 'rows' ? whitenRows(advantages, present, this.settings).whitened : advantages;
    const counted = before.filter((_, row) => rows.present[row]);
    return {
      ...toEveryToken(result.cast(rewards.dtype), masks, remask),
      metrics: { value: average(counted.map(({ value }) => value)), weight: average(counted.map(({ weight }) => weight)), forgetting: average(factors), prompts: this.prompts.size },
    };
  }

  /** {prompts: {key: [value, weight]}}; a key is the id as JSON: text in quotes, a number without. */
  override saveState(): EstimatorState {
    return { prompts: Object.fromEntries(Array.from(this.prompts, ([key, { value, weight }]) => [key, [value, weight]])) };
  }

  override restoreState(state: EstimatorState): void {
    const saved = (state as { prompts?: unknown } | null)?.prompts;
    if (typeof saved !== 'object' || saved === null || Array.isArray(saved)) throw new EstimatorError(`expected {prompts: {id: [value, weight]}}, got ${showValue(state)}`);
    const prompts = Object.entries(saved as Record<string, unknown>).map(([key, entry]): [string, Tracked] => {
      const [value, weight] = (Array.isArray(entry) ? entry : []) as unknown[];
      if (!Number.isFinite(value) || !(Number.isFinite(weight) && (weight as number) >= 0)) {
        throw new EstimatorError(`prompts: ${key}: expected [value, weight], finite numbers and a weight of at least 0, got ${showValue(entry)}`);
      }
      return [key, { value: value as number, weight: weight as number }];
    });
    this.prompts.clear();
    for (const [key, tracked] of prompts) this.prompts.set(key, tracked);
  }

  private tracked(key: string): Tracked {
    const { initialValue, initialWeight } = this.settings;
    return this.prompts.get(key) ?? { value: initialValue, weight: initialWeight };
  }

  /** Returns the forgetting factor. */
  private update(key: string, scores: readonly number[], divergence: number): number {
    const { forgetting, minForgetting, maxForgetting, halfDivergence } = this.settings;
    const factor = Number.isNaN(divergence) ? forgetting : Math.min(maxForgetting, Math.max(minForgetting, 2 ** (-divergence / halfDivergence)));
    const { value, weight } = this.tracked(key);
    const worth = factor * weight + scores.length;
    this.prompts.set(key, { value: value + scores.reduce((sum, score) => sum + score - value, 0) / worth, weight: worth });
    return factor;
  }
}

const keyOf = (id: string | number | bigint): string => (typeof id === 'string' ? JSON.stringify(id) : String(id));
const average = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / Math.max(1, numbers.length);

/** Relations of options: each for itself is within its range. */
function checkedOptions(options: SinglestreamOptions): SinglestreamOptions {
  const { minForgetting, maxForgetting } = options;
  if (maxForgetting < minForgetting) throw new EstimatorError(`advantage estimator 'spo': option 'maxForgetting': expected a number from minForgetting, ${minForgetting}, to 1, got ${maxForgetting}`);
  return options;
}
