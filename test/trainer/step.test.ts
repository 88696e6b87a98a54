/** Steps of the real loop with the parts that a configuration adds to them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { computeAdvantages } from '../../src/advantages';
import type { PromptExample } from '../../src/data';
import { Experiment, Rollout, type RolloutOptions, type RolloutParts, Trainer, type TrainerParts, type TrainerState, type TrainingBatch, type Trajectory } from '../../src/trainer';
import type { MetricsRecord } from '../../src/tracking';
import { history, smallConfig, temporaryFolder, withoutClock } from './helpers';

const algorithm = (...keys: string[]) => keys.map((key) => `trainer.algorithm.${key}`);
const quiet = ['trainer.eval_before_train=false', 'trainer.eval_interval=-1'];

/** Rewards by the prompt: those of every third prompt are all 0, of the others 1 for every second response. `calls` are the prompts that were sampled. */
class Judged extends Rollout {
  static calls: string[][] = [];
  override async collect(examples: readonly PromptExample[], options: RolloutOptions): Promise<Trajectory[]> {
    if (options.sampling.temperature > 0) Judged.calls.push(examples.map(({ id }) => id));
    const all = await super.collect(examples, options);
    return all.map((each, i) => {
      const seed = [...each.groupId].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
      const reward = seed % 3 === 0 ? 0 : i % 2;
      return { ...each, reward, metrics: { ...each.metrics, half: reward / 2, other: i % options.samples === 0 ? 1 : 0 } };
    });
  }
}
beforeEach(() => (Judged.calls = []));

/** The batches of the trainer, with its advantages. */
class Watching extends Trainer {
  static batches: { batch: TrainingBatch; inputs: ReturnType<Trainer['advantageInputs']> }[] = [];
  protected override advantageInputs(batch: TrainingBatch) {
    const inputs = super.advantageInputs(batch);
    Watching.batches.push({ batch, inputs });
    return inputs;
  }
}
beforeEach(() => (Watching.batches = []));

class JudgedExperiment extends Experiment {
  override generator(parts: RolloutParts) {
    return new Judged(parts);
  }
  override trainer(parts: TrainerParts): Trainer {
    return new Watching(parts);
  }
}

const groupsOf = ({ groupIds }: TrainingBatch) => [...new Set(groupIds)];

describe('dynamic sampling', () => {
  const filter = [...algorithm('dynamic_sampling.type=filter'), ...quiet];

  it('filter takes batches until there are enough prompts whose responses differ', async () => {
    const records = await history(filter, JudgedExperiment);
    expect(Watching.batches.length).toBe(records.length);
    for (const [i, { batch }] of Watching.batches.entries()) {
      expect([batch.rows, groupsOf(batch).length]).toEqual([32, 8]);
      expect(records[i]!['reward/avg_raw_reward']).toBe(0.5);
      const { 'dynamic_sampling/batches': batches, 'dynamic_sampling/sampled_prompts': prompts, 'dynamic_sampling/informative_prompts': found } = records[i]! as Record<string, number>;
      expect(batches).toBeGreaterThan(1);
      expect(prompts).toBe(8 * batches!);
      expect(found).toBeGreaterThanOrEqual(8);
      expect(records[i]!['dynamic_sampling/avg_raw_reward']).toBeLessThan(0.5);
    }
    expect(Judged.calls.length).toBe(records.reduce((sum, record) => sum + record['dynamic_sampling/batches']!, 0));
    // No prompt twice in an epoch.
    const prompts = Judged.calls.flat();
    expect(new Set(prompts).size).toBe(Math.min(prompts.length, 64));
  });

  it('filter ends with the data, whatever steps would be left', async () => {
    const run = await new JudgedExperiment(smallConfig([...filter, 'trainer.max_training_steps=8'])).run();
    expect(run.reason).toBe('epochs');
    expect(run.steps).toBeLessThan(8);
    // The last step may read on into the next epoch.
    expect(Judged.calls.length).toBeGreaterThanOrEqual(8);
  });

  it('replace puts informative prompts in the place of the others', async () => {
    const records = await history([...algorithm('dynamic_sampling.type=replace'), ...quiet], JudgedExperiment);
    expect(Judged.calls).toHaveLength(3);
    for (const [i, { batch }] of Watching.batches.entries()) {
      const replaced = records[i]!['dynamic_sampling/replaced_prompts']!;
      expect(records[i]!['dynamic_sampling/informative_prompts']).toBe(8 - replaced);
      expect([batch.rows, records[i]!['reward/avg_raw_reward']]).toEqual([32, 0.5]);
      expect(groupsOf(batch).length).toBe(8 - replaced);
    }
    expect(records.some((record) => record['dynamic_sampling/replaced_prompts']! > 0)).toBe(true);
  });

  it('ends with a message where max_sample_batches do not suffice', async () => {
    class Hopeless extends Experiment {
      override generator(parts: RolloutParts) {
        return new (class extends Rollout {
          override async collect(...args: Parameters<Rollout['collect']>) {
            return (await super.collect(...args)).map((each) => ({ ...each, reward: 0 }));
          }
        })(parts);
      }
    }
    for (const [type, wanted] of [['filter', '0 of trainer.train_batch_size=8 prompts'], ['replace', 'more than min_replace_ratio=0.5 of the prompts']]) {
      const keys = [...algorithm(`dynamic_sampling={type: ${type}, max_sample_batches: 2, min_replace_ratio: 0.5}`), ...quiet];
      await expect(history(keys, Hopeless)).rejects.toThrow(`step 1: trainer.algorithm.dynamic_sampling: expected responses that differ in reward for ${wanted}`);
    }
  });

  it('goes on from a checkpoint with the same prompts and the same numbers', async () => {
    const folder = temporaryFolder();
    const keys = [
      ...filter,
      'trainer.epochs=2',
      'trainer.max_training_steps=4',
      'trainer.ckpt_interval=2',
      ...algorithm('use_kl_loss=true', 'kl_ctrl={type: adaptive, kl_target: 1e-9, horizon: 100}'),
    ];
    const whole = (await new JudgedExperiment(smallConfig(keys, folder)).run()).history;
    const calls = Judged.calls;
    const done = whole.slice(0, 2).reduce((sum, record) => sum + record['dynamic_sampling/batches']!, 0);
    Judged.calls = [];
    class Resumed extends JudgedExperiment {
      override trainer(parts: TrainerParts) {
        const trainer = super.trainer(parts);
        trainer.restore(join(folder, 'checkpoints/global_step_2'));
        return trainer;
      }
    }
    const rest = (await new Resumed(smallConfig([...keys, `trainer.ckpt_path=${join(folder, 'again')}`], folder)).run()).history;
    expect(rest.map(withoutClock)).toEqual(whole.map(withoutClock));
    expect(Judged.calls).toEqual(calls.slice(done));
    expect(new Set(whole.map((record) => record['loss/kl_loss_coef'])).size).toBeGreaterThan(2);
  });
});

