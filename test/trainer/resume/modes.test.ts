/** `trainer.resume_mode` and `resume_path` from the command line: what is said, what is refused, and that nothing is lost. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { registerTracker, type TrackerOptions } from '../../../src/tracking';
import { type Experiment, main } from '../../../src/trainer';
import { resumeCommand } from '../../../src/trainer/resume';
import { configChanges } from '../../../src/trainer/same_run';
import { temporaryFolder } from '../helpers';
import { kinds, recording, tinyConfig, writeTinyConfig } from './runs';

let output = '';
let errors = '';
beforeEach(() => {
  [output, errors] = ['', ''];
  jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((output += String(text)), true));
  jest.spyOn(process.stderr, 'write').mockImplementation((text) => ((errors += String(text)), true));
});
afterEach(() => {
  jest.restoreAllMocks();
  process.exitCode = undefined;
});

const halve = (file: string) => writeFileSync(file, readFileSync(file).subarray(0, readFileSync(file).length / 2));

// No evaluation, nor what the file says of it.
const always = [...kinds.grpo!, 'trainer.eval_interval=-1', 'trainer.eval_before_train=false', 'trainer.eval_batch_size=1024', 'generator.eval_sampling_params.temperature=0'];

function start(folder: string, overrides: readonly string[] = [], Class: typeof Experiment = recording(folder)) {
  [output, errors] = ['', ''];
  const config = existsSync(join(folder, 'config.yaml')) ? join(folder, 'config.yaml') : writeTinyConfig(folder);
  return main([...always, ...overrides], { config, experiment: Class });
}

/** A folder with a run that made `steps` steps, a checkpoint each. */
async function made(steps: number): Promise<string> {
  const folder = temporaryFolder();
  expect((await start(folder, [`trainer.max_training_steps=${steps}`, 'trainer.ckpt_interval=1']))?.steps).toBe(steps);
  return folder;
}

const checkpoints = (folder: string) => readdirSync(join(folder, 'checkpoints')).sort();
const stepsIn = (file: string) => readFileSync(file, 'utf8').split('\n').slice(0, -1).map((line) => (JSON.parse(line) as { step: number }).step);

