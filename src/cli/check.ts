import { relative, resolve } from 'node:path';
import type { AdvantageEstimatorClass, CheckOptions, CheckReport } from '../index';
import { Bar } from './bar';
import { type Command, parseCommandLine, print, UsageError } from './command';
import { thrownText } from '../frames';
import { checkTable } from '../workbench/report';
import { parseEstimatorOptions } from './estimator_options';
import { reportExit } from './exit';
import { expectFile, importModule, loadingError } from './load';

export const check: Command = {
  summary: 'Tries an estimator on drawn batches: masks, groups, precision, state, time',
  help: `Usage:
  vantage check FILE [--estimator NAME …]
      Checks the estimators that a module (.mjs, .js, .cjs; .ts with tsx installed) registers or exports, or those of these names.
  vantage check --estimator NAME[:OPTION=VALUE,…] …
      Checks registered ones.

Options:
  --seed N          of the batches (0)
  --runs N          batches that each property is tried on (40)
  --only A,B        these properties alone
  --reference NAME[:OPTION=VALUE,…]   another estimator that should give the same numbers
  --bail            stops at the first property that fails
  --list            shows the properties
  --json            prints the reports as JSON, a list

Exit code: 0 where all hold, 1 where one failed, 2 where nothing could be checked. docs/checking.md says what each property means.`,

  async run(argv) {
    const { values, positionals } = parseCommandLine({
      args: argv,
      options: {
        estimator: { type: 'string', multiple: true },
        seed: { type: 'string' },
        runs: { type: 'string' },
        only: { type: 'string' },
        reference: { type: 'string' },
        bail: { type: 'boolean' },
        list: { type: 'boolean' },
        json: { type: 'boolean' },
      },
      allowPositionals: true,
    });
    const vantage = require('../index') as typeof import('../index');
    if (values.list) {
      for (const { id, title } of vantage.listCheckProperties()) print(`${id.padEnd(18)}${title}`);
      return;
    }
    if (positionals.length > 1) throw new UsageError(`check: expected one FILE, got ${positionals.join(' ')}`);
    const [file] = positionals;
    if (file === undefined && values.estimator === undefined) throw new UsageError('check: expected a FILE, or --estimator NAME');
    const options: CheckOptions = {
      ...(values.seed !== undefined && { seed: whole('seed', values.seed, -Number.MAX_SAFE_INTEGER) }),
      ...(values.runs !== undefined && { runs: whole('runs', values.runs, 1) }),
      ...(values.only !== undefined && { only: values.only.split(',').map((id) => id.trim()) }),
      ...(values.bail && { bail: true }),
      ...(values.reference !== undefined && { reference: parseEstimatorOptions('check', values.reference) }),
    };
    const found = file === undefined ? [] : await load(file, vantage);
    const targets = values.estimator === undefined ? found : values.estimator.map((text) => named(text, found));
    if (targets.length === 0) throw new UsageError(`check: ${file}: registers no estimator and exports none (a class that has computeAdvantages)`);
    const reports: CheckReport[] = [];
    for (const target of targets) {
      const report = checkOne(target, options, vantage);
      // At once: whoever waits sees something, and an estimator that ends the process takes no other's report with it.
      if (!values.json) print(`${reports.length > 0 ? '\n' : ''}${vantage.checkText(report)}`);
      reports.push(report);
    }
    if (values.json) print(JSON.stringify(reports, null, 2));
    else if (reports.length > 1) print(`\n${checkTable(reports)}`);
    if (reports.some(({ passed }) => !passed)) process.exitCode = 1;
  },
};

interface Target {
  estimator: string | AdvantageEstimatorClass;
  options?: Readonly<Record<string, unknown>>;
  module?: string;
  exportedAs?: string;
}

function checkOne({ estimator, ...own }: Target, options: CheckOptions, vantage: typeof import('../index')): CheckReport {
  const bar = new Bar(process.stderr);
  const name = typeof estimator === 'string' ? estimator : estimator.name;
  let property = 'its constructor';
  const onProgress = ({ done, total, label }: { done: number; total: number; label: string }): void => {
    property = label;
    bar.show(done, total, `${name}: ${label}`);
  };
  const stop = reportExit(() => `check: ${name}: ended the process (process.exit) while it was checked: ${property}`);
  try {
    return vantage.checkEstimator(estimator, { ...options, ...own, onProgress });
  } catch (error) {
    // Nothing was checked: that is another exit code than a property that does not hold.
    if (error instanceof vantage.VantageError) throw new UsageError(error.message, { cause: error });
    throw new UsageError(`check: ${name}: ${thrownText(error, checkOne.name)}`, { cause: error });
  } finally {
    stop();
    bar.clear();
  }
}

/** What a module registers and exports. */
async function load(file: string, vantage: typeof import('../index')): Promise<Target[]> {
  expectFile('check', file);
  const before = new Map(vantage.listAdvantageEstimators().map((name) => [name, vantage.getAdvantageEstimator(name)]));
  let exported: Record<string, unknown>;
  try {
    exported = await importModule(file);
  } catch (error) {
    throw new UsageError(`check: ${loadingError(file, error)}`, { cause: error });
  }
  const path = relative('.', resolve(file));
  const module = path.startsWith('.') ? path : `./${path}`;
  const registered = vantage.listAdvantageEstimators().filter((name) => vantage.getAdvantageEstimator(name) !== before.get(name));
  const classes = new Set<unknown>(registered.map(vantage.getAdvantageEstimator));
  // A CommonJS module has its exports in `default`, too.
  const all = { ...(typeof exported.default === 'object' ? (exported.default as object) : {}), ...exported };
  const others = Object.entries(all).filter((entry): entry is [string, AdvantageEstimatorClass] => isEstimatorClass(entry[1]) && !classes.has(entry[1]) && classes.add(entry[1]) !== null);
  return [...registered.map((estimator) => ({ estimator, module })), ...others.map(([exportedAs, estimator]) => ({ estimator, module, exportedAs }))];
}

const isEstimatorClass = (value: unknown): boolean => typeof value === 'function' && typeof (value.prototype as { computeAdvantages?: unknown } | undefined)?.computeAdvantages === 'function';

/** A target by name: of the module, by its registered name, export or class; else a registered one. */
function named(text: string, found: readonly Target[]): Target {
  const { name, options } = parseEstimatorOptions('check', text);
  const own = found.find(({ estimator, exportedAs }) => estimator === name || exportedAs === name || (typeof estimator !== 'string' && estimator.name === name));
  return { ...(own ?? { estimator: name }), options };
}

function whole(name: string, text: string, low: number): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!Number.isSafeInteger(value) || value < low) throw new UsageError(`--${name}: expected a whole number${low === 1 ? ', 1 or more' : ''}, got '${text}'`);
  return value;
}