describe('coefficients', () => {
  it('of an adaptive KL control grow while the divergence is above its target, and are in the checkpoint', async () => {
    const folder = temporaryFolder();
    const keys = [
      ...algorithm(
        'use_kl_loss=true',
        'kl_loss_coef=0.1',
        'kl_ctrl={type: adaptive, kl_target: 1e-12, horizon: 320}',
        'use_entropy_loss=true',
        'entropy_ctrl={type: adaptive, target: 100, delta: 0.1}',
      ),
      ...quiet,
      'trainer.ckpt_interval=3',
    ];
    const records = (await new Experiment(smallConfig(keys, folder)).run()).history;
    // At the first step the policy is the reference: its divergence of 0 is under the target. 32 sequences of 320.
    const expected = [0.1, 0.1 * 0.98, 0.1 * 0.98 * 1.02];
    records.forEach((record, i) => expect(record['loss/kl_loss_coef']).toBeCloseTo(expected[i]!, 10));
    const state = JSON.parse(readFileSync(join(folder, 'checkpoints/global_step_3/trainer_state.json'), 'utf8')) as TrainerState;
    expect(state.coefficients!.kl.value).toBeCloseTo(expected[2]! * 1.02, 10);
    expect(state.coefficients!.entropy!.coefficient).toBeCloseTo(0.31, 10);
  });
});

describe('inputs of estimators', () => {
  it('remax compares with a greedy answer to each prompt', async () => {
    class Greedy extends Judged {
      override async collect(examples: readonly PromptExample[], options: RolloutOptions): Promise<Trajectory[]> {
        const all = await super.collect(examples, options);
        return options.sampling.temperature > 0 ? all : all.map((each) => ({ ...each, reward: Number(each.groupId.length) }));
      }
    }
    class Run extends JudgedExperiment {
      override generator(parts: RolloutParts) {
        return new Greedy(parts);
      }
    }
    await history([...algorithm('advantage_estimator=remax'), ...quiet], Run);
    const { batch, inputs } = Watching.batches[0]!;
    expect(Array.from(inputs.baselines as Float32Array)).toEqual(batch.groupIds.map((id) => id.length));
    const first = batch.masks.indexOf(1);
    const reward = batch.rewards.subarray(0, 3).reduce((a, b) => a + b, 0);
    expect(batch.advantages![first]).toBe(reward - batch.groupIds[0]!.length);
  });

  it('gdpo takes the metrics of the environment that reward_components names', async () => {
    const keys = [...algorithm('advantage_estimator=gdpo', 'reward_components=[half, other]', 'advantage_options.weights=[2, 1]'), ...quiet];
    const records = await history(keys, JudgedExperiment);
    expect(records[0]).toHaveProperty(['advantages/std']);
    const { batch, inputs } = Watching.batches[0]!;
    expect((inputs.rewardComponents as number[][]).map((row) => row[1])).toEqual(batch.groupIds.map((_, i) => (i % 4 === 0 ? 1 : 0)));
    const expected = computeAdvantages('gdpo', { rewards: batch.tensor('rewards'), masks: batch.tensor('masks'), groupIds: batch.groupIds, rewardComponents: inputs.rewardComponents }, {
      weights: [2, 1],
    });
    expect(Array.from(batch.advantages!)).toEqual(Array.from(expected.advantages.dataSync()));
    await expect(history([...algorithm('advantage_estimator=gdpo', 'reward_components=[hal]'), ...quiet], JudgedExperiment)).rejects.toThrow(
      "trainer.algorithm.reward_components: expected metrics of the environments, got 'hal'. Did you mean 'half'?",
    );
  });

  it('the optimal token baselines get Σπ², and importance weights where the sampler is corrected', async () => {
    const records = await history([...algorithm('advantage_estimator=tir_optimal_token_baseline', 'off_policy_correction.tis_ratio_type=token'), ...quiet], JudgedExperiment);
    for (const record of records) expect(Number.isFinite(record['policy/final_loss'])).toBe(true);
    const { batch, inputs } = Watching.batches[0]!;
    const squares = (inputs.sumSquaredProbs as Float32Array[]).flatMap((row) => Array.from(row));
    batch.masks.forEach((m, i) => m && expect(squares[i]! > 1 / 15 && squares[i]! <= 1 + 1e-6).toBe(true));
    expect(inputs.importanceWeights).toBeDefined();
    expect(records[0]).toHaveProperty(['policy/loss_metrics/is_ratio_mean']);
  });

  it('advantage_options reach the estimator', async () => {
    const of = async (...keys: string[]) => (await history([...algorithm(...keys), ...quiet], JudgedExperiment))[0]!['loss/avg_raw_advantages_abs'];
    expect(await of('advantage_options.normByStd=false')).toBe(await of('grpo_norm_by_std=false'));
    expect(await of('advantage_options.epsilon=10')).not.toBe(await of());
  });
});

