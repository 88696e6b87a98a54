/**
 * A training step of the quickstart beside the same step in PyTorch (bench/peers/quickstart_step.py), on the same machine, taking turns.
 * Usage, after `npm run setup`: node bench/quickstart_step.mjs [rounds]      PYTHON names the interpreter that has torch (default python3).
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vantage-bench-'));
const steps = 40;

function run(command, args, env = {}) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8', env: { ...process.env, ...env }, timeout: 300_000 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Median seconds of a step, the first quarter (plans, caches) left out. */
function ours(threads) {
  const runs = join(folder, `run-${threads}`);
  rmSync(runs, { recursive: true, force: true });
  const settings = {
    'data.train_data': `[${join(folder, 'data/train.parquet')}]`,
    'data.val_data': `[${join(folder, 'data/validation.parquet')}]`,
    'trainer.max_training_steps': steps,
    'trainer.stop_when': 'null',
    'trainer.eval_interval': -1,
    'trainer.eval_before_train': false,
    'trainer.eval_batch_size': 1024,
    'trainer.ckpt_interval': -1,
    'trainer.max_ckpts_to_keep': -1,
    'trainer.ckpt_path': join(runs, 'checkpoints'),
    'trainer.logger': '[jsonl]',
  };
  const overrides = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
  run('npx', ['tsx', 'examples/custom-advantage-estimator/main.ts', ...overrides], { VANTAGE_NUM_THREADS: String(threads) });
  const records = readFileSync(join(runs, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line)['timing/step']);
  return median(records.slice(records.length / 4));
}

const torch = (threads) => JSON.parse(run(process.env.PYTHON ?? 'python3', ['bench/peers/quickstart_step.py', String(steps), String(threads)])).seconds.median;

run('node', ['dist/cli/main.js', 'prepare', 'gmax', '--output_dir', join(folder, 'data')]);
const results = [];
for (let round = 0; round < Number(process.argv[2] ?? 3); round++) {
  results.push({ ours1: ours(1), torch1: torch(1), ours2: ours(2), torch2: torch(2) });
  const last = results.at(-1);
  console.log(`round ${round + 1}: ${Object.entries(last).map(([name, seconds]) => `${name} ${(seconds * 1000).toFixed(1)} ms`).join('  ')}`);
}
const best = (name) => Math.min(...results.map((result) => result[name]));
const [we, they] = [Math.min(best('ours1'), best('ours2')), Math.min(best('torch1'), best('torch2'))];
console.log(`best: Vantage ${(we * 1000).toFixed(1)} ms, PyTorch ${(they * 1000).toFixed(1)} ms, ratio ${(they / we).toFixed(2)}`);
rmSync(folder, { recursive: true, force: true });
