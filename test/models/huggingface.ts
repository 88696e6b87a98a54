/** Folders as Hugging Face's libraries write them, made here by other means than ours: what loading is checked against. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ResolvedConfig } from '../../src/models';
import type { Weights } from './reference';

export type StoredFormat = 'F32' | 'BF16' | 'F16';

const scratch = new DataView(new ArrayBuffer(4));

/** The bits of a number in half precision, rounded to the nearest, ties to even. */
function half(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === 0) return sign;
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const scaled = size / 2 ** (exponent - 10);
  const below = Math.floor(scaled);
  const up = scaled - below > 0.5 || (scaled - below === 0.5 && below % 2 === 1) ? 1 : 0;
  // A carry into the exponent is what addition of the parts does by itself.
  return sign | (below + up + (exponent + 14) * 1024);
}

function bfloat16(value: number): number {
  scratch.setFloat32(0, value);
  const word = scratch.getUint32(0);
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

function encode(data: ArrayLike<number>, format: StoredFormat): Uint8Array {
  if (format === 'F32') return new Uint8Array(Float32Array.from(data).buffer);
  return new Uint8Array(Uint16Array.from(Array.from(data, format === 'F16' ? half : bfloat16)).buffer);
}

/** The numbers as the format keeps them. */
export function kept(data: ArrayLike<number>, format: StoredFormat): number[] {
  return Array.from(data, (value) => {
    if (format === 'F32') return Math.fround(value);
    if (format === 'F16') {
      const step = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.abs(value)))) - 10);
      return Number.isFinite(step) ? roundEven(value / step) * step : value;
    }
    scratch.setUint32(0, bfloat16(value) << 16);
    return scratch.getFloat32(0);
  });
}

function roundEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return below + (rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? 1 : 0);
}

export function writeTensors(file: string, weights: Weights, format: StoredFormat): void {
  let offset = 0;
  const parts: Uint8Array[] = [];
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  for (const [name, { shape, data }] of weights) {
    const bytes = encode(data, format);
    header[name] = { dtype: format, shape, data_offsets: [offset, offset += bytes.length] };
    parts.push(bytes);
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([length, text, ...parts]));
}

/** The keys of a real `config.json` of Qwen2.5, with the sizes of ours. */
export const qwenConfig = (config: ResolvedConfig, changes: object = {}): object => ({
  architectures: ['Qwen2ForCausalLM'],
  attention_dropout: 0.0,
  bos_token_id: 4,
  eos_token_id: 5,
  hidden_act: 'silu',
  hidden_size: config.hiddenSize,
  initializer_range: 0.02,
  intermediate_size: config.intermediateSize,
  max_position_embeddings: config.maxPositionEmbeddings,
  max_window_layers: 21,
  model_type: 'qwen2',
  num_attention_heads: config.numHeads,
  num_hidden_layers: config.numLayers,
  num_key_value_heads: config.numKvHeads,
  rms_norm_eps: config.rmsNormEps,
  rope_theta: config.ropeTheta,
  sliding_window: 32768,
  tie_word_embeddings: config.tieWordEmbeddings,
  torch_dtype: 'bfloat16',
  transformers_version: '4.43.1',
  use_cache: true,
  use_sliding_window: false,
  vocab_size: config.vocabSize,
  ...changes,
});

export interface FolderOptions {
  format?: StoredFormat;
  shards?: number;
  config?: object;
}

/** config.json and weights, in one file or in shards with an index. */
export function writeModelFolder(folder: string, config: ResolvedConfig, weights: Weights, { format = 'F32', shards = 1, config: changes }: FolderOptions = {}): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(qwenConfig(config, changes)));
  if (shards === 1) return writeTensors(join(folder, 'model.safetensors'), weights, format);
  const map: Record<string, string> = {};
  for (let i = 0; i < shards; i++) {
    const file = `model-0000${i + 1}-of-0000${shards}.safetensors`;
    const part = [...weights].filter((_, row) => row % shards === i);
    for (const [name] of part) map[name] = file;
    writeTensors(join(folder, file), new Map(part), format);
  }
  const index = { metadata: { total_size: 0 }, weight_map: map };
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index));
}

