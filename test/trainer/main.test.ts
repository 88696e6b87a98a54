/** The entry point as a training script calls it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { AdvantageEstimator, listAdvantageEstimators, registerAdvantageEstimator, type Tensor, unregisterAdvantageEstimator } from '../../src';
import type { AnyRow, ChatMessage, PromptExample } from '../../src/data';
import { Environment, type EnvironmentClass, type EnvironmentStep } from '../../src/environments';
import { Experiment, main, type Rollout, type RolloutParts, type RunContext, Trainer, type TrainerParts, type Trajectory } from '../../src/trainer';
import { type Metrics, readMetrics } from '../../src/tracking';
import { smallBase, temporaryFolder } from './helpers';

let output = '';
let errors = '';

beforeEach(() => {
  [output, errors] = ['', ''];
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((output += String(text)), true));
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => ((errors += String(text)), true));
  process.exitCode = undefined;
});

afterEach(() => {
  jest.restoreAllMocks();
  process.exitCode = undefined;
});

/** A configuration file, and its folder. */
function configFile(): { folder: string; file: string } {
  const folder = temporaryFolder();
  const file = join(folder, 'config.yaml');
  writeFileSync(file, stringify(smallBase(folder)));
  return { folder, file };
}

class ScoreMinusMean extends AdvantageEstimator {
  static calls = 0;
  computeAdvantages(rewards: Tensor, values: Tensor | null, masks: Tensor): Tensor {
    ScoreMinusMean.calls++;
    const score = rewards.sum(1, { keepDims: true });
    return score.sub(score.mean()).mul(masks);
  }
}

