import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { vantage } from './in_process';
import { readJsonl, readParquet } from '../../src/data';

const folder = mkdtempSync(join(tmpdir(), 'vantage-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
const freshFolder = () => join(folder, `out-${count++}`);

test('train --print-config shows what would run, and runs nothing', async () => {
  const { code, out } = await vantage('train', '-c', join(__dirname, '../../examples/max4/config.yaml'), '--print-config', 'trainer.seed=7');
  expect(code).toBe(0);
  expect(out).toContain('seed: 7 # command line');
});

test('--help, --version and the help of a command', async () => {
  const help = await vantage('--help');
  for (const name of ['new', 'prepare', 'train', 'compare', 'report', 'export', 'list', 'lab', 'check', 'build', 'doctor']) {
    expect(help.out).toContain(`  ${name} `);
    const own = await vantage(name, '--help');
    expect([own.code, own.err]).toEqual([0, '']);
    expect(own.out).toContain(`vantage ${name}`);
    expect(await vantage('help', name)).toEqual(own);
  }
  const { version } = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string };
  expect((await vantage('--version')).out).toBe(`${version}\n`);
});

test.each([
  [[], 'expected a command: new, prepare, train, compare, report, export, list, lab, check, build, doctor'],
  [['prepar'], "Unknown command 'prepar'. Did you mean 'prepare'? There are: new, prepare, train, compare, report, export, list, lab, check, build, doctor"],
  [['constructor'], "Unknown command 'constructor'."],
  [['prepare'], 'prepare: expected a dataset: gsm8k, gmax, max4, sort3, lookup'],
  [['prepare', 'gmx'], "Unknown dataset 'gmx'. Did you mean 'gmax'?"],
  [['prepare', 'gmax'], 'prepare: expected --output_dir DIR'],
  [['prepare', 'gmax', '--outputdir', 'x'], "Unknown option '--outputdir'. Did you mean '--output_dir'?"],
  [['prepare', 'gmax', '--output_dir'], "Option '--output_dir <value>' argument missing"],
  [['prepare', 'gmax', '--output_dir', 'x', '--seed', '1.5'], "--seed: expected an integer, 0 or more, got '1.5'"],
  [['prepare', 'gmax', '--output_dir', 'x', '--format', 'parket'], "Unknown format 'parket'. Did you mean 'parquet'?"],
  [['prepare', 'gsm8k', '--output_dir', 'x'], 'prepare gsm8k: expected --input FILE'],
  [['prepare', 'gsm8k', '--output_dir', 'x', '--input', 'a.jsonl'], 'prepare gsm8k: expected a file named train.jsonl or test.jsonl'],
  [
    ['prepare', 'gsm8k', '--output_dir', 'x', '--input', 'a/train.jsonl', '--input', 'b/train.jsonl'],
    'prepare gsm8k: expected one input for train',
  ],
  [['train'], 'train: expected -c FILE'],
  [['train', '--laod', 'x.mjs'], "Unknown option '--laod'. Did you mean '--load'?"],
  [['train', '--load', 'nowhere.mjs'], '--load: nowhere.mjs: no such file'],
  [['train', '-c', 'nowhere.yaml'], 'train: -c nowhere.yaml: no such file (`vantage new` writes a configuration to begin with)'],
  [['train', '-c', 'examples'], 'train: -c examples: is a folder, expected a configuration in YAML'],
  [['compare', '-c', 'package.json/x', '--estimators', 'grpo'], 'compare: -c package.json/x: no such file: what stands before the last / is no folder'],
  [['report'], 'report: expected the folder of a run'],
  [['report', 'x', '--window', '0'], "--window: expected a positive integer, got '0'"],
  [['compare'], 'compare: expected -c FILE'],
  [['compare', '-c', 'x.yaml'], 'compare: expected --estimators A,B'],
  [['compare', '-c', 'x.yaml', '--estimators', 'grpo', '--seeds', '0'], "--seeds: expected at least one seed, got '0'"],
  [['compare', '-c', 'x.yaml', '--estimators', 'grpo', '--seeds', '1,b'], "--seeds: expected how many, or which ones (0,1,7), got '1,b'"],
  [['compare', '-c', 'x.yaml', '--estimators', 'grpo', '--jobs', '1.5'], "--jobs: expected a positive integer, got '1.5'"],
  [['compare', '-c', 'x.yaml', '--estimators', 'grpo', '--threshold', 'high'], "--threshold: expected a number, got 'high'"],
  [['compare', '-c', 'x.yaml', '--estimators', 'grpo', 'trainer.seed=3'], 'compare: trainer.seed is given by --seeds'],
  [['compare', '-c', 'examples/gsm8k/config.yaml', '--estimators', 'grpo'], 'compare: expected --threshold X, or trainer.stop_when'],
  [['prepare', 'gsm8k', '--input', 'train.jsonl', '--output_dir', 'x', '--env_class', ''], "--env_class: expected the name of an environment (gsm8k, gsm8k_multi_turn), got ''"],
  [['list', 'estimator'], "Unknown kind 'estimator'. Did you mean 'estimators'?"],
])('%j is a wrong command line', async (argv, message) => {
  const { code, out, err } = await vantage(...argv);
  expect([code, out]).toEqual([2, '']);
  expect(err.split('\n')).toHaveLength(3);
  expect(err).toContain(`vantage: ${message}`);
});

test('prepare gmax writes both formats with the same rows', async () => {
  const directory = freshFolder();
  const { code, out } = await vantage('prepare', 'gmax', '--output_dir', directory, '--train_size', '30', '--validation_size', '7');
  expect(code).toBe(0);
  expect(out).toContain(`train: 30 rows → ${join(directory, 'train.parquet')}, ${join(directory, 'train.jsonl')}\n`);
  for (
    const [split, size] of [
      ['train', 30],
      ['validation', 7],
    ] as const
  ) {
    const rows = await readParquet(join(directory, `${split}.parquet`));
    expect(rows).toHaveLength(size);
    expect(readJsonl(join(directory, `${split}.jsonl`)).map(({ value }) => value)).toEqual(rows);
  }
  const again = freshFolder();
  await vantage('prepare', 'gmax', '--output_dir', again, '--train_size', '30', '--validation_size', '7', '--format', 'jsonl');
  expect(readdirSync(again).sort()).toEqual(['train.jsonl', 'validation.jsonl']);
  expect(readFileSync(join(again, 'train.jsonl'))).toEqual(readFileSync(join(directory, 'train.jsonl')));
});

test('prepare gsm8k names the environment that its rows are for', async () => {
  const file = join(freshFolder(), 'train.jsonl');
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, '{"question":"Q","answer":"#### 1"}\n');
  const prepared = async (...more: string[]) => {
    const directory = freshFolder();
    const { code, out, err } = await vantage('prepare', 'gsm8k', '--input', file, '--output_dir', directory, '--format', 'jsonl', ...more);
    expect([code, err]).toEqual([0, '']);
    return { out, names: readJsonl(join(directory, 'train.jsonl')).map(({ value }) => (value as { env_class: string }).env_class) };
  };
  expect((await prepared()).names).toEqual(['gsm8k']);
  const turns = await prepared('--env_class', 'gsm8k_multi_turn');
  expect(turns.names).toEqual(['gsm8k_multi_turn']);
  expect(turns.out).not.toContain('not built in');
  const mine = await prepared('--env_class', 'gsm8k_multiturn');
  expect(mine.names).toEqual(['gsm8k_multiturn']);
  expect(mine.out).toContain("environment 'gsm8k_multiturn', which is not built in: it has to be registered before training. Did you mean 'gsm8k_multi_turn'?\n");
});

