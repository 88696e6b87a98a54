import { parseArgs, type ParseArgsConfig } from 'node:util';
import { didYouMean, VantageError } from '../errors';

/** One command of the command line. */
export interface Command {
  /** One line for the overview. */
  summary: string;
  /** The whole help text. */
  help: string;
  /** @param argv what follows the command's name */
  run(argv: string[]): Promise<void>;
}

/** A command line that is not understood: exit code 2. */
export class UsageError extends VantageError {}

/** `parseArgs` whose errors are usage errors of one line, with the nearest option for an unknown one. */
export function parseCommandLine<const C extends ParseArgsConfig>(config: C): ReturnType<typeof parseArgs<C>> {
  try {
    return parseArgs(config);
  } catch (error) {
    const unknown = /^Unknown option '--([^']*)'/.exec((error as Error).message)?.[1];
    if (unknown === undefined) throw new UsageError((error as Error).message, { cause: error });
    const known = Object.keys(config.options ?? {}).map((name) => `--${name}`);
    throw new UsageError(unknownWord('option', `--${unknown}`, known), { cause: error });
  }
}

/** `Unknown command 'prepar'. Did you mean 'prepare'? There are: list, prepare, train`. */
export function unknownWord(kind: string, word: string, known: readonly string[]): string {
  const nearest = didYouMean(word, known);
  return `Unknown ${kind} '${word}'.${nearest === null ? '' : ` Did you mean '${nearest}'?`} There are: ${known.join(', ')}`;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
