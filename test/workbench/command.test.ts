/** `vantage check` as a program: where an error comes from, what ends the process, what many skips look like. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CheckReport } from 'vantage-rl';
import { root } from '../docs/markdown';

const cwd = mkdtempSync(join(tmpdir(), 'vantage-check-'));
afterAll(() => rmSync(cwd, { recursive: true, force: true }));
mkdirSync(join(cwd, 'node_modules'));
symlinkSync(root, join(cwd, 'node_modules/vantage-rl'));

function vantage(...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(root, 'dist/cli/main.js'), ...argv], { cwd, encoding: 'utf8' });
}

const write = (name: string, text: string): void => writeFileSync(join(cwd, name), text);
const estimator = (name: string, body: string): string => `export class ${name} extends AdvantageEstimator {\n  computeAdvantages(rewards, values, masks) {\n    ${body}\n  }\n}\n`;
const fileOf = (...classes: string[]): string => `import { AdvantageEstimator } from 'vantage-rl';\nconst help = (x) => x.nothing.there;\n${classes.join('')}`;

test.each([
  ["throw new Error('boom');", 'boom, at Mine.computeAdvantages (mine.mjs:5:11)'],
  ['return [rewards].map(help)[0];', "Cannot read properties of undefined (reading 'there'), at help (mine.mjs:2:31)"],
  ['return rewards.reshape([7, 77]);', /reshape: .*, at Mine\.computeAdvantages \(mine\.mjs:5:20\)$/],
  ['return this.computeAdvantages(rewards);', /a recursion that does not end .*, at Mine\.computeAdvantages \(mine\.mjs:5:\d+\)$/],
  ['throw null;', 'threw null'],
  ['throw undefined;', 'threw undefined'],
  ["throw 'text';", 'threw "text"'],
  ['return rewards.div(0);', /^advantage estimator 'Mine': expected finite advantages on valid tokens, got NaN at row \d, position \d, and \d+ such in all$/],
])('%s', (body, seen) => {
  write('mine.mjs', fileOf(estimator('Mine', body)));
  const { stdout, status } = vantage('check', 'mine.mjs', '--runs', '1', '--only', 'result');
  const line = /^ {2}seen {9}(.*)$/m.exec(stdout)?.[1];
  if (typeof seen === 'string') expect(line).toBe(seen);
  else expect(line).toMatch(seen);
  expect(status).toBe(1);
});

test('modules that do not load', () => {
  write('syntax.mjs', 'const a = 1;\nconst = 3;\n');
  write('syntax.cjs', 'const a = 1;\nconst = 3;\n');
  write('imports.mjs', "import './syntax.mjs';\n");
  write('throws.mjs', "const a = 1;\nthrow new Error('boom');\n");
  write('null.mjs', 'throw null;\n');
  const place = "Unexpected token '=', at syntax";
  for (
    const [file, text] of [['syntax.mjs', `${place}.mjs:2:7`], ['syntax.cjs', `${place}.cjs:2:7`], ['imports.mjs', `${place}.mjs:2:7`], ['throws.mjs', 'boom, at throws.mjs:2:7'], [
      'null.mjs',
      'threw null',
    ]]
  ) {
    expect(vantage('check', file!).stderr.split('\n')[0]).toBe(`vantage: check: ${file}: ${text}`);
  }
  expect(vantage('list', '--load', 'throws.mjs')).toMatchObject({ status: 1, stderr: 'vantage: --load: throws.mjs: boom, at throws.mjs:2:7\n' });
  for (const [argv, who] of [[['check', '.'], 'check'], [['list', '--load', '.'], '--load']] as const) {
    expect(vantage(...argv)).toMatchObject({ status: 2, stderr: expect.stringMatching(`^vantage: ${who}: \\.: is a folder`) });
  }
});

const random = ['rewards.add(Math.random()).mul(masks)', 'rewards.mul(Math.random() < 0.5 ? 1 : 0.5).mul(masks)'];

test.each(random)('chance is reported once: %s', (returned) => {
  write('random.mjs', fileOf(estimator('Chance', `return ${returned};`)));
  const [report] = JSON.parse(vantage('check', 'random.mjs', '--json').stdout) as [CheckReport];
  expect(report.properties.flatMap(({ id, finding, status }) => (finding && status !== 'noted' ? [[id, finding.cause]] : []))).toEqual([['repeated', 'randomness']]);
  const skipped = report.properties.filter(({ reason }) => reason?.startsWith('repeated failed')).map(({ id }) => id);
  expect(skipped).toEqual(expect.arrayContaining(['memory', 'masked-inputs', 'padding', 'row-order', 'float32', 'causality']));
  const [few] = JSON.parse(vantage('check', 'random.mjs', '--json', '--only', 'padding,row-order').stdout) as [CheckReport];
  expect(few.properties.map(({ status, reason }) => [status, reason])).toEqual([['failed', null], ['skipped', 'padding failed (the same call gives several results)']]);
  expect(report.properties.filter(({ status }) => status === 'passed' || status === 'noted').map(({ id }) => id)).toEqual(expect.arrayContaining(['masked-results', 'parallel-scans', 'speed']));
});

test('several estimators: skips are folded, and a table ends the reports', () => {
  write('two.mjs', fileOf(estimator('Broken', "throw new Error('boom');"), estimator('Sound', 'return rewards.mul(masks);')));
  const { stdout, status } = vantage('check', 'two.mjs', '--runs', '1', '--only', 'result,required-inputs,repeated,memory,row-order,float32');
  expect(status).toBe(1);
  expect(stdout).toContain('\n  – 5 skipped: result failed (required-inputs, repeated, memory, row-order …)\n');
  expect(stdout.trimEnd().split('\n').slice(-3)).toEqual(['  estimator  held  failed  first failed', '  Broken     0     1       result: throws', '  Sound      6     0       –']);
});

test('an estimator, or a module, that ends the process: what it was is said, and what was done before is printed', () => {
  write('exits.mjs', fileOf(estimator('A', 'return rewards.mul(masks);'), estimator('B', 'if (masks.shape[0] > 0) process.exit(0);')));
  const { stdout, stderr, status } = vantage('check', 'exits.mjs', '--runs', '1', '--only', 'result,memory');
  expect([status, stderr]).toEqual([1, 'vantage: check: B: ended the process (process.exit) while it was checked: result\n']);
  expect(stdout).toContain('2 hold, 0 failed');
  write('code.mjs', 'process.exit(7);');
  expect(vantage('check', 'code.mjs')).toMatchObject({ status: 7, stderr: expect.stringMatching(/^vantage: code\.mjs: ended the process while it was loaded/) });
});

test('values that begin with a dash', () => {
  expect(vantage('check', '--estimator', 'grpo', '--runs', '-1').stderr).toMatch(/^vantage: --runs: expected a whole number, 1 or more, got '-1'\n/);
  expect(vantage('check', '--estimator', 'grpo', '--only', '--bail').stderr).toMatch(/^vantage: --only: expected a value \(one that begins with a dash: --only=-…\)\n/);
  expect(vantage('check', '--estimator', 'grpo', '--only', 'result', '--seed', '-1').stdout).toContain('seed -1');
});
