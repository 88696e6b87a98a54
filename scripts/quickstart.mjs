// `npm run quickstart`: set-up, a small generated dataset, and the custom-estimator example trained on it.
// Further arguments are the example's: `npm run quickstart -- trainer.seed=3`.
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { attach } from './lib/process.mjs';
import { timed } from './lib/stage.mjs';
import { mustRun, root, runMain, setup } from './setup.mjs';

const RUN = 'runs/quickstart';
const ARTIFACTS = [
  ['metrics', /(^|\/)metrics\.jsonl$/],
  ['learning curve', /\.html$/],
  ['checkpoint', /(^|\/)latest_ckpt_global_step\.txt$/],
];

/** The newest file under the run's folder whose path matches and that was written since `start`, relative to the repository. */
function newest(pattern, start) {
  const files = readdirSync(join(root, RUN), { recursive: true })
    .map((name) => join(root, RUN, name))
    .filter((file) => pattern.test(file))
    .map((file) => ({ file, time: statSync(file).mtimeMs }))
    .filter(({ time }) => time >= start)
    .sort((a, b) => b.time - a.time);
  return files.length > 0 ? relative(root, files[0].file) : null;
}

async function quickstart() {
  await setup();
  mkdirSync(join(root, RUN), { recursive: true });
  await timed('dataset', () => mustRun(process.execPath, ['dist/cli/main.js', 'prepare', 'gmax', '--output_dir', `${RUN}/data`]));
  // A file system may keep whole seconds only.
  const start = Math.floor(Date.now() / 1000) * 1000;
  // Not the tsx command: it kills a child that does not answer Ctrl-C within some milliseconds, as in the middle of a step.
  const example = ['--import', 'tsx', 'examples/custom-advantage-estimator/main.ts'];
  const code = await attach(process.execPath, [...example, ...process.argv.slice(2)], { cwd: root });
  if (code !== 0) return code;
  for (const [title, pattern] of ARTIFACTS) {
    if (newest(pattern, start) === null) throw new Error(`quickstart: the run left no ${title} under ${RUN}`);
  }
  return 0;
}

await runMain(quickstart);