describe('main', () => {
  it('trains with an estimator that the script registered, and says where the results are', async () => {
    const { folder, file } = configFile();
    registerAdvantageEstimator('test_custom', ScoreMinusMean);
    try {
      const result = await main(['trainer.algorithm.advantage_estimator=test_custom', 'trainer.ckpt_interval=2'], { config: file });
      expect(result?.steps).toBe(3);
    } finally {
      unregisterAdvantageEstimator('test_custom');
    }
    expect(ScoreMinusMean.calls).toBe(3);
    expect(errors).toBe('');
    const results = ['metrics.jsonl', 'learning_curve.html', 'checkpoints/global_step_3'];
    for (const name of results) {
      expect(existsSync(join(folder, name))).toBe(true);
      expect(output).toContain(join(folder, name));
    }
    expect(output).toContain('Trained 3 steps of test_custom');
    const suggested = ['  trainer.algorithm.advantage_estimator=grpo trainer.resume_mode=null', '  trainer.seed=1 trainer.resume_mode=null', '`npx vantage list estimators` shows all estimators.'];
    expect(output).toContain(`added to the command:\n${suggested.join('\n')}\n`);
    expect(output).not.toContain('gae');
    expect(readMetrics(join(folder, 'metrics.jsonl')).map(({ step }) => step)).toEqual([0, 1, 2, 3]);
    expect(readFileSync(join(folder, 'learning_curve.html'), 'utf8')).toContain('test_custom');
    expect(process.exitCode).toBeUndefined();
  });

  it('refuses a second run of the process in a folder while the first goes on, which can be resumed afterwards', async () => {
    const { folder, file } = configFile();
    const [first, second] = await Promise.all([main([], { config: file }), main([], { config: file })]);
    expect([first?.steps, second]).toEqual([3, null]);
    expect(errors).toMatch(/another run \(process \d+, this one\) writes there/);
    const steps = () => readMetrics(join(folder, 'metrics.jsonl')).map(({ step }) => step);
    expect(steps()).toEqual([0, 1, 2, 3]);
    await main(['trainer.max_training_steps=4', 'trainer.resume_mode=latest'], { config: file });
    expect(steps()).toEqual([0, 1, 2, 3, 4]);
  });

  it('suggests rloo after grpo', async () => {
    await main(['trainer.max_training_steps=1'], { config: configFile().file });
    expect(output).toContain('  trainer.algorithm.advantage_estimator=rloo\n  trainer.seed=1\n');
  });

  it('says that a callback stopped the run', async () => {
    await main([], { config: configFile().file, callbacks: [{ onStepEnd: (context) => context.stop() }] });
    expect(output).toContain('Stopped by a callback after 1 step of grpo');
  });

  it('says which callback gave a metric that is no number', async () => {
    class Length {
      onStepEnd(_: RunContext, metrics: Metrics) {
        metrics['mine/length'] = '3' as unknown as number;
      }
    }
    expect(await main([], { config: configFile().file, callbacks: [new Length()] })).toBeNull();
    expect(errors).toBe('vantage: Length.onStepEnd: expected a number as the metric \'mine/length\', got "3"\n');
    const plain = { onLog: (_: RunContext, metrics: Metrics) => void Object.assign(metrics, { b: undefined }) };
    expect(await main(['trainer.eval_before_train=false'], { config: configFile().file, callbacks: [{}, plain] })).toBeNull();
    expect(errors).toContain("vantage: callbacks[1].onLog: expected a number as the metric 'b', got undefined\n");
  });

  it("takes -c in place of the script's own file", async () => {
    const { file } = configFile();
    expect((await main(['-c', file, 'trainer.max_training_steps=1'], { config: 'nowhere.yaml' }))?.steps).toBe(1);
  });

  it.each([
    [
      ['trainer.algorithm.advantage_estimator=gpro'],
      `Unknown advantage estimator 'gpro'. Did you mean 'grpo'? Registered: ${listAdvantageEstimators()[0]}`,
    ],
    [
      ['trainer.algorithm.policy_loss_type=regulr'],
      "Unknown policy loss 'regulr'. Did you mean 'regular'? Registered: bnpo, cispo, clip_cov, cross_entropy, dapo, dppo, dr_grpo, dual_clip (vanilla), ",
    ],
    [['trainer.algorithm.advantage_estimator=gae'], "trainer.critic.model: expected a model ({} for one of the policy's shape)"],
    [['trainer.sede=1'], 'trainer.sede: unknown key. Did you mean trainer.seed?'],
    [
      ['trainer.train_batch_size=128', 'trainer.policy_mini_batch_size=128'],
      'trainer.train_batch_size: expected at most the 64 prompts that data.train_data holds',
    ],
    [['data.train_data=nowhere.jsonl'], 'data.train_data: nowhere.jsonl: no such file (`vantage prepare` writes the files of a task)'],
    [['data.val_data=[nowhere.jsonl]'], 'data.val_data: nowhere.jsonl: no such file'],
    [['data.train_data=""'], 'data.train_data[0]: expected non-empty text, got ""'],
    [['trainer.max_prompt_length=2'], 'trainer.max_prompt_length: expected at least 5, the tokens of the shortest prompt of data.train_data, got 2'],
    [['trainer.export_path=package.json/x'], "trainer.export_path: expected a folder that can be written to, got 'package.json/x': there, or above it, is a file"],
  ])('ends on %j with one clear line and exit code 1', async (overrides, message) => {
    expect(await main(overrides, { config: configFile().file })).toBeNull();
    expect(errors).toContain(message);
    expect(errors).toMatch(/^vantage: [^\n]*\n$/);
    expect(process.exitCode).toBe(1);
  });

  it('on Ctrl-C finishes the step, saves a checkpoint and closes the trackers', async () => {
    const { folder, file } = configFile();
    class Interrupted extends Trainer {
      protected override async trainStep() {
        const metrics = await super.trainStep();
        process.emit('SIGINT');
        return metrics;
      }
    }
    class InterruptedExperiment extends Experiment {
      override trainer(parts: TrainerParts) {
        return new Interrupted(parts);
      }
    }
    const listeners = process.listenerCount('SIGINT');
    const result = await main(['trainer.ckpt_interval=100'], { config: file, experiment: InterruptedExperiment });
    expect(result?.reason).toBe('interrupted');
    expect(result?.steps).toBe(1);
    expect(existsSync(join(folder, 'checkpoints/global_step_1/policy/model.safetensors'))).toBe(true);
    expect(readMetrics(join(folder, 'metrics.jsonl')).map(({ step }) => step)).toEqual([0, 1]);
    expect(output).toContain('Interrupted after 1 step of grpo');
    expect(process.exitCode).toBe(130);
    expect(process.listenerCount('SIGINT')).toBe(listeners);
  });
});

