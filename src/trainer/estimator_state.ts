/** The advantage estimator's own state in a checkpoint: which estimator it is of, and what `saveState` gave. */
import type { AdvantageEstimator, EstimatorState } from '../advantages';
import { EstimatorError, showValue } from '../errors';

/** An estimator's state in a checkpoint. */
export interface SavedEstimator {
  /** The name that the estimator is registered under. */
  name: string;
  /** What its `saveState` gave. */
  state: EstimatorState;
}

/** null: it keeps no state. @throws EstimatorError for a state that JSON would change */
export function saveEstimator(name: string, estimator: AdvantageEstimator): SavedEstimator | null {
  // A class of another copy of the package, or one without the base class, may lack the method.
  const state = (estimator as Partial<AdvantageEstimator>).saveState?.() ?? null;
  expectJson(`advantage estimator '${name}': saveState`, state);
  return state === null ? null : { name, state };
}

/**
 * Gives an estimator the state that was saved; without one it begins anew.
 *
 * @param saved as it was read from `place`
 * @throws EstimatorError that begins with `place`, for the state of another estimator, a broken one, and one that the estimator refuses
 */
export function restoreEstimator(name: string, estimator: AdvantageEstimator, saved: unknown, place: string): void {
  if (saved === null || saved === undefined) return;
  const { name: from, state } = saved as Partial<SavedEstimator>;
  if (typeof from !== 'string' || state === undefined || state === null) throw new EstimatorError(`${place}: expected {name, state} of an advantage estimator, got ${showValue(saved)}`);
  if (from !== name) throw new EstimatorError(`${place}: expected the state of advantage estimator '${name}', got that of '${from}'`);
  try {
    if (typeof (estimator as Partial<AdvantageEstimator>).restoreState !== 'function') throw new EstimatorError('it has no restoreState');
    estimator.restoreState(state);
  } catch (error) {
    throw new EstimatorError(`${place}: advantage estimator '${name}': restoreState: ${(error as Error).message}`, { cause: error });
  }
}

/** JSON turns NaN into null and leaves out what it does not know; a run that goes on from that would be another one. */
function expectJson(path: string, value: unknown): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)) return;
  if (Array.isArray(value)) return value.forEach((each, i) => expectJson(`${path}[${i}]`, each));
  const isPlain = typeof value === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null);
  if (!isPlain) throw new EstimatorError(`${path}: expected plain JSON (finite numbers, text, booleans, null, arrays, objects), got ${showValue(value)}`);
  for (const [key, each] of Object.entries(value)) expectJson(`${path}.${key}`, each);
}
