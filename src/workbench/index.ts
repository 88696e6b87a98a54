/** The workbench: whether an estimator is right. It is loaded when it is called: most programs that import the package never do. */
import type { AdvantageEstimatorClass } from '../advantages';
import type { CheckOptions, CheckReport } from './check';

const check = () => require('./check') as typeof import('./check');
const report = () => require('./report') as typeof import('./report');

/**
 * Tries an estimator on drawn batches: shapes, masked positions, padding, holes, order and groups of rows, awkward batches, precision, state, memory, time. It is judged against what its class declares
 * (`static requires`, `static declares`); what is not declared is not held against it.
 *
 * @param estimator a registered name, or a class
 * @returns the report; with `throw`, an EstimatorError in place of one that has failures
 * @throws EstimatorError for options that are none, and for what is no estimator
 * @example
 * const { passed } = checkEstimator('grpo', { runs: 10 });
 */
export function checkEstimator(estimator: string | AdvantageEstimatorClass, options?: CheckOptions): CheckReport {
  return check().checkEstimator(estimator, options);
}

/**
 * {@link checkEstimator} that throws where a property does not hold: for tests.
 * @throws EstimatorError whose message is the report
 */
export function assertEstimator(estimator: string | AdvantageEstimatorClass, options?: Omit<CheckOptions, 'throw'>): CheckReport {
  return check().assertEstimator(estimator, options);
}

/** The properties that there are, with what each says. */
export function listCheckProperties(): { id: string; title: string }[] {
  return check().listCheckProperties();
}

/** The report as text for a terminal, or for the message of an error: what was tried, what failed, the smallest batch as code, the usual cause, the cure. */
export function checkText(checked: CheckReport): string {
  return report().checkText(checked);
}

export type { CauseId } from './causes';
export type { CheckedProperty, CheckFinding, CheckOptions, CheckReport } from './check';
export type { EstimatorReference, ReferenceBatch } from './properties/reference';
