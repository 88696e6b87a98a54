/** `npm run fixtures -- DIR`: writes the project's own fixtures, a file for each function. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { drawCases, toText } from './own';
import { references } from './references';

const HELP = `npm run fixtures -- DIR [options]

Draws inputs for every function that parity speaks of, computes what the library would answer in plain float64 loops, and writes a file for each under DIR,
for \`npm run parity -- DIR\`.

  --cases N   of each function (default 24); the first three have one column, one row, and one of both
  --seed N    default 1; the same seed gives the same files
  --help`;

/** @returns the number of cases written, by (library, function, name) */
export function writeFixtures(folder: string, { cases, seed }: { cases: number; seed: number }): Map<string, number> {
  mkdirSync(folder, { recursive: true });
  const counts = new Map<string, number>();
  references.forEach((reference, index) => {
    const drawn = drawCases(reference, cases, seed);
    const { library, function: called, name } = reference;
    counts.set(`${library} ${called} (${name})`, drawn.length);
    writeFileSync(join(folder, `${library.toLowerCase().replace(/\W/g, '')}-${name}-${String(index).padStart(3, '0')}.json`), toText(drawn));
  });
  return counts;
}

function main(argv: string[]): number {
  const { values, positionals } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { cases: { type: 'string', default: '24' }, seed: { type: 'string', default: '1' }, help: { type: 'boolean', default: false } },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const [folder] = positionals;
  if (folder === undefined || positionals.length > 1) throw new Error('expected one folder to write to: npm run fixtures -- DIR');
  const numbers = { cases: Number(values.cases), seed: Number(values.seed) };
  for (const [key, value] of Object.entries(numbers)) if (!Number.isInteger(value) || value < 0) throw new Error(`--${key}: expected a whole number, got '${values[key as 'cases' | 'seed']}'`);
  const counts = writeFixtures(folder, numbers);
  console.log(`${[...counts.values()].reduce((sum, n) => sum + n, 0)} cases of ${counts.size} functions in ${folder}`);
  return 0;
}

if (require.main === module) {
  try {
    process.exitCode = main(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 2;
  }
}