test('a malformed line is reported with file and line, and nothing is written', async () => {
  const file = join(folder, 'train.jsonl');
  writeFileSync(file, '{"question":"Q","answer":"#### 1"}\n{"question":"Q"\n');
  const directory = freshFolder();
  const { code, err } = await vantage('prepare', 'gsm8k', '--input', file, '--output_dir', directory);
  expect(code).toBe(1);
  expect(err).toMatch(new RegExp(`^vantage: ${file}:2: malformed JSON \\(.*\\)\n$`));
  expect(existsSync(directory)).toBe(false);
});

test('a file that is not there, and a folder that cannot be written', async () => {
  const missing = await vantage('prepare', 'gsm8k', '--input', join(folder, 'none', 'test.jsonl'), '--output_dir', freshFolder());
  expect([missing.code, missing.err]).toEqual([1, `vantage: ${join(folder, 'none', 'test.jsonl')}: no such file\n`]);
  const file = join(folder, 'a-file');
  writeFileSync(file, '');
  const blocked = await vantage('prepare', 'max4', '--output_dir', join(file, 'below'));
  expect(blocked.code).toBe(1);
  expect(blocked.err).toMatch(/^vantage: .*cannot be written \(.*\)\n$/);
});

const real = join(__dirname, '../../../shared/data/gsm8k');
const present = existsSync(real);
if (!present) console.warn('skipped: ../shared/data/gsm8k is not here');
(present ? test : test.skip)('prepare gsm8k turns the real files into rows', async () => {
  const directory = freshFolder();
  const inputs = ['train', 'test'].flatMap((name) => ['--input', join(real, `${name}.jsonl`)]);
  const { code, out } = await vantage('prepare', 'gsm8k', ...inputs, '--output_dir', directory);
  expect(code).toBe(0);
  expect(out).toContain('train: 7473 rows, 79 truths carried commas (removed)');
  expect(out).toContain('validation: 1319 rows, 14 truths carried commas (removed)');
  for (
    const [split, size] of [
      ['train', 7473],
      ['validation', 1319],
    ] as const
  ) {
    const rows = await readParquet(join(directory, `${split}.parquet`));
    expect(rows).toHaveLength(size);
    expect(readJsonl(join(directory, `${split}.jsonl`)).map(({ value }) => value)).toEqual(rows);
  }
});

