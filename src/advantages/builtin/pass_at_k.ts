import { EstimatorError, showValue } from '../../errors';
import { tensor, type Tensor } from '../../tensor';
import { AdvantageEstimator, type AdvantageContext, type AdvantageResult, type EstimatorDeclares, type EstimatorReads } from '../estimator';
import { toEveryToken } from '../outcome';

type Method = 'sloo_minus_one' | 'sloo' | 's' | 'analytic';

/** What the rows of a group get for their rewards, and the estimate of the mean of max@k. */
type OfGroup = (rewards: Float64Array, k: number) => { advantages: Float64Array; best: number };

/**
 * Policies for pass@k: what counts is the best of k answers. The n rows of a prompt with rewards g stand for all sets I of k of them (C(n,k) sets); for rewards of 0 and 1 the mean of max_I g is pass@k.
 *
 * `sloo_minus_one`, `sloo` and `s` (Walder & Karkhanis, Pass@K Policy Optimization: Solving Harder Reinforcement Learning Problems, 2025) take any rewards. Σ_i A_i ∇log π(row i) is an unbiased
 * estimate of ∇E[max@k], a sum over the rows, so that A shrinks as 1/n:
 * - `s`: s_i = Σ_{I∋i} max_{j∈I} g_j / C(n,k), without a baseline;
 * - `sloo`: s_i minus the mean of s over the other rows, which is k·ρ_k/(n − 1), ρ_k the mean of max@k without row i;
 * - `sloo_minus_one`: Σ_{I∋i} (max_{j∈I} g_j − max_{j∈I∖i} g_j) / C(n,k), of least variance.
 *
 * `analytic` (Chen et al., Pass@k Training for Adaptively Balancing Exploration and Exploitation of Large Reasoning Models, 2025) takes rewards of 0 and 1, of which N₀ are 0: sets of k are normalised
 * as the rows in GRPO, and a row gets the mean over the sets it is in. With R̄ = 1 − C(N₀,k)/C(n,k) and σ = √(R̄(1 − R̄)): (1 − R̄)/σ for a reward of 1, (1 − R̄ − C(N₀−1,k−1)/C(n−1,k−1))/σ for one of 0; all
 * get 0 where σ is 0.
 *
 * Errors: a k that is no positive integer, or 1 with `sloo_minus_one`; a prompt with fewer than k rows (k + 1 with `sloo`), unless `smallGroups` is `zero` (its rows get 0); rewards that are not finite, or
 * with `analytic` neither 0 nor 1. Metric: `max_at_k`, the mean over the prompts of the estimate. (`grpo_passk` rewards the best row of a whole group.)
 */
export class PassAtKPolicy extends AdvantageEstimator {
  static override readonly requires = ['groupIds'] as const;
  static override readonly reads: EstimatorReads = [];
  static override readonly declares: EstimatorDeclares = ({ k, method, smallGroups }) => ({
    scope: 'group',
    invariantTo: method === 'sloo' || method === 'sloo_minus_one' ? ['shift'] : [],
    emptyRows: 'count',
    ...(method === 'analytic' && { rewardRange: { low: 0, high: 1, integer: true } }),
    smallestGroup: smallGroups === 'zero' ? 1 : (k as number) + (method === 'sloo' ? 1 : 0),
  });
  static override readonly options: Readonly<Record<string, unknown>> = { k: 4, method: 'sloo_minus_one', smallGroups: 'error' };
  static override readonly choices = { method: ['sloo_minus_one', 'sloo', 's', 'analytic'], smallGroups: ['error', 'zero'] };

  override readonly leavesZeros = true;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor, { groups, remask }: AdvantageContext): AdvantageResult {
    const { k, method, smallGroups } = this.options as { k: number; method: Method; smallGroups: 'error' | 'zero' };
    const fewest = method === 'sloo_minus_one' ? 2 : 1;
    if (k < fewest) throw new EstimatorError(`option 'k': expected a whole number, ${fewest} or more with method '${method}', got ${showValue(k)}`);
    const scores = rewards.sum(1).dataSync();
    for (const [row, score] of scores.entries()) {
      if (!Number.isFinite(score)) throw new EstimatorError(`expected finite rewards, got ${score} in row ${row}`);
      if (method === 'analytic' && score !== 0 && score !== 1) throw new EstimatorError(`expected rewards of 0 and 1 with method 'analytic', got ${score} in row ${row}`);
    }
    const members: number[][] = groups!.ids.map(() => []);
    for (const [row, group] of groups!.index.dataSync().entries()) members[group]!.push(row);
    const needed = method === 'sloo' ? k + 1 : k;
    const advantages = new Float64Array(scores.length);
    let [sum, count] = [0, 0];
    for (const [group, rows] of members.entries()) {
      if (rows.length < needed) {
        if (smallGroups === 'zero') continue;
        throw new EstimatorError(`expected at least ${needed} rows in every group (k is ${k}), got ${rows.length} in ${showValue(groups!.ids[group])} (smallGroups is 'error')`);
      }
      const result = methods[method](Float64Array.from(rows, (row) => scores[row]!), k);
      for (const [i, row] of rows.entries()) advantages[row] = result.advantages[i]!;
      sum += result.best;
      count++;
    }
    const column = tensor(advantages, { shape: [scores.length], dtype: 'float64', device: rewards.device }).cast(rewards.dtype);
    return { ...toEveryToken(column, masks, remask), metrics: { max_at_k: sum / Math.max(1, count) } };
  }
}

