/** The sandbox that a block of the documentation runs in, beside what pages.ts has. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { transformSync } from '@swc/core';
import { stringify } from 'yaml';
import * as vantage from 'vantage-rl';
import { smallBase } from '../trainer/helpers';
import type { Block } from './pages';
import { expectShown, shownAs } from './shown';

export * from './pages';

/** The registries that a block may add to. */
const registries = [
  [vantage.listAdvantageEstimators, vantage.unregisterAdvantageEstimator],
  [vantage.listPolicyLosses, vantage.unregisterPolicyLoss],
  [vantage.listEnvironments, vantage.unregisterEnvironment],
] as const;

/**
 * Runs a block as a script of its own, in a folder that holds `config.yaml`, a small run of `gmax`. What `console.log(…); // ANSWER` prints is compared with the
 * answer; what a block registers is removed afterwards.
 *
 * @returns what was printed, a list for each call of `console.log`
 */
export async function run(file: string, { code }: Block): Promise<unknown[][]> {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-docs-'));
  const before = registries.map(([list]) => new Set(list()));
  const [directory, argv] = [process.cwd(), process.argv];
  const log = jest.spyOn(console, 'log').mockImplementation(() => undefined);
  const out = jest.spyOn(process.stdout, 'write').mockImplementation(() => true);
  const errors: string[] = [];
  const err = jest.spyOn(process.stderr, 'write').mockImplementation((text) => errors.push(String(text)) > 0);
  const { code: script } = transformSync(shownAs('__expect', code), { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } });
  const load = createRequire(file);
  const require = (id: string): unknown => (id === 'vantage-rl' ? vantage : load(id));
  try {
    if (code.includes('config.yaml')) writeFileSync(join(folder, 'config.yaml'), stringify(smallBase(folder)));
    process.chdir(folder);
    process.argv = argv.slice(0, 2);
    process.exitCode = undefined;
    const body = new Function('require', 'exports', '__expect', `return (async () => {${script}\n})()`) as (...args: unknown[]) => Promise<void>;
    await body(require, {}, (answer: string) => expectShown(log.mock.lastCall ?? [], answer));
    expect([process.exitCode, errors]).toEqual([undefined, []]);
    return [...log.mock.calls];
  } finally {
    process.exitCode = undefined;
    process.argv = argv;
    process.chdir(directory);
    for (const spy of [log, out, err]) spy.mockRestore();
    for (const [i, [list, remove]] of registries.entries()) for (const name of list()) if (!before[i]!.has(name)) remove(name);
    rmSync(folder, { recursive: true, force: true });
  }
}
