import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AdamW, Transformer, ValueModel } from '../../src/models';
import { memory, randomKey, tidy, type Tensor } from '../../src/tensor';
import { Experiment, latestCheckpoint, loadCheckpoint, saveCheckpoint, type TrainerState } from '../../src/trainer';
import { checkpointProblem } from '../../src/trainer/checkpoint';
import { aCritic, smallConfig, temporaryFolder } from './helpers';

const config = {
  ...{ vocabSize: 14, hiddenSize: 16, numLayers: 1, numHeads: 2, numKvHeads: 2, intermediateSize: 32, ropeTheta: 1e4, rmsNormEps: 1e-6 },
  ...{ tieWordEmbeddings: true, attentionBias: true, maxPositionEmbeddings: 64 },
};

/** A policy and a critic that have made one optimizer step. */
function models(seed: number) {
  const policy = Transformer.initialize(config, randomKey(seed));
  const critic = ValueModel.initialize(config, randomKey(seed + 1));
  const trained = {
    policy: { model: policy, optimizer: new AdamW(policy.parameters, { lr: 0.1 }) },
    critic: { model: critic, optimizer: new AdamW(critic.parameters, { lr: 0.1 }) },
  };
  for (const { model, optimizer } of Object.values(trained)) {
    tidy(() => {
      optimizer.accumulate([...model.parameters.values()].map((x) => x.square().sum()).reduce((a, b) => a.add(b)));
      optimizer.step();
    });
  }
  return trained;
}

const values = (tensors: Map<string, Tensor>) => new Map([...tensors].map(([name, x]) => [name, Array.from(x.dataSync())]));
const contents = (of: ReturnType<typeof models>) =>
  Object.values(of).map(({ model, optimizer }) => ({
    weights: values(model.parameters),
    step: optimizer.state().step,
    moments: values(optimizer.state().tensors),
  }));
const state = (globalStep: number): TrainerState => ({
  version: 3,
  globalStep,
  seconds: 1.5,
  data: { epoch: 1, batch: 2, seed: 0, batchSize: 8, size: 64 },
  dataset: 'abc',
  seed: 0,
  coefficients: { kl: { value: 0.1 }, entropy: { coefficient: 0.01, isLow: true } },
  evaluationPending: false,
  estimator: { name: 'spo', state: { prompts: { a: [0.5, 2] } } },
  history: [{ step: 0, 'eval/all/avg_score': 0.1 + 0.2 }, { step: globalStep, a: NaN, b: -Infinity, c: -0, d: 1e-300, e: 5e-324 }],
  config: { a: 1 },
});

