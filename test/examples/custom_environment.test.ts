/** The example learns its game, and its tool: their files, their configurations, the standard entry point. */
import { join } from 'node:path';
import { environments, generateTask, main, readMetrics, registerEnvironment, registerTokenizer, tokenizers, writeJsonl } from 'vantage-rl';
import { Guess, guessRows, GuessTokenizer } from '../../examples/custom-environment/guess';
import { temporaryFolder } from '../trainer/helpers';

const example = join(__dirname, '../../examples/custom-environment');

beforeAll(() => {
  registerEnvironment('guess', Guess);
  registerTokenizer('guess', GuessTokenizer);
});
afterAll(() => {
  environments.unregister('guess');
  tokenizers.unregister('guess');
});

/** Runs a configuration on rows in a folder of their own; returns the result and what was logged. */
async function train(config: string, rows: { train: readonly object[]; validation: readonly object[] }, overrides: readonly string[] = []) {
  const folder = temporaryFolder();
  for (const split of ['train', 'validation'] as const) writeJsonl(join(folder, `${split}.jsonl`), rows[split]);
  const files = [`data.train_data=["${join(folder, 'train.jsonl')}"]`, `data.val_data=["${join(folder, 'validation.jsonl')}"]`];
  const written = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
  const result = await main([...files, `trainer.ckpt_path=${join(folder, 'checkpoints')}`, ...overrides], { config: join(example, config) });
  written.mockRestore();
  return { result: result!, records: readMetrics(join(folder, 'metrics.jsonl')) };
}

it('plays by its rules', () => {
  const game = () => new Guess(guessRows(7)[5]!);
  expect(game().step('3')).toEqual({ observations: [{ role: 'user', content: 'greater' }], reward: 0, done: false });
  expect(game().step('6')).toEqual({ observations: [{ role: 'user', content: 'less' }], reward: 0, done: false });
  expect(game().step('5')).toEqual({ observations: [], reward: 1, done: true });
  expect(game().step('5 5')).toEqual({ observations: [], reward: 0, done: true });
});

it('the policy finds out that it should halve what is left', async () => {
  const { result, records } = await train('config.yaml', { train: guessRows(420), validation: guessRows(7) }, ['trainer.stop_when={window: 3, value: 0.6}']);
  expect(result.reason).toBe('stop_when');
  // Without reading the answers, three guesses hit 3 of 7.
  expect(records.at(-1)!['reward/avg_raw_reward']).toBeGreaterThan(0.55);
  expect(records.at(-1)!['generate/avg_num_turns']).toBeGreaterThan(2);
}, 300_000);

it('the policy asks the tool, and learns', async () => {
  const { result, records } = await train('lookup.yaml', generateTask('lookup'), [
    'trainer.stop_when=null',
    'trainer.max_training_steps=25',
    'trainer.ckpt_interval=-1',
    'trainer.max_ckpts_to_keep=-1',
    'trainer.eval_interval=-1',
  ]);
  expect(result.steps).toBe(25);
  // The whole way takes a minute (docs/custom-environments.md); this is how it begins.
  const rows = records.filter(({ step }) => step > 0);
  const mean = (metric: string, part: typeof rows) => part.reduce((sum, record) => sum + record[metric]!, 0) / part.length;
  for (const metric of ['reward/avg_raw_reward', 'environment/tool_calls']) expect(mean(metric, rows.slice(15))).toBeGreaterThan(1.4 * mean(metric, rows.slice(0, 5)));
}, 300_000);
