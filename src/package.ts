import { extname, join } from 'node:path';

/** The package's folder: this file lies in `src/`, and in the one file of `dist/` that scripts/bundle.mjs makes of all. */
export const packageFolder = join(__dirname, '..');

/** Whether the sources themselves run, as they do in the project's tests. */
export const isSource = extname(__filename) === '.ts';

/** The file of a program of ours, to be run by Node in a process of its own. */
export const programFile = (name: 'cli/main' | 'cli/doctor/probe'): string => join(__dirname, `${name}${extname(__filename)}`);
