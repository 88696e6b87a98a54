// `npm run format`: every source formatted, by the rules of dprint.json. With `--check` nothing is written: the files that would change are listed, exit code 1.
import { createFromBuffer } from '@dprint/formatter';
import { getPath } from '@dprint/typescript';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { folders, extensions, lineWidth, ...rules } = JSON.parse(readFileSync(join(root, 'dprint.json'), 'utf8'));
const check = process.argv.includes('--check');

const formatter = createFromBuffer(readFileSync(getPath()));
formatter.setConfig({ lineWidth }, rules);
const isSource = (name) => extensions.some((extension) => name.endsWith(`.${extension}`));
const inside = (folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
const files = [...folders.flatMap(inside), ...readdirSync(root).map((name) => join(root, name))].filter(isSource);

const changed = [];
for (const filePath of files) {
  const fileText = readFileSync(filePath, 'utf8');
  const formatted = formatter.formatText({ filePath, fileText });
  if (formatted === fileText) continue;
  changed.push(relative(root, filePath));
  if (!check) writeFileSync(filePath, formatted);
}
for (const path of changed) console.log(check ? `not formatted: ${path}` : `formatted ${path}`);
console.log(`${files.length} files, ${changed.length} ${check ? 'to be ' : ''}changed`);
process.exitCode = check && changed.length > 0 ? 1 : 0;
