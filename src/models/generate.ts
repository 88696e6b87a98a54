/** Sampling of responses: prefill, then one token a step with a key-value cache. */
import { TensorError } from '../errors';
import { evaluate, sampleTokens, tensor, tidy, type RandomKey, type Tensor } from '../tensor';
import { checkKey } from '../tensor/random';
import { checkOptions, describe } from '../tensor/shape';
import { KeyValueCache, repeatRows } from './cache';
import { checkCount, checkPromptLists } from './check';
import { Transformer } from './transformer';

const optionNames = ['maxLength', 'temperature', 'topP', 'topK', 'minP', 'eosId', 'isComplete', 'padId', 'key', 'samplesPerPrompt'] as const;

/** Options of {@link generate}. */
export interface GenerateOptions {
  /** The most tokens of a response, the end of text included. */
  maxLength: number;
  /** Divides the logits; 0 takes the likeliest token. Default 1. */
  temperature?: number;
  /** Keeps the fewest tokens whose probabilities reach this sum. Default 1: all. */
  topP?: number;
  /** Keeps the likeliest tokens, this many; ≤ 0: all. Default −1. */
  topK?: number;
  /** Drops tokens below this share of the likeliest one's probability. Default 0: none. */
  minP?: number;
  /** The token that ends a response, beside those of the model's `endIds`. */
  eosId: number;
  /** Asked after each token of a response that is still open: true ends it there. */
  isComplete?: (response: readonly number[]) => boolean;
  /** What stands in padded columns. */
  padId: number;
  /** The same key gives the same responses. */
  key: RandomKey;
  /** Responses for each prompt. Default 1. */
  samplesPerPrompt?: number;
}

/** Why a response ended: by itself, or at the length limit. */
export type StopReason = 'stop' | 'length';

/** Prompts of several lengths in one array. */
export interface PaddedPrompts {
  /** Left-padded ids [rows, width]. */
  ids: Int32Array;
  /** Columns of `ids`. */
  width: number;
  /** The column of each row's first token. */
  start: Int32Array;
}

/** What {@link generate} gives. */
export interface Generation {
  /** The prompts as the model read them: one row each, not repeated. */
  prompts: PaddedPrompts;
  /** Sampled tokens, the end of text included: row p·samplesPerPrompt + s is sample s of prompt p. */
  responses: number[][];
  /** log p of each token under softmax(logits / temperature), before top-p, top-k and min-p cut it (temperature 0: of softmax(logits)). */
  logProbs: number[][];
  /** `stop` where the response ends with a token that ends responses, or `isComplete` ended it. */
  stopReasons: StopReason[];
}

/** Ids that fit in an array of 32-bit numbers of a gigabyte. */
const MOST_IDS = 2 ** 28;

const longestOf = (prompts: readonly (readonly number[])[]): number => prompts.reduce((longest: number, prompt) => Math.max(longest, prompt.length), 0);

/** Left-pads prompts to `width`, by default their longest. */
export function padPrompts(
  prompts: readonly (readonly number[])[],
  padId: number,
  width?: number,
): PaddedPrompts {
  checkPromptLists('padPrompts', prompts);
  const columns = width ?? longestOf(prompts);
  if (!Number.isInteger(padId)) throw new TensorError(`padPrompts: expected padId, a token id, got ${describe(padId)}`);
  if (!Number.isInteger(columns) || columns < 0 || columns * prompts.length > MOST_IDS) {
    throw new TensorError(`padPrompts: expected a width of at least 0 and at most ${MOST_IDS} ids in all, got ${describe(columns)} for ${prompts.length} prompts`);
  }
  const ids = new Int32Array(prompts.length * columns).fill(padId);
  const start = new Int32Array(prompts.length);
  prompts.forEach((prompt, row) => {
    if (prompt.length > columns) {
      throw new TensorError(`padPrompts: expected prompts of at most ${columns} tokens, got ${prompt.length} in row ${row}`);
    }
    start[row] = columns - prompt.length;
    // As checkPromptLists() does: a view of detached memory has length 0, but cannot be copied.
    if (prompt.length > 0) ids.set(prompt, row * columns + start[row]!);
  });
  return { ids, width: columns, start };
}

/** A length rounded up to one of eight steps an octave: few different lengths, so that plans are found again, and at most 1/8 too long. */
export function bucket(length: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, length - 1))) - 3);
  return Math.ceil(length / step) * step;
}

/**
 * Samples responses to prompts. Prompts are read once each, whatever `samplesPerPrompt`; generation stops when every row has ended.
 * Row b at step t draws from block b of `key.fold(t)`, so that a row's response does not depend on the other rows.
 *
 * @param prompts token ids, at least one each
 * @throws TensorError for prompts that are empty, or longer with their responses than `maxPositionEmbeddings`
 */
