/** Runs the program that compares with other libraries. */
import { main } from '../../parity/main';

/** @returns its exit code and what it printed */
export function run(...argv: string[]): { code: number; lines: string[] } {
  const lines: string[] = [];
  const spy = jest.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(...line.split('\n')));
  try {
    return { code: main(argv), lines };
  } finally {
    spy.mockRestore();
  }
}
