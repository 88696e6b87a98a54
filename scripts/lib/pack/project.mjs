// A user's project in a temporary folder, on a machine that has Node and a shell, and no compiler, CMake or CUDA.
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture } from '../process.mjs';

/** What the sandbox's PATH holds beside node, npm and npx. */
const BASICS = ['sh', 'env', 'uname', 'dirname', 'basename', 'sed', 'cat', 'ls', 'rm', 'mkdir', 'cp'];

function onPath(name) {
  const folder = (process.env.PATH ?? '').split(delimiter).find((each) => each !== '' && existsSync(join(each, name)));
  return folder === undefined ? null : join(folder, name);
}

/** A folder that stands as the whole PATH: links to those programs. @param node the Node to use */
export function makePath(folder, node = process.execPath) {
  mkdirSync(folder, { recursive: true });
  const link = (name, target) => target !== null && symlinkSync(realpathSync(target), join(folder, name));
  link('node', node);
  for (const name of ['npm', 'npx', ...BASICS]) link(name, onPath(name));
  return folder;
}

/** The environment of a user: nothing of ours, prebuilt addons only. */
export function userEnvironment(path, home) {
  return {
    PATH: path,
    HOME: home,
    PREBUILDS_ONLY: '1',
    npm_config_cache: join(home, 'cache'),
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_update_notifier: 'false',
    NO_COLOR: '1',
  };
}

/** Runs a command; @returns what it prints. @throws Error with the output where it fails */
export async function must(command, args, { cwd, env }) {
  const { code, output } = await capture(command, args, { cwd, env });
  if (code !== 0) throw new Error(`\`${[command, ...args].join(' ')}\` failed with exit code ${code}\n${output.trimEnd()}`);
  return output;
}

/** The package's dependencies and theirs, as they lie in node_modules: `npm pack` of them makes the installation the same without a network. */
export function dependenciesOf(root) {
  const found = new Set();
  const visit = (name) => {
    const folder = join(root, 'node_modules', name);
    if (found.has(folder) || !existsSync(folder)) return;
    found.add(folder);
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    Object.keys(dependencies).forEach(visit);
  };
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  Object.keys(dependencies).forEach(visit);
  return [...found];
}

/** An empty project with the tarball and its dependencies installed as users whose npm runs no install scripts have them. */
export async function makeProject({ root, folder, tarball, env }) {
  const packed = join(folder, 'packed');
  const project = join(folder, 'project');
  for (const each of [packed, project]) mkdirSync(each, { recursive: true });
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'user', version: '1.0.0', private: true }));
  // A cache of its own: the repository's may be anywhere, and this one is thrown away.
  await must('npm', ['pack', '--ignore-scripts', '--pack-destination', packed, ...dependenciesOf(root)], { cwd: folder, env });
  const tarballs = readdirSync(packed).map((name) => join(packed, name));
  await must('npm', ['install', '--ignore-scripts', '--offline', '--no-save', tarball, ...tarballs], { cwd: project, env });
  return project;
}
