/** Text to token ids and back. */
import { DataError, RegistryError, showValue } from '../errors';
import { type RegisterOptions, Registry } from '../registry';
import { checkList, checkText, isText } from './check';
import { type ChatMessage, isMessage } from './rows';

/** From text to ids and back. */
export interface Tokenizer {
  /** Ids are 0 … vocabSize − 1, the special ones included. */
  readonly vocabSize: number;
  /** Fills batches up; never sampled, never seen by the model's loss. */
  readonly padId: number;
  /** Ends a response. */
  readonly eosId: number;
  /** The ids of a text, without special ones around it. */
  encode(text: string): number[];
  /** The text of ids; special ones are left out. */
  decode(ids: Iterable<number>): string;
  /** The ids of a conversation, up to where the model's answer begins. */
  encodeChat(messages: readonly ChatMessage[]): number[];
  /** The files that `loadTokenizer` makes it from, by name: they are saved beside a model's weights. Default none. */
  readonly files?: ReadonlyMap<string, string | Uint8Array>;
  /** The ids of messages that follow an answer and its `eosId`, up to where the next answer begins. Without it, `encodeObservations` works them out. */
  encodeObservations?(messages: readonly ChatMessage[]): number[];
}

/**
 * The ids of messages that follow an answer and its end token, up to where the next answer begins: what the tokenizer says they are; else what stands
 * behind the end of an empty answer in its chat form; and where that form has no end token, the messages as a conversation of their own.
 */
export function encodeObservations(tokenizer: Tokenizer, messages: readonly ChatMessage[]): number[] {
  if (typeof tokenizer?.encodeChat !== 'function') throw new DataError(`encodeObservations: expected a tokenizer, got ${showValue(tokenizer)}`);
  checkChat('encodeObservations', messages);
  if (tokenizer.encodeObservations) return tokenizer.encodeObservations(messages);
  const question = { role: 'user', content: '' };
  const before = tokenizer.encodeChat([question]).length;
  const whole = tokenizer.encodeChat([question, { role: 'assistant', content: '' }, ...messages]);
  const end = whole.indexOf(tokenizer.eosId, before);
  return end < 0 ? tokenizer.encodeChat(messages) : whole.slice(end + 1);
}

function checkChat(who: string, messages: unknown): asserts messages is readonly ChatMessage[] {
  checkList(who, 'messages', messages, 'an array of messages { role, content }', isMessage);
}

function checkIds(who: string, ids: unknown): void {
  if (!Array.isArray(ids) && !ArrayBuffer.isView(ids) && typeof (ids as Iterable<number> | null)?.[Symbol.iterator] !== 'function')
    throw new DataError(`${who}: expected token ids, got ${showValue(ids)}`);
}

/** One token for each byte of the text in UTF-8, so any text at all: ids 0–255, then padding, then the end. */
export class ByteTokenizer implements Tokenizer {
  readonly padId = 256;
  readonly eosId = 257;
  readonly vocabSize = 258;

  /** The UTF-8 bytes. */
  encode(text: string): number[] {
    checkText('byte tokenizer', 'text', text);
    return [...new TextEncoder().encode(text)];
  }

  /** Never throws: bytes that are not UTF-8 become U+FFFD, and ids that are no bytes are left out. */
  decode(ids: Iterable<number>): string {
    checkIds('byte tokenizer', ids);
    const bytes = [...ids].filter((id) => id >= 0 && id < 256);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }

  /** `role: content` a line, and `assistant:` as the last. */
  encodeChat(messages: readonly ChatMessage[]): number[] {
    checkChat('byte tokenizer', messages);
    return this.encode(`${messages.map(({ role, content }) => `${role}: ${content}\n`).join('')}assistant:`);
  }

  /** A new line ends the answer's. */
  encodeObservations(messages: readonly ChatMessage[]): number[] {
    return [...this.encode('\n'), ...this.encodeChat(messages)];
  }
}

/** The words of the generated tasks; `####` is one, so that random weights write it often enough to be rewarded. */
const taskWords = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '=', '####'] as const;
const toolWords = ['<tool>', '</tool>', '<result>', '</result>'] as const;

/** One token for each word of a fixed vocabulary, words separated by spaces: ids in the order of the words, then the end, then padding. */
export class WordTokenizer implements Tokenizer {
  readonly eosId: number;
  readonly padId: number;
  readonly vocabSize: number;
  private readonly ids: ReadonlyMap<string, number>;