export function generate(model: Transformer, prompts: readonly (readonly number[])[], options: GenerateOptions): Generation {
  const { maxLength, temperature = 1, topP = 1, topK = -1, minP = 0, eosId, padId, key, samplesPerPrompt = 1, isComplete } = checkOptions('generate', options, optionNames);
  if (!(model instanceof Transformer)) throw new TensorError(`generate: expected a Transformer, got ${describe(model)}`);
  checkPromptLists('generate', prompts);
  checkCount('generate', 'maxLength', maxLength);
  checkCount('generate', 'samplesPerPrompt', samplesPerPrompt);
  checkKey('generate', key);
  if (isComplete !== undefined && typeof isComplete !== 'function') throw new TensorError(`generate: expected isComplete, a function, got ${describe(isComplete)}`);
  if (prompts.length * samplesPerPrompt > MOST_IDS) throw new TensorError(`generate: expected at most ${MOST_IDS} responses, got ${prompts.length} prompts × ${samplesPerPrompt}`);
  if (prompts.length === 0) {
    return { prompts: { ids: new Int32Array(0), width: 0, start: new Int32Array(0) }, responses: [], logProbs: [], stopReasons: [] };
  }
  const longest = checkPrompts(prompts, maxLength, model.config.maxPositionEmbeddings);
  const padded = padPrompts(prompts, padId, Math.min(bucket(longest), model.config.maxPositionEmbeddings - maxLength));
  const rows = prompts.length * samplesPerPrompt;
  const responses: number[][] = Array.from({ length: rows }, () => []);
  const logProbs: number[][] = Array.from({ length: rows }, () => []);
  const stopReasons: StopReason[] = new Array<StopReason>(rows).fill('length');
  const ends = new Set([eosId, ...model.endIds]);
  const endsAt = (id: number, response: readonly number[]): boolean => ends.has(id) || isComplete?.(response) === true;
  let open = rows;
  tidy(() => {
    const promptStart = tensor(padded.start);
    const start = repeatRows(promptStart, samplesPerPrompt).realize();
    const cache = new KeyValueCache(model.config, rows, bucket(padded.width + maxLength), model.dtype);
    const step = (ids: Tensor, columnStart: Tensor, drawKey: RandomKey): Tensor => {
      const columns = ids.shape[1]!;
      const logits = model.logits(model.hidden(ids, columnStart, { from: columns - 1, cache }).select(1, 0));
      const all = repeatRows(logits, rows / logits.shape[0]!);
      const sampled = sampleTokens(all, { temperature, topP, topK, minP, key: drawKey, counter: 0 });
      evaluate([sampled.ids, sampled.logProbs, ...cache.tensors]);
      open -= record(sampled.ids.dataSync() as Int32Array, sampled.logProbs.dataSync(), endsAt, responses, logProbs, stopReasons);
      return sampled.ids.keep();
    };
    let last: Tensor | null = null;
    try {
      last = tidy(() => step(tensor(padded.ids, { shape: [prompts.length, padded.width] }), promptStart, key.fold(0)));
      for (let t = 1; t < maxLength && open > 0; t++) {
        const before: Tensor = last;
        last = tidy(() => step(before.reshape(rows, 1), start, key.fold(t)));
        before.dispose();
      }
    } finally {
      last?.dispose();
      cache.dispose();
    }
  });
  return { prompts: padded, responses, logProbs, stopReasons };
}

/** Adds a step's tokens to the rows that are still open; returns how many of them it ends. */
function record(
  ids: Int32Array,
  stepLogProbs: ArrayLike<number>,
  endsAt: (id: number, response: readonly number[]) => boolean,
  responses: number[][],
  logProbs: number[][],
  stopReasons: StopReason[],
): number {
  let ended = 0;
  for (let row = 0; row < responses.length; row++) {
    if (stopReasons[row] === 'stop') continue;
    responses[row]!.push(ids[row]!);
    logProbs[row]!.push(stepLogProbs[row]!);
    if (endsAt(ids[row]!, responses[row]!)) {
      stopReasons[row] = 'stop';
      ended++;
    }
  }
  return ended;
}

function checkPrompts(prompts: readonly (readonly number[])[], maxLength: number, positions: number): number {
  let longest = 0;
  prompts.forEach((prompt, row) => {
    if (prompt.length === 0) throw new TensorError(`generate: expected prompts of at least one token, got an empty one in row ${row}`);
    longest = Math.max(longest, prompt.length);
  });
  if (longest + maxLength > positions) {
    throw new TensorError(
      `generate: expected prompt and response within maxPositionEmbeddings = ${positions} tokens, got ${longest} + ${maxLength}`,
    );
  }
  return longest;
}
