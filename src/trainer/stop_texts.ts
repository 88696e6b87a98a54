import type { Tokenizer } from '../data';

/**
 * A test of whether a response has come to hold one of the texts, to be asked after each token; undefined where there are none. Only the text of the last tokens is looked at: as many as can hold a text
 * that the last one completes.
 */
export function stopTest(tokenizer: Tokenizer, texts: readonly string[] | null): ((response: readonly number[]) => boolean) | undefined {
  if (texts === null || texts.length === 0) return undefined;
  const longest = texts.reduce((length, text) => Math.max(length, Buffer.byteLength(text)), 0);
  return (response) => {
    // A token is at least a byte of text, but for those that are none at all.
    for (let count = longest; ; count *= 2) {
      const tail = tokenizer.decode(response.slice(-count));
      if (texts.some((text) => tail.includes(text))) return true;
      if (count >= response.length || Buffer.byteLength(tail) >= longest) return false;
    }
  };
}
