/** Callbacks: which are called when, and what they may ask for; what a subclass of the trainer may override. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../../src/config';
import { AdaptiveKlController } from '../../src/losses';
import { DataLoader } from '../../src/data';
import { AdamW, type Decoder } from '../../src/models';
import { type Metrics, readMetrics } from '../../src/tracking';
import { Coefficients, Experiment, main, Trainer, type RunContext, type TrainerCallback, type TrainerParts, Update } from '../../src/trainer';
import { describeConfig } from '../../src/trainer/print_config';
import { smallBase, smallConfig, temporaryFolder } from './helpers';

async function run(callbacks: readonly TrainerCallback[], overrides: readonly string[] = [], folder = temporaryFolder(), Class: typeof Experiment = Experiment) {
  const experiment = new Class(smallConfig(overrides, folder));
  experiment.callbacks.push(...callbacks);
  return experiment.run();
}

/** Every event with the step, the epoch and what came with it. */
class Recorder implements TrainerCallback {
  readonly events: string[] = [];
  private note(name: string, { step, epoch }: RunContext, more = ''): void {
    this.events.push(`${name} ${step} ${epoch}${more}`);
  }
  onTrainBegin(context: RunContext) {
    this.note('begin', context, ` of ${context.totalSteps} seed ${context.config.trainer.seed}`);
  }
  async onTrainEnd(context: RunContext, { reason }: { reason: string }) {
    await Promise.resolve();
    this.note('end', context, ` ${reason}`);
  }
  onEpochBegin(context: RunContext) {
    this.note('epoch', context);
  }
  onEpochEnd(context: RunContext) {
    this.note('epochEnd', context);
  }
  onStepBegin(context: RunContext) {
    this.note('step', context);
  }
  onStepEnd(context: RunContext, metrics: Metrics) {
    this.note('stepEnd', context, 'policy/final_loss' in metrics ? '' : ' without metrics');
  }
  onEvaluate(context: RunContext, metrics: Metrics) {
    this.note('evaluate', context, 'eval/all/avg_score' in metrics ? '' : ' without metrics');
  }
  onSave(context: RunContext, folder: string) {
    this.note('save', context, existsSync(join(folder, 'policy/model.safetensors')) ? '' : ' without a checkpoint');
  }
  onLog(context: RunContext) {
    this.note('log', context);
  }
}

describe('callbacks', () => {
  it('are called in order, and waited for', async () => {
    const recorder = new Recorder();
    await run([recorder], ['trainer.train_batch_size=32', 'trainer.ckpt_interval=2', 'trainer.max_training_steps=3', 'trainer.epochs=2']);
    expect(recorder.events).toEqual([
      'begin 0 0 of 3 seed 0',
      'evaluate 0 0',
      'log 0 0',
      'epoch 0 0',
      'step 0 0',
      'stepEnd 1 0',
      'log 1 0',
      'step 1 0',
      'stepEnd 2 1',
      'epochEnd 2 1',
      'evaluate 2 1',
      'save 2 1',
      'log 2 1',
      'epoch 2 1',
      'step 2 1',
      'stepEnd 3 1',
      'evaluate 3 1',
      'save 3 1',
      'log 3 1',
      'end 3 1 max_training_steps',
    ]);
  });

  it('may ask for a checkpoint, an evaluation and the end', async () => {
    const folder = temporaryFolder();
    const recorder = new Recorder();
    const asking: TrainerCallback = {
      onStepEnd: (context) => {
        if (context.step === 1) context.evaluate();
        if (context.step === 2) context.save();
        if (context.step === 3) context.stop();
      },
    };
    const result = await run([asking, recorder], ['trainer.max_training_steps=8', 'trainer.eval_before_train=false', 'trainer.eval_interval=100'], folder);
    expect([result.steps, result.reason]).toEqual([3, 'callback']);
    expect(result.checkpoint).toBe(join(folder, 'checkpoints/global_step_2'));
    // The run's last step is evaluated, as in any run.
    expect(recorder.events.filter((event) => /^(evaluate|save)/.test(event))).toEqual(['evaluate 1 0', 'save 2 0', 'evaluate 3 0']);
    const before = await run([{ onTrainBegin: (context) => context.stop() }], ['trainer.eval_before_train=false']);
    expect([before.steps, before.reason]).toEqual([0, 'callback']);
  });

  it('see and change what is logged', async () => {
    const folder = temporaryFolder();
    const changing: TrainerCallback = {
      onStepEnd: (_, metrics) => void (metrics['my/metric'] = 7),
      onLog: (_, metrics) => {
        for (const name of Object.keys(metrics)) if (name.startsWith('timing/')) delete metrics[name];
      },
    };
    await run([changing], [], folder);
    const records = readMetrics(join(folder, 'metrics.jsonl'));
    expect(records.slice(1).map((record) => record['my/metric'])).toEqual([7, 7, 7]);
    expect(records.some((record) => Object.keys(record).some((name) => name.startsWith('timing/')))).toBe(false);
  });

  it('that fail end the run, and those that are none are refused', async () => {
    const failing: TrainerCallback = {
      onStepBegin: () => {
        throw new Error('no more');
      },
    };
    await expect(run([failing])).rejects.toThrow('no more');
    await expect(run([{ onStepEnded: () => undefined } as TrainerCallback])).rejects.toThrow("callbacks: 'onStepEnded' is no event. Did you mean 'onStepEnd'?");
    await expect(run([3 as TrainerCallback])).rejects.toThrow('callbacks: expected objects with methods onTrainBegin,');
  });

  it('are given to main', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'config.yaml');
    writeFileSync(file, stringify(smallBase(folder)));
    const out = jest.spyOn(process.stdout, 'write').mockImplementation(() => true);
    try {
      const recorder = new Recorder();
      await main(['trainer.max_training_steps=1'], { config: file, callbacks: [recorder] });
      expect(recorder.events.at(-1)).toBe('end 1 0 max_training_steps');
    } finally {
      out.mockRestore();
    }
  });
});

