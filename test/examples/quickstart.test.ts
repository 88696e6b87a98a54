/** The example learns its task: the estimator of its file, its configuration, the standard entry point. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { generateTask, main, readMetrics, registerAdvantageEstimator, tensor, unregisterAdvantageEstimator, writeParquet, computeAdvantages } from 'vantage-rl';
import { MyCustomAdvantageEstimator } from '../../examples/custom-advantage-estimator/my_estimator';
import { temporaryFolder } from '../trainer/helpers';

const example = join(__dirname, '../../examples/custom-advantage-estimator');

describe('the custom advantage estimator', () => {
  beforeAll(() => registerAdvantageEstimator('my_custom', MyCustomAdvantageEstimator));
  afterAll(() => unregisterAdvantageEstimator('my_custom'));

  it('is the discounted reward-to-go, standardised over the valid tokens', () => {
    const rewards = [
      [0, 0, 1],
      [0, 1, 7],
    ];
    const masks = [
      [1, 1, 1],
      [1, 1, 0],
    ];
    const togo = [0.99 ** 2, 0.99, 1, 0.99, 1];
    const mean = togo.reduce((a, b) => a + b) / 5;
    const std = Math.sqrt(togo.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 4);
    const { advantages } = computeAdvantages('my_custom', { rewards: tensor(rewards, { dtype: 'float64' }), masks });
    const expected = togo.map((x) => (x - mean) / (std + 1e-8));
    const got = Array.from(advantages.dataSync());
    [...expected, 0].forEach((value, i) => expect(got[i]).toBeCloseTo(value, 9));
  });

  it('trains gmax from random weights to a mean reward of 0.9', async () => {
    const folder = temporaryFolder();
    const { train, validation } = generateTask('gmax');
    const files = { train: join(folder, 'train.parquet'), validation: join(folder, 'validation.parquet') };
    await writeParquet(
      files.train,
      train.map((row) => ({ ...row })),
    );
    await writeParquet(
      files.validation,
      validation.map((row) => ({ ...row })),
    );
    const written = jest.spyOn(process.stdout, 'write').mockReturnValue(true);
    const overrides = [
      `data.train_data=["${files.train}"]`,
      `data.val_data=["${files.validation}"]`,
      `trainer.ckpt_path=${join(folder, 'checkpoints')}`,
    ];
    const result = await main([...overrides, 'trainer.seed=0'], { config: join(example, 'config.yaml') });
    written.mockRestore();
    expect(result?.reason).toBe('stop_when');
    const rewards = readMetrics(join(folder, 'metrics.jsonl'))
      .slice(-10)
      .map((record) => record['reward/avg_raw_reward']!);
    expect(rewards.reduce((sum, reward) => sum + reward, 0) / 10).toBeGreaterThanOrEqual(0.9);
    expect(result!.history.at(-1)!['eval/all/avg_score']).toBeGreaterThan(0.7);
    expect(existsSync(join(folder, 'learning_curve.html'))).toBe(true);
    expect(existsSync(join(result!.checkpoint!, 'policy/model.safetensors'))).toBe(true);
  }, 180_000);
});
