/** The loop on real GSM8K rows, as `vantage prepare gsm8k` writes them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ByteTokenizer, readGsm8k, writeParquet } from '../../src/data';
import { Experiment } from '../../src/trainer';
import { smallConfig, temporaryFolder } from './helpers';

const source = join(__dirname, '../../../shared/data/gsm8k/train.jsonl');

describe('GSM8K', () => {
  if (!existsSync(source)) {
    console.warn('skipped: ../shared/data/gsm8k is not here');
    it.skip('the files are missing', () => {});
    return;
  }

  it('runs two steps with the byte tokenizer, long prompts dropped and counted', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'train.parquet');
    const rows = readGsm8k(source, 'train').rows.slice(0, 96);
    await writeParquet(
      file,
      rows.map((row) => ({ ...row })),
    );
    const tokenizer = new ByteTokenizer();
    const limit = 280;
    const long = rows.filter(({ prompt }) => tokenizer.encodeChat(prompt).length > limit).length;
    expect(long).toBeGreaterThan(0);
    const written = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    const config = smallConfig(
      [
        `data.train_data=["${file}"]`,
        'data.val_data=[]',
        'trainer.tokenizer=byte',
        'environment.env_class=gsm8k',
        `trainer.max_prompt_length=${limit}`,
        'trainer.train_batch_size=4',
        'trainer.policy_mini_batch_size=2',
        'trainer.max_training_steps=2',
        'trainer.eval_interval=-1',
        'generator.n_samples_per_prompt=2',
        'generator.sampling_params.max_generate_length=8',
        'trainer.micro_train_batch_size_per_gpu=4',
        'trainer.algorithm.use_kl_loss=true',
      ],
      folder,
    );
    const { history } = await new Experiment(config).run();
    const messages = written.mock.calls.map(([text]) => String(text)).join('');
    written.mockRestore();
    expect(messages).toContain(
      `data.train_data: ${long} prompts over trainer.max_prompt_length=${limit} tokens were dropped, ${rows.length - long} are left`,
    );
    expect(history).toHaveLength(2);
    for (const record of history) {
      for (const [name, value] of Object.entries(record)) expect([name, Number.isFinite(value)]).toEqual([name, true]);
      expect(record['generate/max_num_tokens']).toBeLessThanOrEqual(8);
    }
    expect(readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n')).toHaveLength(2);
  });
});