describe('a subclass', () => {
  it('may bring its loader, its coefficients, its learning rate, its optimizer and its inputs', async () => {
    class Half extends Update {
      protected override learningRate(part: 'policy' | 'critic', step: number): number {
        return super.learningRate(part, step) / (step + 1);
      }
    }
    const firsts: string[] = [];
    class Mine extends Trainer {
      protected override createLoader() {
        const { train_batch_size: batchSize, seed } = this.config.trainer;
        return new DataLoader(this.parts.trainDataset.examples, { batchSize, seed, shuffle: false });
      }
      protected override createCoefficients() {
        return new Coefficients(this.config, new AdaptiveKlController({ coefficient: 0.5, target: 0.1, horizon: 32, clip: 0.5 }));
      }
      protected override createUpdate() {
        return new Half(this.config, this.parts.models, { coefficients: this.coefficients });
      }
      protected override advantageInputs(batch: Parameters<Trainer['advantageInputs']>[0]) {
        firsts.push(batch.groupIds[0]!);
        return { ...super.advantageInputs(batch), teacherLogProbs: batch.tensor('oldLogProbs').add(1) };
      }
    }
    class MyExperiment extends Experiment {
      override trainer(parts: TrainerParts) {
        return new Mine(parts);
      }
      override optimizer(model: Decoder) {
        return new AdamW(model.parameters, { lr: 1, weightDecay: 0, maxGradNorm: 1e-9 });
      }
      override advantageInputs() {
        return [...super.advantageInputs(), 'teacherLogProbs'] as const;
      }
    }
    const keys = ['trainer.algorithm.advantage_estimator=distillation', 'trainer.algorithm.use_kl_loss=true', 'trainer.eval_before_train=false', 'trainer.eval_interval=-1'];
    const { history } = await run([], keys, temporaryFolder(), MyExperiment);
    expect(history.map((record) => record['policy/policy_lr'])).toEqual([(1e-3 + 1e-3 / 2) / 2, (1e-3 / 3 + 1e-3 / 4) / 2, (1e-3 / 5 + 1e-3 / 6) / 2]);
    expect(history.slice(0, 2).map((record) => record['loss/kl_loss_coef'])).toEqual([0.5, 0.25]);
    expect(history[0]!['loss/avg_raw_advantages']).toBeCloseTo(1, 5);
    expect(new Set(firsts).size).toBe(3);
  });
});

describe('--print-config', () => {
  it('says what the environment decides', () => {
    const { config, provenance } = loadConfig({ base: smallBase() });
    const of = (env: Record<string, string>) => describeConfig({ config, provenance }, [], env).split('\n').filter((line) => line.includes('device:') || line.startsWith('# environment'));
    expect(of({})).toEqual(['  device: null # default']);
    expect(of({ VANTAGE_DEVICE: 'cpu', VANTAGE_NUM_THREADS: '2' })).toEqual([
      '# environment: VANTAGE_DEVICE=cpu',
      '# environment: VANTAGE_NUM_THREADS=2',
      '  device: null # default; environment: VANTAGE_DEVICE=cpu',
    ]);
  });

  it('prints what would run and where each value came from, and runs nothing', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'config.yaml');
    writeFileSync(file, stringify(smallBase(folder)));
    let output = '';
    const out = jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((output += String(text)), true));
    try {
      const argv = ['--print-config', 'trainer.algorithm.policy_loss_type=gmpo', 'trainer.algorithm.advantage_options.epsilon=1e-4', 'trainer.logger=[jsonl, console]'];
      expect(await main(argv, { config: file })).toBeNull();
      const lines = output.split('\n');
      const line = (text: string) => lines.find((each) => each.includes(text));
      expect(line('# estimator:')).toMatch(/^# estimator: grpo \(.*epsilon: 0.0001, .*\), from groupIds$/);
      expect(line('# policy loss:')).toBe('# policy loss: geo_mean (epsClipLow: 0.4, epsClipHigh: 0.4), reduced by token_mean');
      expect(line('# a step:')).toBe('# a step: 8 prompts × 4 responses, 2 optimizer steps of the policy');
      expect(line('policy_loss_type:')).toBe('    policy_loss_type: gmpo # command line');
      expect(line('      epsilon:')).toBe('      epsilon: 0.0001 # command line');
      expect(line('  logger: [')).toBe('  logger: [ jsonl, console ] # command line');
      expect(line('env_class:')).toMatch(/^ {2}env_class: gmax # .*config\.yaml:\d+$/);
      expect(line('gamma:')).toBe('    gamma: 1 # default');
      expect(existsSync(join(folder, 'metrics.jsonl'))).toBe(false);
      // What is printed can be run.
      const printed = join(folder, 'printed.yaml');
      writeFileSync(printed, output);
      output = '';
      expect((await main(['-c', printed, 'trainer.max_training_steps=1']))?.steps).toBe(1);
    } finally {
      out.mockRestore();
    }
  });
});
