import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkFields, checkList, checkNumber, checkPath, checkText, isObject } from '../data/check';
import { DataError, showValue } from '../errors';
import { makeFolder } from '../folders';
import { chart, type ChartData, meanLine } from './chart';
import { formatDuration } from './format';
import { isSample, type MetricsRecord } from './jsonl_tracker';
import { type Cell, colourOf, describe, escape, legend, page, table } from './page';
import { type Curve, trailingMean } from './plot';
import { samplesSection } from './report_samples';
import { groupBy, type RunData } from './run_data';

/** What {@link reportPage} draws. */
export interface ReportOptions {
  /** The page's heading. */
  title: string;
  /** A line under the title: what was run, and how it ended. */
  subtitle?: string;
  /** The runs, drawn over each other. */
  runs: readonly RunData[];
  /** A line drawn across the large chart: the reward at which a run counts as solved. */
  target?: number;
  /** How many steps the smooth lines and the final numbers average over (10). */
  window?: number;
}

interface PanelStyle {
  title: string;
  /** The axis spans all of 0 … 1 where the values lie in it. */
  unit?: boolean;
  /** Drawn as it is: each value is a mean over many samples already, and they stand far apart. */
  exact?: boolean;
}

const REWARD = 'reward/avg_raw_reward';
const SCORE = 'eval/all/avg_score';

/** The metrics that stand first; all others are below, by the group that their name begins with. */
const FIRST = new Map<string, PanelStyle>([
  [REWARD, { title: 'Reward', unit: true }],
  ['policy/final_loss', { title: 'Loss' }],
  ['policy/policy_entropy', { title: 'Entropy' }],
  ['policy/policy_kl', { title: 'KL divergence' }],
  ['policy/response_length', { title: 'Response length' }],
  ['policy/grad_norm', { title: 'Gradient norm' }],
  [SCORE, { title: 'Evaluation score', unit: true, exact: true }],
]);

const WINDOW = 10;

const isValue = (value: unknown): boolean => value === null || value === undefined || typeof value === 'number';

/** @throws DataError unless they are records: numbers by name, `step` among them */
function checkRecords(who: string, records: unknown): void {
  const isRecord = (record: unknown) => isObject(record) && typeof (record as MetricsRecord).step === 'number' && Object.values(record as object).every(isValue);
  checkList(who, 'records', records, 'an array of records: numbers by name, and their step', isRecord);
}

function checkedReport(options: unknown): ReportOptions {
  const who = 'reportPage';
  checkFields(who, 'options', options, '{ title, subtitle, runs, target, window }');
  const { title, subtitle, runs, target, window = WINDOW } = options as ReportOptions;
  checkText(who, 'title', title);
  if (subtitle !== undefined) checkText(who, 'subtitle', subtitle);
  if (target !== undefined) checkNumber(who, 'target', target);
  if (!Number.isInteger(window) || window < 1) throw new DataError(`${who}: window: expected a positive integer, got ${showValue(window)}`);
  checkList(who, 'runs', runs, 'an array of at least one run { name, records, samples, config }', isObject);
  if (runs.length === 0) throw new DataError(`${who}: runs: expected at least one run, got none`);
  for (const { name, records, samples, config } of runs) {
    checkText(who, 'the name of a run', name);
    checkRecords(who, records);
    checkList(who, `the samples of '${name}'`, samples, 'an array of samples (step, group, prompt, tokens, ids, advantages, reward, length)', isSample);
    checkFields(who, `the config of '${name}'`, config);
  }
  return { title, subtitle, runs, target, window };
}

/** The values of a metric over a run. Records of the same step are merged, the later value stays; what is not finite is a gap. */
export function curveOf(records: readonly MetricsRecord[], name: string): Curve {
  checkRecords('curveOf', records);
  checkText('curveOf', 'the name of a metric', name);
  const byStep = new Map<number, number>();
  for (const record of records) if (record[name] !== undefined) byStep.set(record.step, record[name] ?? NaN);
  const steps = [...byStep.keys()].sort((a, b) => a - b);
  return { steps, values: steps.map((step) => byStep.get(step) as number) };
}

/**
 * Writes one self-contained HTML page (inline SVG, style and script; nothing is fetched): the curves of one or several runs over each other,
 * raw and smoothed, the reward large, then the other metrics by group; sampled responses with each token coloured by its advantage; the
 * configuration, with what differs between the runs. It follows the reader's light or dark setting.
 * @param file the page; its folder is created
 */
export function writeReport(file: string, options: ReportOptions): void {
  checkPath('writeReport', file);
  const page = reportPage(options);
  makeFolder(dirname(file));
  writeFileSync(file, page);
}

/** The page that `writeReport` writes. */
export function reportPage(options: ReportOptions): string {
  const { title, subtitle, runs, target, window = WINDOW } = checkedReport(options);
  const names = runs.map(({ name }) => name);
  const { html, charts } = curves(runs, { target, window });
  const samples = runs.map((run, i) => samplesSection(run, colourOf(i), runs.length > 1)).filter((section) => section !== '');
  const body = [
    runs.length > 1 ? legend(names) : '',
    runs.length === 1 ? figures(runs[0], window) : outcomes(runs, window),
    html,
    samples.length > 0 ? `<section class="block"><h2>Samples</h2>${samples.join('\n')}</section>` : '',
    configuration(runs),
  ];
  return page({ kind: 'report', title, subtitle, names, body: body.join('\n'), charts });
}

