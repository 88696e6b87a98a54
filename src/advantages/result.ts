/** What an estimator returned: checked, evaluated, and blamed on the input that it comes from where it is not finite. */
import { EstimatorError, showValue } from '../errors';
import { checkObject } from '../options';
import { evaluate, Tensor, where } from '../tensor';
import { isFloating } from '../tensor/dtype';
import { DISPOSED } from '../tensor/handle';
import { formatShape, placeIn, sameShape } from '../tensor/shape';
import type { AdvantageContext, AdvantageResult } from './estimator';

/** What `computeAdvantages` gives. */
export interface Advantages {
  /** [batch, time], or [tokens] of packed rows; 0 at masked positions. */
  advantages: Tensor;
  /** Of the same shape, 0 at masked positions. */
  returns: Tensor;
  /** What the estimator reported, as plain numbers. */
  metrics: Record<string, number>;
}

const resultNames = ['advantages', 'returns', 'metrics', 'finiteIf'];

/** Checks what an estimator returned, evaluates it, and leaves 0 at masked positions. @throws EstimatorError for what is no result, and for numbers that are not finite */
export function checkedResult(
  who: string,
  result: unknown,
  valid: Tensor,
  given: () => Record<string, Counted>,
  { leavesZeros, remask }: { leavesZeros: boolean; remask: boolean | 'advantages' },
): Advantages {
  if (typeof (result as { then?: unknown } | null)?.then === 'function') {
    throw new EstimatorError(`${who}: expected computeAdvantages to return advantages at once, got a Promise (is it async?)`);
  }
  const parts = (result instanceof Tensor ? { advantages: result } : result) as AdvantageResult | null | undefined;
  if (typeof parts !== 'object' || parts === null || !(parts.advantages instanceof Tensor)) {
    throw new EstimatorError(`${who}: expected computeAdvantages to return a Tensor or {advantages, returns?, metrics?}, got ${showValue(result)}`);
  }
  const stray = result instanceof Tensor ? undefined : Object.keys(parts).find((key) => !resultNames.includes(key));
  if (stray !== undefined) throw new EstimatorError(`${who}: expected {advantages, returns?, metrics?, finiteIf?} from computeAdvantages, got '${stray}' in it`);
  const witness: unknown = parts.finiteIf;
  if (witness instanceof Tensor) expectThere(who, 'finiteIf', witness);
  if (witness !== undefined && !(witness instanceof Tensor && isFloating(witness.dtype) && (witness.size > 0 || valid.size === 0))) {
    throw new EstimatorError(`${who}: expected finiteIf to be a floating Tensor that holds something, got ${showValue(witness)}`);
  }
  if (valid.isDisposed) throw new EstimatorError(`${who}: computeAdvantages disposed of masks, which are not its own`);
  if (parts.metrics instanceof Tensor) throw new EstimatorError(`${who}: expected metrics by name, got a Tensor`);
  checkObject(who, 'metric', parts.metrics ?? {});
  const clean = (label: string, array: unknown): { array: Tensor; kept: Tensor } => {
    if (!(array instanceof Tensor)) throw new EstimatorError(`${who}: expected ${label} to be a Tensor, got ${showValue(array)}`);
    expectThere(who, label, array);
    if (!sameShape(array.shape, valid.shape)) throw new EstimatorError(`${who}: expected ${label} of shape ${formatShape(valid.shape)}, got ${formatShape(array.shape)}`);
    if (!isFloating(array.dtype)) throw new EstimatorError(`${who}: expected ${label} of a floating dtype, got ${array.dtype}`);
    const kept = leavesZeros ? array : where(valid, array, 0);
    return { array: remask === true || (remask === 'advantages' && label === 'advantages') ? kept : array, kept };
  };
  const advantages = clean('advantages', parts.advantages);
  const separate = parts.returns !== undefined && parts.returns !== parts.advantages;
  const returns = separate ? clean('returns', parts.returns) : advantages;
  const reported = Object.entries(parts.metrics ?? {});
  const tensors = reported.filter((entry): entry is [string, Tensor] => entry[1] instanceof Tensor);
  for (const [key, value] of tensors) expectThere(who, `metric '${key}'`, value);
  // 0·x is 0 for a finite x, else NaN: its sum, which is taken while x is at hand, tells whether there is anything to look for.
  const watched = parts.finiteIf ? [parts.finiteIf] : separate ? [advantages.kept, returns.kept] : [advantages.kept];
  const checks = watched.map((x) => x.mul(0).sum());
  evaluate([advantages.array, returns.array, ...checks, ...tensors.map(([, value]) => value)]);
  if (checks.some((check) => check.item() !== 0)) {
    expectFinite(who, 'advantages', advantages.array, valid, given);
    expectFinite(who, 'returns', returns.array, valid, given);
  }
  const metrics: Record<string, number> = {};
  for (const [key, value] of reported) {
    if (value instanceof Tensor && value.size !== 1) throw new EstimatorError(`${who}: expected metric '${key}' to be a scalar, got shape ${formatShape(value.shape)}`);
    const number: unknown = value instanceof Tensor ? value.item() : value;
    if (typeof number !== 'number') throw new EstimatorError(`${who}: expected metric '${key}' to be a number or a scalar Tensor, got ${showValue(value)}`);
    metrics[key] = number;
  }
  return { advantages: advantages.array, returns: returns.array, metrics };
}

