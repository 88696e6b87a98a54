import { existsSync, readdirSync } from 'node:fs';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { resolve as findAddon } from 'node-gyp-build';
import { packageFolder } from '../../package';
import type { BinaryInfo } from './findings';

/** Whether this is a clone of the repository, where `npm run setup` builds. */
export const isClone = (): boolean => existsSync(join(packageFolder, 'scripts/setup.mjs'));

/** A path as it is read best: relative to the package where it lies inside. */
export function shorten(path: string): string {
  const inside = relative(packageFolder, path);
  return inside === '' || inside.startsWith('..') || isAbsolute(inside) ? path : inside;
}

/** Which addon node-gyp-build loads, and where it looked; nothing is loaded. Also the file itself, for who loads it. */
export function findBinary(env = process.env): { file: string | null; info: Omit<BinaryInfo, 'loads'> } {
  const lookedIn = places(env).map(({ place, folder }) => ({ place, found: addons(folder) }));
  try {
    const file = findAddon(packageFolder);
    return { file, info: { path: shorten(file), kind: kindOf(file), lookedIn, error: null } };
  } catch (error) {
    return { file: null, info: { path: null, kind: null, lookedIn, error: (error as Error).message.split('\n')[0]!.trim() } };
  }
}

/** In the order of node-gyp-build. */
function places({ VANTAGE_RL_PREBUILD: other, PREBUILDS_ONLY: prebuildsOnly }: NodeJS.ProcessEnv): { place: string; folder: string }[] {
  const base = other || packageFolder;
  const platform = `${process.platform}-${process.arch}`;
  const builds = prebuildsOnly ? [] : [join(base, 'build/Release'), join(base, 'build/Debug')];
  return [...builds, join(base, 'prebuilds', platform), join(dirname(process.execPath), 'prebuilds', platform)].map((folder) => ({ place: shorten(folder), folder }));
}

function addons(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.node')) : [];
}

function kindOf(file: string): BinaryInfo['kind'] {
  if (file.startsWith(dirname(process.execPath) + sep)) return 'beside node';
  const folder = dirname(file).split(sep).slice(-2).join('/');
  return folder === 'build/Release' ? 'release build' : folder === 'build/Debug' ? 'debug build' : 'prebuilt';
}
