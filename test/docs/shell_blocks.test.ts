/**
 * The shell blocks of README, docs and the examples, as a newcomer would type them: the commands of a page one after the other, in a folder that holds what a clone does. Runs are
 * made short by keys behind what stands there. What cannot run here is listed, with the reason.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { stringify } from 'yaml';
import { smallBase } from '../trainer/helpers';
import { commandsOf, type PageCommand, words } from './commands';
import { files, read, root, story } from './markdown';

/** Commands that do not run here, and why. Each stands in some block. */
const notRun: readonly (readonly [RegExp, string])[] = [
  [/^npm run quickstart/, 'trains for minutes: test/examples/quickstart.test.ts runs what it does'],
  [/^npm (test|ci|publish|run (?!quickstart))/, 'builds, tests or changes the clone itself, not a copy of it'],
  [/^npm install/, 'needs a network'],
  [/^npx vantage build/, 'compiles for minutes: npm run pack:check runs it'],
  [/^[A-Z_]+=/, 'needs an account of W&B, or a debugger'],
];

/** What makes a run short. Evaluations and the KL term are other tests' matter. */
const short = [
  'generator.n_samples_per_prompt=2',
  'trainer.max_training_steps=1',
  'trainer.train_batch_size=16',
  'trainer.policy_mini_batch_size=16',
  'trainer.micro_train_batch_size_per_gpu=32',
  'trainer.eval_before_train=false',
  'trainer.eval_interval=-1',
];

interface Page {
  file: string;
  commands: PageCommand[];
}

// Each block begins in the folder of the clone; `cd` holds to the end of it. A story runs as a whole, in its own test.
const pages: Page[] = files.filter((file) => file !== story).map((file) => ({ file, commands: commandsOf(read(file)) })).filter(({ commands }) => commands.length > 0);
const reasonNot = (text: string): string | undefined => notRun.find(([pattern]) => pattern.test(text))?.[1];
const runs = ({ text }: { text: string }): boolean => reasonNot(text) === undefined;

const folders: string[] = [];
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** A folder like a clone that was set up, with the files that a page takes for granted: GSM8K's, a configuration, and runs. */
function clone({ commands }: Page): string {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-shell-'));
  folders.push(folder);
  for (const name of ['dist', 'node_modules', 'package.json']) symlinkSync(join(root, name), join(folder, name));
  cpSync(join(root, 'examples'), join(folder, 'examples'), { recursive: true });
  const problem = (a: number): string => `${JSON.stringify({ question: `What is ${a} + 1?`, answer: `It is ${a + 1}.\n#### ${a + 1}` })}\n`;
  for (const split of ['train', 'test']) writeFileSync(join(folder, `${split}.jsonl`), Array.from({ length: 16 }, (_, i) => problem(i)).join(''));
  mkdirSync(join(folder, 'data/given'), { recursive: true });
  writeFileSync(join(folder, 'config.yaml'), stringify(smallBase(join(folder, 'data/given'))));
  const text = commands.map((each) => each.text).join('\n');
  const given = ['runs/a', 'runs/b'].filter(() => text.includes('report runs/a runs/b')).concat(text.includes('vantage train') ? [] : ['runs']);
  for (const run of given) if (/vantage (report|export)/.test(text)) expectSuccess(folder, `npx vantage train -c config.yaml trainer.ckpt_path=${run}/checkpoints trainer.ckpt_interval=1`);
  return folder;
}

function expectSuccess(folder: string, text: string): void {
  const [program, ...rest] = words(text);
  const argv = program === 'npx' && rest[0] === 'vantage' ? [join(root, 'dist/cli/main.js'), ...rest.slice(1)] : program === 'node' ? rest : null;
  if (argv === null) throw new Error(`no way to run '${text}' here: teach this test, or list the command with the reason`);
  const isRun = /\bvantage (train|compare)\b/.test(text) ? !text.includes('--print-config') : program === 'node' && !rest.includes('--test');
  const seeds = text.includes('compare') ? ['--seeds', '1', '--window', '1', '--threshold', '2'] : [];
  // The sizes that the page names give figures worth reading, which nobody reads here.
  const batches = /\bvantage lab\b/.test(text) && !text.includes('--check') ? ['--batches', '20'] : [];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...argv, ...seeds, ...batches, ...(isRun ? short : [])], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 120_000,
    env: { ...process.env, VANTAGE_NUM_THREADS: '1' },
  });
  if (status !== 0) throw new Error(`${text}\nexit code ${status}\n${stdout.slice(-2000)}${stderr.slice(-2000)}`);
}

for (const page of pages) {
  const commands = page.commands.filter(runs);
  if (commands.length === 0) continue;
  test(`${relative(root, page.file)}: ${commands.length} commands`, () => {
    const folder = clone(page);
    let at = { block: 0, folder };
    for (const { block, text } of commands) {
      if (block !== at.block) at = { block, folder };
      if (text.startsWith('cd ')) at.folder = join(at.folder, text.slice(3));
      else expectSuccess(at.folder, text);
    }
  }, 240_000);
}

test('what is listed as not run stands in a block, and all else was run', () => {
  const all = pages.flatMap(({ commands }) => commands.map(({ text }) => text));
  expect(notRun.filter(([pattern]) => !all.some((text) => pattern.test(text))).map(([pattern]) => String(pattern))).toEqual([]);
  expect(all.filter((text) => reasonNot(text) === undefined && !/^(npx vantage|node|cd) /.test(text))).toEqual([]);
});

test('scripts of package.json that a block calls exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  const called = pages.flatMap(({ commands }) => commands.flatMap(({ text }) => [...text.matchAll(/^npm run (\S+)/g)].map(([, name]) => name!)));
  expect(called.length).toBeGreaterThan(5);
  expect(called.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});

test('paths that a block names are there', () => {
  const named = pages.flatMap(({ commands }) => commands.flatMap(({ text }) => words(text).filter((word) => /^(examples|test|bench|scripts)\//.test(word))));
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  expect(named.map(dirname)).toContain('examples/gsm8k');
});
