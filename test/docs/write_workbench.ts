/** Writes the outputs and the pictures of docs/workbench.md anew: `npm run docs:workbench`. */
import { copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { read, root, story } from './pages';
import { live, notPrinted, pictures, renewed } from './workbench_story';

const page = read(story);
const { folder, told } = live(page);
for (const [drawn, kept] of Object.entries(pictures)) copyFileSync(join(folder, drawn), join(root, kept));
const lines = page.split('\n');
for (const each of told) {
  const now = renewed(each);
  // Behind the commands stand the end of their block, an empty line, and the beginning of the output.
  const at = lines.indexOf('```text', each.line - 1) + 1;
  if (each.shown.length > 0) lines.splice(at, each.shown.length, ...now);
  for (const line of notPrinted({ ...each, shown: now })) console.error(`line ${each.line}: not printed: ${line}\n${each.out}`);
}
writeFileSync(story, lines.join('\n'));
rmSync(folder, { recursive: true, force: true });
