// Lets `node --require test/typescript.cjs` run the sources and the tests as they are, for the many processes that tests start: loading all of src/ takes it a third
// of the processor time that tsx needs (0.45 s of 1.35 s). What it compiled is kept under the hash of the text. Errors show lines of the compiled code; with
// `--import tsx` in its place a process runs the same and shows those of the sources.
const { createHash } = require('node:crypto');
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { version } = require('@swc/core/package.json');

const folder = join(__dirname, '../node_modules/.cache/vantage-tests', version);
// `import()` stays what it is: it loads ES modules.
const options = { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs', ignoreDynamic: true } };

function compiled(file) {
  const text = readFileSync(file, 'utf8');
  const kept = join(folder, `${createHash('sha256').update(JSON.stringify(options)).update(text).digest('hex')}.js`);
  try {
    return readFileSync(kept, 'utf8');
  } catch {
    const { code } = require('@swc/core').transformSync(text, { filename: file, ...options });
    // Processes that start at once must not read half a file.
    const draft = `${kept}.${process.pid}.${require('node:worker_threads').threadId}`;
    mkdirSync(folder, { recursive: true });
    writeFileSync(draft, code);
    renameSync(draft, kept);
    return code;
  }
}

require.extensions['.ts'] = (module, file) => module._compile(compiled(file), file);
