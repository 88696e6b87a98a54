/** Lives docs/workbench.md: its files and commands, one after the other, in a project where the package is installed. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandsOf, words } from './commands';
import { root } from './pages';

/** The pictures that the commands leave, and where the page has them. */
export const pictures = { 'idea.svg': 'docs/workbench-idea.svg', 'lab.svg': 'docs/workbench-lab.svg', 'runs/compare/comparison.svg': 'docs/workbench-training.svg' } as const;

/** A block of commands. */
export interface Told {
  /** The line where it begins. */
  line: number;
  commands: string[];
  /** What they printed, one after the other. */
  out: string;
  /** What the page says that they print, line by line; empty where it says nothing. */
  shown: string[];
}

/** @returns the folder of the project, and what the commands printed. @throws where one ends with another exit code than the page's output tells */
export function live(page: string): { folder: string; told: Told[] } {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-workbench-'));
  mkdirSync(join(folder, 'node_modules/@types'), { recursive: true });
  for (const name of ['tsx', '@types/node']) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  symlinkSync(root, join(folder, 'node_modules/vantage-rl'));

  const fences = [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```/gm)].map((match) => ({ language: match[1]!, text: match[2]!, line: page.slice(0, match.index).split('\n').length + 1 }));
  const told: Told[] = [];
  let file = '';
  for (const [i, { language, text, line }] of fences.entries()) {
    const named = /^(?:\/\/|#) (\S+\.\w+)\n/.exec(text)?.[1];
    if (named !== undefined) writeFileSync(join(folder, file = named), text.slice(text.indexOf('\n') + 1));
    if (language === 'diff') writeFileSync(join(folder, file), changed(readFileSync(join(folder, file), 'utf8'), text));
    if (language !== 'sh') continue;
    const shown = fences[i + 1]?.language === 'text' ? fences[i + 1]!.text.trimEnd().split('\n') : [];
    // npm would need a network; what it installs is there.
    const commands = commandsOf(`\`\`\`sh\n${text}\`\`\``).map((command) => command.text).filter((command) => !command.startsWith('npm install'));
    const fails = shown.some((each) => each.startsWith('FAILED'));
    told.push({ line, commands, shown, out: commands.map((command) => output(folder, command, fails ? 1 : 0)).join('') });
  }
  return { folder, told };
}

/** A file whose lines with a minus are replaced by those with a plus; an empty line stands between places. */
function changed(before: string, diff: string): string {
  const part = (hunk: string, sign: string) => hunk.split('\n').filter((line) => line.startsWith(sign) || line.startsWith(' ')).map((line) => `${line.slice(1)}\n`).join('');
  return diff.trimEnd().split('\n\n').reduce((text, hunk) => {
    const places = text.split(part(hunk, '-'));
    if (places.length !== 2) throw new Error(`expected these lines once, found them ${places.length - 1} times:\n${part(hunk, '-')}`);
    return places.join(part(hunk, '+'));
  }, before);
}

function output(cwd: string, command: string, expected: number): string {
  const [program, ...rest] = words(command);
  const argv = program === 'npx' && rest[0] === 'vantage' ? [join(root, 'dist/cli/main.js'), ...rest.slice(1)] : program === 'node' ? rest : null;
  if (argv === null) throw new Error(`no way to run '${command}' here`);
  // The same bits on every processor, for any number of threads.
  const env = { ...process.env, VANTAGE_ISA: 'baseline', VANTAGE_NUM_THREADS: '1', NODE_TEST_CONTEXT: undefined };
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { cwd, encoding: 'utf8', timeout: 240_000, env });
  if (status !== expected) throw new Error(`${command}\nexpected exit code ${expected}, got ${status}\n${stdout.slice(-3000)}${stderr.slice(-3000)}`);
  return stdout;
}

/** A line that is only `…` stands for any number of lines; a line that ends with ` …` for the beginning of one. */
const agrees = (shown: string, printed: string): boolean => (shown.endsWith(' …') ? printed.startsWith(shown.slice(0, -2)) : printed === shown);

/** The shown lines that are not printed, in this order and without others between them. */
export function notPrinted({ shown, out }: Told): string[] {
  const printed = out.trimEnd().split('\n').map((line) => line.trimEnd());
  const missing: string[] = [];
  let [next, anywhere] = [0, false];
  for (const line of shown) {
    if (line === '…') {
      anywhere = true;
      continue;
    }
    const at = printed.findIndex((each, i) => i >= next && agrees(line, each));
    if (at < 0 || (!anywhere && at !== next)) missing.push(line);
    else next = at + 1;
    anywhere = false;
  }
  if (shown.length > 0 && !anywhere && next !== printed.length && missing.length === 0) missing.push('(the end)');
  return missing;
}

/** The shown lines with what is printed now: of a line that has changed, the one that begins most like it. */
export function renewed({ shown, out }: Told): string[] {
  const printed = out.trimEnd().split('\n').map((line) => line.trimEnd());
  const words = (line: string) => line.replace(/\d+/g, '0');
  const common = (a: string, b: string) => [...words(a)].findIndex((letter, i) => letter !== words(b)[i]);
  let next = 0;
  return shown.map((line) => {
    if (line === '…') return line;
    const exact = printed.findIndex((each, i) => i >= next && agrees(line, each));
    if (exact >= 0) {
      next = exact + 1;
      return line;
    }
    const lengths = printed.map((each, i) => (i < next ? -1 : common(line, each)));
    const best = lengths.indexOf(Math.max(...lengths));
    if (line.endsWith(' …') || !(lengths[best]! >= 12)) return line;
    next = best + 1;
    return printed[best]!;
  });
}

/** How far the numbers of two pictures lie apart; Infinity where more than numbers differs. */
export function distance(a: string, b: string): number {
  const number = /-?\d+(?:\.\d+)?/g;
  const [first, second] = [a, b].map((text) => ({ frame: text.replace(number, '#'), numbers: [...text.matchAll(number)].map(Number) }));
  if (first!.frame !== second!.frame) return Infinity;
  return first!.numbers.reduce((most, value, i) => Math.max(most, Math.abs(value - second!.numbers[i]!)), 0);
}
