/** The Markdown files of the repository, and the blocks of code in them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(__dirname, '../..');

function markdown(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? markdown(path) : entry.name.endsWith('.md') ? [path] : [];
  });
}

/** README, CONTRIBUTING, docs and the examples' READMEs. */
export const files = ['README.md', 'CONTRIBUTING.md'].map((name) => join(root, name)).concat(markdown(join(root, 'docs')), markdown(join(root, 'examples')));

/** The page whose blocks are the files and commands of one project, one after the other; workbench_story.ts runs it. */
export const story = join(root, 'docs/workbench.md');

export interface Block {
  code: string;
  /** The line of its first row. */
  line: number;
  /** A block that begins with the name of a file (`// main.ts`) is that file's text. */
  named?: string;
}

/** Blocks marked with a language: ```ts. */
export function blocks(text: string, language: string): Block[] {
  const found = text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'));
  return [...found].map((match) => {
    const code = match[1]!;
    return { code, line: text.slice(0, match.index).split('\n').length + 1, named: /^\/\/ (\S+\.ts)\n/.exec(code)?.[1] };
  });
}

export const read = (file: string): string => readFileSync(file, 'utf8');