describe('a checkpoint', () => {
  it('gives weights, optimizer and state back as they were', () => {
    const path = temporaryFolder();
    const saved = models(1);
    const folder = saveCheckpoint(path, saved, state(7));
    expect(folder).toBe(join(path, 'global_step_7'));
    expect(latestCheckpoint(path)).toBe(folder);
    expect(readFileSync(join(path, 'latest_ckpt_global_step.txt'), 'utf8')).toBe('7\n');
    const restored = models(5);
    expect(contents(restored)).not.toEqual(contents(saved));
    expect(loadCheckpoint(folder, restored)).toEqual(state(7));
    expect(contents(restored)).toEqual(contents(saved));
  });

  it('replaces one of the same step, and leaves only whole folders', () => {
    const path = temporaryFolder();
    saveCheckpoint(path, models(1), state(3));
    const newer = models(2);
    saveCheckpoint(path, newer, { ...state(3), seed: 9 });
    expect(readdirSync(path).sort()).toEqual(['global_step_3', 'latest_ckpt_global_step.txt']);
    const restored = models(5);
    expect(loadCheckpoint(join(path, 'global_step_3'), restored).seed).toBe(9);
    expect(contents(restored)).toEqual(contents(newer));
  });

  it('keeps the newest ones, and those of a later step, which are not of this run', () => {
    const path = temporaryFolder();
    const trained = models(1);
    mkdirSync(join(path, 'global_step_90'));
    for (const step of [1, 2, 10]) saveCheckpoint(path, trained, state(step), 2);
    expect(readdirSync(path).sort()).toEqual(['global_step_10', 'global_step_2', 'global_step_90', 'latest_ckpt_global_step.txt']);
  });

  it('is found where it is complete, whatever the pointer says; a pointer without any is an error', () => {
    const path = temporaryFolder();
    const pointer = join(path, 'latest_ckpt_global_step.txt');
    expect(latestCheckpoint(path)).toBeNull();
    expect(latestCheckpoint(join(path, 'nowhere'))).toBeNull();
    writeFileSync(pointer, '12\n');
    expect(() => latestCheckpoint(path)).toThrow('latest_ckpt_global_step.txt: expected the step of a checkpoint beside it, got "12", and there is none');
    const trained = models(1);
    for (const step of [9, 10]) saveCheckpoint(path, trained, state(step));
    mkdirSync(join(path, 'global_step_11'));
    writeFileSync(pointer, '9\n');
    expect(latestCheckpoint(path)).toBe(join(path, 'global_step_10'));
  });

  it('without any one of the files that it lists is incomplete, and the one before stands', () => {
    const path = temporaryFolder();
    const trained = models(1);
    for (const step of [1, 2]) saveCheckpoint(path, trained, state(step));
    const [before, folder] = [1, 2].map((step) => join(path, `global_step_${step}`)) as [string, string];
    const { files } = JSON.parse(readFileSync(join(folder, 'trainer_state.json'), 'utf8')) as { files: Record<string, number> };
    const names = [
      'advantage_estimator.json',
      'critic/model.safetensors',
      'critic/optimizer.safetensors',
      'history.jsonl',
      'policy/config.json',
      'policy/model.safetensors',
      'policy/optimizer.safetensors',
    ];
    expect(Object.keys(files)).toEqual(expect.arrayContaining(names));
    for (const name of [...Object.keys(files), 'trainer_state.json', 'critic', 'policy']) {
      const aside = join(temporaryFolder(), 'aside');
      renameSync(join(folder, name), aside);
      expect(checkpointProblem(folder)).toBe(['critic', 'policy'].includes(name) ? `no folder ${name}/` : `no ${name}`);
      expect(latestCheckpoint(path)).toBe(before);
      if (!name.endsWith('config.json')) expect(() => loadCheckpoint(folder, trained)).toThrow(`${folder}/${name}`);
      renameSync(aside, join(folder, name));
      expect(latestCheckpoint(path)).toBe(folder);
    }
  });

  it('names what is wrong with its files', () => {
    const path = temporaryFolder();
    const trained = models(1);
    const folder = saveCheckpoint(path, trained, state(1));
    const other = Transformer.initialize({ ...config, numLayers: 2 }, randomKey(0));
    const bytes = memory().bytes;
    expect(() => loadCheckpoint(folder, { policy: { model: other, optimizer: new AdamW(other.parameters, { lr: 1 }) } })).toThrow(
      "policy/optimizer.safetensors: AdamW.loadState: 'model.layers.1.input_layernorm.weight.exp_avg': expected float32 [16], got none",
    );
    expect(() => loadCheckpoint(folder, { policy: { model: other, optimizer: null } })).toThrow(
      'model.safetensors: model.layers.1.input_layernorm.weight: expected float32 [16], got none',
    );
    // But for the moments of the optimizer that was made for it, nothing is left.
    expect(memory().bytes).toBe(bytes + 2 * 4 * other.size);
    const whole = readFileSync(join(folder, 'trainer_state.json'), 'utf8');
    writeFileSync(join(folder, 'trainer_state.json'), '{"version": 1}');
    expect(() => loadCheckpoint(folder, trained)).toThrow('trainer_state.json: version: expected 3, got 1');
    writeFileSync(join(folder, 'trainer_state.json'), '{"version": 3, "globalStep": 1.5}');
    expect(() => loadCheckpoint(folder, trained)).toThrow('trainer_state.json: globalStep: expected an integer, 0 or more, got 1.5');
    const damaged: [object, string][] = [
      [{ data: null }, 'data: expected an object, got null'],
      [{ data: { epoch: 0, batch: -1 } }, 'data.batch: expected an integer, 0 or more, got -1'],
      [{ coefficients: { kl: { value: '0.1' }, entropy: null } }, 'coefficients.kl.value: expected a number, got "0.1"'],
      [{ coefficients: { kl: { value: 1 } } }, 'coefficients.entropy: expected an object or null, got undefined'],
      [{ evaluationPending: 1 }, 'evaluationPending: expected true or false, got 1'],
      [{ config: [] }, 'config: expected an object, got []'],
    ];
    for (const [change, message] of damaged) {
      writeFileSync(join(folder, 'trainer_state.json'), JSON.stringify({ ...(JSON.parse(whole) as object), ...change }));
      expect(() => loadCheckpoint(folder, trained)).toThrow(`trainer_state.json: ${message}`);
    }
    writeFileSync(join(folder, 'trainer_state.json'), JSON.stringify({ ...(JSON.parse(whole) as object), evaluationPending: true }));
    writeFileSync(join(folder, 'history.jsonl'), '');
    expect(() => loadCheckpoint(folder, trained)).toThrow('history.jsonl: expected step 1 as the last, got none');
    writeFileSync(join(folder, 'trainer_state.json'), whole);
    writeFileSync(join(folder, 'history.jsonl'), '{"step":1}\n{"a":1}\n');
    expect(() => loadCheckpoint(folder, trained)).toThrow('history.jsonl:2: expected an object with a numeric "step", got "{\\"a\\":1}"');
    rmSync(join(folder, 'history.jsonl'));
    expect(() => loadCheckpoint(folder, trained)).toThrow('history.jsonl: cannot be read');
    writeFileSync(join(path, 'file'), '');
    expect(() => saveCheckpoint(join(path, 'file'), trained, state(1))).toThrow('the checkpoint cannot be written');
  });

  it('is written by a run at its interval, the end of an epoch and the end, with where the data stands', async () => {
    const folder = temporaryFolder();
    const overrides = [
      'trainer.ckpt_interval=3',
      'trainer.max_training_steps=10',
      'trainer.epochs=2',
      'trainer.eval_interval=-1',
      ...aCritic,
    ];
    const result = await new Experiment(smallConfig(overrides, folder)).run();
    const path = join(folder, 'checkpoints');
    // Eight batches an epoch.
    expect(readdirSync(path).sort()).toEqual([
      'global_step_10',
      'global_step_3',
      'global_step_6',
      'global_step_8',
      'global_step_9',
      'latest_ckpt_global_step.txt',
    ]);
    expect(result.checkpoint).toBe(latestCheckpoint(path));
    for (const file of ['model', 'optimizer'])
      for (const part of ['policy', 'critic']) expect(existsSync(join(path, 'global_step_10', part, `${file}.safetensors`))).toBe(true);
    const { globalStep, data } = JSON.parse(readFileSync(join(path, 'global_step_10', 'trainer_state.json'), 'utf8')) as TrainerState;
    expect({ globalStep, data }).toEqual({ globalStep: 10, data: { epoch: 1, batch: 2, seed: 0, batchSize: 8, size: 64 } });
  });
});
