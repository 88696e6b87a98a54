/** Tokenizers of Hugging Face's folders: `tokenizer.json`, `tokenizer_config.json` and the chat template. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Tokenizer as Engine } from '@huggingface/tokenizers';
import { DataError, showValue } from '../errors';
import type { ChatTemplate } from './chat_template';
import { checkPath } from './check';
import { readBytes, readJsonObject } from './files';
import type { ChatMessage } from './rows';
import { createTokenizer, nameKey, type Tokenizer } from './tokenizer';

type Json = Record<string, unknown>;

/** Loaded with the first tokenizer: most that use this package have none. */
const loadEngine = () => (require('@huggingface/tokenizers') as typeof import('@huggingface/tokenizers')).Tokenizer;
const loadTemplate = () => (require('./chat_template') as typeof import('./chat_template')).ChatTemplate;

/** What a tokenizer's folder can hold; all of it is saved with a model again. */
export const tokenizerFileNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
] as const;

/** A tokenizer from its folder. See {@link loadTokenizer}. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly padId: number;
  readonly eosId: number;
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** `tokenizer_config.json`. */
  private readonly settings: Json;
  private readonly engine: Engine;
  private readonly known: (id: number) => boolean;
  /** The special tokens of `tokenizer_config.json` by their names there, which templates use: `eos_token` and so on. */
  private readonly special: Record<string, string>;
  private template: ChatTemplate | null = null;

  /** @throws DataError naming the file and what is wrong with it */
  constructor(private readonly folder: string) {
    checkPath('HuggingFaceTokenizer', folder);
    const file = join(folder, 'tokenizer.json');
    const model = readJsonObject(file);
    checkIds(file, model);
    const present = tokenizerFileNames.filter((name) => existsSync(join(folder, name)));
    this.files = new Map(present.map((name) => [name, readBytes(join(folder, name))]));
    this.settings = this.files.has('tokenizer_config.json') ? readJsonObject(join(folder, 'tokenizer_config.json')) : {};
    try {
      this.engine = new (loadEngine())(model, this.settings);
    } catch (error) {
      // The engine stumbles over what it does not expect in words about its own variables.
      const isInternal = error instanceof TypeError || error instanceof RangeError;
      throw new DataError(`${file}: no tokenizer that is known here (${isInternal ? 'something in it is not of the type that it should be' : (error as Error).message})`, { cause: error });
    }
    const ids = [...this.engine.get_vocab().values()].filter((id) => this.engine.id_to_token(id) !== undefined);
    this.vocabSize = ids.reduce((most, id) => Math.max(most, id), -1) + 1;
    this.known = (id) => this.engine.id_to_token(id) !== undefined;
    this.special = this.specialTokens();
    this.eosId = this.endId();
    this.padId = this.special.pad_token === undefined ? this.eosId : this.idOf('pad_token', this.special.pad_token);
  }

  /** Special tokens in the text become what they stand for; none is added. @throws DataError for what is no text */
  encode(text: string): number[] {
    if (typeof text !== 'string') throw new DataError(`encode: expected text, got ${showValue(text)}`);
    return text === '' ? [] : this.engine.encode(text, { add_special_tokens: false }).ids;
  }

  /** Never throws: bytes that are not UTF-8 become U+FFFD, and ids that the vocabulary does not hold are left out. */
  decode(ids: Iterable<number>): string {
    const kept = [...ids].filter(this.known);
    if (kept.length === 0) return '';
    const spaces = this.settings.clean_up_tokenization_spaces === true;
    return this.engine.decode(kept, { skip_special_tokens: true, clean_up_tokenization_spaces: spaces });
  }

  /** @throws DataError where the folder has no chat template, and where the template is none, refuses the messages, or does not end */
  encodeChat(messages: readonly ChatMessage[]): number[] {
    return this.encode(this.renderChat(messages));
  }

  /**
   * The conversation as text, by the folder's chat template.
   * @throws DataError as {@link encodeChat}
   */
  renderChat(messages: readonly ChatMessage[], { addGenerationPrompt = true }: { addGenerationPrompt?: boolean } = {}): string {
    this.template ??= new (loadTemplate())(this.chatTemplate(), this.folder);
    return this.template.render({ messages, add_generation_prompt: addGenerationPrompt, tools: null, documents: null, ...this.special });
  }

  private chatTemplate(): string {
    if (this.files.has('chat_template.jinja')) return Buffer.from(this.files.get('chat_template.jinja')!).toString('utf8');
    const { chat_template: given } = this.settings;
    // Several under names: the one for plain conversations.
    const template = Array.isArray(given) ? (given as (Json | null)[]).find((each) => each?.name === 'default')?.template : given;
    if (typeof template === 'string') return template;
    throw new DataError(`${this.folder}: expected a chat template (chat_template in tokenizer_config.json, or chat_template.jinja), got ${showValue(given ?? null)}`);
  }

  private specialTokens(): Record<string, string> {
    const map = this.files.has('special_tokens_map.json') ? readJsonObject(join(this.folder, 'special_tokens_map.json')) : {};
    const found: Record<string, string> = {};
    for (const [name, value] of Object.entries({ ...map, ...this.settings })) {
      const token = typeof value === 'object' && value !== null ? (value as Json).content : value;
      if (name.endsWith('_token') && typeof token === 'string') found[name] = token;
    }
    return found;
  }

  private endId(): number {
    if (this.special.eos_token !== undefined) return this.idOf('eos_token', this.special.eos_token);
    const file = join(this.folder, 'generation_config.json');
    const ids = existsSync(file) ? readJsonObject(file).eos_token_id : undefined;
    const id: unknown = Array.isArray(ids) ? ids[0] : ids;
    if (typeof id === 'number' && this.known(id)) return id;
    throw new DataError(`${this.folder}: expected eos_token in tokenizer_config.json, or eos_token_id in generation_config.json, got neither`);
  }

  private idOf(name: string, token: string): number {
    const id = this.engine.token_to_id(token);
    if (id !== undefined) return id;
    throw new DataError(`${join(this.folder, 'tokenizer_config.json')}: ${name}: expected a token of tokenizer.json, got ${showValue(token)}`);
  }
}