/** C(j,r)/C(m−1,r) for j from 0 to m − 1: the largest first, as none of them overflows. */
function ratios(m: number, r: number): Float64Array {
  const result = new Float64Array(m);
  let ratio = 1;
  for (let j = m - 1; j >= r; j--) {
    result[j] = ratio;
    ratio *= (j - r) / j;
  }
  return result;
}

/**
 * s_i of sorted rewards: g_i is the best of C(i,k−1) of the sets with row i, and g_j, j > i, of C(j−1,k−2).
 */
function totalsOfSets(g: Float64Array, k: number): Float64Array {
  const n = g.length;
  const own = ratios(n, k - 1);
  const another = k > 1 ? ratios(n - 1, k - 2) : null;
  const s = new Float64Array(n);
  let above = 0;
  for (let i = n - 1; i >= 0; i--) {
    s[i] = (k / n) * (g[i]! * own[i]! + above);
    if (another && i > 0) above += (g[i]! * another[i - 1]! * (k - 1)) / (n - 1);
  }
  return s;
}

/** ρ_k of the rows but i, for each i, of sorted rewards: the mean over their sets of k of the largest. */
function bestOfOthers(g: Float64Array, k: number): Float64Array {
  const n = g.length;
  const share = ratios(n - 1, k - 1).map((ratio) => (ratio * k) / (n - 1));
  const result = new Float64Array(n);
  let below = 0;
  for (let i = 0; i < n; i++) {
    result[i] = below;
    if (i < n - 1) below += g[i]! * share[i]!;
  }
  let above = 0;
  for (let i = n - 1; i >= 0; i--) {
    result[i]! += above;
    if (i > 0) above += g[i]! * share[i - 1]!;
  }
  return result;
}

const methods: Record<Method, OfGroup> = {
  s: sorted(() => 0),
  sloo: sorted((others, k, n) => (k * others(k)) / (n - 1)),
  sloo_minus_one: sorted((others, k, n) => (k * others(k - 1)) / n),
  analytic,
};

/** s minus a baseline from ρ of the other rows, in the order that the rewards came in. */
function sorted(baseline: (others: (k: number) => number, k: number, n: number) => number): OfGroup {
  return (rewards, k) => {
    const n = rewards.length;
    const order = Array.from(rewards.keys()).sort((a, b) => rewards[a]! - rewards[b]!);
    const g = Float64Array.from(order, (row) => rewards[row]!);
    const s = totalsOfSets(g, k);
    const tables = new Map<number, Float64Array>();
    const others = (size: number, i: number) => {
      if (!tables.has(size)) tables.set(size, bestOfOthers(g, size));
      return tables.get(size)![i]!;
    };
    const advantages = new Float64Array(n);
    for (const [i, row] of order.entries()) advantages[row] = s[i]! - baseline((size) => others(size, i), k, n);
    return { advantages, best: s.reduce((sum, each) => sum + each, 0) / k };
  };
}

function analytic(rewards: Float64Array, k: number): { advantages: Float64Array; best: number } {
  const n = rewards.length;
  const failures = rewards.reduce((count, reward) => count + (reward === 0 ? 1 : 0), 0);
  // C(failures − drop, k − drop)/C(n − drop, k − drop)
  const allFail = (drop: number) => {
    let share = 1;
    for (let i = drop; i < k; i++) share *= Math.max(0, failures - i) / (n - i);
    return share;
  };
  const miss = allFail(0);
  const deviation = Math.sqrt((1 - miss) * miss);
  if (deviation === 0) return { advantages: new Float64Array(n), best: 1 - miss };
  return { advantages: rewards.map((reward) => (miss - (reward === 0 ? allFail(1) : 0)) / deviation), best: 1 - miss };
}
