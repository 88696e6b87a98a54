/** Programs in TypeScript that tests start. */
import { join } from 'node:path';

/** Arguments of Node, before those of the program: it reads TypeScript. */
export const readsTypeScript = ['--require', join(__dirname, 'typescript.cjs')] as const;
