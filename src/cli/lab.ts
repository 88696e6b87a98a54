import type { EstimatorLabOptions, LabReport, LabSweepKey } from '../lab';
import { type Command, parseCommandLine, print, unknownWord, UsageError } from './command';
import { Bar } from './bar';
import { parseEstimatorOptions } from './estimator_options';
import { loadHelp, loadModules, loadOption } from './load';

/** Options that are numbers, by their names on the command line. */
const numbers = {
  prompts: 'prompts',
  vocabulary: 'vocabulary',
  length: 'length',
  environment_seed: 'environmentSeed',
  group_size: 'groupSize',
  gamma: 'gamma',
  lambda: 'lambda',
  critic_error: 'criticError',
  batches: 'batches',
  warmup: 'warmup',
  cosine: 'cosine',
  confidence: 'confidence',
  seed: 'seed',
} as const satisfies Record<string, keyof EstimatorLabOptions>;

const sweeps: Readonly<Record<string, LabSweepKey>> = { group_size: 'groupSize', gamma: 'gamma', lambda: 'lambda', critic_error: 'criticError' };

export const lab: Command = {
  summary: 'Measures the bias and the variance of estimators against exact gradients',
  help: `Usage:
  vantage lab [ESTIMATOR[:OPTION=VALUE,…] …] [--load FILE …]
      Compares each estimator's policy gradient with the exact one, in a small environment whose sequences are all enumerated: bias,
      scale, direction, variance, and how many samples it takes to come near. Without names: all that are registered.

Options:
  --environment NAME         terminal (unless given), dense, sparse, tool, critic, ending
  --sweep KEY=A,B            repeats all for each value of group_size, gamma, lambda or critic_error
  --group_size N             answers to a prompt (8)
  --gamma X, --lambda X      of the objective, the critic and the estimators (1)
  --critic_error X           the critic's values are off by X times a standard normal number (0; in critic 0.1)
  --objective NAME           whose gradient is exact: discounted (unless given), undiscounted, to_go
  --convention NAME          of all estimators (vantage)
  --prompts N, --vocabulary N, --length N   other sizes of the environment
  --batches N                independent batches (400)
  --warmup N                 batches that estimators with state see before (20)
  --cosine X                 what the number of samples is for (0.9)
  --confidence X             of the intervals (0.95)
  --seed N                   of the samples and the bootstrap (0)
  --environment_seed N       of the rewards, the policy and the critic's error (0)
  --out FILE                 writes the picture: an HTML page, or where FILE ends in .svg its large chart alone
  --json                     prints the report as JSON in place of the table: all intervals (a number without an end is null)
  --check N                  measures no estimator, but the exact gradient: against finite differences, and N sampled sequences
${loadHelp}

The same command gives the same figures to the bit. docs/lab.md says what they mean.`,

  async run(argv) {
    const texts = Object.fromEntries([...Object.keys(numbers), 'environment', 'sweep', 'objective', 'convention', 'out', 'check'].map((name) => [name, { type: 'string' }] as const));
    const { values, positionals } = parseCommandLine({ args: argv, options: { ...texts, json: { type: 'boolean' }, ...loadOption }, allowPositionals: true });
    const text = (name: string) => (values as Record<string, string | undefined>)[name];
    const given = Object.entries(numbers).flatMap(([name, key]) => (text(name) === undefined ? [] : [[key, number(name, text(name)!)] as const]));
    const options = Object.fromEntries(given) as EstimatorLabOptions;
    const named = Object.fromEntries(['environment', 'objective', 'convention'].flatMap((name) => (text(name) === undefined ? [] : [[name, text(name)]])));
    const sweep = text('sweep') === undefined ? undefined : parseSweep(text('sweep')!);
    const estimators = positionals.length === 0 ? undefined : positionals.map((label) => ({ ...parseEstimatorOptions('lab', label), label }));
    const samples = text('check') === undefined ? undefined : number('check', text('check')!);
    await loadModules(values.load as string[] | undefined);
    // What registers estimators, and the native addon, is needed only from here on.
    const { checkExactGradient, estimatorLab, writeLabPage } = require('../index') as typeof import('../index');
    if (samples !== undefined) {
      if (estimators || sweep || text('out')) throw new UsageError('lab: --check looks at the exact gradient alone: expected no estimators, --sweep and --out');
      const { prompts, vocabulary, length, environmentSeed, gamma, seed } = options;
      const check = checkExactGradient((named.environment ?? 'terminal') as never, { prompts, vocabulary, length, environmentSeed, gamma, seed, samples });
      return print(values.json ? JSON.stringify(check, null, 2) : describeCheck(check));
    }
    const bar = new Bar(process.stderr);
    let report: LabReport;
    try {
      report = estimatorLab({ ...options, ...named, estimators, sweep, onProgress: ({ done, total, label }) => bar.show(done, total, label) });
    } finally {
      bar.clear();
    }
    const page = text('out');
    if (page !== undefined) writeLabPage(page, report);
    if (values.json) print(JSON.stringify(report, null, 2));
    else printTable(report, page);
    // Of all that are registered some need more than a batch has; what was asked for by name should have been measured.
    if (estimators !== undefined && report.results.some(({ error }) => error !== null)) process.exitCode = 1;
  },
};

function printTable(report: LabReport, page: string | undefined): void {
  const { labFacts, labTable, refusals } = require('../lab/table') as typeof import('../lab/table');
  const { head, rows } = labTable(report, { narrow: true });
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  print(`${labFacts(report).join('\n')}\n`);
  for (const row of [head, ...rows]) print(`  ${row.map((cell, i) => cell.padEnd(widths[i])).join('  ').trimEnd()}`);
  if (page !== undefined) print(`\npicture   ${page}`);
  for (const reason of refusals(report.results)) process.stderr.write(`vantage: ${reason}\n`);
}

function describeCheck({ size, norm, finiteDifference, monteCarlo }: ReturnType<typeof import('../lab').checkExactGradient>): string {
  const lines = [`exact gradient      ${size} numbers, norm ${norm.toPrecision(6)}`, `finite differences  differ by at most ${finiteDifference.toExponential(1)}`];
  if (monteCarlo !== null) {
    const { samples, error, expectedError, largest, withinTwo } = monteCarlo;
    lines.push(
      `${samples} samples${' '.repeat(Math.max(1, 12 - String(samples).length))}differ by ${error.toExponential(2)}, expected ${expectedError.toExponential(2)}`,
      `                    the farthest number by ${largest.toFixed(2)} standard errors, ${(100 * withinTwo).toFixed(1)} % of them within two`,
    );
  }
  return lines.join('\n');
}

function number(name: string, text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!Number.isFinite(value)) throw new UsageError(`--${name}: expected a number, got '${text}'`);
  return value;
}

function parseSweep(text: string): { key: LabSweepKey; values: number[] } {
  const [name, list] = [text.split('=')[0].trim(), text.split('=').slice(1).join('=')];
  if (!Object.hasOwn(sweeps, name)) throw new UsageError(`--sweep: ${unknownWord('key', name, Object.keys(sweeps))}`);
  if (list.trim() === '') throw new UsageError(`--sweep: expected ${name}=A,B, got '${text}'`);
  return { key: sweeps[name], values: list.split(',').map((value) => number(`sweep ${name}`, value)) };
}
