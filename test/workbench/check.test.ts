/** `checkEstimator` and `vantage check`: built-in estimators hold, arguments are checked, the code of a report shows what it says. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkEstimator, getAdvantageEstimator, listAdvantageEstimators, listCheckProperties, type CheckReport } from 'vantage-rl';
import { vantage } from '../cli/in_process';
import { read, root } from '../docs/markdown';
import { allButSpeed } from './properties';

test.each(listAdvantageEstimators())('%s holds under its declaration', (name) => {
  expect(Object.hasOwn(getAdvantageEstimator(name), 'declares')).toBe(true);
  const { passed, properties } = checkEstimator(name, { runs: 2, seed: 5, only: allButSpeed });
  expect([passed, properties.filter(({ status }) => status === 'failed' || status === 'warned').map(({ id }) => id)]).toEqual([true, []]);
});

test.each<[() => unknown, string]>([
  [() => checkEstimator('gpro'), "Did you mean 'grpo'?"],
  [() => checkEstimator(5 as never), 'expected a registered name, or a class'],
  [() => checkEstimator('grpo', { runs: 0 }), "option 'runs': expected a whole number, 1 or more, got 0"],
  [() => checkEstimator('grpo', { onyl: [] } as never), "Did you mean 'only'?"],
  [() => checkEstimator('grpo', { only: ['pading'] }), "Did you mean 'padding'?"],
  [() => checkEstimator('grpo', { options: { ddofs: 1 } }), "Did you mean 'ddof'?"],
])('refused: %s', (body, message) => expect(body).toThrow(message));

const folder = mkdtempSync(join(tmpdir(), 'vantage-check-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('exit codes: 0, 1 and 2', async () => {
  expect((await vantage('check', '--estimator', 'grpo', '--runs', '2')).code).toBe(0);
  const failing = await vantage('check', '--estimator', 'grpo:ddof=0', '--reference', 'grpo', '--only', 'reference', '--json');
  expect(failing.code).toBe(1);
  const [report] = JSON.parse(failing.out) as CheckReport[];
  expect(report!.properties[0]!.finding).toMatchObject({ cause: 'ddof', hint: 'it matches the reference with ddof 0' });
  for (const argv of [[], ['nowhere.mjs'], ['--estimator', 'gpro'], ['--runs', 'x', '--estimator', 'grpo']]) expect((await vantage('check', ...argv)).code).toBe(2);
});

test('a module that exports a class: it is checked, and named in the code', async () => {
  const file = join(folder, 'mine.cjs');
  writeFileSync(file, 'exports.Mine = class Mine { computeAdvantages(rewards, values, masks) { return rewards.mean(1, { keepDims: true }).mul(masks); } };');
  const { code, out } = await vantage('check', file, '--only', 'padding', '--runs', '4');
  expect(code).toBe(1);
  expect(out).toContain('padding-counted');
  expect(out).toMatch(/import \{ Mine \} from '.*mine\.cjs'/);
});

test('the page has every property', () => {
  const page = read(join(root, 'docs/checking.md'));
  for (const { id } of listCheckProperties()) expect(page).toContain(`\`${id}\``);
});
