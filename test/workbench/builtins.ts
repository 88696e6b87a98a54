/** `npm run check:builtins -- [RUNS [SEED]]`: every built-in estimator under its declaration. */
import { checkEstimator, checkText, listAdvantageEstimators } from '../../src/index';

const [runs = 200, seed = 0] = process.argv.slice(2).map(Number);
for (const name of listAdvantageEstimators()) {
  const report = checkEstimator(name, { runs, seed });
  process.stdout.write(report.passed ? `${name}: all hold on ${runs} batches a property\n` : `${checkText(report)}\n`);
  if (!report.passed) process.exitCode = 1;
}