function expectThere(who: string, label: string, { isDisposed }: Tensor): void {
  if (isDisposed) throw new EstimatorError(`${who}: ${label}: ${DISPOSED}`);
}

/** Looks for what is not finite on valid tokens, and blames the inputs before the estimator. */
function expectFinite(who: string, label: string, array: Tensor, valid: Tensor, given: () => Record<string, Counted>): void {
  const found = notFinite(array, valid);
  if (!found) return;
  for (const [name, [input, counted]] of Object.entries(given())) {
    const cause = input && notFinite(input, counted);
    if (!cause) continue;
    const hint = name === 'rewards' && Number.isNaN(cause.value) ? '; a row whose reward is NaN is left out with skipNaN, where the estimator has it' : '';
    throw new EstimatorError(
      `${who}: ${name}: expected finite numbers${
        counted ? ' on valid tokens' : ''
      }, got ${cause.value} at ${cause.place}, and ${cause.count} such in all (${label}: ${found.value} at ${found.place}${hint})`,
    );
  }
  throw new EstimatorError(`${who}: expected finite ${label} on valid tokens, got ${found.value} at ${found.place}, and ${found.count} such in all${suspect(given())}`);
}

/** What may be behind it, where no input is at fault by itself: an option may let the estimator look at masked positions, or take a component that is not there for a number. */
function suspect(inputs: Record<string, Counted>): string {
  for (const [name, [input, counted, withNaN]] of Object.entries(inputs)) {
    const masked = input && counted && notFinite(input, null);
    if (masked) return `. ${name} holds ${masked.value} at ${masked.place}, which is masked: options, such as holes and remask, or a convention may let the estimator look there`;
    const missing = withNaN && notFinite(withNaN, null);
    if (missing) return `. ${name} holds ${missing.value} at ${missing.place}; what is NaN there is left out with skipNaN, where the estimator has it`;
  }
  return '';
}

/** An input, where it counts (null: everywhere), and, where some of its NaN are no mistake, with them. */
type Counted = readonly [array: Tensor | null, where: Tensor | null, withNaN?: Tensor | null];

/** The inputs that an estimator computes with, and that say something by being finite: a divergence or a component that is NaN is one that is not there. */
export function finiteInputs(context: AdvantageContext, masks: Tensor): Record<string, Counted> {
  const ofTokens = ['oldLogProbs', 'refLogProbs', 'rolloutLogProbs', 'sumSquaredProbs', 'teacherLogProbs', 'importanceWeights'] as const;
  const { bootstrapValues, baselines, rewardComponents } = context;
  return {
    ...Object.fromEntries(ofTokens.map((name): [string, Counted] => [name, [context[name], masks]])),
    bootstrapValues: [bootstrapValues, bootstrapValues?.ndim === 2 ? masks : null],
    baselines: [baselines, null],
    rewardComponents: [rewardComponents && where(rewardComponents.isNaN(), 0, rewardComponents), null, rewardComponents],
  };
}

/** The first number that is not finite, where it stands, and how many there are; null where there is none. */
function notFinite(array: Tensor, valid: Tensor | null): { value: number; place: string; count: number } | null {
  const values = (valid ? where(valid, array, 0) : array).dataSync();
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return null;
  const count = Array.from(values).filter((value) => !Number.isFinite(value)).length;
  return { value: values[at]!, place: placeIn(array.shape, at), count };
}
