import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, parseCommandLine, print, UsageError } from './command';
import { type Finished, type Planned, runAll } from './compare_runs';
import { expectConfig, loadHelp, loadModules, loadOption } from './load';
import type { Spread, Threshold } from '../tracking/comparison';

/** What the command line gives and a key=value must not. */
const GIVEN = { 'trainer.algorithm.advantage_estimator': '--estimators', 'trainer.seed': '--seeds', 'trainer.ckpt_path': '--output_dir', 'trainer.export_path': '--output_dir' };

export const compare: Command = {
  summary: 'Runs several estimators with several seeds and says how fast each learns',
  help: `Usage:
  vantage compare -c FILE --estimators grpo,rloo,my_custom [--for NAME:key=value …] [--seeds 5] [--load FILE …] [key=value …]
      Trains with each estimator and each seed, and reports after how many steps and seconds the mean of a metric reaches a
      threshold: median, least and greatest over the seeds. Leaves comparison.json, comparison.html, comparison.svg and each run's files.

Options:
  -c, --config FILE          the configuration; its trainer.stop_when is the threshold unless the next options say another one
  --estimators A,B           names of advantage estimators
  --for NAME:key=value       a key for the runs of one of these estimators only; may be given several times:
                             --for gae:trainer.critic.model={} --for gae:trainer.algorithm.lambd=0.95
  --seeds N | A,B            how many seeds (0, 1, …; 3 unless given), or which ones
  --metric NAME              reward/avg_raw_reward
  --threshold X              the value that the mean has to reach
  --window N                 over so many steps (10)
  --jobs N                   runs at the same time (1); they share the cores, so the seconds are comparable with 1 only
  --output_dir DIR           where the results go (runs/compare)
${loadHelp}

A key of the configuration has to have an effect for one of the estimators at least, a key given by --for for its own; runs of
estimators that do not read a key have its default.

A run ends once it reaches the threshold. Evaluations are off unless the metric is one (eval/…). Seconds are those of the training steps.`,

  async run(argv) {
    const options = {
      config: { type: 'string', short: 'c' },
      for: { type: 'string', multiple: true },
      ...loadOption,
      ...texts('estimators', 'seeds', 'metric', 'threshold', 'window', 'jobs', 'output_dir'),
    } as const;
    const { values, positionals } = parseCommandLine({ args: argv, options, allowPositionals: true });
    if (values.config === undefined) throw new UsageError('compare: expected -c FILE');
    const estimators = [...new Set((values.estimators ?? '').split(',').map((name) => name.trim()).filter((name) => name !== ''))];
    if (estimators.length === 0) throw new UsageError('compare: expected --estimators A,B');
    const own = ownOverrides(values.for ?? [], estimators);
    for (const override of [...positionals, ...[...own.values()].flat()]) {
      const key = keyOf(override);
      if (Object.hasOwn(GIVEN, key)) throw new UsageError(`compare: ${key} is given by ${GIVEN[key as keyof typeof GIVEN]}`);
    }
    const seeds = parseSeeds(values.seeds ?? '3');
    const jobs = number('jobs', values.jobs ?? '1', (n) => Number.isInteger(n) && n > 0, 'a positive integer');
    const window = values.window === undefined ? undefined : number('window', values.window, (n) => Number.isInteger(n) && n > 0, 'a positive integer');
    const value = values.threshold === undefined ? undefined : number('threshold', values.threshold, Number.isFinite, 'a number');
    expectConfig('compare', values.config);
    await loadModules(values.load);

    const { loadConfig } = require('../config') as typeof import('../config');
    const { validate } = require('../trainer/experiment') as typeof import('../trainer/experiment');
    const { stop_when } = loadConfig({ file: values.config, overrides: positionals }).config.trainer;
    if (stop_when === null && value === undefined) throw new UsageError('compare: expected --threshold X, or trainer.stop_when in the configuration');
    const threshold: Threshold = {
      metric: values.metric ?? stop_when?.metric ?? 'reward/avg_raw_reward',
      window: window ?? stop_when?.window ?? 10,
      value: value ?? stop_when?.value ?? NaN,
    };
    const directory = values.output_dir ?? join('runs', 'compare');
    const evaluation = threshold.metric.startsWith('eval/') ? [] : ['trainer.eval_before_train=false', 'trainer.eval_interval=-1'];
    const stopWhen = `trainer.stop_when=${JSON.stringify(threshold)}`;
    const plan = estimators.flatMap((estimator) =>
      seeds.map((seed): Planned => {
        const folder = join(directory, estimator, `seed_${seed}`);
        const given = [...evaluation, 'trainer.ckpt_interval=-1', ...positionals, ...own.get(estimator)!, 'trainer.logger=[jsonl]', stopWhen];
        const overrides = [
          ...given,
          `trainer.algorithm.advantage_estimator=${estimator}`,
          `trainer.seed=${seed}`,
          `trainer.export_path=${folder}`,
          `trainer.ckpt_path=${join(folder, 'checkpoints')}`,
          `trainer.run_name=${estimator} seed ${seed}`,
        ];
        return { estimator, seed, folder, overrides };
      })
    );
    // Every run is checked before the first one starts.
    for (const { overrides } of plan) validate(loadConfig({ file: values.config, overrides }).config);
    const { checkKeys, standardOverrides } = require('./compare_keys') as typeof import('./compare_keys');
    const given = new Map(estimators.map((name) => [name, { common: [...positionals, stopWhen, `trainer.algorithm.advantage_estimator=${name}`], own: own.get(name)! }]));
    checkKeys(values.config, given);
    const load = (values.load ?? []).flatMap((file) => ['--load', file]);
    const complete = plan.map((run) => ({ ...run, overrides: [...run.overrides, ...standardOverrides(values.config!, run.overrides)] }));
    const finished = await runAll(complete, { train: ['-c', values.config, ...load], jobs, threshold });
    conclude(finished, { estimators, seeds, threshold, directory, config: values.config });
  },
};