/** How Qwen2 cuts text before it merges bytes. */
export const qwenPattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** GPT-2's letters for bytes: what prints stands for itself, the others follow from U+0100 on. */
export const byteLetters: string[] = (() => {
  const prints = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(prints(byte) ? byte : next++));
})();

export function pieces(text: string): string[] {
  // JavaScript has no (?i:…): both cases are spelled out.
  const contractions = "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])";
  const pattern = new RegExp(qwenPattern.replace(/^\(\?i:[^)]*\)/, contractions), 'gu');
  return text.normalize('NFC').match(pattern) ?? [];
}

export const letters = (piece: string): string[] => Array.from(Buffer.from(piece), (byte) => byteLetters[byte]!);

/** The pairs that are joined, in their order: each time the one that is most frequent in the text (ties: the first in code order). */
export function trainMerges(text: string, count: number): [string, string][] {
  let words = pieces(text).map(letters);
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const counts = new Map<string, number>();
    for (const word of words) for (let i = 1; i < word.length; i++) counts.set(`${word[i - 1]} ${word[i]}`, (counts.get(`${word[i - 1]} ${word[i]}`) ?? 0) + 1);
    const best = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0];
    if (!best || best[1] < 2) break;
    const pair = best[0].split(' ') as [string, string];
    merges.push(pair);
    words = words.map((word) => joined(word, pair));
  }
  return merges;
}

export function joined(word: readonly string[], [first, second]: readonly [string, string]): string[] {
  const result: string[] = [];
  for (const part of word) {
    if (result.at(-1) === first && part === second) result[result.length - 1] = first + second;
    else result.push(part);
  }
  return result;
}

export const chatMl = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}" +
  "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const corpus = 'The quick brown fox jumps over the lazy dog. The answer is the largest of the digits; the answer to the question: #### 9\n'.repeat(3) +
  'user assistant system helpful You are a helpful assistant.\n Über Größe größer übrig 日本語 日本 naïve café'.repeat(2);

/** A tokenizer of Qwen2's kind with merges from a few sentences. Returns its merges, vocabulary and special tokens. */
export function writeTokenizer(folder: string, { mergeCount = 60, settings = {} }: { mergeCount?: number; settings?: object } = {}) {
  const merges = trainMerges(corpus, mergeCount);
  const tokens = [...byteLetters, ...new Set(merges.map((pair) => pair.join('')))];
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];
  const ids = Object.fromEntries(special.map((content, i) => [content, tokens.length + i]));
  const added = special.map((content) => ({ id: ids[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }));
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };
  mkdirSync(folder, { recursive: true });
  const write = (name: string, value: object) => writeFileSync(join(folder, name), JSON.stringify(value));
  write('tokenizer.json', {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: { type: 'NFC' },
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: qwenPattern }, behavior: 'Isolated', invert: false }, byteLevel] },
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: merges.map((pair) => pair.join(' ')),
    },
  });
  write('tokenizer_config.json', {
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(added.map(({ id, ...rest }) => [id, rest])),
    additional_special_tokens: ['<|im_start|>', '<|im_end|>'],
    bos_token: null,
    chat_template: chatMl,
    clean_up_tokenization_spaces: false,
    eos_token: '<|im_end|>',
    errors: 'replace',
    model_max_length: 32768,
    pad_token: '<|endoftext|>',
    tokenizer_class: 'Qwen2Tokenizer',
    unk_token: null,
    ...settings,
  });
  write('generation_config.json', { do_sample: true, eos_token_id: [ids['<|im_end|>'], ids['<|endoftext|>']], pad_token_id: ids['<|endoftext|>'], temperature: 0.7, top_k: 20 });
  return { merges, vocab: vocab as Record<string, number>, ids: ids as Record<string, number>, size: tokens.length + special.length };
}
