/**
 * The project's own fixtures: drawn from a seed, answered by plain float64 loops in own/ that use nothing of src/, judged by `npm run parity`. Where the fixtures of the
 * libraries are beside the repository, the loops are held against them.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readFixtures, type Case } from '../../parity/case';
import { difference } from '../../parity/compare';
import { adapterOf, adapters } from '../../parity/table';
import { drawCases, expectedOf } from './own/own';
import { references } from './own/references';
import { writeFixtures } from './own/write';
import { run } from './run';

/** Of each function. */
const CASES = 8;
/** Single precision meets the same formulas: fewer do. */
const CASES_OF = { float64: CASES, float32: 4 };
const shared = join(__dirname, '../../../shared/fixtures');

describe('own fixtures', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-own-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  test('every entry of the table has cases of its own, and every reference an entry', () => {
    const served = new Set(references.map((each) => adapterOf(each as unknown as Case)));
    expect(adapters.filter((each) => !served.has(each)).map((each) => `${each.library} ${each.function} ${each.name ?? ''}`)).toEqual([]);
    expect(served.has(undefined)).toBe(false);
    expect(new Set(references.map(({ library, function: called, name }) => `${library} ${called} ${name}`)).size).toBe(references.length);
    const ofLibraries = new Map<string, number>();
    for (const { library } of references) ofLibraries.set(library, (ofLibraries.get(library) ?? 0) + 1);
    console.info([...ofLibraries].map(([library, functions]) => `${library}: ${functions} functions, ${functions * CASES} cases`).join('\n'));
  });

  test.each(['float64', 'float32'] as const)('all pass in %s', (dtype) => {
    const cases = CASES_OF[dtype];
    const counts = writeFixtures(folder, { cases, seed: 1 });
    expect([...counts.values()].every((count) => count === cases)).toBe(true);
    const { code, lines } = run(folder, '--dtype', dtype, '--verbose');
    expect(lines.filter((line) => line.startsWith('  ') && !line.includes('on purpose'))).toEqual([]);
    expect(lines.at(-1)).toBe(`${references.length * cases} passed, 0 failed`);
    expect(code).toBe(0);
    // Those that are not compared, as the library is mistaken, are few, and most of them among the first of a function, which have one row or one column.
    const onPurpose = lines.map((line) => Number(/^ {2}(\d+) on purpose/.exec(line)?.[1] ?? 0)).reduce((sum, count) => sum + count, 0);
    expect(onPurpose).toBeLessThan(0.04 * references.length * cases);
  }, 120_000);

  test('the same seed gives the same cases, another one others', () => {
    const [reference] = references;
    expect(drawCases(reference!, 5, 1)).toEqual(drawCases(reference!, 5, 1));
    expect(drawCases(reference!, 5, 2).map(({ inputs }) => inputs)).not.toEqual(drawCases(reference!, 5, 1).map(({ inputs }) => inputs));
  });
});

/** Where the libraries' answers are their own: what is masked or not a number. */
const apart = /areal-normalization-2[56]|skyrl-approx-kl-25|verl-agg-loss-2[567]/;

(existsSync(shared) ? describe : describe.skip)('the references against the fixtures of other libraries', () => {
  test('every row of FUNCTIONS.md has one', () => {
    const rows = readFileSync(join(shared, 'FUNCTIONS.md'), 'utf8').split('\n').filter((line) => line.startsWith('|') && !line.startsWith('|-') && !line.startsWith('| library'));
    const known = new Set(references.map(({ library, function: called, name }) => `${library}|${called}|${name}`));
    const named = rows.map((line) => line.split('|').slice(1, 4).map((cell) => cell.trim()).join('|'));
    expect(named.length).toBeGreaterThan(100);
    expect(named.filter((row) => !known.has(row))).toEqual([]);
  });

  test('they give the numbers of the libraries', () => {
    const failures: string[] = [];
    for (const each of readFixtures(shared).flatMap(({ cases }) => cases).filter(({ id }) => !apart.test(id))) {
      const reference = references.find((one) => one.library === each.library && one.function === each.function && one.name === each.name)!;
      const got = expectedOf(reference, each);
      if (each.expected.throws || got.throws) {
        if (!each.expected.throws || !got.throws) failures.push(`${each.id}: expected ${each.expected.throws ?? 'an answer'}, got ${got.throws ?? 'an answer'}`);
        continue;
      }
      const found = difference('', got, each.expected, { relative: each.precision === 'float64' ? 1e-9 : 1e-5, scale: 1 });
      if (found) failures.push(`${each.id}: ${found}`);
    }
    expect(failures).toEqual([]);
  });
});
if (!existsSync(shared)) console.warn('references: not held against the fixtures of other libraries, ../shared/fixtures is not here');
