import type { Tokenizer } from '../data';

/**
 * A test of whether a response has come to hold one of the texts, to be asked after each token; undefined where there are none. Only the text of the last tokens is looked at: as many as
 * hold the longest text that the last one may complete.
 */
export function stopTest(tokenizer: Tokenizer, texts: readonly string[] | null): ((response: readonly number[]) => boolean) | undefined {
  if (texts === null || texts.length === 0) return undefined;
  // A character that the tail begins in the middle of may be spoilt, to as many as three.
  const enough = texts.reduce((length, text) => Math.max(length, text.length), 0) + 3;
  return (response) => {
    for (let count = enough;; count *= 2) {
      const tail = tokenizer.decode(response.slice(-count));
      if (texts.some((text) => tail.includes(text))) return true;
      if (count >= response.length || tail.length >= enough) return false;
    }
  };
}
