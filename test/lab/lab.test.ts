/** The lab as it is called: options, sweeps, estimators of every scope, and its pages. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AdvantageEstimator,
  EstimatorError,
  estimatorLab,
  type EstimatorLabOptions,
  type EstimatorState,
  labPage,
  type LabReport,
  listAdvantageEstimators,
  registerAdvantageEstimator,
  RegistryError,
  type Tensor,
  unregisterAdvantageEstimator,
  writeLabPage,
} from 'vantage-rl';
import { readsTypeScript } from '../programs';

const folder = mkdtempSync(join(tmpdir(), 'vantage-lab-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const small = { batches: 40, resamples: 50 } as const;

/** Counts the calls, and what they hold. */
let calls: number[] = [];
abstract class Spy extends AdvantageEstimator {
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    calls.push(rewards.shape[0]!);
    return this.advantages(rewards, masks);
  }

  protected abstract advantages(rewards: Tensor, masks: Tensor): Tensor;
}
class OfRows extends Spy {
  protected advantages(rewards: Tensor, masks: Tensor): Tensor {
    return rewards.sum(1, { keepDims: true }).mul(masks);
  }
}
class OfBatch extends Spy {
  protected advantages(rewards: Tensor, masks: Tensor): Tensor {
    const scores = rewards.sum(1, { keepDims: true });
    return scores.sub(scores.mean()).mul(masks);
  }
}
/** Statistics of the batch that are seldom other ones: whether it has the best sequence; whether it has another one that is rare. */
class OfTheBest extends Spy {
  protected advantages(rewards: Tensor, masks: Tensor): Tensor {
    const scores = rewards.sum(1, { keepDims: true });
    return scores.mul(scores.max().greaterEqual(0.999)).mul(masks);
  }
}
class OfTheRare extends Spy {
  protected advantages(rewards: Tensor, masks: Tensor): Tensor {
    const scores = rewards.sum(1, { keepDims: true });
    return scores.mul(scores.sub(0.65).abs().min().less(1e-3)).add(scores).mul(masks);
  }
}
/** The same with a state, so that it sees one batch at a time. */
class OfTheRareAlone extends OfTheRare {
  override saveState() {
    return {};
  }

  override restoreState() {}
}
class Moving extends AdvantageEstimator {
  static seen: number[] = [];
  private count = 0;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    Moving.seen.push(this.count++);
    return rewards.sum(1, { keepDims: true }).mul(masks);
  }

  override saveState() {
    return { count: this.count };
  }

  override restoreState(state: EstimatorState) {
    this.count = (state as { count: number }).count;
  }
}
const own = { of_rows: OfRows, of_batch: OfBatch, of_the_best: OfTheBest, of_the_rare: OfTheRare, of_the_rare_alone: OfTheRareAlone, moving: Moving };
beforeAll(() => Object.entries(own).forEach(([name, Class]) => registerAdvantageEstimator(name, Class)));
afterAll(() => Object.keys(own).forEach((name) => unregisterAdvantageEstimator(name)));

test('every registered estimator is measured, or says why not', () => {
  const { results, truth } = estimatorLab({ ...small, batches: 20 });
  expect(results.map(({ estimator }) => estimator)).toEqual(listAdvantageEstimators());
  expect(results.filter(({ error }) => error !== null)).toEqual([]);
  for (const { quality } of results) expect(quality!.variance.value).toBeGreaterThan(0);
  expect(truth).toHaveLength(1);
  expect(truth[0]!.norm).toBeCloseTo(Math.hypot(...truth[0]!.gradient), 12);
});

test('each environment takes each kind of estimator', () => {
  for (const environment of ['dense', 'sparse', 'tool', 'critic', 'ending'] as const) {
    const { results } = estimatorLab({ ...small, batches: 20, environment, estimators: ['gae', 'gigpo', 'tir_optimal_token_baseline', 'gdpo', 'vtrace', 'remax', 'distillation', 'bnpo'] });
    expect(results.map(({ error }) => error)).toEqual(results.map(() => null));
  }
});

test('many batches are computed at once only where none has a part in the others', () => {
  const callsOf = (name: string) => {
    calls = [];
    estimatorLab({ ...small, estimators: [name] });
    return calls;
  };
  expect(Math.max(...callsOf('of_rows'))).toBe(40 * 32);
  // Two at most: those that are tried out side by side.
  expect(Math.max(...callsOf('of_batch'))).toBe(64);
  expect(Math.max(...callsOf('of_the_best'))).toBe(64);
});

