/** What `vantage new` writes compiles, passes its own test and trains, as it is: in a folder where the package is installed, in processes of their own. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { parse } from 'yaml';
import { readMetrics } from 'vantage-rl';
import { vantage } from './in_process';
import { root } from '../docs/markdown';

const kinds = ['estimator', 'loss', 'environment'] as const;
const folder = mkdtempSync(join(tmpdir(), 'vantage-new-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const create = (...argv: string[]) => vantage('new', ...argv);

/** A project of a user: the packages that it needs, and nothing else. */
function makeProject(name: string, packages: readonly string[]): string {
  const project = join(folder, name);
  mkdirSync(join(project, 'node_modules/@types'), { recursive: true });
  for (const each of packages) symlinkSync(each === 'vantage-rl' ? root : join(root, 'node_modules', each), join(project, 'node_modules', each));
  return project;
}

/** What a program prints. @throws where it fails */
async function output(cwd: string, argv: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, argv, { cwd, env: { ...process.env, VANTAGE_NUM_THREADS: '1', NODE_TEST_CONTEXT: undefined }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (text += String(data)));
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`node ${argv.join(' ')}: exit code ${code}\n${text.slice(-3000)}`);
  return text;
}

/** Fewer rows than a run of seconds has. */
const short = [
  'trainer.max_training_steps=3',
  'trainer.train_batch_size=8',
  'trainer.policy_mini_batch_size=8',
  'trainer.micro_train_batch_size_per_gpu=64',
  'trainer.micro_forward_batch_size_per_gpu=64',
  'trainer.eval_before_train=false',
  'trainer.eval_interval=-1',
];

