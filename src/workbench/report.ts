/** A check as text. */
import type { CheckedProperty, CheckReport } from './check';

const marks = { passed: '✓', failed: '✗', warned: '!', noted: '·', skipped: '–' } as const;

export function checkText(report: CheckReport): string {
  const { estimator, declared, seed, runs, properties, suggestions } = report;
  const says = Object.entries(declared).map(([key, value]) => `${key} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const width = Math.max(...properties.map(({ id }) => id.length));
  const lines = [`${estimator}: ${says.join(', ')}; ${runs} batches a property, seed ${seed}`, ''];
  for (const each of properties) lines.push(`  ${marks[each.status]} ${each.id.padEnd(width)}  ${summary(each)}`);
  for (const each of properties) if (each.finding && each.status !== 'noted') lines.push('', ...details(each));
  const count = (status: CheckedProperty['status']) => properties.filter((each) => each.status === status).length;
  lines.push('', `${count('passed') + count('noted')} hold, ${count('failed')} failed, ${count('warned')} warned of, ${count('skipped')} skipped`);
  if (suggestions.length > 0) lines.push('', 'By its results the class could declare:', ...suggestions.map((text) => `  ${text}`));
  return lines.join('\n');
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
