// `npm run build:debug`, `npm run build:sanitize` and `npm run build:sanitize -- thread`: the addon once more, in a folder of its own, for whoever looks for a mistake in native code.
// The build that `npm run setup` made stays as it is; VANTAGE_RL_PREBUILD chooses for one run.
import { copyFileSync, mkdirSync, renameSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { withLock } from './lib/lock.mjs';
import { SANITIZERS, sanitizerEnvironment } from './lib/sanitizers.mjs';
import { runStage, timed } from './lib/stage.mjs';
import { jobs, mustRun, oneInstructionSet, prepareBuildFolder, requireToolchain, root, runMain, stages } from './setup.mjs';

/** What is built, and what a run with it needs of the environment. */
const VARIANTS = {
  debug: { folder: 'build-debug', config: 'Debug', options: [], environment: () => ({ VANTAGE_RL_PREBUILD: join(root, 'build-debug') }) },
  sanitize: sanitized('address'),
  'sanitize thread': sanitized('thread'),
};

function sanitized(name) {
  const { folder, flag } = SANITIZERS[name];
  const options = ['-DVANTAGE_TEST_CUDA=none', `-DVANTAGE_SANITIZE=${flag}`, ...oneInstructionSet()];
  return { folder, config: 'Release', options: options.map((option) => option.replace(/^-D/, '--CD')), environment: (compiler) => sanitizerEnvironment(name, compiler, root) };
}

/** Known: rewards 1 and 0 of one prompt, minus their mean. */
const CHECK = `
  const { computeAdvantages } = require('./dist');
  const { advantages } = computeAdvantages('dr_grpo', { rewards: [[1], [0]], masks: [[1], [1]], groupIds: ['a', 'a'] });
  process.stdout.write(JSON.stringify(advantages.toArray()));`;

async function build(name, { folder, config, options, environment }) {
  const compiler = await requireToolchain();
  const { dependencies, typescript } = stages();
  await runStage(dependencies);
  await runStage(typescript);
  prepareBuildFolder(join(root, folder), compiler);
  const cmakeJs = [join(root, 'node_modules/cmake-js/bin/cmake-js'), '--out', folder, '--config', config];
  const env = { ...process.env, CXX: compiler };
  await timed(`addon (${name})`, async () => {
    await mustRun(process.execPath, [...cmakeJs, '--CDVANTAGE_CUDA=OFF', ...options, 'configure'], env);
    await mustRun(process.execPath, [...cmakeJs, 'build', '--target', 'vantage', '--parallel', String(jobs)], env);
  });
  // Where node-gyp-build looks once VANTAGE_RL_PREBUILD names the folder. Renamed into place: a running process keeps what it has mapped.
  const place = join(root, folder, 'prebuilds', `${platform()}-${arch()}`);
  mkdirSync(place, { recursive: true });
  const draft = join(place, `draft.${process.pid}`);
  copyFileSync(join(root, folder, config, 'vantage.node'), draft);
  renameSync(draft, join(place, 'vantage.node'));
  return environment(compiler);
}

async function main() {
  const name = process.argv.slice(2).join(' ');
  if (!Object.hasOwn(VARIANTS, name)) throw new Error(`build: expected one of ${Object.keys(VARIANTS).join(', ')}, got '${name}'`);
  const variables = await withLock(join(root, '.setup.lock'), () => build(name, VARIANTS[name]), {
    onWait: (pid) => console.log(`another setup is running (process ${pid}); waiting for it`),
  });
  const shown = await timed('an estimator with it', () => mustRun(process.execPath, ['-e', CHECK], { ...process.env, ...variables }));
  if (shown !== '[[0.5],[-0.5]]') throw new Error(`build:${name}: the estimator gave ${shown}, expected [[0.5],[-0.5]]`);
  const settings = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
  console.log(`\nA run with it, from anywhere:\n  ${settings.join(' ')} node …`);
  if (name === 'debug') console.log(`In the debugger:\n  ${settings.join(' ')} gdb --args node …`);
  return 0;
}

await runMain(main);