describe('the reference', () => {
  it('becomes the policy of the moment at each epoch, and is in the checkpoint', async () => {
    const folder = temporaryFolder();
    const keys = [
      ...algorithm('use_kl_loss=true'),
      ...quiet,
      'trainer.update_ref_every_epoch=true',
      'trainer.epochs=2',
      'trainer.train_batch_size=32',
      'trainer.max_training_steps=4',
      'trainer.ckpt_interval=1',
    ];
    const run = (Class: typeof Experiment, ...more: string[]) => new Class(smallConfig([...keys, ...more], folder)).run();
    const { history: records } = await run(Experiment);
    const kl = records.map((record) => record['loss/avg_kl']!);
    expect([kl[0], kl[2]]).toEqual([0, 0]);
    expect(Math.min(kl[1]!, kl[3]!)).toBeGreaterThan(0);
    class Resumed extends Experiment {
      override trainer(parts: TrainerParts) {
        const trainer = super.trainer(parts);
        trainer.restore(join(folder, 'checkpoints/global_step_3'));
        return trainer;
      }
    }
    const rest = (await run(Resumed, `trainer.ckpt_path=${join(folder, 'again')}`)).history;
    expect(rest.map(withoutClock)).toEqual(records.map(withoutClock));
  });
});

describe('files', () => {
  it('dump_data_batch and dump_eval_results write what was trained on and evaluated', async () => {
    const folder = temporaryFolder();
    const { history: records } = await new Experiment(smallConfig(['trainer.dump_data_batch=true', 'generator.eval_n_samples_per_prompt=3', 'generator.eval_sampling_params.temperature=1'], folder))
      .run();
    const lines = (file: string) => readFileSync(join(folder, file), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(readdirSync(join(folder, 'dumped_data')).sort()).toEqual([1, 2, 3].map((step) => `global_step_${step}.jsonl`));
    const rows = lines('dumped_data/global_step_2.jsonl') as { response_ids: number[]; advantages: number[]; reward: number; old_log_probs: number[]; values: null }[];
    expect(rows).toHaveLength(32);
    for (const row of rows) expect([row.advantages.length, row.old_log_probs.length, row.values]).toEqual([row.response_ids.length, row.response_ids.length, null]);
    expect(rows.reduce((sum, { reward }) => sum + reward, 0) / 32).toBeCloseTo(records[2]!['reward/avg_raw_reward']!, 6);
    expect(readdirSync(join(folder, 'dumped_evals')).sort()).toEqual([0, 2, 3].map((step) => `global_step_${step}`));
    const answers = lines('dumped_evals/global_step_2/vantage_gmax.jsonl') as { group: string; reward: number }[];
    expect(answers).toHaveLength(16 * 3);
    const passed = new Set(answers.filter(({ reward }) => reward >= 1).map(({ group }) => group)).size / 16;
    const results = JSON.parse(readFileSync(join(folder, 'dumped_evals/global_step_2/aggregated_results.json'), 'utf8')) as MetricsRecord;
    expect([results['eval/all/pass_at_3'], records[2]!['eval/all/pass_at_3']]).toEqual([passed, passed]);
    const without = temporaryFolder();
    await new Experiment(smallConfig(['trainer.dump_eval_results=false', 'trainer.max_training_steps=1'], without)).run();
    expect(existsSync(join(without, 'dumped_evals'))).toBe(false);
  });
});
