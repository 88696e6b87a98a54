/** What the Markdown files of the repository hold: their blocks of code, and the sandbox that a block runs in. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { transformSync } from '@swc/core';
import { stringify } from 'yaml';
import * as vantage from 'vantage-rl';
import { smallBase } from '../trainer/helpers';
import { expectShown, shownAs } from './shown';

export const root = join(__dirname, '../..');

function markdown(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? markdown(path) : entry.name.endsWith('.md') ? [path] : [];
  });
}

/** README, CONTRIBUTING, docs and the examples' READMEs. */
export const files = ['README.md', 'CONTRIBUTING.md'].map((name) => join(root, name)).concat(markdown(join(root, 'docs')), markdown(join(root, 'examples')));

export interface Block {
  code: string;
  /** The line of its first row. */
  line: number;
  /** A block that begins with the name of a file (`// main.ts`) is that file's text. */
  named?: string;
}

/** Blocks marked with a language: ```ts. */
export function blocks(text: string, language: string): Block[] {
  const found = text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'));
  return [...found].map((match) => {
    const code = match[1]!;
    return { code, line: text.slice(0, match.index).split('\n').length + 1, named: /^\/\/ (\S+\.ts)\n/.exec(code)?.[1] };
  });
}

export const read = (file: string): string => readFileSync(file, 'utf8');

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
