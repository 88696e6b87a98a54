/** The checks of an estimator's own options. */
import { EstimatorError, showValue } from '../errors';

/**
 * Refuses a value that is not of the kind of the default. A default of null also takes a number, one that is an array takes an array of numbers.
 *
 * @param label names the estimator and the option
 * @param choices the values there are, where they are few
 */
export function checkOption(label: string, value: unknown, standard: unknown, choices?: readonly unknown[]): void {
  const fail = (expected: string): never => {
    throw new EstimatorError(`${label}: expected ${expected}, got ${showValue(value)}`);
  };
  if (choices) {
    if (!choices.includes(value)) fail(listed(choices));
  } else if (standard === null) {
    if (value !== null && !isNumber(value)) fail('a number or null');
  } else if (Array.isArray(standard)) {
    if (!Array.isArray(value) || !value.every(isNumber)) fail('an array of numbers');
  } else if (typeof standard === 'number') {
    if (!isNumber(value)) fail('a number');
  } else if (typeof value !== typeof standard) fail(`a ${typeof standard}`);
}

const isNumber = (value: unknown): boolean => typeof value === 'number' && !Number.isNaN(value);

function listed(choices: readonly unknown[]): string {
  const shown = choices.map(showValue);
  return shown.length === 1 ? shown[0]! : `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`;
}