const cases = kinds.flatMap((kind) => [{ kind, language: 'TypeScript' }, { kind, language: 'JavaScript' }]);
test.each(cases)('$kind, $language: its test passes, and it trains', async ({ kind, language }) => {
  const isTypeScript = language === 'TypeScript';
  const project = makeProject(`${kind}-${language}`, isTypeScript ? ['vantage-rl', 'tsx', '@types/node'] : ['vantage-rl']);
  const { code, out } = await create(kind, `my_${kind}`, '--dir', project, ...(isTypeScript ? [] : ['--js']));
  const extension = isTypeScript ? 'ts' : 'mjs';
  expect([code, readdirSync(project).sort()]).toEqual([0, [`my_${kind}.${extension}`, `my_${kind}.test.${extension}`, 'config.yaml', 'node_modules', `train.${extension}`].sort()]);

  // The commands that it names, which hold no installation where all is there.
  const commands = out.split('\n').flatMap((line) => (/^ {2}node (.*?)(?: +#.*)?$/.exec(line)?.[1] ?? []));
  expect([commands.length, out.includes('npm install')]).toEqual([2, false]);
  const [tests, training] = commands.map((command) => command.split(' '));
  const [tested] = await Promise.all([output(project, tests!), output(project, [...training!, ...short])]);
  expect(tested).toMatch(/^. fail 0$/m);
  expect(Number(/^. pass (\d+)$/m.exec(tested)![1])).toBeGreaterThanOrEqual(3);
  const records = readMetrics(join(project, `runs/my_${kind}/metrics.jsonl`));
  expect(records.map(({ step }) => step)).toEqual([1, 2, 3]);
  const own = { estimator: 'advantages/baseline', loss: 'policy/loss_metrics/away', environment: 'environment/digits' }[kind];
  for (const record of records) expect(record[own]).toBeGreaterThanOrEqual(0);
}, 120_000);

test('the tests of what is written fail where the formula is another', async () => {
  const project = makeProject('changed', ['vantage-rl']);
  const changes = { estimator: ['next.mul(discount)', 'next'], loss: ['.mul(penalty)', ''], environment: ['reward: action === truth', 'reward: action !== truth'] } as const;
  await Promise.all(kinds.map(async (kind) => {
    const own = join(project, kind);
    await create(kind, 'changed', '--js', '--dir', own);
    const file = join(own, 'changed.mjs');
    const text = readFileSync(file, 'utf8');
    expect(text).toContain(changes[kind][0]);
    writeFileSync(file, text.replace(changes[kind][0], changes[kind][1]));
    await expect(output(own, ['--test', 'changed.test.mjs'])).rejects.toThrow(/fail [1-9]/);
  }));
}, 60_000);

test('TypeScript compiles under strict settings, in CommonJS packages and in ES modules; so does a class whose name is taken', async () => {
  const common = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    isolatedModules: true,
    noImplicitOverride: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noUnusedLocals: true,
  };
  const settings: readonly (readonly [string, ts.CompilerOptions])[] = [['commonjs', {}], ['module', { verbatimModuleSyntax: true, erasableSyntaxOnly: true }]];
  for (const [type, more] of settings) {
    const project = makeProject(type, ['vantage-rl', '@types/node']);
    writeFileSync(join(project, 'package.json'), JSON.stringify({ type }));
    const files: string[] = [];
    // Names whose class would hide an import, or a global; a name that YAML takes for a value.
    for (const [kind, name, className] of [['estimator', 'tensor', 'TensorEstimator'], ['loss', 'map', 'MapLoss'], ['environment', 'null', 'Null']] as const) {
      const { out } = await create(kind, name, '--dir', join(project, kind));
      expect(out).toContain(`class ${className}: write here`);
      const config = parse(readFileSync(join(project, kind, 'config.yaml'), 'utf8'));
      const { env_class, advantage_estimator, policy_loss_type } = { ...config.environment, ...config.trainer.algorithm };
      expect({ estimator: advantage_estimator, loss: policy_loss_type, environment: env_class }[kind]).toBe(name);
      for (const file of [`${name}.ts`, `${name}.test.ts`, 'train.ts']) files.push(join(project, kind, file));
    }
    const program = ts.createProgram(files, { ...common, ...more, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, types: ['node'], typeRoots: [join(project, 'node_modules/@types')] });
    const problems = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
    expect(problems).toEqual([]);
  }
}, 120_000);

test('an installation that is missing is among the next commands', async () => {
  // In a process of its own: Jest finds the package everywhere.
  const created = await output(makeProject('empty', []), [join(root, 'dist/cli/main.js'), 'new', 'estimator', 'lonely', '--dir', "it's new"]);
  expect(created).toContain("Next:\n  cd 'it'\\''s new'\n  npm install vantage-rl\n  npm install --save-dev tsx typescript @types/node\n");
  expect(created).toMatch(/ {2}npx vantage check lonely\.ts .*\n {2}npx vantage lab lonely --load lonely\.ts /);
}, 60_000);

test('nothing is overwritten, and nothing half written', async () => {
  const own = join(folder, 'twice');
  await create('estimator', 'first', '--dir', own);
  writeFileSync(join(own, 'first.ts'), 'mine');
  const again = await create('loss', 'second', '--dir', own);
  expect([again.code, again.out, again.err]).toEqual([
    1,
    '',
    `vantage: new: train.ts, config.yaml are in ${own} already; --dir DIR writes elsewhere, --force writes over what is there. Nothing was written\n`,
  ]);
  expect(existsSync(join(own, 'second.ts'))).toBe(false);
  expect((await create('estimator', 'first', '--dir', own)).err).toContain('first.ts, first.test.ts, train.ts, config.yaml are in');
  expect(readFileSync(join(own, 'first.ts'), 'utf8')).toBe('mine');
  expect((await create('estimator', 'first', '--dir', own, '--force')).code).toBe(0);
  expect(readFileSync(join(own, 'first.ts'), 'utf8')).toContain('class First extends AdvantageEstimator');
  const inFile = await create('estimator', 'first', '--dir', join(own, 'first.ts'));
  expect([inFile.code, inFile.err]).toEqual([1, `vantage: new: ${join(own, 'first.ts')}: expected a folder, got a file\n`]);
  expect((await create('estimator', 'first', '--dir', join(own, 'first.ts/deeper'))).err).toContain('cannot be written');
});

const refused: readonly (readonly [readonly string[], string])[] = [
  [[], 'new: expected estimator, loss, environment, and a name'],
  [['estimater', 'x'], "Unknown kind 'estimater'. Did you mean 'estimator'? There are: estimator, loss, environment"],
  [['loss'], 'new loss: expected one name, got 0'],
  [['loss', 'a', 'b'], 'new loss: expected one name, got 2'],
  [['loss', 'a', '--dir', ' '], "--dir: expected a folder, got ' '"],
  [['loss', 'a', '--typescript'], "Unknown option '--typescript'. There are: --dir, --js, --force"],
  [['loss', '2a'], "new loss: expected a name that begins with a letter, of letters, digits, and single _ or - between them, 64 characters at most, got '2a'"],
  ...['a/b', '../a', 'a.b', 'a b', "a'b", 'a__b', 'a_', 'é', '', 'a'.repeat(65)].map((name) => [['environment', name], `64 characters at most, got '${name}'`] as const),
  [['estimator', 'Train'], "new estimator: expected another name than 'Train', which is that of the entry point"],
  [['estimator', 'grpo'], "new estimator: expected a name that is free, got 'grpo', which is a registered advantage estimator"],
  [['loss', 'dual_clip'], "got 'dual_clip', which is a registered policy loss"],
  [['environment', 'gmax'], "got 'gmax', which is a registered environment"],
];
test.each(refused)('what cannot be is said: %j', async (argv, message) => {
  const here = readdirSync('.');
  const { code, out, err } = await create(...argv);
  expect([code, out]).toEqual([2, '']);
  expect(err).toContain(message);
  expect(readdirSync('.')).toEqual(here);
});
