/** Every TypeScript block of README, CONTRIBUTING, docs and the examples' READMEs runs; every local link leads somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { transformSync } from '@swc/core';
import * as vantage from 'vantage-rl';

const root = join(__dirname, '../..');

function markdown(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? markdown(path) : entry.name.endsWith('.md') ? [path] : [];
  });
}

const files = ['README.md', 'CONTRIBUTING.md'].map((name) => join(root, name)).concat(markdown(join(root, 'docs')), markdown(join(root, 'examples')));

/** Blocks marked ```ts; a block that begins with the name of a file (`// main.ts`) is that file's text and is compared with it. */
function blocks(text: string): { code: string; line: number }[] {
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map((match) => ({ code: match[1]!, line: text.slice(0, match.index).split('\n').length + 1 }));
}

for (const file of files) {
  const text = readFileSync(file, 'utf8');
  describe(relative(root, file), () => {
    for (const { code, line } of blocks(text)) {
      const named = /^\/\/ (\S+\.ts)\n/.exec(code)?.[1];
      if (named) {
        test(`line ${line}: is what ${named} holds`, () => {
          const held = readFileSync(join(dirname(file), named), 'utf8');
          expect(held).toContain(code.slice(code.indexOf('\n') + 1).trim());
        });
        continue;
      }
      test(`line ${line}: runs`, async () => {
        const { code: script } = transformSync(code, { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } });
        const load = createRequire(file);
        const names = [...vantage.listAdvantageEstimators()];
        const log = jest.spyOn(console, 'log').mockImplementation(() => undefined);
        try {
          const run = new Function('require', 'exports', `return (async () => {${script}\n})()`) as (load: (id: string) => unknown, exports: object) => Promise<void>;
          await run((id) => (id === 'vantage-rl' ? vantage : load(id)), {});
        } finally {
          log.mockRestore();
          vantage.listAdvantageEstimators().filter((name) => !names.includes(name)).forEach(vantage.unregisterAdvantageEstimator);
        }
      });
    }

    const links = [...text.matchAll(/\]\(([^)#\s]+)(#[^)\s]*)?\)/g)].map((match) => match[1]!).filter((link) => !/^[a-z]+:/.test(link));
    if (links.length > 0) {
      test(`${links.length} local links lead to files`, () => {
        for (const link of links) expect([link, existsSync(join(dirname(file), link))]).toEqual([link, true]);
      });
    }
  });
}
