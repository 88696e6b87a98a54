/** Mistakes that people make: each is found, and its cause named. */
import { assertEstimator, checkEstimator, checkText, EstimatorError } from 'vantage-rl';
import { classOf, type Mistake } from './mistakes/mistake';
import { referenceMistakes, rowMistakes } from './mistakes/rows';
import { tokenMistakes } from './mistakes/tokens';
import { wildCallMistakes } from './mistakes/wild_calls';
import { wildRowMistakes } from './mistakes/wild_rows';
import { wildTokenMistakes } from './mistakes/wild_tokens';
import { allButSpeed } from './properties';

const mistakes = [...tokenMistakes, ...rowMistakes, ...referenceMistakes, ...wildTokenMistakes, ...wildRowMistakes, ...wildCallMistakes];

test('there are enough of them, and none twice', () => {
  expect(mistakes.length).toBeGreaterThanOrEqual(160);
  expect(new Set(mistakes.map(({ what }) => what)).size).toBe(mistakes.length);
});

function findingsOf(mistake: Mistake, runs: number) {
  const report = checkEstimator(classOf(mistake), { runs, bail: true, shrink: false, only: mistake.check?.reference ? ['reference'] : allButSpeed, ...mistake.check });
  return { report, found: report.properties.flatMap(({ finding, status }) => (finding ? [{ status, ...finding }] : [])) };
}

test.each(mistakes)('$what: $cause', (mistake) => {
  // Most show on the first batches, which are small.
  const quick = findingsOf(mistake, 4);
  const { report, found } = quick.found.some(({ cause }) => cause === mistake.cause) ? quick : findingsOf(mistake, 12);
  expect(found.map(({ cause }) => cause)).toContain(mistake.cause);
  const { status, cure, code } = found.find(({ cause }) => cause === mistake.cause)!;
  expect(report.passed).toBe(!found.some((each) => each.status === 'failed'));
  if (status === 'noted') return;
  const text = checkText(report);
  for (const part of [mistake.cause, cure, code.split('\n').at(-1)!]) expect(text).toContain(part);
});

test('assertEstimator, and the option throw, throw the report', () => {
  const [mistake] = referenceMistakes;
  const options = { runs: 12, only: ['reference'], ...mistake!.check };
  expect(() => assertEstimator(classOf(mistake!), options)).toThrow(EstimatorError);
  expect(() => checkEstimator(classOf(mistake!), { ...options, throw: true })).toThrow(/it matches the reference with ddof 0/);
});
