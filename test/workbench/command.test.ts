/** `vantage check` as a program: where an error comes from, what ends the process, what many skips look like. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
const module = (...classes: string[]): string => `import { AdvantageEstimator } from 'vantage-rl';\nconst help = (x) => x.nothing.there;\n${classes.join('')}`;

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
  write('mine.mjs', module(estimator('Mine', body)));
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