/** Ids may leave gaps; the largest vocabularies have a million. */
const MOST_IDS = 1 << 24;

/** The engine makes arrays as long as the largest id. @throws DataError naming the token */
function checkIds(file: string, { model, added_tokens: added }: Json): void {
  const vocabulary = (model as Json | null | undefined)?.vocab;
  const named: [unknown, unknown][] = [
    // A list has its ids by place.
    ...(typeof vocabulary === 'object' && vocabulary !== null && !Array.isArray(vocabulary) ? Object.entries(vocabulary) : []),
    ...(Array.isArray(added) ? added.map((token: Json | null): [unknown, unknown] => [token?.content, token?.id]) : []),
  ];
  const wrong = named.find(([, id]) => !Number.isInteger(id) || (id as number) < 0 || (id as number) >= MOST_IDS);
  if (wrong) throw new DataError(`${file}: token ${showValue(wrong[0])}: expected an id from 0 to ${MOST_IDS - 1}, got ${showValue(wrong[1])}`);
}

/**
 * The tokenizer of a model's folder: that of its `tokenizer.json` (Hugging Face's format), or the registered one that a checkpoint of ours
 * names in `tokenizer_config.json`.
 *
 * @throws DataError naming the folder and what it lacks
 * @example
 * const tokenizer = loadTokenizer('models/Qwen2.5-0.5B-Instruct');
 */
export function loadTokenizer(folder: string): Tokenizer {
  if (typeof folder !== 'string' || folder === '') throw new DataError(`loadTokenizer: folder: expected a path, got ${showValue(folder)}`);
  if (existsSync(join(folder, 'tokenizer.json'))) return new HuggingFaceTokenizer(folder);
  const file = join(folder, 'tokenizer_config.json');
  const name = existsSync(file) ? readJsonObject(file)[nameKey] : undefined;
  if (typeof name === 'string') return createTokenizer(name);
  throw new DataError(`${folder}: expected tokenizer.json (Hugging Face's tokenizer), got no such file`);
}
