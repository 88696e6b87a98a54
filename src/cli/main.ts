/** The command line: `vantage <command> …`. Errors are one line; exit code 1, and 2 where the command line itself is wrong. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RegistryError, VantageError } from '../errors';
import { placeOf } from '../frames';
import { packageFolder } from '../package';
import { build } from './build';
import { check } from './check';
import { type Command, print, unknownWord, UsageError } from './command';
import { compare } from './compare';
import { doctor } from './doctor';
import { exportModel } from './export';
import { lab } from './lab';
import { list } from './list';
import { newFiles } from './new';
import { prepare } from './prepare';
import { report } from './report';
import { train } from './train';

const commands: Record<string, Command> = { new: newFiles, prepare, train, compare, report, export: exportModel, list, lab, check, build, doctor };

/** @returns the exit code */
export async function run(argv: readonly string[]): Promise<number> {
  try {
    await dispatch(argv);
    return 0;
  } catch (error) {
    process.stderr.write(`vantage: ${messageOf(error)}\n`);
    if (!(error instanceof UsageError)) return 1;
    process.stderr.write('vantage: `vantage --help` shows what there is\n');
    return 2;
  }
}

async function dispatch([name, ...rest]: readonly string[]): Promise<void> {
  if (name === '--version' || name === '-v') return print(version());
  if (name === undefined) throw new UsageError(`expected a command: ${Object.keys(commands).join(', ')}`);
  const wantsHelp = rest.includes('--help') || rest.includes('-h');
  const topic = name === 'help' ? rest[0] : name;
  if (topic === undefined || topic === '--help' || topic === '-h') return print(overview());
  if (!Object.hasOwn(commands, topic)) throw new UsageError(unknownWord('command', topic, Object.keys(commands)));
  const command = commands[topic];
  if (name === 'help' || wantsHelp) return print(command.help);
  return command.run(rest);
}

function overview(): string {
  const lines = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`);
  return `Usage: vantage <command> …

${lines.join('\n')}

  vantage <command> --help   shows a command's options
  vantage --version          shows the version`;
}

function version(): string {
  const manifest = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

/** Errors of ours say all there is to say; any other comes with its place in the user's code, and with VANTAGE_DEBUG=1 with all it came through. */
function messageOf(error: unknown): string {
  if (error instanceof RegistryError && error.message.startsWith('Unknown '))
    return `${error.message}${/[.?]$/.test(error.message) ? '' : '.'} One of your own is registered by its module: --load FILE (vantage check takes the FILE itself)`;
  if (error instanceof VantageError) return error.message;
  if (!(error instanceof Error)) return String(error);
  if (process.env.VANTAGE_DEBUG) return error.stack ?? String(error);
  const place = placeOf(error, 'start');
  return place === null ? String(error) : `${String(error)}, ${place}`;
}

/** The program. */
export function start(): void {
  // `vantage list | head -1`: who reads has had enough.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
  // Training sets an exit code of its own, and so do check and doctor.
  void run(process.argv.slice(2)).then((code) => (process.exitCode ||= code));
}

if (require.main === module) start();
