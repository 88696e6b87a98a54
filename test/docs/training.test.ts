/** docs/training.md: a row for each key of the configuration, with its default. */
import { join } from 'node:path';
import { configKeys, loadConfig } from 'vantage-rl';
import { parse } from 'yaml';
import { read, root } from './markdown';

const rows = [...read(join(root, 'docs/training.md')).matchAll(/^\| `((?:data|trainer|generator|environment)\.[\w.]+)` \| (.*?) \| (.*?) ?\|$/gm)].map(([, key, standard]) => ({
  key: key!,
  standard: standard!,
}));

test('each key has one row', () => {
  expect(rows.map(({ key }) => key).sort()).toEqual(configKeys().sort());
});

test.each(rows)('$key: its default', ({ key, standard }) => {
  const value = key.split('.').reduce<unknown>((node, name) => (node as Record<string, unknown> | null | undefined)?.[name], loadConfig().config);
  const code = /^`(.*)`$/.exec(standard);
  // Without a value of its own, or with one that follows from another key, it is said in words.
  if (code === null) expect(value === undefined || key.startsWith('generator.eval_sampling_params.')).toBe(true);
  else expect(parse(code[1]!)).toEqual(value);
});
