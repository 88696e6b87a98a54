/** Runs that begin from folders of Hugging Face's layout, and what they leave. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { run } from '../../src/cli/main';
import { loadConfig } from '../../src/config';
import { type HuggingFaceTokenizer, loadTokenizer, WordTokenizer } from '../../src/data';
import { Environment, type EnvironmentStep } from '../../src/environments';
import { type Decoder, loadTransformer, loadValueModel, readSafetensors, type ResolvedConfig } from '../../src/models';
import { Experiment } from '../../src/trainer';
import { readMetrics } from '../../src/tracking';
import { randomModel, tiny, weightsOf } from '../models/helpers';
import { writeModelFolder, writeTokenizer } from '../models/huggingface';
import { aCritic, smallBase, temporaryFolder, withoutClock } from './helpers';

let [output, errors] = ['', ''];
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

/** What random weights write is never rewarded; the entropy bonus gives them something to learn all the same. */
const learning = { ckpt_interval: 3, algorithm: { use_kl_loss: false, use_entropy_loss: true, entropy_loss_coef: 1 } };
const lr = 'trainer.policy.optimizer_config.lr=1e-3';

interface Setting {
  folder: string;
  file: string;
  model: string;
  config: ResolvedConfig;
  endIds: number[];
}

/** A model's folder with its tokenizer, and the configuration of a run that says nothing of either. */
function setting(changes: Partial<ResolvedConfig> = {}): Setting {
  const folder = temporaryFolder();
  const model = join(folder, 'Qwen2.5-tiny');
  const { size, ids } = writeTokenizer(model);
  // A vocabulary that is longer than the tokenizer's, as Qwen's is.
  const config = tiny({ vocabSize: size + 7, maxPositionEmbeddings: 256, tieWordEmbeddings: false, ...changes });
  writeModelFolder(model, config, weightsOf(randomModel(config, 'float32')), { format: 'BF16', shards: 2 });
  const base = smallBase(folder) as { trainer: Record<string, unknown> };
  const { tokenizer, policy, ...trainer } = base.trainer;
  expect([tokenizer, policy]).toBeDefined();
  const file = join(folder, 'config.yaml');
  writeFileSync(file, stringify({ ...base, trainer: { ...trainer, ...learning, max_prompt_length: 128 } }));
  return { folder, file, model, config, endIds: [ids['<|im_end|>']!, ids['<|endoftext|>']!] };
}

/** Rewards that random responses get, too. */
class Shortness extends Environment {
  step(action: string): EnvironmentStep {
    return { observations: [], reward: 1 / (1 + action.length), done: true };
  }
}

class Rewarded extends Experiment {
  override environment() {
    return Shortness;
  }
}

function experiment(file: string, ...overrides: string[]): Experiment {
  return new Rewarded(loadConfig({ file, overrides }).config);
}

function expectSame(a: Decoder, b: Decoder, names = [...a.parameters.keys()]): void {
  for (const name of names) expect(b.parameters.get(name)!.dataSync()).toEqual(a.parameters.get(name)!.dataSync());
}

