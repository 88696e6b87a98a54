/** The commands of shell blocks. */
import { blocks } from './pages';

export interface PageCommand {
  /** The line where its block begins. */
  block: number;
  line: number;
  text: string;
}

/** The commands of a page: a line each, without its comment; what a backslash continues is one command. */
export function commandsOf(text: string): PageCommand[] {
  return blocks(text, 'sh').flatMap(({ code, line }) => {
    const lines = code.replaceAll(/\\\n\s*/g, '').split('\n');
    return lines.map((each, i) => ({ block: line, line: line + i, text: each.replace(/(^|\s)#.*$/, '').trim() })).filter((command) => command.text !== '');
  });
}

/** The words of a command line; quotes keep words together. */
export const words = (text: string): string[] => [...text.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ''));