const texts = <const Names extends readonly string[]>(...names: Names) => Object.fromEntries(names.map((name) => [name, { type: 'string' }])) as Record<Names[number], { type: 'string' }>;

function conclude(
  finished: readonly Finished[],
  { estimators, seeds, threshold, directory, config }: { estimators: string[]; seeds: number[]; threshold: Threshold; directory: string; config: string },
): void {
  const { spreadOf, writeComparison } = require('../tracking/comparison') as typeof import('../tracking/comparison');
  const results = estimators.map((estimator) => {
    const runs = finished.filter((run) => run.estimator === estimator);
    const reached = runs.filter(({ steps }) => steps !== null);
    const of = (part: 'steps' | 'seconds') => spreadOf(reached.map((run) => run[part] as number));
    return { estimator, reached: reached.length, steps: of('steps'), seconds: of('seconds'), runs: runs.map(({ records, ...run }) => run) };
  });
  const head = ['estimator', 'reached', 'steps', 'seconds'];
  const rows = results.map(({ estimator, reached, steps, seconds, runs }) => {
    return [estimator, `${reached} of ${runs.length}`, show(steps, 0), show(seconds, 1)];
  });
  const what = `mean of ${threshold.metric} over ${threshold.window} ${threshold.window === 1 ? 'step' : 'steps'} ≥ ${threshold.value}`;
  const [page, svg] = ['comparison.html', 'comparison.svg'].map((name) => join(directory, name));
  const comparison = {
    title: estimators.join(', '),
    subtitle: `${config}, ${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'}; reached: ${what}. Median (least … greatest) of the runs that reached it.`,
    threshold,
    groups: results.map(({ estimator }) => ({ name: estimator, runs: finished.filter((run) => run.estimator === estimator).map(({ records }) => records) })),
    head,
    rows,
  };
  for (const file of [page, svg]) writeComparison(file, comparison);
  const json = join(directory, 'comparison.json');
  writeFileSync(json, `${JSON.stringify({ config, threshold, seeds, estimators: results }, null, 2)}\n`);
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  print(['', `Reached: ${what}; median (least … greatest) of the runs that reached it`].join('\n'));
  for (const row of [head, ...rows]) print(`  ${row.map((cell, i) => cell.padEnd(widths[i])).join('   ').trimEnd()}`);
  print(`pictures  ${page}, ${svg}\nfigures   ${json}\nruns      vantage report ${join(directory, '*', '*')}`);
  const failed = finished.filter(({ error }) => error !== null);
  for (const { estimator, seed, error } of failed) process.stderr.write(`vantage: ${estimator} seed ${seed}: ${error}\n`);
  if (failed.length > 0) process.exitCode = 1;
}

const show = (spread: Spread | null, digits: number): string =>
  spread === null ? '–' : `${spread.median.toFixed(Number.isInteger(spread.median) ? digits : Math.max(1, digits))} (${spread.min.toFixed(digits)} … ${spread.max.toFixed(digits)})`;

const keyOf = (override: string): string => override.split('=')[0]!.trim();

/** What `--for NAME:key=value` says, by the estimator's name. */
function ownOverrides(texts: readonly string[], estimators: readonly string[]): Map<string, string[]> {
  const own = new Map(estimators.map((name): [string, string[]] => [name, []]));
  for (const text of texts) {
    const name = estimators.find((each) => text.startsWith(`${each}:`));
    if (name === undefined) throw new UsageError(`--for: expected NAME:key=value with a name of --estimators (${estimators.join(', ')}), got '${text}'`);
    own.get(name)!.push(text.slice(name.length + 1));
  }
  return own;
}

/** `5`: 0 … 4; `1,7`: these two. */
function parseSeeds(text: string): number[] {
  const names = text.split(',').map((each) => each.trim()).filter((each) => each !== '');
  const wrong = names.find((each) => !/^\d{1,15}$/.test(each));
  if (wrong !== undefined || names.length === 0) throw new UsageError(`--seeds: expected how many, or which ones (0,1,7), got '${text}'`);
  if (text.includes(',')) return [...new Set(names.map(Number))];
  const count = number('seeds', names[0], (n) => n > 0, 'at least one seed');
  return Array.from({ length: count }, (_, seed) => seed);
}

function number(name: string, text: string, accepts: (value: number) => boolean, expected: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!accepts(value)) throw new UsageError(`--${name}: expected ${expected}, got '${text}'`);
  return value;
}
