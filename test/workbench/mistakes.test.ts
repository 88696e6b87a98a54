/** Mistakes that people make: each is found, and its cause named. */
import { assertEstimator, checkEstimator, checkText, EstimatorError } from 'vantage-rl';
import { classOf } from './mistakes/mistake';
import { referenceMistakes, rowMistakes } from './mistakes/rows';
import { tokenMistakes } from './mistakes/tokens';
import { wildCallMistakes } from './mistakes/wild_calls';
import { wildRowMistakes } from './mistakes/wild_rows';
import { wildTokenMistakes } from './mistakes/wild_tokens';

const mistakes = [...tokenMistakes, ...rowMistakes, ...referenceMistakes, ...wildTokenMistakes, ...wildRowMistakes, ...wildCallMistakes];

test('there are enough of them, and none twice', () => {
  expect(mistakes.length).toBeGreaterThanOrEqual(160);
  expect(new Set(mistakes.map(({ what }) => what)).size).toBe(mistakes.length);
});

test.each(mistakes)('$what: $cause', (mistake) => {
  const report = checkEstimator(classOf(mistake), { runs: 12, bail: true, ...mistake.check });
  const found = report.properties.flatMap(({ finding, status }) => (finding && finding.cause !== 'slow' ? [{ status, ...finding }] : []));
  expect(found.map(({ cause }) => cause)).toContain(mistake.cause);
  const { status, cure, code } = found.find(({ cause }) => cause === mistake.cause)!;
  expect(report.passed).toBe(!found.some((each) => each.status === 'failed'));
  if (status === 'noted') return;
  const text = checkText(report);
  for (const part of [mistake.cause, cure, code.split('\n').at(-1)!]) expect(text).toContain(part);
});

test('assertEstimator, and the option throw, throw the report', () => {
  const [mistake] = referenceMistakes;
  const options = { runs: 3, only: ['reference'], ...mistake!.check };
  expect(() => assertEstimator(classOf(mistake!), options)).toThrow(EstimatorError);
  expect(() => checkEstimator(classOf(mistake!), { ...options, throw: true })).toThrow(/it matches the reference with ddof 0/);
});