describe('an experiment', () => {
  it('uses what a subclass overrides: the environment, the rewards, the generator', async () => {
    const closed: string[] = [];
    class Longer extends Environment {
      override init(prompt: ChatMessage[]): ChatMessage[] {
        return [{ role: 'user', content: `= ${prompt[0].content}` }];
      }
      step(): EnvironmentStep {
        return { observations: [], reward: 2, done: true };
      }
      override close() {
        closed.push('closed');
      }
      override metrics() {
        return { seen: 3 };
      }
    }
    const seen: Trajectory[] = [];
    class Halved extends Trainer {
      protected override postprocessRewards(trajectories: Trajectory[]) {
        seen.push(...trajectories);
        return trajectories.map((trajectory) => ({ ...trajectory, reward: trajectory.reward / 2 }));
      }
    }
    const prompts: (readonly PromptExample[])[] = [];
    class Own extends Experiment {
      override environment() {
        return Longer;
      }
      override trainer(parts: TrainerParts) {
        return new Halved(parts);
      }
      override generator(parts: RolloutParts): Rollout {
        const rollout = super.generator(parts);
        const collect = rollout.collect.bind(rollout);
        rollout.collect = (examples, options) => (prompts.push(examples), collect(examples, options));
        return rollout;
      }
    }
    const { file } = configFile();
    const result = await main(['trainer.max_training_steps=1', 'trainer.eval_interval=-1', 'trainer.eval_before_train=false'], {
      config: file,
      experiment: Own,
    });
    const [record] = result!.history;
    expect(record['reward/avg_raw_reward']).toBe(2);
    expect(record['loss/avg_final_rewards']).toBe(1);
    expect(record['environment/seen']).toBe(3);
    expect(closed).toHaveLength(32);
    expect(prompts[0]).toHaveLength(8);
    // Responses to one prompt stand next to each other, and the policy saw what the environment made of it.
    expect(seen.map(({ groupId }) => groupId)).toEqual(prompts[0].flatMap(({ id }) => [id, id, id, id]));
    for (const { promptIds } of seen) expect([promptIds.length, promptIds[0]]).toEqual([6, 10]);
  });

  it('says where an environment throws: in its constructor, and in a step', async () => {
    const failing = (Class: EnvironmentClass) =>
      class extends Experiment {
        override environment() {
          return Class;
        }
      };
    class Unmade extends Environment {
      constructor(row: AnyRow) {
        super(row);
        throw new TypeError('no table');
      }
      step(): EnvironmentStep {
        return { observations: [], reward: 0, done: true };
      }
    }
    class Throwing extends Environment {
      step(): EnvironmentStep {
        throw new TypeError('no answer');
      }
    }
    expect(await main([], { config: configFile().file, experiment: failing(Unmade) })).toBeNull();
    expect(errors).toMatch(/^vantage: environment 'gmax': constructor: no table, at new Unmade \(.*main\.test\.ts:\d+:\d+\)\n$/);
    errors = '';
    expect(await main([], { config: configFile().file, experiment: failing(Throwing) })).toBeNull();
    expect(errors).toMatch(/^vantage: environment 'gmax': not one of \d+ trajectories worked; the first: no answer, at Throwing\.step \(.*main\.test\.ts:\d+:\d+\)\n$/);
  });

  it('names the environment whose step returns what it must not', async () => {
    class Wrong extends Environment {
      step(): EnvironmentStep {
        return { observations: [], reward: NaN, done: true };
      }
    }
    class Own extends Experiment {
      override environment() {
        return Wrong;
      }
    }
    expect(await main([], { config: configFile().file, experiment: Own })).toBeNull();
    expect(errors).toBe("vantage: environment 'gmax': step: expected a finite number as reward, got NaN\n");
  });
});
