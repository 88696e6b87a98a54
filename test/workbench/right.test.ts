/** Estimators that are right raise no alarm, and no warning. */
import { checkEstimator } from 'vantage-rl';
import { classOf } from './mistakes/mistake';
import { right } from './right';
import { allButSpeed } from './properties';

test('there are enough of them', () => expect(right.length).toBeGreaterThanOrEqual(25));

test.each(right)('$what', (planted) => {
  const { properties } = checkEstimator(classOf(planted), { runs: 3, seed: 11, only: allButSpeed, ...planted.check });
  const alarms = properties.flatMap(({ id, status, finding }) => (status === 'failed' || status === 'warned' ? [`${id}: ${finding!.cause}: ${finding!.seen}`] : []));
  expect(alarms).toEqual([]);
});
