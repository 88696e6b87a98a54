import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkStep, Environment, type EnvironmentStep, getEnvironment, gsm8kAnswer, gsm8kReward, listEnvironments, registerEnvironment, unregisterEnvironment } from '../../src/environments';
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
  if (!present) console.warn('skipped: ../shared/fixtures is not here');
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
    ['sort3', '1 3 9', '1 9 3'],
  ])('%s rewards %j and not %j', async (name, right, wrong) => {
    const environment = () => new (getEnvironment(name))(row(name === 'sort3' ? '1 3 9' : '9'));
    const prompt = [{ role: 'user', content: '?' }];
    expect(await environment().init(prompt)).toEqual(prompt);
    expect(await environment().step(right)).toEqual({ observations: [], reward: 1, done: true });
    expect(await environment().step(wrong)).toEqual({ observations: [], reward: 0, done: true });
    expect(environment().metrics()).toEqual({});
  });

  test.each(['gsm8k', 'gmax', 'gsm8k_multi_turn', 'lookup', 'max4', 'sort3'])('%s asks for a truth', (name) => {
    expect(() => new (getEnvironment(name))(row(9))).toThrow('expected text as reward_spec.ground_truth, got 9');
    expect(() => new (getEnvironment(name))({ prompt: [] })).toThrow(EnvironmentError);
  });
});

describe('gsm8k_multi_turn', () => {
  const play = async (settings: { maxTurns: number } | undefined, ...actions: string[]) => {
    const environment = new (getEnvironment('gsm8k_multi_turn'))({ ...row('72'), extra_info: { max_turns: 2 } }, settings);
    const steps: EnvironmentStep[] = [];
    for (const action of actions) steps.push(await environment.step(action));
    return { steps, metrics: environment.metrics() };
  };

  test('rewards the right answer with 1, wrong ones in the right form with 0.2/turns, and tells the policy to go on until its last turn', async () => {
    const { steps, metrics } = await play({ maxTurns: 5 }, 'no idea', '#### 7', '#### 8', '#### 9', '#### 72');
    expect(steps.map(({ reward, done }) => [reward, done])).toEqual([
      [0, false],
      [0.2 / 5, false],
      [0.2 / 5, false],
      [0.2 / 5, false],
      [1, true],
    ]);
    expect(steps.map(({ observations }) => observations.map(({ role, content }) => [role, /only the final number/.test(content)]))).toEqual([
      [['user', false]],
      [['user', false]],
      [['user', false]],
      [['user', true]],
      [],
    ]);
    expect(metrics).toEqual({ turns: 5 });
  });

  test('ends with its first right answer, or with its turns: those of the run, of the row, or five', async () => {
    expect((await play({ maxTurns: 5 }, '#### 72')).steps).toEqual([{ observations: [], reward: 1, done: true }]);
    expect((await play({ maxTurns: 1 }, '#### 7')).steps).toEqual([{ observations: [], reward: 0.2, done: true }]);
    expect((await play(undefined, '#### 7', '#### 7')).steps.map(({ reward, done }) => [reward, done])).toEqual([
      [0.1, false],
      [0.1, true],
    ]);
    const plain = new (getEnvironment('gsm8k_multi_turn'))(row('72'));
    for (let turn = 1; turn <= 5; turn++) expect(await plain.step('#### 7')).toMatchObject({ reward: 0.04, done: turn === 5 });
  });
});

describe('lookup', () => {
  const table = ['4', '0', '7', '7', '1', '2', '3', '9', '8', '5'];
  const environment = (extra_info: unknown = { table, key: '9' }) => new (getEnvironment('lookup'))({ ...row('5'), extra_info });

  test('answers calls from the hidden table, and rewards the first one for the key and the right answer', async () => {
    const game = environment();
    const found = (result: string, reward: number) => ({ observations: [{ role: 'tool', content: `<result> ${result} </result>` }], reward, done: false });
    expect(await game.step('<tool> 2 </tool>')).toEqual(found('7', 0));
    expect(await game.step('= <tool> 9')).toEqual(found('5', 0.5));
    expect(await game.step('<tool>9</tool>')).toEqual(found('5', 0));
    expect(game.metrics()).toEqual({ tool_calls: 3 });
    expect(await game.step('#### 5')).toEqual({ observations: [], reward: 0.5, done: true });
  });

  test.each(['#### 4', '5', '', '<tool> </tool>', '<tool> 10 </tool>', '<tool> 9 9 </tool>', '<tool> nine'])('%j ends the trajectory with nothing', async (action) => {
    expect(await environment().step(action)).toEqual({ observations: [], reward: 0, done: true });
  });

  test('asks for a table and a key', () => {
    expect(() => environment({ key: '9' })).toThrow("environment 'lookup': expected a list of texts as extra_info.table, got undefined");
    expect(() => environment({ table })).toThrow("environment 'lookup': expected text as extra_info.key, got undefined");
    expect(() => environment(null)).toThrow(EnvironmentError);
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
    expect(listEnvironments()).toEqual(['gmax', 'gsm8k', 'gsm8k_multi_turn', 'lookup', 'max4', 'shortest', 'sort3']);
    const environment = new (getEnvironment('brief'))(row('1'));
    expect(checkStep('shortest', await environment.step('four')).reward).toBe(-4);
    await environment.close();
    unregisterEnvironment('shortest');
    expect(() => getEnvironment('shortest')).toThrow(RegistryError);
  });

  test('an unknown name lists what exists', () => {
    expect(() => getEnvironment('gsm9k')).toThrow("Unknown environment 'gsm9k'. Did you mean 'gsm8k'? Registered: gmax, gsm8k, gsm8k_multi_turn, lookup, max4, sort3");
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
    [{ reward: 1, done: false, observations: ['text'] }, 'expected a list of messages as observations, each { role, content }, got "text"'],
  ])('the step %j is refused', (step, message) => {
    expect(() => checkStep('shortest', step)).toThrow(`environment 'shortest': step: ${message}`);
  });
});
