// What dist/ holds: the declarations that TypeScript writes, and one file with all code. Finding and compiling more than 200 files took most of the time from
// import to the first result.
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';

/** Programs of the package, by their files in src/ and dist/; each has a `start`. They share the registries of the library, so they are in its file. */
const PROGRAMS = ['cli/main', 'cli/doctor/probe'];

const entry = `
export * as api from './index';
export const programs = {
${PROGRAMS.map((name) => `  '${name}': () => require('./${name}').start(),`).join('\n')}
};`;

/** Writes the code of `<root>/src` to `folder`: `vantage.js`, `index.js` with what is public, and a file for each program. */
export async function bundle(root, folder) {
  await build({
    stdin: { contents: entry, resolveDir: join(root, 'src'), sourcefile: 'package_entry.ts', loader: 'ts' },
    outfile: join(folder, 'vantage.js'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.19',
    packages: 'external',
    tsconfig: join(root, 'tsconfig.build.json'),
    // Messages name classes. What is made after the file has run, closures, needs no names, and defining one takes longer than most of them run.
    keepNames: true,
    footer: { js: '__name = (target) => target;' },
    logLevel: 'warning',
  });
  const { api } = createRequire(import.meta.url)(join(folder, 'vantage.js'));
  // Node finds the names for \`import\` without running the file: it reads them in a statement like the last.
  const index = `'use strict';\nmodule.exports = require('./vantage.js').api;\n0 && (module.exports = { ${Object.keys(api).join(', ')} });\n`;
  writeFileSync(join(folder, 'index.js'), index);
  copyFileSync(join(root, 'src/index.mts'), join(folder, 'index.mjs'));
  for (const name of PROGRAMS) {
    const file = join(folder, `${name}.js`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `#!/usr/bin/env node\n'use strict';\nrequire('${'../'.repeat(name.split('/').length - 1)}vantage.js').programs['${name}']();\n`);
    chmodSync(file, 0o755);
  }
}
