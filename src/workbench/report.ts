/** A check as text. */
import { EstimatorError, showValue } from '../errors';
import type { CheckedProperty, CheckReport } from './check';

const marks = { passed: '✓', failed: '✗', warned: '!', noted: '·', skipped: '–' } as const;

export function checkText(report: CheckReport): string {
  if (!Array.isArray((report as Partial<CheckReport> | null | undefined)?.properties)) throw new EstimatorError(`checkText: expected a report, as checkEstimator gives, got ${showValue(report)}`);
  const { estimator, declared, seed, runs, properties, suggestions } = report;
  const says = Object.entries(declared).map(([key, value]) => `${key} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const width = Math.max(...properties.map(({ id }) => id.length));
  const lines = [`${estimator}: ${says.join(', ')}; ${runs} batches a property, seed ${seed}`, ''];
  for (const run of runsOf(properties)) lines.push(run.length > 1 ? folded(run) : `  ${marks[run[0].status]} ${run[0].id.padEnd(width)}  ${summary(run[0])}`);
  for (const each of properties) if (each.finding && each.status !== 'noted') lines.push('', ...details(each));
  const { held, failed, warned, skipped } = countsOf(report);
  lines.push('', `${held} hold, ${failed} failed, ${warned} warned of, ${skipped} skipped`);
  if (suggestions.length > 0) lines.push('', 'By its results the class could declare:', ...suggestions.map((text) => `  ${text}`));
  return lines.join('\n');
}

/** Several checks, a line each: what held, what failed, and the first property that did. */
export function checkTable(reports: readonly CheckReport[]): string {
  const rows = reports.map((report): string[] => {
    const { held, failed } = countsOf(report);
    const first = report.properties.find(({ status }) => status === 'failed');
    return [report.estimator, String(held), String(failed), first ? `${first.id}: ${first.finding!.cause}` : '–'];
  });
  const all = [['estimator', 'held', 'failed', 'first failed'], ...rows];
  const widths = all[0].map((_, k) => Math.max(...all.map((row) => row[k].length)));
  return all.map((row) => `  ${row.map((cell, k) => cell.padEnd(widths[k])).join('  ').trimEnd()}`).join('\n');
}

function countsOf({ properties }: CheckReport): { held: number; failed: number; warned: number; skipped: number } {
  const count = (...of: CheckedProperty['status'][]) => properties.filter(({ status }) => of.includes(status)).length;
  return { held: count('passed', 'noted'), failed: count('failed'), warned: count('warned'), skipped: count('skipped') };
}

/** Properties one by one, and those that were skipped for one reason, one behind the other, together. */
function runsOf(properties: readonly CheckedProperty[]): CheckedProperty[][] {
  const runs: CheckedProperty[][] = [];
  for (const each of properties) {
    const last = runs.at(-1);
    if (last && each.status === 'skipped' && last[0].reason === each.reason) last.push(each);
    else runs.push([each]);
  }
  return runs;
}

/** Names that a line of several skipped properties shows. */
const SHOWN = 4;

function folded(run: readonly CheckedProperty[]): string {
  const names = run.slice(0, SHOWN).map(({ id }) => id).join(', ');
  return `  ${marks.skipped} ${run.length} skipped: ${run[0].reason} (${names}${run.length > SHOWN ? ' …' : ''})`;
}

function summary({ status, title, reason, finding }: CheckedProperty): string {
  if (status === 'skipped') return `skipped: ${reason}`;
  if (status === 'noted') return `${finding!.seen}${finding!.cause === 'slow' ? '' : ` (${finding!.usualCause})`}`;
  return finding === null ? title : `${title}: ${finding.cause}`;
}

function details({ id, status, title, tries, finding }: CheckedProperty): string[] {
  const { cause, usualCause, cure, hint, seen, rows, columns, code } = finding!;
  return [
    `${status === 'failed' ? 'FAILED' : 'WARNING'}  ${id}: ${title}`,
    `  seen         ${seen}`,
    `  usual cause  ${usualCause} [${cause}]${hint === null ? '' : `; ${hint}`}`,
    `  cure         ${cure}`,
    `  smallest     ${rows}×${columns}, at try ${tries}`,
    '',
    ...code.split('\n').map((line) => `    ${line}`.trimEnd()),
  ];
}
