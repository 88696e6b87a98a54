/** `npm run parity -- DIR`: our numbers beside those that other libraries gave. */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { readFixtures, type Case } from './case';
import { judge } from './compare';
import { adapterOf } from './table';

const HELP = `npm run parity -- DIR [options]

Reads every fixture (.json) under DIR: inputs, parameters, and what a library answered. Calls what computes the same here, and prints a line a file;
the last line counts the cases. A case whose function has no entry in parity/table.ts has failed.

  --dtype NAME    float64 (default): to 1e-9, or 1e-5 where the library computed in float32; float32: to 2e-5 of the largest number
  --filter TEXT   only files whose name contains TEXT
  --verbose       every case that failed, not only the first ones of a file
  --help

Exit code 1 where a case failed.`;

const SHOWN = 3;

export function main(argv: string[]): number {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { dtype: { type: 'string', default: 'float64' }, filter: { type: 'string' }, verbose: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  if (positionals.length === 0) throw new Error('expected a folder of fixtures: npm run parity -- DIR');
  const dtype = values.dtype;
  if (dtype !== 'float64' && dtype !== 'float32') throw new Error(`--dtype: expected float64 or float32, got '${dtype}'`);
  const missing = positionals.find((path) => !existsSync(path));
  if (missing !== undefined) throw new Error(`expected a folder of fixtures, got '${missing}', which does not exist`);
  const fixtures = positionals.flatMap(readFixtures).filter(({ file }) => !values.filter || file.includes(values.filter));
  if (fixtures.length === 0) throw new Error(`no fixture (.json) in ${positionals.join(', ')}${values.filter ? ` whose name contains '${values.filter}'` : ''}`);
  let [passed, failed] = [0, 0];
  for (const { file, cases } of fixtures) {
    const counts = run(file, cases, dtype, values.verbose ? Infinity : SHOWN);
    passed += counts.passed;
    failed += counts.failed;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function run(file: string, cases: Case[], dtype: 'float64' | 'float32', shown: number): { passed: number; failed: number } {
  const failures: string[] = [];
  const reasons = new Map<string, number>();
  for (const each of cases) {
    const verdict = judge(each, adapterOf(each), dtype);
    if (verdict.status === 'failed') failures.push(`  ${each.id}: ${verdict.reason}`);
    if (verdict.status === 'differs') reasons.set(verdict.reason, (reasons.get(verdict.reason) ?? 0) + 1);
  }
  const passed = cases.length - failures.length;
  console.log(`${failures.length === 0 ? 'ok    ' : 'FAILED'} ${file}: ${passed} of ${cases.length}`);
  for (const [reason, count] of reasons) console.log(`  ${count} on purpose: ${reason}`);
  for (const line of failures.slice(0, shown)) console.log(line);
  if (failures.length > shown) console.log(`  … and ${failures.length - shown} more (--verbose shows them)`);
  return { passed, failed: failures.length };
}

if (require.main === module) {
  try {
    process.exitCode = main(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 2;
  }
}
