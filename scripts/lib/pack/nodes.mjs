// Other versions of Node to run the packed package with, as far as the registry has them for this machine.
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { capture } from '../process.mjs';

export const VERSIONS = ['20.20.2', '22.23.3', '24.21.0'];
const LIMIT_S = 40;

const major = (version) => version.split('.')[0];

/** @returns the executable of that version, or of this process where it has the same major; null where it is not to be had */
export async function findNode(root, version) {
  if (major(version) === major(process.versions.node)) return process.execPath;
  const folder = join(root, 'build-nodes');
  const name = `node-${process.platform}-${process.arch}`;
  const executable = join(folder, version, 'bin/node');
  if (existsSync(executable)) return executable;
  mkdirSync(join(folder, version), { recursive: true });
  // The packages of npm's `node`, which carry one executable each.
  const fetched = await capture('timeout', [String(LIMIT_S), 'npm', 'pack', `${name}@${version}`, '--silent', '--pack-destination', folder]);
  const tarball = readdirSync(folder).find((file) => file.endsWith(`${version}.tgz`));
  if (fetched.code !== 0 || tarball === undefined) return null;
  const { code } = await capture('tar', ['-xzf', join(folder, tarball), '-C', join(folder, version), '--strip-components=1', 'package/bin/node']);
  return code === 0 && existsSync(executable) ? executable : null;
}
