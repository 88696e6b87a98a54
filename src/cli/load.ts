import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { VantageError } from '../errors';
import { UsageError } from './command';

/** The option of commands that take a user's code. */
export const loadOption = { load: { type: 'string', multiple: true } } as const;

export const loadHelp = `  --load FILE                a module (.mjs, .js, .cjs; .ts with tsx installed) that registers estimators, losses or environments:
                             imported before the configuration is checked; may be given several times`;

/** Imports modules for what they register. @throws UsageError for a file that is not there, VantageError for one that does not load */
export async function loadModules(files: readonly string[] = []): Promise<void> {
  for (const file of files) {
    if (!existsSync(file)) throw new UsageError(`--load: ${file}: no such file`);
    try {
      await importModule(file);
    } catch (error) {
      throw new VantageError(`--load: ${loadingError(file, error)}`, { cause: error });
    }
  }
}

/** What a module exports; one in TypeScript is read by the tsx of its project, where there is one. */
export async function importModule(file: string): Promise<Record<string, unknown>> {
  if (isTypeScript(file)) await useTsx(file);
  return (await import(pathToFileURL(resolve(file)).href)) as Record<string, unknown>;
}

/** Why a module did not load. */
export function loadingError(file: string, error: unknown): string {
  const isUnread = (error as NodeJS.ErrnoException | null)?.code === 'ERR_UNKNOWN_FILE_EXTENSION' && isTypeScript(file);
  const what = error instanceof Error ? error.message : String(error);
  return `${file}: ${isUnread ? 'Node.js cannot read TypeScript without tsx: npm install --save-dev tsx' : what}`;
}

const isTypeScript = (file: string): boolean => /\.[cm]?ts$/.test(file);

/** From here on what is imported may be TypeScript, as with `node --import tsx`. Changes nothing where tsx is not installed, or has been loaded already. */
async function useTsx(file: string): Promise<void> {
  const isLoaded = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((text) => /\btsx\b/.test(text));
  if (isLoaded) return;
  let loader: string;
  try {
    loader = createRequire(resolve(file)).resolve('tsx');
  } catch {
    return;
  }
  await import(pathToFileURL(loader).href);
}