test('vantage train from a folder: its weights, its tokenizer, its chat template, its ends; the checkpoint is such a folder', async () => {
  const { folder, file, model, config, endIds } = setting();
  const path = `trainer.policy.model.path=${model}`;
  expect(await run(['train', '-c', file, path, lr])).toBe(0);
  expect(errors).toBe('');
  expect(output).toContain('Trained 3 steps');
  const records = readMetrics(join(folder, 'metrics.jsonl'));
  expect(records.map(({ step }) => step)).toEqual([0, 1, 2, 3]);
  for (const record of records.slice(1)) expect(record['policy/grad_norm']).toBeGreaterThan(0);

  const checkpoint = join(folder, 'checkpoints/global_step_3/policy');
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json']) expect(readFileSync(join(checkpoint, name)).equals(readFileSync(join(model, name)))).toBe(true);
  const trained = loadTransformer(checkpoint);
  expect([trained.config, trained.endIds]).toEqual([config, endIds]);
  const before = loadTransformer(model);
  expect(trained.parameters.get('lm_head.weight')!.dataSync()).not.toEqual(before.parameters.get('lm_head.weight')!.dataSync());

  // What the run began with is what the folder holds; prompts go through its template.
  const part = experiment(file, path);
  const tokenizer = part.tokenizer() as HuggingFaceTokenizer;
  expectSame(before, part.policy(tokenizer));
  const dataset = await part.trainDataset(tokenizer);
  const { promptIds, prompt } = dataset.examples[0]!;
  expect(promptIds).toEqual(tokenizer.encode(`<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n${prompt[0]!.content}<|im_end|>\n<|im_start|>assistant\n`));

  // The same run again is the same bits.
  const again = await new Experiment(loadConfig({ file, overrides: [path, lr, 'trainer.ckpt_path=' + join(folder, 'again/checkpoints')] }).config).run();
  expect(again.history.map(withoutClock)).toEqual(records.map(withoutClock));
});

test('a checkpoint of ours is a model to begin from: policy, reference and critic', async () => {
  const { folder, file, model } = setting({ tieWordEmbeddings: true });
  const gae = ['trainer.algorithm.advantage_estimator=gae', ...aCritic];
  await experiment(file, `trainer.policy.model.path=${model}`, lr, ...gae).run();
  const step = join(folder, 'checkpoints/global_step_3');
  const [policy, critic] = [join(step, 'policy'), join(step, 'critic')];
  expect(loadValueModel(critic).parameters.get('score.weight')!.dataSync().some((value) => value !== 0)).toBe(true);

  const overrides = [`trainer.policy.model.path=${policy}`, `trainer.ref.model.path=${model}`, 'trainer.algorithm.use_kl_loss=true', ...gae];
  const next = experiment(file, ...overrides);
  const tokenizer = next.tokenizer();
  const begun = next.policy(tokenizer);
  expectSame(loadTransformer(policy), begun);
  expectSame(loadTransformer(model), next.reference(begun)!);
  const trunk = [...begun.parameters.keys()];
  const fresh = next.critic(tokenizer)!;
  expectSame(begun, fresh, trunk);
  expect(fresh.parameters.get('score.weight')!.dataSync().every((value) => value === 0)).toBe(true);
  const learnt = experiment(file, ...overrides, `trainer.critic.model.path=${critic}`).critic(tokenizer)!;
  expectSame(loadValueModel(critic), learnt);

  // The reference is not the policy any more, so that the first KL is not 0.
  const { history } = await experiment(file, ...overrides, lr, 'trainer.ckpt_path=' + join(folder, 'next/checkpoints')).run();
  expect(history[1]!['policy/policy_kl']).toBeGreaterThan(0);
});

