/** What is exact: against plain loops over every sequence, finite differences and sampled sequences. */
import { checkExactGradient, EstimatorError } from 'vantage-rl';
import { labEnvironment, labEnvironmentNames } from '../../src/lab/environments';
import { LabSampler } from '../../src/lab/batches';
import { enumerate, exactGradient, exactReturn, exactValues, labObjectives, softmaxPolicy } from '../../src/lab/tree';
import * as reference from './reference';

const sizes = { prompts: 2, vocabulary: 3, length: 4 };
const distance = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe.each(labEnvironmentNames)('%s', (name) => {
  const environment = labEnvironment(name, sizes);
  const tree = enumerate(environment);
  const policy = softmaxPolicy(environment.logits, environment.vocabulary);

  test.each(labObjectives)('the gradient of the %s return is that of plain loops', (objective) => {
    for (const gamma of [1, 0.8]) {
      const exact = exactGradient(tree, policy, { gamma, objective, prompts: environment.prompts });
      const expected = reference.exactGradient(environment, gamma, objective);
      expect(exact).toHaveLength(expected.length);
      expect(distance(exact, expected)).toBeLessThan(1e-14);
      expect(Math.hypot(...expected)).toBeGreaterThan(1e-3);
    }
  });

  test('the expected return is that of plain loops; probabilities add up, rewards stay within 0 and 1', () => {
    const all = reference.sequences(environment);
    expect(all.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(environment.prompts, 12);
    for (const { rewards } of all) expect([rewards.every((r) => r >= 0), rewards.reduce((a, b) => a + b) <= 1 + 1e-12]).toEqual([true, true]);
    for (const gamma of [1, 0.8]) expect(exactReturn(tree, policy, gamma, environment.prompts)).toBeCloseTo(reference.expectedReturn(environment, gamma), 13);
  });

  test('its own size: finite differences to 1e-8, sampled sequences within their error', () => {
    const { finiteDifference, monteCarlo, norm, size } = checkExactGradient(name, { gamma: 0.9, samples: 100_000, seed: 3 });
    expect(size).toBeLessThan(400);
    expect(finiteDifference).toBeLessThan(1e-8);
    expect(norm).toBeGreaterThan(1e-3);
    // ‖difference‖² is a sum of hundreds of squares: its root is near what is expected of it.
    expect(monteCarlo!.error / monteCarlo!.expectedError).toBeLessThan(1.3);
    expect(monteCarlo!.withinTwo).toBeGreaterThan(0.9);
    expect(monteCarlo!.expectedError).toBeLessThan(norm / 3);
  });
});

test('rows of a batch: rewards, masks, values and log-probs stand where their tokens do', () => {
  const environment = labEnvironment('tool', sizes);
  const sampler = new LabSampler(environment, { groupSize: 3, gamma: 0.9, criticError: 0, seed: 1 });
  const leaves = sampler.draw(5);
  expect(sampler.draw(5)).toEqual(leaves);
  expect(sampler.draw(6)).not.toEqual(leaves);
  const inputs = sampler.inputs(leaves, new Int32Array(6), ['turnIds', 'anchorIds', 'rewardComponents', 'sumSquaredProbs', 'teacherLogProbs']);
  const { rewards, masks, values, oldLogProbs, turnIds, rewardComponents } = Object.fromEntries(
    Object.entries(inputs).map(([key, value]) => [key, (value as { toArray?(): number[][] }).toArray?.()]),
  ) as Record<string, number[][]>;
  const exact = exactValues(sampler.tree, sampler.policy, 0.9);
  for (const [row, leaf] of leaves.entries()) {
    const path: number[] = [];
    for (let node = leaf; sampler.tree.depth[node]! > 0; node = sampler.tree.parent[node]!) path.unshift(node);
    const tokens = path.map((node) => sampler.tree.token[node]!);
    const columns = [0, 1, 4, 5]; // the tool's two tokens stand in the middle
    expect(masks![row]).toEqual([1, 1, 0, 0, 1, 1]);
    expect(turnIds![row]).toEqual([0, 0, 0, 0, 1, 1]);
    columns.forEach((column, t) => {
      const prompt = row < 3 ? 0 : 1;
      const state = reference.softmax(Array.from(environment.logits.slice(3 * sampler.tree.state[sampler.tree.parent[path[t]!]!]!).slice(0, 3)));
      expect(rewards![row]![column]).toBeCloseTo(environment.reward(prompt, tokens.slice(0, t + 1)).reduce((a, b) => a + b), 6);
      expect(oldLogProbs![row]![column]).toBeCloseTo(Math.log(state[tokens[t]!]!), 6);
      expect(values![row]![column]).toBeCloseTo(exact[sampler.tree.parent[path[t]!]!]!, 6);
    });
    expect(rewardComponents![row]!.reduce((a, b) => a + b)).toBeCloseTo(rewards![row]!.reduce((a, b) => a + b), 6);
  }
});

test('sequences are drawn as often as they should be', () => {
  const environment = labEnvironment('ending', { prompts: 1, vocabulary: 3, length: 2 });
  const sampler = new LabSampler(environment, { groupSize: 20_000, gamma: 1, criticError: 0, seed: 0 });
  const counts = new Map<number, number>();
  for (const leaf of sampler.draw(0)) counts.set(leaf, (counts.get(leaf) ?? 0) + 1);
  const expected = reference.sequences(environment).map(({ probability }) => probability).sort();
  const shares = [...counts.values()].map((count) => count / 20_000).sort();
  expect(shares).toHaveLength(expected.length);
  // Five standard errors of the likeliest.
  expect(distance(shares, expected)).toBeLessThan(5 * Math.sqrt(0.25 / 20_000));
});

test('a critic is off by what it is told to be', () => {
  const environment = labEnvironment('critic');
  const values = (criticError: number) => {
    const sampler = new LabSampler(environment, { groupSize: 50, gamma: 1, criticError, seed: 0 });
    return (sampler.inputs(sampler.draw(0), new Int32Array(200), []).values as { toArray(): number[][] }).toArray().flat();
  };
  const [exact, off, further] = [values(0), values(0.1), values(0.2)];
  const errors = off!.map((value, i) => value - exact![i]!);
  expect(Math.hypot(...errors) / Math.sqrt(errors.length)).toBeGreaterThan(0.07);
  expect(distance(further!.map((value, i) => value - exact![i]!), errors.map((error) => 2 * error))).toBeLessThan(1e-6);
});

test.each([
  ['sprse', {}, /'environment': expected one of terminal, dense, .* got "sprse"\. Did you mean 'sparse'\?/],
  ['terminal', { vocabulary: 9 }, /'vocabulary': expected a whole number from 3 to 8, got 9/],
  ['terminal', { length: 1 }, /'length': expected a whole number from 2 to 6, got 1/],
  ['terminal', { prompts: 64, vocabulary: 8, length: 6 }, /at most 524288, as every sequence is enumerated, got 64 · 8\^6/],
  ['terminal', { gamma: 2 }, /'gamma': expected a number from 0 to 1, got 2/],
  ['terminal', { samples: 1.5 }, /'samples': expected a whole number/],
])('checkExactGradient(%j, %j) is refused', (name, options, message) => {
  expect(() => checkExactGradient(name as 'sparse', options)).toThrow(EstimatorError);
  expect(() => checkExactGradient(name as 'sparse', options)).toThrow(message);
});
