/** What an estimator carries from batch to batch goes into the checkpoint, and a run that goes on from it is the one that never stopped. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AdvantageEstimator, createAdvantageEstimator, registerAdvantageEstimator, unregisterAdvantageEstimator, type EstimatorState } from '../../src/advantages';
import { EstimatorError } from '../../src/errors';
import type { Tensor } from '../../src/tensor';
import { Experiment, type Trainer, type TrainerParts } from '../../src/trainer';
import { restoreEstimator, saveEstimator } from '../../src/trainer/estimator_state';
import { smallConfig, temporaryFolder, withoutClock } from './helpers';

/** R minus a moving mean of the batches' rewards. */
class MovingBaseline extends AdvantageEstimator {
  private baseline = 0;

  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor) {
    const scores = rewards.sum(1, { keepDims: true });
    const advantages = scores.sub(this.baseline).mul(masks);
    this.baseline = 0.8 * this.baseline + 0.2 * scores.mean().item();
    return { advantages, metrics: { baseline: this.baseline } };
  }

  override saveState() {
    return { baseline: this.baseline };
  }

  override restoreState(state: { baseline: number }): void {
    if (typeof state?.baseline !== 'number') throw new EstimatorError('expected {baseline}');
    this.baseline = state.baseline;
  }
}

beforeAll(() => registerAdvantageEstimator('test_moving_baseline', MovingBaseline));
afterAll(() => unregisterAdvantageEstimator('test_moving_baseline'));

/** A run of twelve batches over an epoch and a half of `gmax`, from a checkpoint where one is given. */
async function run(estimator: string, folder: string, steps: number, from: string | null = null, also: string[] = []) {
  class Resumed extends Experiment {
    override trainer(parts: TrainerParts): Trainer {
      const trainer = super.trainer(parts);
      if (from !== null) trainer.restore(from);
      return trainer;
    }
  }
  const overrides = [
    `trainer.algorithm.advantage_estimator=${estimator}`,
    `trainer.max_training_steps=${steps}`,
    'trainer.epochs=3',
    'trainer.ckpt_interval=5',
    'trainer.eval_interval=-1',
    'trainer.eval_before_train=false',
    ...also,
  ];
  const result = await new Resumed(smallConfig(overrides, folder)).run();
  return { ...result, history: result.history.map(withoutClock) };
}

const weights = (folder: string) => ['model', 'optimizer'].map((name) => readFileSync(join(folder, 'policy', `${name}.safetensors`)).toString('base64'));

describe.each([['spo', ['generator.n_samples_per_prompt=1']], ['spo', []], ['test_moving_baseline', []], ['grpo', []]])('%s %j', (estimator, also) => {
  it('goes on from a checkpoint bit for bit', async () => {
    const whole = await run(estimator, temporaryFolder(), 12, null, also);
    const stopped = await run(estimator, temporaryFolder(), 5, null, also);
    expect(stopped.history).toEqual(whole.history.slice(0, 5));
    const resumed = await run(estimator, temporaryFolder(), 12, stopped.checkpoint, also);
    expect(resumed.history).toEqual(whole.history);
    expect(weights(resumed.checkpoint!)).toEqual(weights(whole.checkpoint!));
    const file = 'advantage_estimator.json';
    expect(existsSync(join(whole.checkpoint!, file))).toBe(estimator !== 'grpo');
    if (estimator !== 'grpo') expect(readFileSync(join(resumed.checkpoint!, file))).toEqual(readFileSync(join(whole.checkpoint!, file)));
  }, 60_000);
});

it('keeps a value for each prompt of the dataset, found again in the next epoch', async () => {
  const { history } = await run('spo', temporaryFolder(), 16, null, ['generator.n_samples_per_prompt=1']);
  const tracked = history.map((metrics) => metrics['advantages/prompts']);
  expect(tracked.slice(0, 8)).toEqual([8, 16, 24, 32, 40, 48, 56, 64]);
  expect(new Set(tracked.slice(8))).toEqual(new Set([64]));
  expect(history[0]!['advantages/weight']).toBe(1);
  expect(history[15]!['advantages/weight']).toBeCloseTo(0.9 + 1, 12);
}, 60_000);

it('refuses what is no state of the estimator', async () => {
  const { checkpoint } = await run('test_moving_baseline', temporaryFolder(), 2);
  const file = (folder: string) => join(folder, 'advantage_estimator.json');
  await expect(run('spo', temporaryFolder(), 4, checkpoint)).rejects.toThrow('trainer.algorithm.advantage_estimator: "test_moving_baseline" there, "spo" here');
  const broken = join(temporaryFolder(), 'global_step_2');
  cpSync(checkpoint!, broken, { recursive: true });
  for (
    const [text, message] of [
      ['{', 'cannot be read'],
      ['[]', 'expected {name, state} of an advantage estimator, got []'],
      ['{"name": "test_moving_baseline"}', 'expected {name, state}'],
      ['{"name": "spo", "state": 1}', "expected the state of advantage estimator 'test_moving_baseline', got that of 'spo'"],
      ['{"name": "test_moving_baseline", "state": {"mean": 1}}', "advantage estimator 'test_moving_baseline': restoreState: expected {baseline}"],
    ] as const
  ) {
    writeFileSync(file(broken), text);
    await expect(run('test_moving_baseline', temporaryFolder(), 4, broken)).rejects.toThrow(`${file(broken)}: ${message}`);
  }
}, 60_000);

it('saves only what JSON gives back', () => {
  class Anything extends AdvantageEstimator {
    constructor(private readonly held: unknown) {
      super();
    }
    computeAdvantages(rewards: Tensor): Tensor {
      return rewards;
    }
    override saveState(): EstimatorState {
      return this.held as EstimatorState;
    }
  }
  const good = { a: [1, 'x', true, null, { b: -0.25 }], c: Object.create(null) as object };
  expect(saveEstimator('x', new Anything(good))).toEqual({ name: 'x', state: good });
  for (
    const [bad, place] of [
      [{ a: [1, NaN] }, 'saveState.a[1]'],
      [{ a: Infinity }, 'saveState.a'],
      [{ a: undefined }, 'saveState.a'],
      [{ a: 5n }, 'saveState.a'],
      [new Map(), 'saveState'],
      [{ a: new Float32Array(1) }, 'saveState.a'],
      [() => 1, 'saveState'],
    ] as const
  ) {
    expect(() => saveEstimator('x', new Anything(bad))).toThrow(`advantage estimator 'x': ${place}: expected plain JSON (finite numbers, text, booleans, null, arrays, objects), got`);
  }
  const stateless = createAdvantageEstimator('grpo');
  expect(saveEstimator('grpo', stateless)).toBeNull();
  expect(() => restoreEstimator('grpo', stateless, { name: 'grpo', state: { a: 1 } }, 'file')).toThrow(
    'file: advantage estimator \'grpo\': restoreState: expected no state, as GroupRelative has no restoreState, got {"a":1}',
  );
  // A class of another copy of the package need not know of states.
  const old = { computeAdvantages: () => null } as unknown as AdvantageEstimator;
  expect(saveEstimator('old', old)).toBeNull();
  expect(() => restoreEstimator('old', old, { name: 'old', state: 1 }, 'file')).toThrow("file: advantage estimator 'old': restoreState: it has no restoreState");
});
