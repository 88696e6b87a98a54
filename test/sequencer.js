const { existsSync } = require('node:fs');
const { join } = require('node:path');
const Sequencer = require('@jest/test-sequencer').default;

/** The files that take longest, the longest first. */
const longest = [
  'docs/workbench',
  'docs/shell_blocks',
  'parity/parity',
  'trainer/resume/processes',
  'workbench/mistakes',
  'cli/doctor',
  'cli/compare',
  'trainer/resume/bits',
  'memory/training',
  'lab/lab',
  'tensor/graphs',
  'parity/own',
  'workbench/check',
  'fuzz/api/fuzz',
  'bench/suite',
  'lab/known',
  'cli/new',
  'examples/custom_environment',
].map((name) => join(__dirname, `${name}.test.ts`));

const missing = longest.filter((path) => !existsSync(path));
if (missing.length > 0) throw new Error(`test/sequencer.js: there is no ${missing.join(', no ')}`);

/** In a clone that has run no tests Jest begins with the largest files. Those that start programs are small: they came last, and the other workers had nothing left to do beside them. */
module.exports = class extends Sequencer {
  sort(tests) {
    const rank = ({ path }) => (longest.includes(path) ? longest.indexOf(path) : longest.length);
    return super.sort(tests).sort((a, b) => rank(a) - rank(b));
  }
};