test('vantage export takes a run, a step or a folder', async () => {
  const { folder, file, model, config } = setting();
  expect(await run(['train', '-c', file, `trainer.policy.model.path=${model}`, lr])).toBe(0);
  const trained = loadTransformer(join(folder, 'checkpoints/global_step_3/policy'));
  const [whole, halves] = [join(folder, 'whole'), join(folder, 'halves')];
  expect(await run(['export', join(folder, 'checkpoints'), whole])).toBe(0);
  expectSame(trained, loadTransformer(whole));
  expect(output).toContain(`${trained.size} weights → ${whole} (float32)`);
  // The folder of the run has a config.json of its own.
  expect(existsSync(join(folder, 'config.json'))).toBe(true);
  const ofRun = join(folder, 'of_run');
  expect(await run(['export', folder, ofRun])).toBe(0);
  expectSame(trained, loadTransformer(ofRun));
  expect(await run(['export', join(folder, 'checkpoints/global_step_3'), halves, '--dtype', 'bfloat16', '--max_shard_gb', '2e-5'])).toBe(0);
  expect(existsSync(join(halves, 'model.safetensors'))).toBe(false);
  const index = JSON.parse(readFileSync(join(halves, 'model.safetensors.index.json'), 'utf8')) as { weight_map: Record<string, string> };
  const { tensors } = readSafetensors(join(halves, index.weight_map['lm_head.weight']!));
  expect(tensors.get('lm_head.weight')!.dtype).toBe('bfloat16');
  expect(loadTransformer(halves).config).toEqual(config);
  for (const [name, x] of loadTransformer(halves).parameters) expect(x.dataSync()).toEqual(trained.parameters.get(name)!.cast('bfloat16').dataSync());
  expect(loadTokenizer(halves).encode('#### 9')).toEqual(loadTokenizer(model).encode('#### 9'));

  for (
    const [argv, code, message] of [
      [['export', whole], 2, 'export: expected CHECKPOINT FOLDER'],
      [['export', whole, 'x', '--dtype', 'bfloat'], 2, "Unknown dtype 'bfloat'. Did you mean 'bfloat16'? There are: float32, bfloat16"],
      [['export', whole, 'x', '--max_shard_gb', 'five'], 2, "--max_shard_gb: expected a positive number, got 'five'"],
      [['export', join(folder, 'none'), 'x'], 1, "none: expected a checkpoint (global_step_N, the folder above it, or the run's folder) or a model's folder"],
    ] as const
  ) {
    errors = '';
    expect([await run(argv), errors]).toEqual([code, expect.stringContaining(message)]);
  }
});

test('a run from random weights leaves a folder, too, which names its tokenizer', async () => {
  const folder = temporaryFolder();
  const file = join(folder, 'config.yaml');
  writeFileSync(file, stringify(smallBase(folder)));
  expect(await run(['train', '-c', file, 'trainer.ckpt_interval=3'])).toBe(0);
  const policy = join(folder, 'checkpoints/global_step_3/policy');
  const next = experiment(file, `trainer.policy.model.path=${policy}`, 'trainer.tokenizer=null');
  const tokenizer = next.tokenizer();
  expect(tokenizer).toBeInstanceOf(WordTokenizer);
  expect(next.policy(tokenizer).config).toMatchObject({ hiddenSize: 32, numLayers: 1, vocabSize: tokenizer.vocabSize, tieWordEmbeddings: true });
  expect(next.policy(tokenizer).endIds).toEqual([tokenizer.eosId]);
});

test('a tokenizer of another folder, and vocabularies that are too small', async () => {
  const { folder, file, model, config } = setting();
  const part = experiment(file, `trainer.tokenizer=${model}`);
  const tokenizer = part.tokenizer();
  expect(part.policy(tokenizer).config.vocabSize).toBe(tokenizer.vocabSize);
  const small = join(folder, 'small');
  const less = tiny({ ...config, vocabSize: 9 });
  writeModelFolder(small, less, weightsOf(randomModel(less, 'float32')));
  for (
    const [overrides, message] of [
      [[`trainer.policy.model.path=${small}`, `trainer.tokenizer=${model}`], `trainer.policy.model.path: expected a vocabulary of at least ${tokenizer.vocabSize} tokens`],
      [[`trainer.policy.model.path=${small}`], `${small}: expected tokenizer.json`],
      [
        [`trainer.policy.model.path=${model}`, `trainer.ref.model.path=${small}`, 'trainer.algorithm.use_kl_loss=true'],
        `trainer.ref.model.path: expected a vocabulary of at least ${config.vocabSize} tokens`,
      ],
      [['trainer.tokenizer=nowhere'], "trainer.tokenizer: Unknown tokenizer 'nowhere'"],
      [[`trainer.policy.model.path=${folder}`], `trainer.policy.model.path: expected a model's folder with config.json`],
    ] as const
  ) {
    errors = '';
    process.exitCode = undefined;
    await run(['train', '-c', file, ...overrides]);
    expect([process.exitCode, errors]).toEqual([1, expect.stringContaining(message)]);
  }
});
