import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Averages } from '../../src/trainer/averages';
import { evaluationMetrics, generationMetrics, informativeRows, scores } from '../../src/trainer/reward_metrics';
import type { Trajectory } from '../../src/trainer';

const trajectory = (groupId: string, reward: number, length: number, dataSource = 'a/b'): Trajectory => ({
  ...{ groupId, reward, dataSource, promptIds: [1], responseIds: Array.from({ length }, () => 1), rolloutLogProbs: [], text: '' },
  ...{ stopReason: 'stop', metrics: { turns: length } },
});
const batch = [trajectory('p', 1, 2), trajectory('p', 0, 4), trajectory('q', 0.5, 6, 'c'), trajectory('q', -1, 8, 'c')];

it('scores a batch: mean, mean of what is above 0, prompts with a response of at least 1', () => {
  expect(scores(batch)).toEqual({ mean: 0.125, meanPositive: 0.375, passAtN: 0.5 });
});

it('measures lengths, overall and by reward, and averages what environments measured', () => {
  expect(generationMetrics(batch)).toEqual({
    'generate/min_num_tokens': 2,
    'generate/max_num_tokens': 8,
    'generate/avg_num_tokens': 5,
    'generate/std_num_tokens': Math.sqrt(5),
    'generate/avg_tokens_non_zero_rewards': 16 / 3,
    'generate/avg_tokens_zero_rewards': 4,
    'generate/avg_num_turns': 1,
    'generate/num_environment_errors': 0,
    'environment/turns': 5,
  });
});

it('counts what the policy wrote, its turns, and environments that failed', () => {
  const several: Trajectory = { ...trajectory('p', 1, 9), turns: [{ start: 0, end: 2, reward: 0 }, { start: 5, end: 6, reward: 1 }], error: 'not closed' };
  const failed: Trajectory = { ...trajectory('p', 0, 0), turns: [], stopReason: 'error', error: 'no world' };
  expect(generationMetrics([several, failed, trajectory('q', 0, 3)])).toMatchObject({
    'generate/max_num_tokens': 3,
    'generate/min_num_tokens': 0,
    'generate/avg_num_turns': 1,
    'generate/num_environment_errors': 2,
  });
});

it('evaluates each data source and all', () => {
  expect(evaluationMetrics(batch, 2)).toEqual({
    'eval/a_b/avg_score': 0.5,
    'eval/a_b/pass_at_2': 1,
    'eval/a_b/mean_positive_reward': 0.5,
    'eval/c/avg_score': -0.25,
    'eval/c/pass_at_2': 0,
    'eval/c/mean_positive_reward': 0.25,
    'eval/all/avg_score': 0.125,
    'eval/all/pass_at_2': 0.5,
    'eval/all/mean_positive_reward': 0.375,
  });
});

it('combines metrics by mean, least and greatest', () => {
  const averages = new Averages();
  averages.add({ x: 1, x_min: 1, x_max: 1 });
  averages.add({ x: 4, x_min: -1, x_max: 3 }, 2);
  expect(averages.result()).toEqual({ x: 3, x_min: -1, x_max: 3 });
});

describe('rows of groups with variance', () => {
  const file = join(__dirname, '../../../shared/fixtures/shaping/skyrl-zero-variance-filter.json');
  if (!existsSync(file)) {
    console.warn('skipped: ../shared/fixtures is not here');
    it.skip('fixtures are missing', () => {});
    return;
  }
  interface Case {
    id: string;
    params: { tol: number };
    inputs: { rewards: number[]; group_ids: string[]; loss_masks?: number[][] };
    expected: { kept_indices: number[] };
  }
  // With loss masks SkyRL looks at the rows that have a valid token only.
  const cases = (JSON.parse(readFileSync(file, 'utf8')) as Case[]).filter(({ inputs }) => inputs.loss_masks === undefined);
  it.each(cases.map((each) => [each.id, each] as const))('are those that SkyRL keeps: %s', (_, { params, inputs, expected }) => {
    expect(informativeRows(inputs.rewards, inputs.group_ids, params.tol)).toEqual(expected.kept_indices);
  });
});
