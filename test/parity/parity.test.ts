/** The program that compares with other libraries: what it counts, and what it says; and all fixtures beside the repository, where they are. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './run';

const beside = join(__dirname, '../../../shared/fixtures');

const rloo = {
  id: 'one',
  kind: 'advantage',
  name: 'rloo',
  library: 'SkyRL',
  function: 'compute_rloo_outcome_advantage',
  precision: 'float64',
  params: {},
  inputs: { rewards: [[0, 6], [0, 3], [1, 0]], mask: [[1, 1], [1, 1], [1, 0]], group_ids: ['a', 'a', 'b'] },
  expected: { advantages: [[3, 3], [-3, -3], [0, 0]], returns: [[3, 3], [-3, -3], [0, 0]] },
};

describe('parity', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-parity-'))));
  afterEach(() => rmSync(folder, { recursive: true }));
  const put = (file: string, cases: unknown) => writeFileSync(join(folder, file), typeof cases === 'string' ? cases : JSON.stringify(cases));

  test('a line a file, the counts last', () => {
    put('a.json', [rloo, { ...rloo, id: 'two' }]);
    expect(run(folder)).toEqual({ code: 0, lines: ['ok     a.json: 2 of 2', '2 passed, 0 failed'] });
    expect(run(folder, '--dtype', 'float32').code).toBe(0);
  });

  test('a number that is off by more than the tolerance has failed, and is shown', () => {
    put('a.json', [rloo, { ...rloo, id: 'off', expected: { ...rloo.expected, returns: [[3, 3 + 1e-8], [-3, -3], [0, 0]] } }]);
    const { code, lines } = run(folder);
    expect(code).toBe(1);
    expect(lines[0]).toBe('FAILED a.json: 1 of 2');
    expect(lines[1]).toMatch(/^ {2}off: returns\[0\]\[1\]: expected 3\.00000001, got 3$/);
    expect(lines.at(-1)).toBe('1 passed, 1 failed');
    expect(run(folder, '--dtype', 'float32').code).toBe(0);
  });

  test('a function without an entry, an output that nothing answers, and an error that does not come have failed', () => {
    put('a.json', [
      { ...rloo, id: 'unknown', function: 'compute_nothing' },
      { ...rloo, id: 'more', expected: { ...rloo.expected, surprise: 1 } },
      { ...rloo, id: 'calm', expected: { throws: 'ValueError: no' } },
      { ...rloo, id: 'short', inputs: { ...rloo.inputs, mask: [[1]] } },
    ]);
    const { code, lines } = run(folder, '--verbose');
    expect(code).toBe(1);
    expect(lines.slice(1, -1).map((line) => line.trim().slice(0, 40))).toEqual([
      'unknown: no entry for SkyRL compute_noth',
      "more: nothing answers to 'surprise'",
      'calm: expected an error (ValueError: no)',
      "short: advantage estimator 'rloo': expec",
    ]);
    expect(lines.at(-1)).toBe('0 passed, 4 failed');
  });

  test('errors that help', () => {
    expect(() => run()).toThrow('expected a folder of fixtures');
    expect(() => run(join(folder, 'none'))).toThrow('which does not exist');
    expect(() => run(folder)).toThrow('no fixture (.json)');
    put('a.json', '{');
    expect(() => run(folder)).toThrow(/a\.json: expected a JSON array of cases/);
    put('a.json', [{ id: 'x' }]);
    expect(() => run(folder)).toThrow("case 0: expected the field 'library'");
    expect(() => run(folder, '--dtype', 'int32')).toThrow("--dtype: expected float64 or float32, got 'int32'");
  });
});

(existsSync(beside) ? describe : describe.skip)('fixtures of other libraries', () => {
  test.each(['float64', 'float32'])('all that are mapped, in %s', (dtype) => {
    const { lines } = run(beside, '--dtype', dtype, '--verbose');
    expect(lines.filter((line) => line.startsWith('  ') && !line.includes('no entry for') && !line.includes('on purpose'))).toEqual([]);
  });
});
if (!existsSync(beside)) console.warn('fixtures of other libraries: skipped, ../shared/fixtures is not here');
