/** Penalties for responses that are too long or do not come to an end. */
import { EstimatorError } from '../errors';
import { type Given, required, resolveOptions } from '../options';
import { Tensor, where } from '../tensor';
import { checkNumber } from '../losses/check';
import { oneARow, type RowNumbers } from './rows';

/** What {@link OverlongPenaltyOptions} may set. */
export interface OverlongPenaltySettings {
  /** The length that a response should not reach; above 0. */
  maxLength: number;
  /** How many tokens before it the penalty begins; 0: only beyond it, at once. */
  bufferLength: number;
  /** The penalty at `maxLength`. Default 1. */
  factor: number;
  /** Beyond `maxLength` the penalty stays what it is; else it goes on growing. Default true. */
  capped: boolean;
}

/** Options of {@link overlongPenalty}. */
export type OverlongPenaltyOptions = Given<OverlongPenaltySettings>;

const growing = { capped: false } as const;

/**
 * DAPO's soft overlong punishment of each response, [B], 0 or negative:
 *
 *     −factor · clip((length − (maxLength − bufferLength)) / bufferLength, 0, 1)
 *
 * Yu et al. 2025, "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", eq. 13. With `capped: false` (verl, NeMo-RL, AReaL) nothing stops it from growing. Without a
 * buffer a response longer than `maxLength` gets −factor.
 *
 * @param lengths tokens of each response, [B]
 * @throws EstimatorError for lengths that are none and options that are unknown or out of range
 */
export function overlongPenalty(lengths: RowNumbers, options: OverlongPenaltyOptions): Tensor {
  const who = 'overlongPenalty';
  const defaults: OverlongPenaltySettings = { maxLength: required, bufferLength: required, factor: 1, capped: true };
  const { maxLength, bufferLength, factor, capped } = resolveOptions(who, defaults, options, { presets: { verl: growing, nemo: growing, areal: growing } });
  checkNumber(who, 'maxLength', maxLength, 0);
  checkNumber(who, 'bufferLength', bufferLength, 0, maxLength);
  checkNumber(who, 'factor', factor, -Number.MAX_VALUE);
  const tokens = oneARow(who, 'lengths', lengths, 'float64');
  const wrong = tokens.dataSync().findIndex((length) => !(length >= 0 && length < Infinity));
  if (wrong >= 0) throw new EstimatorError(`${who}: lengths: expected finite numbers, 0 or more, got ${tokens.dataSync()[wrong]} in row ${wrong}`);
  if (bufferLength === 0) return withoutNegativeZero(tokens.greater(maxLength).cast(tokens.dtype).mul(-factor));
  const over = tokens.sub(maxLength - bufferLength).maximum(0);
  const counted = capped ? over.minimum(bufferLength) : over;
  return withoutNegativeZero(counted.div(-bufferLength).mul(factor));
}

const withoutNegativeZero = (x: Tensor): Tensor => where(x.equal(0), 0, x);

/**
 * Rewards [B] of responses that were cut off (no end-of-sequence token within the length): times `coefficient` in [0, 1]; a negative coefficient takes their place. Hu et
 * al. 2025, "ProRL V2: Prolonged Training Validates RL Scaling Laws", scales; a fixed reward for a missing end is that of Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO".
 *
 * @param truncated [B], not 0 where a response was cut off
 * @throws EstimatorError for shapes that differ, a coefficient above 1, and with convention `nemo` a negative one
 */
export function stopProperlyPenalty(rewards: RowNumbers, truncated: RowNumbers, options: Given<{ coefficient: number; allowNegative: boolean }>): Tensor {
  const who = 'stopProperlyPenalty';
  const { coefficient, allowNegative } = resolveOptions(who, { coefficient: required, allowNegative: true }, options, { presets: { nemo: { allowNegative: false } } });
  checkNumber(who, 'coefficient', coefficient, allowNegative ? -Number.MAX_VALUE : 0, 1);
  const scores = oneARow(who, 'rewards', rewards);
  return where(flags(who, 'truncated', truncated, scores), coefficient < 0 ? coefficient : scores.mul(coefficient), scores);
}

/**
 * Rewards [B] less `penalty` for responses that hold no end-of-sequence token; with `replace` such a response gets −penalty whatever its reward was.
 * Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO".
 *
 * @param ended [B], not 0 where a response holds its end
 * @throws EstimatorError for shapes that differ and options that are unknown or out of range
 */
export function missingEosPenalty(rewards: RowNumbers, ended: RowNumbers, options: Given<{ penalty: number; replace: boolean }>): Tensor {
  const who = 'missingEosPenalty';
  const { penalty, replace } = resolveOptions(who, { penalty: required, replace: false }, options);
  checkNumber(who, 'penalty', penalty, 0);
  const scores = oneARow(who, 'rewards', rewards);
  return where(flags(who, 'ended', ended, scores), scores, replace ? -penalty : scores.sub(penalty));
}

function flags(who: string, name: string, values: RowNumbers, like: Tensor): Tensor {
  const found = oneARow(who, name, values);
  if (found.shape[0] !== like.shape[0]) throw new EstimatorError(`${who}: ${name}: expected ${like.shape[0]} flags, one a row, got ${found.shape[0]}`);
  return found.notEqual(0);
}