test('what trying out did not show is found by computing some batches again', () => {
  calls = [];
  const settings = { ...small, batches: 600 };
  const [{ quality }] = estimatorLab({ ...settings, estimators: ['of_the_rare'] }).results as [LabReport['results'][number]];
  expect(Math.max(...calls)).toBe(600 * 32);
  expect(calls.filter((rows) => rows === 32).length).toBeGreaterThanOrEqual(600);
  expect(quality).toEqual(estimatorLab({ ...settings, estimators: ['of_the_rare_alone'] }).results[0]!.quality);
});

test('an estimator with state begins each batch with what the warm-up left', () => {
  Moving.seen = [];
  estimatorLab({ ...small, estimators: ['moving'], warmup: 7 });
  expect(Moving.seen).toEqual([0, 1, 2, 3, 4, 5, 6, ...new Array<number>(40).fill(7)]);
});

test('equal options give equal bits, with one thread and with two; other seeds give other figures', () => {
  const options: EstimatorLabOptions = { ...small, environment: 'ending', estimators: ['rloo', 'gae', 'spo', 'reinforce++'], seed: 5 };
  const here = JSON.stringify(estimatorLab(options));
  expect(JSON.stringify(estimatorLab(options))).toBe(here);
  expect(JSON.stringify(estimatorLab({ ...options, seed: 6 }).results)).not.toBe(JSON.stringify(estimatorLab(options).results));
  const script = `const { estimatorLab } = require(${JSON.stringify(join(__dirname, '../../src/index.ts'))}); process.stdout.write(JSON.stringify(estimatorLab(${JSON.stringify(options)})));`;
  for (const threads of ['1', '2']) {
    const env = { ...process.env, VANTAGE_NUM_THREADS: threads };
    const output = execFileSync(process.execPath, [...readsTypeScript, '-e', script], { cwd: join(__dirname, '../..'), encoding: 'utf8', env });
    expect(output).toBe(here);
  }
}, 60_000);

test('an estimator is measured alike, whoever stands beside it', () => {
  const [alone] = estimatorLab({ ...small, estimators: ['rloo'] }).results;
  const beside = estimatorLab({ ...small, estimators: ['gae', 'rloo'] }).results[1];
  expect(beside).toEqual(alone);
});

test('a sweep measures each value as it would be by itself', () => {
  const sweep = { key: 'groupSize', values: [2, 4] } as const;
  const progress: unknown[] = [];
  const report = estimatorLab({ ...small, estimators: ['rloo', 'pass_at_k'], sweep, onProgress: (step) => progress.push(step) });
  const quality = (at: number, estimator: string) => report.results.find((result) => result.at === at && result.estimator === estimator)!;
  for (const groupSize of sweep.values) expect(quality(groupSize, 'rloo').quality).toEqual(estimatorLab({ ...small, estimators: ['rloo'], groupSize }).results[0]!.quality);
  expect(quality(2, 'pass_at_k').error).toMatch(/expected at least 4 rows in every group/);
  expect(quality(4, 'pass_at_k').error).toBeNull();
  expect(report.truth.map(({ at, rows }) => [at, rows])).toEqual([[2, 8], [4, 16]]);
  expect(progress.map((step) => Object.values(step as object))).toEqual([[0, 4, 'rloo'], [1, 4, 'pass_at_k'], [2, 4, 'rloo'], [3, 4, 'pass_at_k'], [4, 4, '']]);
});

test('an option of an estimator overrides that of the lab', () => {
  const figures = (options: EstimatorLabOptions) => estimatorLab({ ...small, environment: 'critic', ...options }).results.map(({ quality }) => quality!.variance.value);
  const gae = (options: Record<string, unknown>) => ({ name: 'gae', options: { whiten: 'none', ...options } }) as const;
  expect(figures({ estimators: [gae({ lambda: 0.5 })] })).toEqual(figures({ estimators: [gae({})], lambda: 0.5 }));
  expect(figures({ estimators: [gae({ lambda: 0.5 })] })).not.toEqual(figures({ estimators: [gae({})] }));
  const reinforce = { name: 'reinforce++', options: { whiten: 'none' } } as const;
  expect(figures({ environment: 'tool', estimators: [reinforce], convention: 'skyrl' })).toEqual(
    figures({ environment: 'tool', estimators: [{ ...reinforce, options: { ...reinforce.options, convention: 'skyrl' } }] }),
  );
  const { results } = estimatorLab({ ...small, estimators: ['rloo', gae({ lambda: 0.5 }), { name: 'rloo', label: 'mine' }] });
  expect(results.map(({ label }) => label)).toEqual(['rloo', 'gae:whiten=none,lambda=0.5', 'mine']);
});