  /** @throws DataError for words that are empty, hold white space or come twice */
  constructor(private readonly words: readonly string[] = taskWords) {
    checkList('WordTokenizer', 'words', words, 'an array of texts', isText);
    this.ids = new Map(words.map((word, id) => [word, id]));
    const bad = words.find((word) => word === '' || /\s/.test(word));
    if (bad !== undefined) throw new DataError(`WordTokenizer: expected words without white space, got ${showValue(bad)}`);
    if (words.length === 0 || this.ids.size !== words.length) throw new DataError('WordTokenizer: expected words, each once');
    this.eosId = words.length;
    this.padId = words.length + 1;
    this.vocabSize = words.length + 2;
  }

  /** A token for each word that it knows. @throws DataError for a word outside the vocabulary */
  encode(text: string): number[] {
    checkText('word tokenizer', 'text', text);
    const parts = text.split(/\s+/).filter((word) => word !== '');
    return parts.map((word) => {
      const id = this.ids.get(word);
      if (id === undefined) {
        const expected = `words of its vocabulary (${this.words.join(' ')})`;
        throw new DataError(`word tokenizer: expected ${expected}, got ${showValue(word)} in ${showValue(text)}`);
      }
      return id;
    });
  }

  /** Words joined by single spaces. @throws DataError for an id outside the vocabulary */
  decode(ids: Iterable<number>): string {
    checkIds('word tokenizer', ids);
    const words: string[] = [];
    for (const id of ids) {
      if (id === this.eosId || id === this.padId) continue;
      const word = this.words[id];
      if (word === undefined) throw new DataError(`word tokenizer: expected ids from 0 to ${this.vocabSize - 1}, got ${showValue(id)}`);
      words.push(word);
    }
    return words.join(' ');
  }

  /** The contents one after the other: the generated tasks know no roles. */
  encodeChat(messages: readonly ChatMessage[]): number[] {
    checkChat('word tokenizer', messages);
    return messages.flatMap(({ content }) => this.encode(content));
  }
}

/** The words of the generated tasks and those of a tool call: `lookup`. */
export class ToolWordTokenizer extends WordTokenizer {
  constructor() {
    super([...taskWords, ...toolWords]);
  }
}

/** The tokenizers of this process, by the names of `trainer.tokenizer`. */
export const tokenizers = new Registry<new () => Tokenizer>('tokenizer');

/** Makes a tokenizer available as `trainer.tokenizer`. @throws RegistryError */
export function registerTokenizer(name: string, tokenizer: new () => Tokenizer, options?: RegisterOptions): void {
  if (typeof tokenizer !== 'function' || typeof tokenizer.prototype !== 'object') {
    throw new RegistryError(`tokenizer ${showValue(name)}: expected a class without arguments to its constructor, got ${showValue(tokenizer)}`);
  }
  tokenizers.register(name, tokenizer, options);
}

/** A tokenizer by its registered name. @throws RegistryError for an unknown name */
export function createTokenizer(name: string): Tokenizer {
  return new (tokenizers.get(name))();
}

/** The registered names, sorted. */
export function listTokenizers(): string[] {
  return tokenizers.list();
}

/**
 * What a model's folder says of a tokenizer that is known by name: its own files, or its name in `tokenizer_config.json`; nothing of one that
 * has neither.
 */
export function tokenizerFiles(tokenizer: Tokenizer): ReadonlyMap<string, string | Uint8Array> {
  if (typeof tokenizer !== 'object' || tokenizer === null) throw new DataError(`tokenizerFiles: expected a tokenizer, got ${showValue(tokenizer)}`);
  if (tokenizer.files) return tokenizer.files;
  const name = listTokenizers().find((each) => tokenizers.get(each) === tokenizer.constructor);
  return new Map(name === undefined ? [] : [['tokenizer_config.json', `${JSON.stringify({ [nameKey]: name }, null, 2)}\n`]]);
}

/** The key of `tokenizer_config.json` that holds a registered tokenizer's name. */
export const nameKey = 'vantage_tokenizer';

registerTokenizer('byte', ByteTokenizer, { keepExisting: true });
registerTokenizer('word', WordTokenizer, { keepExisting: true });
registerTokenizer('word_tools', ToolWordTokenizer, { keepExisting: true });
