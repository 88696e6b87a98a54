/** What built-in estimators declare to read is what changes their results. */
import { type AdvantageInput, type AdvantageInputs, type AdvantageOptions, computeAdvantages, getAdvantageEstimator, listAdvantageEstimators } from '../../src';
import { estimatorReads } from '../../src/advantages/registry';

const rows = 4;
const width = 8;
const grid = (value: (row: number, column: number) => number) => Array.from({ length: rows }, (_, row) => Array.from({ length: width }, (_, column) => value(row, column)));
const wave = (seed: number) => grid((row, column) => Math.sin(seed + 3.1 * row + 1.7 * column));
const logProbs = (seed: number) => grid((row, column) => -1 - 0.3 * Math.sin(seed + row + 2.3 * column));

/** Rewards in [0, 1] all along the rows, of which the last tokens are masked; whatever an estimator may ask for. */
const inputs: AdvantageInputs = {
  rewards: grid((row, column) => (column === 2 || column === 5 ? [0.5, 0, 0.25, 0.125][row]! : 0)),
  masks: grid((row, column) => (column < width - row ? 1 : 0)),
  values: wave(1),
  groupIds: [0, 0, 1, 1],
  oldLogProbs: logProbs(1),
  refLogProbs: logProbs(2),
  rolloutLogProbs: logProbs(3),
  teacherLogProbs: logProbs(4),
  baselines: [0.1, 0.2, 0.3, 0.4],
  sumSquaredProbs: grid((row, column) => 0.5 + 0.1 * Math.sin(row - column)),
  turnIds: grid((_, column) => (column < 4 ? 0 : 1)),
  anchorIds: grid((_, column) => (column < 4 ? 0 : 1)),
  rewardComponents: [[1, 0], [0, 1], [0.5, 0.25], [0, 0.75]],
};

const results = (name: string, options: AdvantageOptions, more: Partial<AdvantageInputs> = {}) => {
  const { advantages, returns } = computeAdvantages(name, { ...inputs, ...more }, options);
  return [advantages.toArray(), returns.toArray()];
};

const variants: [name: string, options: AdvantageOptions][] = [
  ...listAdvantageEstimators().map((name): [string, AdvantageOptions] => [name, name === 'pass_at_k' ? { k: 2 } : {}]),
  ['turn_discount', { turnDiscount: 0.5 }],
  ['turn_level', { turnDiscount: 0.5 }],
  ['gigpo', { turnDiscount: 0.5 }],
  ['vapo_gae', { lambdaValue: 1 }],
  ['vapo_gae', { lambdaPolicy: 0.9 }],
  ['vapo_gae', { lambdaValue: 1, lambdaPolicy: 0.9 }],
  ['vapo_gae', { lambdaValue: 1, lengthAdaptiveAlpha: 0.5 }],
  ['reinforce++', { convention: 'skyrl' }],
  ['gae', { holes: 'decay' }],
];

test.each(variants)('%s %j', (name, options) => {
  const changes = (what: 'gamma' | 'lambda' | AdvantageInput, run: () => unknown) => {
    const own = { ...getAdvantageEstimator(name).options, ...options };
    expect([what, estimatorReads(name, what, own)]).toEqual([what, JSON.stringify(run()) !== JSON.stringify(results(name, options))]);
  };
  changes('gamma', () => results(name, { ...options, gamma: 0.7 }));
  changes('lambda', () => results(name, { ...options, lambda: 0.7 }));
  changes('rewardComponents', () => results(name, options, { rewardComponents: [[0, 1], [1, 0.5], [0, 0.25], [1, 0.75]] }));
});

test('each built-in estimator says what it reads', () => {
  for (const name of listAdvantageEstimators()) expect([name, Object.hasOwn(getAdvantageEstimator(name), 'reads')]).toEqual([name, true]);
});
