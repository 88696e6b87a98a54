/**
 * Every TypeScript block of README, CONTRIBUTING, docs and the examples' READMEs runs, and prints what it says it prints; configurations and overrides name keys that
 * exist; every local link leads somewhere.
 */
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parse } from 'yaml';
import { configKeys, loadConfig } from 'vantage-rl';
import { keyProblem } from '../../src/config/keys';
import { unusedKeys } from '../../src/trainer/unused_keys';
import { blocks, files, read, root, run, story } from './markdown';
import { expectShown } from './shown';

/** The dotted keys of a configuration, or of a piece of one. */
function dotted(value: unknown, prefix = ''): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [prefix];
  return Object.entries(value).flatMap(([key, child]) => dotted(child, prefix === '' ? key : `${prefix}.${key}`));
}

/** How GitHub names the anchor of a heading. */
const anchor = (heading: string): string => heading.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, '').replaceAll(' ', '-');
const anchors = (text: string): string[] => [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchor(heading!));

for (const file of files) {
  const text = read(file);
  describe(relative(root, file), () => {
    for (const block of blocks(text, 'ts')) {
      const { code, line, named } = block;
      // Of a story the files are its own.
      if (named && file === story) continue;
      if (named) {
        test(`line ${line}: is what ${named} holds`, () => {
          expect(read(join(dirname(file), named))).toContain(code.slice(code.indexOf('\n') + 1).trim());
        });
      } else {
        test(`line ${line}: runs`, async () => {
          const printed = await run(file, block);
          // What `explain()` prints stands behind the block, where the page shows it.
          const shown = text.split('\n').slice(line - 1 + code.split('\n').length).join('\n');
          const [, explained] = /^\n*```text\n(program over [\s\S]*?)\n```$/m.exec(shown.slice(0, shown.indexOf('\n```\n') + 5)) ?? [];
          if (explained !== undefined) expect(printed.flat()).toContain(explained);
        });
      }
    }

    for (const { code, line } of blocks(text, 'yaml')) {
      test(`line ${line}: is a configuration`, () => {
        const tree = parse(code) as object;
        for (const key of dotted(tree)) expect(keyProblem(key)).toBeNull();
        expect(unusedKeys(loadConfig({ base: { data: { val_data: ['validation.parquet'] }, ...tree } })).refused).toEqual([]);
      });
    }

    const overrides = [...text.matchAll(/\b(?:trainer|generator|data|environment)(?:\.\w+)+(?==)/g)].map(([key]) => key);
    if (overrides.length > 0) test(`${overrides.length} overrides name keys`, () => overrides.forEach((key) => expect([...configKeys(), 'trainer.critic.model']).toContain(key)));

    test('links to elsewhere are addresses', () => {
      for (const [, address] of text.matchAll(/\]\(([a-z]+:[^)]*)\)/g)) {
        const { protocol, hostname } = new URL(address!);
        expect([address, protocol, /^[\w-]+(\.[\w-]+)+$/.test(hostname)]).toEqual([address, 'https:', true]);
      }
    });

    const links = [...text.matchAll(/\]\(([^)#\s]*)(?:#([^)\s]*))?\)/g)].map(([, path, at]) => ({ path: path!, at })).filter(({ path }) => !/^[a-z]+:/.test(path));
    if (links.length > 0) {
      test(`${links.length} local links lead to files, and to headings of theirs`, () => {
        for (const { path, at } of links) {
          const target = path === '' ? file : join(dirname(file), path);
          expect([path, existsSync(target)]).toEqual([path, true]);
          if (at !== undefined && target.endsWith('.md')) expect(anchors(read(target))).toContain(at);
        }
      });
    }
  });
}

test('an answer is compared with what is printed', () => {
  expectShown([[0.5, -1], 2, 'b', null], "[0.50, −1] 2 'b' null: all of it");
  expectShown(['one text'], 'one text');
  for (const [printed, answer] of [[[0.56], '0.5'], [[2], '3'], [[1, 2], '1'], [[1], '1 2'], [['a'], 'b'], [[NaN], '0'], [[3.0001], '3']] as const) {
    expect(() => expectShown(printed, answer)).toThrow();
  }
});