test('γ: what is exact is what is asked for', () => {
  const of = (objective: 'discounted' | 'undiscounted' | 'to_go') => {
    const { truth, results } = estimatorLab({ batches: 200, resamples: 50, gamma: 0.5, objective, estimators: ['discounted_return'] });
    return { norm: truth[0]!.norm, p: results[0]!.quality!.unbiasedP };
  };
  const [discounted, undiscounted, toGo] = [of('discounted'), of('undiscounted'), of('to_go')];
  expect(discounted.norm).toBeLessThan(toGo.norm);
  expect(toGo.norm).toBeLessThan(undiscounted.norm);
  expect(discounted.p).toBeLessThan(1e-4);
  // Without a γ^t of its own the loss has the discounted policy gradient, which is no gradient of a return.
  expect(toGo.p).toBeGreaterThan(0.001);
  expect(undiscounted.p).toBeLessThan(1e-4);
});

test.each<[object, RegExp]>([
  [{ batchs: 5 }, /estimatorLab: unknown option 'batchs'\. Did you mean 'batches'\?/],
  [{ batches: 5 }, /'batches': expected a whole number from 20 to 20000, got 5/],
  [{ environment: 'sprse' }, /'environment': expected one of terminal, .*Did you mean 'sparse'\?/],
  [{ gamma: 1.5 }, /'gamma': expected a number from 0 to 1, got 1\.5/],
  [{ cosine: 1 }, /'cosine': expected a number from 0\.01 to 0\.9999/],
  [{ objective: 'togo' }, /'objective': .*Did you mean 'to_go'\?/],
  [{ convention: 'verI' }, /'convention'.*Did you mean 'verl'\?/],
  [{ estimators: [] }, /'estimators': expected names of advantage estimators, or \{name, options\?, label\?\}, got \[\]/],
  [{ estimators: 'rloo' }, /'estimators': expected names/],
  [{ estimators: [7] }, /'estimators': expected keys/],
  [{ estimators: [{ name: 'rloo', option: {} }] }, /unknown key 'option'\. Did you mean 'options'\?/],
  [{ sweep: { key: 'group', values: [1] } }, /'sweep': key: expected one of groupSize, gamma, lambda, criticError/],
  [{ sweep: { key: 'gamma', values: [2] } }, /'sweep': gamma: expected a number from 0 to 1, got 2/],
  [{ sweep: { key: 'gamma', values: [] } }, /'sweep': expected values, an array of numbers/],
  [{ onProgress: 3 }, /'onProgress': expected a function, got 3/],
])('%j is refused', (options, message) => {
  expect(() => estimatorLab(options)).toThrow(EstimatorError);
  expect(() => estimatorLab(options)).toThrow(message);
});

test('an unknown estimator, and options that it does not have or take, are errors before anything is measured', () => {
  const onProgress = jest.fn();
  expect(() => estimatorLab({ estimators: ['rloo', 'rlo'], onProgress })).toThrow(RegistryError);
  expect(() => estimatorLab({ estimators: ['rloo', { name: 'rloo', options: { ddof: 0 } }], onProgress })).toThrow(/advantage estimator 'rloo': unknown option 'ddof'/);
  expect(() => estimatorLab({ estimators: ['rloo', { name: 'grpo', options: { epsilon: -1 } }], onProgress })).toThrow(
    /advantage estimator 'grpo': option 'epsilon': expected a number, 0 or more, got -1/,
  );
  expect(onProgress).not.toHaveBeenCalled();
});

describe('pages', () => {
  const estimators = ['rloo', { name: 'grpo', label: '<b>grpo</b>' }, 'pass_at_k'];

  test('without a sweep: one chart, and an interval for each figure', () => {
    const page = labPage(estimatorLab({ ...small, estimators }));
    expect(page).toContain('&lt;b&gt;grpo&lt;/b&gt;');
    expect(page).not.toContain('<b>grpo</b>');
    expect(page.match(/<section class="panel/g)).toHaveLength(1);
    expect(page.match(/title="[^"]+"><svg/g)).toHaveLength(3 * 6);
    expect(page).not.toMatch(/(src|href)="?https?:/);
    expect(page).not.toMatch(/:NaN|[MLH ]NaN[^']/);
  });

  test('with one: a chart for each figure, marked by its values', () => {
    const file = join(folder, 'new', 'lab.html');
    writeLabPage(file, estimatorLab({ ...small, estimators, sweep: { key: 'groupSize', values: [2, 16] } }));
    expect(existsSync(file)).toBe(true);
    const page = readFileSync(file, 'utf8');
    expect(page.match(/<section class="panel/g)).toHaveLength(6);
    expect(page).toContain('>16</span>');
    expect(page).toContain('"labels":["2","16"]');
    expect(page).toContain('expected at least 4 rows in every group');
  });
});
