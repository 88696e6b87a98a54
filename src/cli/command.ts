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
    return parseArgs<C>({ ...config, args: withNegatives(config) });
  } catch (error) {
    const { message } = error as Error;
    const unknown = /^Unknown option '--([^']*)'/.exec(message)?.[1];
    // Of a value that begins with a dash parseArgs says in three lines that it may be an option.
    const ambiguous = /^Option '(?:-\w, )?(--[\w-]+)[^']*' argument is ambiguous/.exec(message)?.[1];
    if (ambiguous !== undefined) throw new UsageError(`${ambiguous}: expected a value (one that begins with a dash: ${ambiguous}=-…)`, { cause: error });
    if (unknown === undefined) throw new UsageError(message, { cause: error });
    const known = Object.keys(config.options ?? {}).map((name) => `--${name}`);
    throw new UsageError(unknownWord('option', `--${unknown}`, known), { cause: error });
  }
}

/** The arguments, with `--seed -1` as `--seed=-1`: no option is a number. */
function withNegatives({ args = [], options = {} }: ParseArgsConfig): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const before = joined.at(-1);
    const takes = before?.startsWith('--') && Object.hasOwn(options, before.slice(2)) && options[before.slice(2)].type === 'string';
    if (takes && /^-\.?\d/.test(arg)) joined[joined.length - 1] = `${before}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/** `Unknown command 'prepar'. Did you mean 'prepare'? There are: list, prepare, train`. */
export function unknownWord(kind: string, word: string, known: readonly string[]): string {
  const nearest = didYouMean(word, known);
  return `Unknown ${kind} '${word}'.${nearest === null ? '' : ` Did you mean '${nearest}'?`} There are: ${known.join(', ')}`;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