test('report writes a page of one run into its folder, of several where it is asked to', async () => {
  const runs = ['a', 'b'].map((name) => {
    const run = join(freshFolder(), name);
    mkdirSync(run, { recursive: true });
    writeFileSync(join(run, 'metrics.jsonl'), '{"step":1,"reward/avg_raw_reward":0.5}\n');
    return run;
  });
  const one = await vantage('report', runs[0]);
  expect(one).toEqual({ code: 0, out: `report of a: ${join(runs[0], 'report.html')}\n`, err: '' });
  expect(readFileSync(join(runs[0], 'report.html'), 'utf8')).toContain('<h1>a</h1>');
  const output = join(freshFolder(), 'both.html');
  expect((await vantage('report', ...runs, '--output', output, '--title', 'Two runs')).out).toBe(`report of 2 runs: ${output}\n`);
  expect(readFileSync(output, 'utf8')).toContain('<h1>Two runs</h1>');
  const missing = await vantage('report', join(folder, 'none'));
  expect([missing.code, missing.err]).toEqual([1, `vantage: ${join(folder, 'none')}: no such file or folder; expected a run's folder (it holds metrics.jsonl)\n`]);
});

test('list shows the registered names', async () => {
  const { code, out } = await vantage('list');
  expect(code).toBe(0);
  expect(out).toMatch(
    /^estimators {4}.*gae.*grpo.*, reinforce\+\+ \(reinforce_plus_plus\), .*\nlosses {8}.*regular \(ppo\).*\nenvironments {2}gmax, gsm8k, gsm8k_multi_turn, lookup, max4, sort3\ntokenizers {4}byte, word, word_tools\n$/,
  );
  expect((await vantage('list', 'environments')).out).toBe('gmax\ngsm8k\ngsm8k_multi_turn\nlookup\nmax4\nsort3\n');
  expect((await vantage('list', 'losses')).out).toContain('\ndual_clip (vanilla)\n');
});

test('as a program it exits with the code', () => {
  const root = join(__dirname, '../..');
  const program = [join(root, 'node_modules/tsx/dist/cli.mjs'), join(root, 'src/cli/main.ts')];
  expect(execFileSync(process.execPath, [...program, '--version'], { encoding: 'utf8' })).toMatch(/^\d+\.\d+\.\d+/);
  expect(() => execFileSync(process.execPath, [...program, 'nothing'], { stdio: 'pipe' })).toThrow(
    expect.objectContaining({ status: 2, message: expect.stringContaining("Unknown command 'nothing'") }),
  );
});
