/** `npm run check:builtins -- [RUNS [SEED [NAME …]]]`: every built-in estimator (or those named) under its declaration. */
import { checkEstimator, checkText, listAdvantageEstimators } from '../../src/index';

const [first, second, ...names] = process.argv.slice(2);
const [runs, seed] = [Number(first ?? 200), Number(second ?? 0)];
const seconds = () => process.cpuUsage().user / 1e6;
for (const name of names.length > 0 ? names : listAdvantageEstimators()) {
  const before = seconds();
  const report = checkEstimator(name, { runs, seed });
  // How long a call takes says nothing of whether it is right.
  const alarms = report.properties.filter(({ id, status }) => id !== 'speed' && (status === 'failed' || status === 'warned'));
  process.stdout.write(alarms.length === 0 ? `${name}: all hold on ${runs} batches a property (${((seconds() - before) / runs).toFixed(4)} s a batch)\n` : `${checkText(report)}\n`);
  if (alarms.length > 0) process.exitCode = 1;
}
