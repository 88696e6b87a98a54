import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  checkStep,
  Environment,
  type EnvironmentStep,
  getEnvironment,
  gsm8kAnswer,
  gsm8kReward,
  listEnvironments,
  registerEnvironment,
  unregisterEnvironment,
} from '../../src/environments';
import { EnvironmentError, RegistryError } from '../../src/errors';

const row = (ground_truth: unknown) => ({ prompt: [{ role: 'user', content: '?' }], reward_spec: { method: 'rule', ground_truth } });

describe('the GSM8K rule', () => {
  test.each([
    ['So the answer is #### 72', '72', 1],
    ['#### 72.', '72', 0],
    ['#### 1,234', '1234', 1],
    ['#### 1 and #### 2', '2', 0],
    ['#### 42$', '42', 1],
    ['####72', '72', 0],
    ['72', '72', 0],
    ['', '', 0],
  ])('%j against %j scores %d', (response, truth, reward) => {
    expect(gsm8kReward(response, truth)).toBe(reward);
  });

  const fixture = join(__dirname, '../../../shared/fixtures/shaping/skyrl-gsm8k-reward.json');
  const present = existsSync(fixture);
  if (!present) console.warn(`skipped: the reference values are not in ${fixture}`);
  (present ? test : test.skip)('agrees with SkyRL on every reference case', () => {
    const cases = JSON.parse(readFileSync(fixture, 'utf8')) as {
      params: { method: 'strict' | 'flexible'; format_score: number; score: number };
      inputs: { solution: string; ground_truth: string };
      expected: { answer: string | null; reward: number };
    }[];
    expect(cases.length).toBeGreaterThan(50);
    const got = cases.map(({ params: { method, format_score, score }, inputs: { solution, ground_truth } }) => ({
      answer: gsm8kAnswer(solution, method),
      reward: gsm8kReward(solution, ground_truth, { method, formatScore: format_score, score }),
    }));
    expect(got).toEqual(cases.map(({ expected }) => expected));
  });
});

describe('built-in environments', () => {
  test.each([
    ['gsm8k', 'thinking #### 9', 'thinking #### 8'],
    ['gmax', '#### 9', '9'],
    ['max4', '9', '9 9'],
    ['max4', ' 9 ', ''],
  ])('%s rewards %j and not %j', async (name, right, wrong) => {
    const environment = () => new (getEnvironment(name))(row('9'));
    const prompt = [{ role: 'user', content: '?' }];
    expect(await environment().init(prompt)).toEqual(prompt);
    expect(await environment().step(right)).toEqual({ observations: [], reward: 1, done: true });
    expect(await environment().step(wrong)).toEqual({ observations: [], reward: 0, done: true });
    expect(environment().metrics()).toEqual({});
  });

  test.each(['gsm8k', 'gmax', 'max4'])('%s asks for a truth', (name) => {
    expect(() => new (getEnvironment(name))(row(9))).toThrow('expected text as reward_spec.ground_truth, got 9');
    expect(() => new (getEnvironment(name))({ prompt: [] })).toThrow(EnvironmentError);
  });
});

describe('environments of users', () => {
  class Shortest extends Environment {
    async step(action: string): Promise<EnvironmentStep> {
      return { observations: [], reward: -action.length, done: true };
    }
  }
  afterEach(() => {
    if (listEnvironments().includes('shortest')) unregisterEnvironment('shortest');
  });

  test('need only step', async () => {
    registerEnvironment('shortest', Shortest, { aliases: ['brief'] });
    expect(listEnvironments()).toEqual(['gmax', 'gsm8k', 'max4', 'shortest']);
    const environment = new (getEnvironment('brief'))(row('1'));
    expect(checkStep('shortest', await environment.step('four')).reward).toBe(-4);
    await environment.close();
    unregisterEnvironment('shortest');
    expect(() => getEnvironment('shortest')).toThrow(RegistryError);
  });

  test('an unknown name lists what exists', () => {
    expect(() => getEnvironment('gsm9k')).toThrow("Unknown environment 'gsm9k'. Did you mean 'gsm8k'? Registered: gmax, gsm8k, max4");
  });

  test.each([{}, class {}, () => 1, null, 'gsm8k'])('%p is no environment', (value) => {
    expect(() => registerEnvironment('shortest', value as never)).toThrow(
      "environment 'shortest': expected a class with a method step(action), got",
    );
  });

  test.each([
    [undefined, 'expected { observations, reward, done }, got undefined'],
    [{ observations: [], reward: Number.NaN, done: true }, 'expected a finite number as reward, got NaN'],
    [{ observations: [], reward: '1', done: true }, 'expected a finite number as reward, got "1"'],
    [{ observations: [], reward: 1 }, 'expected true or false as done, got undefined'],
    [{ reward: 1, done: true }, 'expected a list of messages as observations, got undefined'],
  ])('the step %j is refused', (step, message) => {
    expect(() => checkStep('shortest', step)).toThrow(`environment 'shortest': step: ${message}`);
  });
});
