/** The built command line, as users start it: custom estimators from a module, several runs side by side. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../../src/config';
import { firstReached, readMetrics, readRun, spreadOf } from '../../src/tracking';
import { smallBase, temporaryFolder } from '../trainer/helpers';

const root = join(__dirname, '../..');
const program = join(root, 'dist/cli/main.js');

/** A project that has installed the package: a configuration, and a module with estimators of its own. */
function project(): string {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/vantage-rl'), 'dir');
  writeFileSync(join(folder, 'config.yaml'), stringify(smallBase(folder)));
  writeFileSync(join(folder, 'my.mjs'), readFileSync(join(root, 'examples/max4/my_estimators.mjs')));
  return folder;
}

const vantage = (cwd: string, ...argv: string[]) => spawnSync(process.execPath, [program, ...argv], { cwd, encoding: 'utf8' });

// Reached at the second step by any estimator: the mean of 1 and 2.
const rule = ['--metric', 'trainer/global_step', '--threshold', '1.5', '--window', '2'];

describe('vantage compare', () => {
  const folder = project();
  const estimators = ['grpo', 'batch_baseline'];
  const all = vantage(folder, 'compare', '-c', 'config.yaml', '--estimators', estimators.join(','), '--load', 'my.mjs', '--seeds', '2', '--jobs', '2', ...rule);

  it('runs each estimator with each seed, each in a folder of its own, with what the command line says', () => {
    expect([all.stderr, all.status]).toEqual(['', 0]);
    for (const estimator of estimators) {
      for (const seed of [0, 1]) {
        const { config, records, samples } = readRun(join(folder, 'runs/compare', estimator, `seed_${seed}`));
        expect(config).toMatchObject({ trainer: { seed, algorithm: { advantage_estimator: estimator }, eval_interval: -1 } });
        // It ended where it reached the threshold: the mean of steps 1 and 2 is 1.5.
        expect(records.map(({ step }) => step)).toEqual([1, 2]);
        expect(samples.length).toBeGreaterThan(0);
      }
    }
  });

  it('reports steps and seconds, as a table, as JSON and as a page', () => {
    const { threshold, seeds, estimators: results } = JSON.parse(readFileSync(join(folder, 'runs/compare/comparison.json'), 'utf8'));
    expect([threshold, seeds]).toEqual([{ metric: 'trainer/global_step', window: 2, value: 1.5 }, [0, 1]]);
    for (const [i, result] of results.entries()) {
      expect(result).toMatchObject({ estimator: estimators[i], reached: 2, steps: { median: 2, min: 2, max: 2 } });
      const seconds = result.runs.map(({ folder: run }: { folder: string }) => readMetrics(join(folder, run, 'metrics.jsonl')).reduce((sum, record) => sum + Number(record['timing/step']), 0));
      expect(result.runs.map(({ seconds }: { seconds: number }) => seconds)).toEqual(seconds);
      expect(result.seconds).toEqual(spreadOf(seconds));
    }
    expect(all.stdout).toMatch(/grpo {13}2 of 2 {4}2 \(2 … 2\)/);
    expect(all.stdout.match(/^\d\/4 {2}.* seed \d: reached after 2 steps, /gm)).toHaveLength(4);
    expect(readFileSync(join(folder, 'runs/compare/comparison.html'), 'utf8')).toContain('<h1>grpo, batch_baseline</h1>');
  });

  it('counts the runs that do not get there, on the seeds that are named', () => {
    const { status, stdout } = vantage(folder, 'compare', '-c', 'config.yaml', '--estimators', 'grpo', '--seeds', '5,', '--threshold', '2', '--output_dir', 'none');
    expect(status).toBe(0);
    expect(stdout).toContain('1/1  grpo seed 5: not reached in 3 steps');
    const [{ runs, steps }] = JSON.parse(readFileSync(join(folder, 'none/comparison.json'), 'utf8')).estimators;
    expect([steps, runs[0].steps, runs[0].taken, runs[0].error]).toEqual([null, null, 3, null]);
  });

  it('checks every run before the first one starts', () => {
    const wrong = vantage(folder, 'compare', '-c', 'config.yaml', '--estimators', 'grpo,gae', ...rule, '--output_dir', 'wrong');
    expect([wrong.status, wrong.stdout]).toEqual([1, '']);
    expect(wrong.stderr).toMatch(/^vantage: trainer\.critic\.model: expected a model[^\n]*gae[^\n]*\n$/);
    expect(existsSync(join(folder, 'wrong'))).toBe(false);
    const custom = vantage(folder, 'compare', '-c', 'config.yaml', '--estimators', 'batch_baseline', ...rule);
    expect(custom.stderr).toContain("Unknown advantage estimator 'batch_baseline'");
  });

  it('a key has an effect for one of the estimators at least; --for gives one to the runs of one only', () => {
    const [name, other] = ['trainer.algorithm.lambd', 'trainer.algorithm.grpo_norm_by_std'];
    const critic = ['--for', 'gae:trainer.critic.model={}', '--for', 'gae:trainer.critic_mini_batch_size=4', '--for', `gae:${name}=0.9`];
    const argv = ['compare', '-c', 'config.yaml', '--seeds', '1', ...rule, '--output_dir', 'own'];
    // No evaluation, no critic but gae's, and what rloo does not read.
    const { status, stderr } = vantage(folder, ...argv, '--estimators', 'rloo,gae,grpo', ...critic, `${other}=false`, 'trainer.eval_batch_size=8');
    expect([stderr, status]).toEqual(['', 0]);
    const of = (estimator: string) => (readRun(join(folder, 'own', estimator, 'seed_0')).config as { trainer: { critic: { model: unknown }; algorithm: object } }).trainer;
    expect(of('gae').critic.model).not.toBeNull();
    expect(of('gae').algorithm).toMatchObject({ lambd: 0.9 });
    expect(of('grpo').algorithm).toMatchObject({ lambd: 1, grpo_norm_by_std: false });
    expect(of('rloo')).toMatchObject({ critic: { model: null }, algorithm: { lambd: 1, grpo_norm_by_std: true } });

    const refused = (...more: string[]) => vantage(folder, ...argv, ...more);
    const ofNone = refused('--estimators', 'rloo,grpo', `${name}=0.9`);
    expect(ofNone.status).toBe(1);
    expect(ofNone.stderr).toContain(
      `command line: ${name}: expected its default, 1, as another value has no effect: trainer.algorithm.advantage_estimator is rloo, which does not look at λ; trainer.algorithm.advantage_estimator is grpo,`,
    );
    expect(refused('--estimators', 'rloo,grpo', '--for', `rloo:${other}=false`).stderr).toContain(`vantage: --for rloo: ${other}: expected its default, true`);
    expect(refused('--estimators', 'rloo,grpo', '--for', `gae:${name}=0.9`)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining(`--for: expected NAME:key=value with a name of --estimators (rloo, grpo), got 'gae:${name}=0.9'`),
    });
    expect(refused('--estimators', 'rloo,grpo', '--for', 'rloo:trainer.seed=1').stderr).toContain('compare: trainer.seed is given by --seeds');
    expect(refused('--estimators', 'grpo', '--metric', 'eval/all/avg_score', 'trainer.eval_interval=-1', 'trainer.eval_before_train=false').stderr).toContain(
      'trainer.stop_when.metric: expected its default',
    );
  });

  it('a run that fails is reported, and the others go on', () => {
    writeFileSync(
      join(folder, 'failing.mjs'),
      `import { AdvantageEstimator, registerAdvantageEstimator } from 'vantage-rl';
       registerAdvantageEstimator('failing', class Failing extends AdvantageEstimator { computeAdvantages(rewards) { return rewards.mul(NaN); } });`,
    );
    const argv = ['compare', '-c', 'config.yaml', '--estimators', 'failing,grpo', '--load', 'failing.mjs', '--seeds', '1', ...rule, '--output_dir', 'some'];
    const { status, stdout, stderr } = vantage(folder, ...argv);
    expect(status).toBe(1);
    expect(stdout).toContain('1/2  failing seed 0: failed');
    expect(stdout).toContain('2/2  grpo seed 0: reached after 2 steps');
    expect(stderr).toMatch(/^vantage: failing seed 0: .*NaN/);
  });

  it('Ctrl-C ends the run that is under way and starts no other', async () => {
    const argv = ['compare', '-c', 'config.yaml', '--estimators', 'grpo', '--seeds', '50', '--threshold', '2', '--output_dir', 'interrupted', 'trainer.epochs=1000', 'trainer.max_training_steps=8000'];
    const child = spawn(process.execPath, [program, ...argv], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    const metrics = join(folder, 'interrupted/grpo/seed_0/metrics.jsonl');
    while (!existsSync(metrics) || readFileSync(metrics).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGINT');
    let errors = '';
    child.stderr.on('data', (text) => (errors += text));
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(130);
    expect(errors).toBe('vantage: interrupted after 1 of 50 runs\n');
    expect(existsSync(join(folder, 'interrupted/grpo/seed_1'))).toBe(false);
  });

  it("the threshold is where the trainer's stop_when ends a run", () => {
    const base = { metric: 'policy/response_length', window: 2, value: 2.9 };
    const { status } = vantage(folder, 'train', '-c', 'config.yaml', `trainer.stop_when=${JSON.stringify(base)}`, 'trainer.export_path=stopped', 'trainer.max_training_steps=8');
    expect(status).toBe(0);
    const records = readMetrics(join(folder, 'stopped/metrics.jsonl'));
    expect(records.at(-1)?.step).toBeLessThan(8);
    expect(firstReached(records, base)).toBe(records.at(-1)?.step);
  });
});

describe('--load', () => {
  it('gives train and list the names that a module registers', () => {
    const folder = project();
    const trained = vantage(folder, 'train', '-c', 'config.yaml', '--load', 'my.mjs', 'trainer.algorithm.advantage_estimator=batch_baseline');
    expect([trained.stderr, trained.status]).toEqual(['', 0]);
    expect(trained.stdout).toContain('Trained 3 steps of batch_baseline');
    expect(vantage(folder, 'list', 'estimators', '--load', 'my.mjs').stdout.split('\n')).toContain('batch_baseline');
  });

  it('names the file that does not load', () => {
    const folder = project();
    writeFileSync(join(folder, 'bad.mjs'), "throw new Error('not today');");
    expect(vantage(folder, 'list', '--load', 'bad.mjs').stderr).toBe('vantage: --load: bad.mjs: not today, at bad.mjs:1:7\n');
    rmSync(join(folder, 'bad.mjs'));
    writeFileSync(join(folder, 'typed.ts'), 'export const x: number = 1;');
    const typed = vantage(folder, 'list', '--load', 'typed.ts');
    // Newer versions of Node read TypeScript by themselves.
    if (typed.status !== 0) expect(typed.stderr).toBe('vantage: --load: typed.ts: Node.js cannot read TypeScript without tsx: npm install --save-dev tsx\n');
  });
});

it('the configuration of examples/max4 loads with an estimator of its module', () => {
  const { config } = loadConfig({ file: join(root, 'examples/max4/config.yaml') });
  expect(config.trainer.stop_when).toEqual({ metric: 'reward/avg_raw_reward', window: 5, value: 0.9 });
});