describe('latest', () => {
  it('begins where there is nothing, goes on where there is, and says so', async () => {
    const folder = await made(2);
    expect(output).not.toContain('Resuming');
    expect((await start(folder, ['trainer.max_training_steps=3']))?.steps).toBe(3);
    expect(output).toMatch(new RegExp(`^Resuming after step 2 of 3 \\(epoch 0, 2 of 4 batches taken; [\\d.]+ s so far\\): ${folder}/checkpoints/global_step_2\n`));
    expect(output).not.toContain('these are all its steps');
    expect((await start(folder, ['trainer.max_training_steps=3']))?.history.map(({ step }) => step)).toEqual([1, 2, 3]);
    expect(output).toContain('these are all its steps: more trainer.epochs or trainer.max_training_steps train on');
    expect(errors).toBe('');
    await start(folder, ['trainer.max_training_steps=2']);
    expect(output).toContain('Resuming after step 3, beyond the 2 of this run (epoch');
  });

  it('names the values that make other steps, and goes on with them', async () => {
    const folder = await made(1);
    const result = await start(folder, ['trainer.policy.optimizer_config.lr=0.5', 'trainer.run_name=other', 'trainer.max_training_steps=2']);
    expect(result?.history[1]!['policy/policy_lr']).toBe(0.5);
    expect(output.match(/from here on.*/g)).toEqual(['from here on with another value of trainer.policy.optimizer_config.lr: 0.01 there, 0.5 here']);
  });

  it.each<[name: string, problem: RegExp, damage: (file: string) => void]>([
    ['trainer_state.json', /no trainer_state\.json/, (file) => rmSync(file)],
    ['trainer_state.json', /trainer_state\.json: cannot be read \(.*\)/, halve],
    ['history.jsonl', /no history\.jsonl/, (file) => rmSync(file)],
    ['history.jsonl', /history\.jsonl is empty/, (file) => writeFileSync(file, '')],
    ['history.jsonl', /history\.jsonl is cut off: \d+ of \d+ bytes/, (file) => writeFileSync(file, readFileSync(file).subarray(0, -9))],
    ['history.jsonl', /history\.jsonl ends at step 1/, (file) => writeFileSync(file, readFileSync(file, 'utf8').replace(/\n.*\n$/, (line) => `\n${' '.repeat(line.length)}`))],
    ['policy/model.safetensors', /no policy\/model\.safetensors/, (file) => rmSync(file)],
    ['policy/model.safetensors', /policy\/model\.safetensors is cut off: \d+ of \d+ bytes/, halve],
    ['policy/model.safetensors', /policy\/model\.safetensors: expected .*/, (file) => writeFileSync(file, readFileSync(file).fill(255, 0, 8))],
    ['policy/config.json', /no policy\/config\.json/, (file) => rmSync(file)],
    ['policy/optimizer.safetensors', /policy\/optimizer\.safetensors is empty/, (file) => writeFileSync(file, '')],
    ['policy/optimizer.safetensors', /policy\/optimizer\.safetensors is cut off: .*/, halve],
    ['policy/optimizer.safetensors', /no folder policy\//, (file) => rmSync(dirname(file), { recursive: true })],
  ])('goes on from the one before where %s is damaged: %s', async (name, problem, damage) => {
    const folder = await made(2);
    const [first, second] = [1, 2].map((step) => join(folder, `checkpoints/global_step_${step}`)) as [string, string];
    damage(join(second, name));
    const from = [`trainer.resume_path=${second}`, 'trainer.resume_mode=from_path', 'trainer.max_training_steps=2'];
    expect(await start(folder, from)).toBeNull();
    expect(errors).toMatch(new RegExp(`got '${second}', which is incomplete \\(${problem.source}\\): ${first} is the newest whole one beside it\n$`));
    expect((await start(folder, ['trainer.max_training_steps=2']))?.history.map(({ step }) => step)).toEqual([1, 2]);
    expect(output).toMatch(new RegExp(`global_step_2 is incomplete \\(${problem.source}\\): going on from step 1\nResuming after step 1 of 2`));
    for (const each of [first, second]) writeFileSync(join(each, name), '');
    expect(await start(folder)).toBeNull();
    expect(errors).toContain(`no checkpoint is whole: global_step_2 is incomplete (${name} is empty); global_step_1 is incomplete (${name} is empty)`);
  });

  it("goes on from the one before where a critic or an estimator's state is gone, and keeps the rest of it aside", async () => {
    const folder = temporaryFolder();
    const kind = ['trainer.algorithm.advantage_estimator=spo', 'trainer.critic.model={}', 'trainer.critic_mini_batch_size=2', 'trainer.ckpt_interval=1'];
    expect((await start(folder, [...kind, 'trainer.max_training_steps=4']))?.steps).toBe(4);
    const path = join(folder, 'checkpoints');
    rmSync(join(path, 'global_step_4/trainer_state.json'));
    rmSync(join(path, 'global_step_3/critic'), { recursive: true });
    rmSync(join(path, 'global_step_2/advantage_estimator.json'));
    for (const [step, problem] of [[4, 'no trainer_state.json'], [3, 'no folder critic/'], [2, 'no advantage_estimator.json']] as const) {
      expect(await start(folder, [...kind, 'trainer.resume_mode=from_path', `trainer.resume_path=${path}/global_step_${step}`])).toBeNull();
      expect(errors).toContain(`which is incomplete (${problem}): ${path}/global_step_1 is the newest whole one beside it\n`);
    }
    expect((await start(folder, [...kind, 'trainer.max_training_steps=2']))?.steps).toBe(2);
    expect(output).toMatch(
      /^global_step_4 is incomplete \(no trainer_state\.json\): going on from step 1\nglobal_step_3 is incomplete \(no folder critic\/\): going on from step 1\nglobal_step_2 is incomplete \(no advantage_estimator\.json\): going on from step 1\nResuming after step 1 of 2/m,
    );
    expect(readdirSync(join(path, 'earlier_run_1')).filter((name) => name.startsWith('global'))).toEqual(['global_step_2', 'global_step_3', 'global_step_4']);
    expect(checkpoints(folder)).toEqual(['earlier_run_1', 'global_step_1', 'global_step_2', 'latest_ckpt_global_step.txt']);
  }, 60_000);

  it('refuses the checkpoint of another run, with all that differs, and leaves everything as it was', async () => {
    const folder = await made(1);
    const before = [checkpoints(folder), stepsIn(join(folder, 'metrics.jsonl'))];
    const different = ['trainer.seed=4', 'trainer.policy.model.hidden_size=32', 'trainer.policy_mini_batch_size=4', 'trainer.algorithm.advantage_estimator=rloo', 'generator.n_samples_per_prompt=6'];
    expect(await start(folder, different)).toBeNull();
    expect(errors).toBe(
      [
        `vantage: ${folder}/checkpoints/global_step_1: the checkpoint is of another run:`,
        '  - trainer.policy_mini_batch_size: 2 there, 4 here',
        '  - trainer.seed: 3 there, 4 here',
        '  - trainer.policy.model.hidden_size: 16 there, 32 here',
        '  - trainer.algorithm.advantage_estimator: "grpo" there, "rloo" here',
        '  - generator.n_samples_per_prompt: 3 there, 6 here',
        '  set them back, start afresh in the same place with trainer.resume_mode=null (what is there is kept aside), or take another place: trainer.ckpt_path=OTHER/checkpoints',
        '',
      ].join('\n'),
    );
    expect(process.exitCode).toBe(1);
    expect([checkpoints(folder), stepsIn(join(folder, 'metrics.jsonl'))]).toEqual(before);
  });

  it('refuses other prompts under the same name', async () => {
    const folder = await made(1);
    const file = join(folder, 'train.jsonl');
    writeFileSync(file, readFileSync(file, 'utf8').replace(/"ground_truth":"\d"/, '"ground_truth":"0"'));
    expect(await start(folder)).toBeNull();
    expect(errors).toBe(`vantage: data.train_data: expected the 16 prompts that ${folder}/checkpoints/global_step_1 was trained on, got others (16 prompts)\n`);
  });

  it('tells trackers after which step they come', async () => {
    const folder = await made(2);
    const seen: (number | undefined)[] = [];
    registerTracker('test_resumed', ({ resumedFrom }: TrackerOptions) => (seen.push(resumedFrom), { log: () => undefined, close: () => undefined }), { override: true });
    await start(folder, ['trainer.logger=[test_resumed]', 'trainer.max_training_steps=3']);
    await start(folder, ['trainer.logger=[test_resumed]', 'trainer.max_training_steps=3', 'trainer.resume_mode=null']);
    expect(seen).toEqual([2, undefined]);
  });
});

describe('null', () => {
  it('starts afresh, and keeps the checkpoints and metrics that are there', async () => {
    const folder = await made(3);
    const before = readFileSync(join(folder, 'checkpoints/global_step_3/policy/model.safetensors'));
    const overrides = ['trainer.resume_mode=null', 'trainer.seed=9', 'trainer.max_training_steps=2'];
    expect((await start(folder, overrides))?.steps).toBe(2);
    const earlier = join(folder, 'checkpoints/earlier_run_1');
    expect(output).toContain(`3 checkpoints (steps 1 to 3) of an earlier run, and its metrics are now in ${earlier}\n`);
    expect(checkpoints(folder)).toEqual(['earlier_run_1', 'global_step_2', 'latest_ckpt_global_step.txt']);
    expect(readdirSync(earlier).sort()).toEqual([
      'config.json',
      'global_step_1',
      'global_step_2',
      'global_step_3',
      'latest_ckpt_global_step.txt',
      'learning_curve.html',
      'metrics.jsonl',
      'samples.jsonl',
    ]);
    expect(readFileSync(join(earlier, 'global_step_3/policy/model.safetensors'))).toEqual(before);
    expect(stepsIn(join(earlier, 'metrics.jsonl'))).toEqual([1, 2, 3]);
    expect((await start(folder, overrides))?.steps).toBe(2);
    expect(checkpoints(folder)).toContain('earlier_run_2');
    // And one goes on from what was kept, where it is.
    const given = [`trainer.resume_path=${join(earlier, 'global_step_3')}`, 'trainer.resume_mode=from_path', 'trainer.max_training_steps=4'];
    expect((await start(folder, given))?.history.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    expect(checkpoints(folder)).toEqual(['earlier_run_1', 'earlier_run_2', 'earlier_run_3', 'global_step_4', 'latest_ckpt_global_step.txt']);
  }, 60_000);
});

describe('from_path', () => {
  it('goes back to an earlier step, and keeps the later ones aside', async () => {
    const folder = await made(4);
    const path = join(folder, 'checkpoints/global_step_2');
    const result = await start(folder, ['trainer.resume_mode=from_path', `trainer.resume_path=${path}`, 'trainer.max_training_steps=3']);
    expect(result?.steps).toBe(3);
    expect(checkpoints(folder)).toEqual(['earlier_run_1', 'global_step_1', 'global_step_2', 'global_step_3', 'latest_ckpt_global_step.txt']);
    expect(output).toContain(`2 checkpoints (steps 3 to 4) of an earlier run, and its metrics are now in ${folder}/checkpoints/earlier_run_1\n`);
    expect(stepsIn(join(folder, 'checkpoints/earlier_run_1/metrics.jsonl'))).toEqual([1, 2, 3, 4]);
    expect(stepsIn(join(folder, 'metrics.jsonl'))).toEqual([1, 2, 3]);
    // The same steps again: the same weights.
    const weights = (name: string) => readFileSync(join(folder, 'checkpoints', name, 'global_step_3/policy/model.safetensors'));
    expect(weights('.')).toEqual(weights('earlier_run_1'));
  });

  it('says what it expects', async () => {
    const folder = await made(1);
    const [path, nowhere] = [join(folder, 'checkpoints'), join(folder, 'nowhere')];
    mkdirSync(join(folder, 'empty'));
    const expected = 'trainer.resume_path: expected the folder of a checkpoint ({ckpt_path}/global_step_N';
    for (
      const [overrides, message] of [
        [['trainer.resume_mode=from_path'], `${expected}), as trainer.resume_mode is from_path, got null`],
        [[`trainer.resume_path=${path}`], `trainer.resume_path: expected null unless trainer.resume_mode is from_path, got '${path}' with latest`],
        [['trainer.resume_mode=from_path', `trainer.resume_path=${nowhere}`], `${expected}, with trainer_state.json and policy/), got '${nowhere}': no such folder`],
        [['trainer.resume_mode=from_path', `trainer.resume_path=${folder}/empty`], `${expected}, with trainer_state.json and policy/), got '${folder}/empty': there is no trainer_state.json`],
        [['trainer.resume_mode=from_path', `trainer.resume_path=${path}`], `got '${path}', which holds checkpoints: ${path}/global_step_1 is the newest`],
        [['trainer.resume_mode=newest'], 'trainer.resume_mode: expected latest, from_path or null, got "newest"'],
      ] as const
    ) {
      expect(await start(folder, overrides)).toBeNull();
      expect(errors).toContain(message);
      expect(errors).toMatch(/^vantage: [^\n]*\n$/);
    }
  });
});

describe('what is compared', () => {
  const config = tinyConfig(temporaryFolder());

  it('is the configuration without what changes no step', () => {
    const { trainer } = config;
    const other = { ...config, data: { train_data: ['x'], val_data: [] }, trainer: { ...trainer, epochs: 3, eval_interval: 1, ckpt_path: 'x', resume_mode: null, stop_when: null, logger: [] } };
    expect(configChanges(config, other)).toEqual({ refused: [], effective: [] });
    // As it was saved: JSON.
    expect(configChanges(JSON.parse(JSON.stringify(config)), config)).toEqual({ refused: [], effective: [] });
  });

  it('tells of another environment', () => {
    expect(configChanges(config, { ...config, environment: { env_class: 'gsm8k' } })).toEqual({ refused: [], effective: ['environment.env_class: "gmax" there, "gsm8k" here'] });
  });

  it('takes an alias for the name, and a key that one of them lacks for a difference', () => {
    const withEstimator = (advantage_estimator: string) => ({ trainer: { algorithm: { advantage_estimator } } });
    expect(configChanges(withEstimator('reinforce++'), withEstimator('reinforce_plus_plus'))).toEqual({ refused: [], effective: [] });
    expect(configChanges(withEstimator('reinforce++'), withEstimator('grpo')).refused).toEqual(['trainer.algorithm.advantage_estimator: "reinforce++" there, "grpo" here']);
    expect(configChanges({ trainer: { critic: { model: null } } }, { trainer: { critic: { model: { num_layers: 1 } } } }).refused).toEqual(['trainer.critic.model: null there, {…} here']);
    expect(configChanges({ trainer: { critic: { model: { num_layers: 1, hidden_size: 8 } } } }, { trainer: { critic: { model: null } } }).refused).toEqual([
      'trainer.critic.model: {…} there, null here',
    ]);
  });
});

describe('the command that goes on', () => {
  const config = tinyConfig(temporaryFolder());
  const at = (script: string, ...argv: string[]) => ({ argv: ['/usr/bin/node', script, ...argv], execArgv: ['--import', 'tsx'] });

  it('is the one that was given, quoted for a shell', () => {
    const argv = ['-c', 'my config.yaml', 'trainer.critic.model={}', "trainer.run_name=it's"];
    expect(resumeCommand(argv, config, at('/x/node_modules/.bin/vantage', 'train', ...argv))).toBe("npx vantage train -c 'my config.yaml' 'trainer.critic.model={}' 'trainer.run_name=it'\\''s'");
    expect(resumeCommand([], config, at(join(process.cwd(), 'examples/main.ts')))).toBe('node --import tsx examples/main.ts');
  });

  it('goes on from the newest, whatever the run began with', () => {
    const from = { ...config, trainer: { ...config.trainer, resume_mode: 'from_path' as const, resume_path: 'x' } };
    const argv = ['trainer.resume_mode=from_path', 'trainer.resume_path=x', 'trainer.seed=1'];
    expect(resumeCommand(argv, from, at('/elsewhere/train.mjs', ...argv))).toBe('node --import tsx /elsewhere/train.mjs trainer.seed=1 trainer.resume_mode=latest trainer.resume_path=null');
  });

  it('is not known where main was called with something else', () => {
    expect(resumeCommand(['trainer.seed=1'], config, at('/x/train.mjs', 'trainer.seed=2'))).toBeNull();
  });
});
