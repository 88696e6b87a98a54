/** Some responses of a batch, token by token, for people to look at. */
import type { Tokenizer } from '../data';
import type { Sample } from '../tracking';
import type { TrainingBatch } from './batch';

/** Tokens of a response that a sample holds: what a person reads, and what keeps the file small. */
const LONGEST = 512;

/**
 * At most `count` responses, all to one prompt, since advantages compare them with each other: the first prompt, from one that changes with
 * the step, whose responses have advantages other than 0; else that first one.
 */
export function samplesOf(batch: TrainingBatch, tokenizer: Tokenizer, { step, count }: { step: number; count: number }): Sample[] {
  const groups = [...new Set(batch.groupIds)];
  if (count === 0 || groups.length === 0) return [];
  const rowsOf = (group: string) => Array.from(batch.groupIds.keys()).filter((row) => batch.groupIds[row] === group);
  const order = groups.map((_, i) => groups[(step + i) % groups.length]);
  const { responseWidth } = batch.shape;
  const isTelling = (row: number) => {
    const first = row * responseWidth;
    return batch.advantages?.subarray(first, first + responseWidth).some((a, t) => batch.masks[first + t] && a !== 0) ?? false;
  };
  const group = order.find((each) => rowsOf(each).some(isTelling)) ?? order[0];
  return rowsOf(group).slice(0, count).map((row) => sampleOf(batch, tokenizer, step, row));
}

function sampleOf(batch: TrainingBatch, tokenizer: Tokenizer, step: number, row: number): Sample {
  const { promptWidth, responseWidth, padId } = batch.shape;
  const all = batch.ids.subarray(row * (promptWidth + responseWidth), (row + 1) * (promptWidth + responseWidth));
  // Padding is never sampled: what follows the last other token is none of the response.
  const length = all.subarray(promptWidth).findLastIndex((id) => id !== padId) + 1;
  const ids = [...all.subarray(promptWidth, promptWidth + Math.min(length, LONGEST))];
  const rewards = batch.rewards.subarray(row * responseWidth, (row + 1) * responseWidth);
  return {
    step,
    group: batch.groupIds[row],
    prompt: tokenizer.decode(all.subarray(batch.start[row], promptWidth)),
    tokens: pieces(ids, tokenizer),
    ids,
    advantages: advantagesOf(batch, row, ids.length),
    reward: rounded(rewards.reduce((sum, reward) => sum + reward, 0)),
    length,
  };
}

function advantagesOf({ advantages, masks, shape }: TrainingBatch, row: number, length: number): (number | null)[] {
  const first = row * shape.responseWidth;
  return Array.from({ length }, (_, t) => (masks[first + t] && advantages !== null ? rounded(advantages[first + t]) : null));
}

/** The text that each token adds to what stands before it: together they are the text of all. */
export function pieces(ids: readonly number[], tokenizer: Tokenizer): string[] {
  let shown = '';
  return ids.map((id, i) => {
    const text = tokenizer.decode(ids.slice(0, i + 1));
    // A character whose bytes are not all there yet; it belongs to the token that completes it.
    const whole = i === ids.length - 1 ? text : text.replace(/\ufffd+$/, '');
    if (!whole.startsWith(shown)) return tokenizer.decode([id]);
    const piece = whole.slice(shown.length);
    shown = whole;
    return piece;
  });
}

/** Six digits: what float32 holds, without its tail in decimal. */
const rounded = (value: number): number => Number(value.toPrecision(6));
