/** Mistakes that people make: each is found, and its cause named. */
import { assertEstimator, checkEstimator, checkText, EstimatorError } from 'vantage-rl';
import { classOf } from './mistakes/mistake';
import { referenceMistakes, rowMistakes } from './mistakes/rows';
import { tokenMistakes } from './mistakes/tokens';

const mistakes = [...tokenMistakes, ...rowMistakes, ...referenceMistakes];

test('there are enough of them', () => expect(mistakes.length).toBeGreaterThanOrEqual(60));

test.each(mistakes)('$what: $cause', (mistake) => {
  const report = checkEstimator(classOf(mistake), { runs: 12, ...mistake.check });
  const found = report.properties.flatMap(({ finding, status }) => (finding && finding.cause !== 'slow' ? [`${status} ${finding.cause}`] : []));
  expect(found.map((each) => each.split(' ')[1])).toContain(mistake.cause);
  const { finding, status } = report.properties.find((each) => each.finding?.cause === mistake.cause)!;
  expect(report.passed).toBe(!found.some((each) => each.startsWith('failed')));
  if (status === 'failed') {
    const text = checkText(report);
    for (const part of [mistake.cause, finding!.cure, finding!.code.split('\n').at(-1)!]) expect(text).toContain(part);
  }
});

test('assertEstimator, and the option throw, throw the report', () => {
  const [mistake] = referenceMistakes;
  const options = { runs: 3, only: ['reference'], ...mistake!.check };
  expect(() => assertEstimator(classOf(mistake!), options)).toThrow(EstimatorError);
  expect(() => checkEstimator(classOf(mistake!), { ...options, throw: true })).toThrow(/it matches the reference with ddof 0/);
});