/** All charts, and what the script needs of them, in the same order. */
function curves(runs: readonly RunData[], { target, window }: { target?: number; window: number }): { html: string; charts: ChartData[] } {
  // Step 0 is the evaluation before training: it would begin the axis of all others at a place where they have nothing.
  const trained = runs.map(({ records }) => records.filter(({ step }) => step > 0));
  const metrics = new Set(trained.flat().flatMap((record) => Object.keys(record)));
  metrics.delete('step');
  metrics.delete('trainer/global_step');
  metrics.add(REWARD);
  const steps = [...new Set(trained.flat().map(({ step }) => step))].sort((a, b) => a - b);
  const charts: ChartData[] = [];
  const draw = (name: string, title: string, style: Omit<PanelStyle, 'title'>, main = false): string => {
    const lines = trained
      .map((records, run) => meanLine(run, curveOf(records, name), style.exact ? 1 : window))
      .filter(({ curve }) => main || curve.steps.length > 0);
    if (lines.length === 0) return '';
    const { html, data } = chart({
      title,
      lines,
      steps,
      main,
      unit: style.unit,
      target: main ? target : undefined,
    });
    charts.push(data);
    return html;
  };
  const first = [...FIRST].filter(([name]) => metrics.has(name)).map(([name, style]) => draw(name, style.title, style, name === REWARD));
  const rest = [...metrics].filter((name) => !FIRST.has(name)).sort();
  const groups = groupBy(rest, (name) => name.split('/')[0]);
  const blocks = [...groups].map(([group, members]) => {
    const panels = members.map((name) => draw(name, name.slice(group.length + 1) || name, { exact: group === 'eval' })).filter((html) => html !== '');
    if (panels.length === 0) return '';
    return `<details><summary>${escape(group)}<small>${panels.length}</small></summary><div class="grid">${panels.join('\n')}</div></details>`;
  });
  const [main, ...small] = first;
  const html = `${main}\n<div class="grid">${small.join('\n')}</div>\n<div class="groups">${blocks.join('\n')}</div>`;
  return { html, charts };
}

/** How a run went: what one wants to know first. */
function outcome({ records }: RunData, window: number) {
  const reward = curveOf(records.filter(({ step }) => step > 0), REWARD);
  const means = trailingMean(reward.values, window);
  const full = means.slice(Math.min(window, means.length) - 1).filter(Number.isFinite);
  const seconds = curveOf(records, 'timing/step').values.filter(Number.isFinite);
  return {
    last: means.at(-1) ?? NaN,
    best: full.reduce((best, value) => Math.max(best, value), full[0] ?? NaN),
    first: reward.values.find(Number.isFinite) ?? NaN,
    steps: reward.steps.length,
    count: Math.min(window, reward.steps.length),
    score: curveOf(records, SCORE).values.at(-1),
    seconds: seconds.length > 0 ? seconds.reduce((sum, value) => sum + value, 0) : null,
  };
}

function figures(run: RunData, window: number): string {
  const { last, best, first, steps, count } = outcome(run, window);
  const rows = [
    [describe(last), count > 1 ? `mean reward of the last ${count} steps` : 'reward of the last step'],
    [describe(best), count > 1 ? `best mean of ${count}` : 'best'],
    [describe(first), 'at the first step'],
    [String(steps), steps === 1 ? 'step' : 'steps'],
  ];
  return `<dl class="figures">${rows.map(([value, label]) => `<div><dt>${label}</dt><dd>${value}</dd></div>`).join('')}</dl>`;
}

/** One row a run: the mean reward of the last steps, the best such mean, the last evaluation, the steps, and the time in them. */
function outcomes(runs: readonly RunData[], window: number): string {
  const rows = runs.map((run) => {
    const { last, best, steps, score, seconds } = outcome(run, window);
    return [run.name, describe(last), describe(best), describe(score), String(steps), seconds === null ? '–' : formatDuration(seconds)];
  });
  return table(['run', `reward, last ${window}`, `best ${window}`, 'evaluation', 'steps', 'time'], rows);
}

function wholeText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    // Bigints and cycles.
    return showValue(value);
  }
}

/** `{ trainer: { seed: 3 } }` as `trainer.seed` → `3`. */
function flatten(value: unknown, key = '', into = new Map<string, string>()): Map<string, string> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [name, inner] of Object.entries(value)) flatten(inner, key === '' ? name : `${key}.${name}`, into);
  } else {
    into.set(key, typeof value === 'string' ? value : wholeText(value));
  }
  return into;
}

/** The settings that all runs share as a list, those in which they differ as a table before it; there, what is not as in the first run is marked. */
function configuration(runs: readonly RunData[]): string {
  const settings = runs.map(({ config }) => flatten(config));
  const keys = [...new Set(settings.flatMap((each) => [...each.keys()]))];
  if (keys.length === 0) return '';
  const differs = (key: string) => settings.some((each) => each.get(key) !== settings[0].get(key));
  const rows = keys.filter(differs).map((key) => {
    const cells: Cell[] = settings.map((each) => ({ text: each.get(key) ?? '–', mark: each.get(key) !== settings[0].get(key) }));
    return [key, ...cells];
  });
  const shared = keys.filter((key) => !differs(key)).map((key) => `<div><dt>${escape(key)}</dt><dd>${escape(settings[0].get(key) ?? '')}</dd></div>`);
  const differences = rows.length > 0 ? `${table(['differs between the runs', ...runs.map(({ name }) => name)], rows, 'code')}` : '';
  return `<section class="block configuration"><h2>Configuration</h2>${differences}<dl>${shared.join('')}</dl></section>`;
}
