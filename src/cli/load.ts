import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { VantageError } from '../errors';
import { readProblem } from '../folders';
import { isError, syntaxPlace, thrownText } from '../frames';
import { UsageError } from './command';
import { reportExit } from './exit';

/** The option of commands that take a user's code. */
export const loadOption = { load: { type: 'string', multiple: true } } as const;

export const loadHelp = `  --load FILE                a module (.mjs, .js, .cjs; .ts with tsx installed) that registers estimators, losses or environments:
                             imported before the configuration is checked; may be given several times`;

/** Imports modules for what they register. @throws UsageError for a file that is not there, VantageError for one that does not load */
export async function loadModules(files: readonly string[] = []): Promise<void> {
  for (const file of files) {
    expectFile('--load', file);
    try {
      await importModule(file);
    } catch (error) {
      throw new VantageError(`--load: ${loadingError(file, error)}`, { cause: error });
    }
  }
}

/** @throws UsageError for a module that cannot be read */
export function expectFile(who: string, file: string): void {
  const problem = readProblem(file, 'a module');
  if (problem !== null) throw new UsageError(`${who}: ${file}: ${problem}`);
}

/** @throws UsageError for a configuration that cannot be read */
export function expectConfig(command: string, file: string): void {
  const problem = readProblem(file, 'a configuration in YAML');
  if (problem === null) return;
  throw new UsageError(`${command}: -c ${file}: ${problem}${problem.startsWith('no such file') ? ' (`vantage new` writes a configuration to begin with)' : ''}`);
}

/** What a module exports; one in TypeScript is read by the tsx of its project, where there is one. */
export async function importModule(file: string): Promise<Record<string, unknown>> {
  if (isTypeScript(file)) await useTsx(file);
  const stop = reportExit(() => `${file}: ended the process while it was loaded (process.exit, or an await that nothing ends)`);
  try {
    return (await import(pathToFileURL(resolve(file)).href)) as Record<string, unknown>;
  } finally {
    stop();
  }
}

/** Why a module did not load, and where. */
export function loadingError(file: string, error: unknown): string {
  const isUnread = (error as NodeJS.ErrnoException | null)?.code === 'ERR_UNKNOWN_FILE_EXTENSION' && isTypeScript(file);
  if (isUnread) return `${file}: Node.js cannot read TypeScript without tsx: npm install --save-dev tsx`;
  const text = thrownText(error, importModule.name);
  const isPlaced = !isError(error) || error.name !== 'SyntaxError' || text !== error.message || isTypeScript(file);
  const place = isPlaced ? null : placeInModule(file);
  return `${file}: ${text}${place === null ? '' : `, ${place}`}`;
}

/** The place of a syntax error in an ECMAScript module, which Node tells when it ends by it only: nothing of the module is run before. */
function placeInModule(file: string): string | null {
  const statement = `import ${JSON.stringify(pathToFileURL(resolve(file)).href)};`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', statement], { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'ignore', 'pipe'] });
  return syntaxPlace(stderr ?? '');
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
