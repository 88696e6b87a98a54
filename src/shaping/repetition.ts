/** Penalty for responses that repeat themselves. */
import { EstimatorError, showValue } from '../errors';
import { type Given, resolveOptions } from '../options';
import { tensor, type Tensor } from '../tensor';
import { checkNumber } from '../losses/check';

/** What {@link RepetitionPenaltyOptions} may set. */
export interface RepetitionPenaltySettings {
  /** Tokens of an n-gram. Default 3. */
  ngramSize: number;
  /** What a response approaches that is one n-gram over and over; 0 or negative. Default −1. */
  maxPenalty: number;
}

/** Options of {@link repetitionPenalty}. */
export type RepetitionPenaltyOptions = Given<RepetitionPenaltySettings>;

/**
 * maxPenalty · (1 − distinct n-grams / n-grams) of each response, float64 [B]; 0 for one that is shorter than an n-gram. Yeo et al. 2025, "Demystifying Long Chain-of-Thought
 * Reasoning in LLMs", appendix C.2.
 *
 * @param ids the token ids of each response, without padding
 * @throws EstimatorError for ids that are none and options that are unknown or out of range
 */
export function repetitionPenalty(ids: readonly (readonly number[] | Int32Array)[], options: RepetitionPenaltyOptions = {}): Tensor {
  const who = 'repetitionPenalty';
  const { ngramSize, maxPenalty } = resolveOptions<RepetitionPenaltySettings>(who, { ngramSize: 3, maxPenalty: -1 }, options);
  if (!Number.isInteger(ngramSize) || ngramSize < 1) throw new EstimatorError(`${who}: ngramSize: expected an integer, 1 or more, got ${showValue(ngramSize)}`);
  checkNumber(who, 'maxPenalty', maxPenalty, -Number.MAX_VALUE, 0);
  if (!Array.isArray(ids)) throw new EstimatorError(`${who}: ids: expected a list of token ids for each response, got ${showValue(ids)}`);
  const penalties: number[] = [];
  for (const [row, response] of ids.entries()) penalties.push(0 + maxPenalty * repeatedShare(who, response, row, ngramSize)); // 0 + −0 is 0
  return tensor(Float64Array.from(penalties));
}

function repeatedShare(who: string, response: unknown, row: number, size: number): number {
  if (!Array.isArray(response) && !(response instanceof Int32Array)) throw new EstimatorError(`${who}: ids of row ${row}: expected token ids, got ${showValue(response)}`);
  // By index: a view of detached memory has length 0, but cannot be gone through.
  for (let i = 0; i < response.length; i++) if (!Number.isInteger(response[i])) throw new EstimatorError(`${who}: ids of row ${row}: expected token ids, got ${showValue(response[i])}`);
  const total = response.length - size + 1;
  if (total < 1) return 0;
  const seen = new Set<string>();
  for (let start = 0; start < total; start++) seen.add(response.slice(start, start + size).join(','));
  return 1 - seen.size / total;
}
