import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { VantageError } from '../errors';
import { UsageError } from './command';

/** The option of commands that take a user's code. */
export const loadOption = { load: { type: 'string', multiple: true } } as const;

export const loadHelp = `  --load FILE                a module (.mjs, .js, .cjs) that registers estimators, losses or environments: imported
                             before the configuration is checked; may be given several times`;

/** Imports modules for what they register. @throws UsageError for a file that is not there, VantageError for one that does not load */
export async function loadModules(files: readonly string[] = []): Promise<void> {
  for (const file of files) {
    if (!existsSync(file)) throw new UsageError(`--load: ${file}: no such file`);
    try {
      await import(pathToFileURL(resolve(file)).href);
    } catch (error) {
      const isTypeScript = (error as NodeJS.ErrnoException | null)?.code === 'ERR_UNKNOWN_FILE_EXTENSION';
      const hint = isTypeScript ? ' (for TypeScript, start with: node --import tsx node_modules/.bin/vantage …)' : '';
      throw new VantageError(`--load: ${file}: ${error instanceof Error ? error.message : String(error)}${hint}`, { cause: error });
    }
  }
}
