import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ByteTokenizer, HuggingFaceTokenizer, loadTokenizer, tokenizerFiles, WordTokenizer } from '../../src/data';
import { DataError } from '../../src/errors';
import { joined, letters, pieces, writeTokenizer } from '../models/huggingface';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'vantage-tokenizer-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const texts = [
  'The answer is the largest of the digits.',
  "I'm SURE they'Re here; we'll see 1234567 of them!",
  '  leading,   inner \t and trailing spaces  ',
  'line one\nline two\r\n\r\n\nline five\n',
  'Größe, naïve café: e\u0301 becomes é',
  '日本語とタイ語 ไทย and עברית',
  '👩‍👩‍👧‍👦 emoji 🏳️‍🌈 and \u{1F600}\u{10FFFF}',
  '\u0000\u0001\u007f control',
  '#### 72',
  'a',
  ' ',
];

/** Merges by the book: in a piece, join the pair whose rule comes first, everywhere, until no rule applies. */
function naiveIds(text: string, merges: [string, string][], vocab: Record<string, number>): number[] {
  const rank = new Map(merges.map((pair, i) => [pair.join(' '), i]));
  return pieces(text).flatMap((piece) => {
    let word = letters(piece);
    for (;;) {
      const best = Math.min(...word.slice(1).map((part, i) => rank.get(`${word[i]} ${part}`) ?? Infinity));
      if (best === Infinity) return word.map((part) => vocab[part]!);
      word = joined(word, merges[best]!);
    }
  });
}

describe("a tokenizer of Qwen2's kind", () => {
  test.each(texts)('%j: ids by the book, and back', (text) => {
    const { merges, vocab } = writeTokenizer(folder);
    const tokenizer = loadTokenizer(folder);
    const ids = tokenizer.encode(text);
    expect(ids).toEqual(naiveIds(text, merges, vocab));
    expect(tokenizer.decode(ids)).toBe(text.normalize('NFC'));
  });

  test('merges make common text shorter', () => {
    writeTokenizer(folder);
    expect(loadTokenizer(folder).encode('the answer to the question').length).toBeLessThan(14);
  });

  test('special tokens are one id each, and decode leaves them out', () => {
    const { ids, size } = writeTokenizer(folder);
    const tokenizer = loadTokenizer(folder);
    expect([tokenizer.eosId, tokenizer.padId, tokenizer.vocabSize]).toEqual([ids['<|im_end|>'], ids['<|endoftext|>'], size]);
    const encoded = tokenizer.encode('a<|im_end|>b <|endoftext|>');
    expect(encoded.filter((id) => id >= size - 3)).toEqual([ids['<|im_end|>'], ids['<|endoftext|>']]);
    expect(tokenizer.decode(encoded)).toBe('ab ');
  });

  test('decode takes any ids: none, those beyond the vocabulary, half a letter', () => {
    const { size } = writeTokenizer(folder);
    const tokenizer = loadTokenizer(folder);
    expect(tokenizer.decode([])).toBe('');
    expect(tokenizer.decode([size, size + 270, -1])).toBe('');
    const [first] = tokenizer.encode('é');
    expect(tokenizer.decode([first!, ...tokenizer.encode('x')])).toBe('\ufffdx');
    expect(tokenizer.decode(new Set(tokenizer.encode('abc')))).toBe('abc');
    expect(tokenizer.encode('')).toEqual([]);
  });

  test('a conversation ends where the answer begins', () => {
    const { ids } = writeTokenizer(folder);
    const tokenizer = loadTokenizer(folder) as HuggingFaceTokenizer;
    const messages = [{ role: 'user', content: '3 + 4?' }];
    const text = '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n3 + 4?<|im_end|>\n<|im_start|>assistant\n';
    expect(tokenizer.renderChat(messages)).toBe(text);
    expect(tokenizer.renderChat(messages, { addGenerationPrompt: false })).toBe(text.replace('<|im_start|>assistant\n', ''));
    const encoded = tokenizer.encodeChat(messages);
    expect(encoded).toEqual(tokenizer.encode(text));
    const [start, end] = [ids['<|im_start|>']!, ids['<|im_end|>']!];
    const marks = encoded.filter((id) => id === start || id === end);
    expect(marks).toEqual([start, end, start, end, start]);
    const own = [{ role: 'system', content: 'Be short.' }, ...messages];
    expect(tokenizer.renderChat(own)).toMatch(/^<\|im_start\|>system\nBe short\.<\|im_end\|>\n<\|im_start\|>user/);
  });

  test('the template may stand in a file of its own, or under a name; it sees the special tokens', () => {
    writeTokenizer(folder, { settings: { chat_template: [{ name: 'tool_use', template: 'no' }, { name: 'default', template: '{{ messages[0].content }}{{ eos_token }}' }] } });
    const render = () => (loadTokenizer(folder) as HuggingFaceTokenizer).renderChat([{ role: 'user', content: 'hi' }]);
    expect(render()).toBe('hi<|im_end|>');
    writeFileSync(join(folder, 'chat_template.jinja'), '{{ pad_token }}');
    expect(render()).toBe('<|endoftext|>');
  });

  test('errors name the folder and what it lacks', () => {
    expect(() => loadTokenizer(folder)).toThrow(`${folder}: expected tokenizer.json`);
    writeTokenizer(folder, { settings: { chat_template: undefined } });
    const messages = [{ role: 'user', content: 'hi' }];
    expect(() => loadTokenizer(folder).encodeChat(messages)).toThrow(`${folder}: expected a chat template`);
    writeTokenizer(folder, { settings: { chat_template: "{{ raise_exception('roles must alternate') }}" } });
    expect(() => loadTokenizer(folder).encodeChat(messages)).toThrow(/the chat template does not take these messages \(.*roles must alternate/);
    writeTokenizer(folder, { settings: { eos_token: '<eos>' } });
    expect(() => loadTokenizer(folder)).toThrow('eos_token: expected a token of tokenizer.json, got "<eos>"');
    writeFileSync(join(folder, 'tokenizer_config.json'), '{"eos_token":');
    expect(() => loadTokenizer(folder)).toThrow(/tokenizer_config.json: malformed JSON/);
    writeFileSync(join(folder, 'tokenizer.json'), '{"model": {"type": "WordLevel"}}');
    expect(() => loadTokenizer(folder)).toThrow(DataError);
  });

  test.each([
    ['{% for i in range(1000000000) %}x{% endfor %}', 'range(): expected at most 100000 numbers in all'],
    ['{% macro f(x) %}{{ caller() }}{% endmacro %}{% call f(1) %}{{ f(1) }}{% endcall %}', 'the chat template does not take these messages'],
    ["{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}", 'its text becomes too long'],
    ['{% if %}', 'the chat template is no Jinja (Unexpected token: CloseStatement)'],
    ['{{ messages', 'the chat template is no Jinja'],
  ])('a template that cannot be rendered: %s', (template, message) => {
    writeTokenizer(folder, { settings: { chat_template: template } });
    const render = () => loadTokenizer(folder).encodeChat([{ role: 'user', content: 'hi' }]);
    expect(render).toThrow(DataError);
    expect(render).toThrow(`${folder}: `);
    expect(render).toThrow(message);
  });

  test('what templates are given beside the messages', () => {
    const template = "{{ range(3) | join(',') }} {{ range(5, 0, -2) | join(',') }} {{ none is none and true }} {{ strftime_now('%Y') }}";
    writeTokenizer(folder, { settings: { chat_template: template } });
    expect((loadTokenizer(folder) as HuggingFaceTokenizer).renderChat([{ role: 'user', content: 'hi' }])).toBe(`0,1,2 5,3,1 true ${new Date().getFullYear()}`);
  });

  test('a template whose loops never end is stopped', () => {
    writeTokenizer(folder, { settings: { chat_template: '{% set a = range(3000) %}{% for i in a %}{% for j in a %}{% for k in a %}x{% endfor %}{% endfor %}{% endfor %}' } });
    const clock = jest.spyOn(performance, 'now');
    let now = 0;
    clock.mockImplementation(() => (now += 0.1));
    expect(() => loadTokenizer(folder).encodeChat([{ role: 'user', content: 'hi' }])).toThrow('it has not ended after 10 s');
    clock.mockRestore();
  });

  test('ids without end, and parts of another type', () => {
    const file = join(folder, 'tokenizer.json');
    const change = (from: string, to: string) => {
      writeTokenizer(folder);
      writeFileSync(file, readFileSync(file, 'utf8').replace(from, to));
    };
    change('"a":', '"a":4294967295,"b":');
    expect(() => loadTokenizer(folder)).toThrow(`${file}: token "a": expected an id from 0 to 16777215, got 4294967295`);
    change('"merges":[', '"merges":[{},');
    expect(() => loadTokenizer(folder)).toThrow(`${file}: no tokenizer that is known here (something in it is not of the type that it should be)`);
  });

  test('without eos_token the generation settings say what ends a text', () => {
    const { ids } = writeTokenizer(folder, { settings: { eos_token: null, pad_token: null } });
    const { eosId, padId } = loadTokenizer(folder);
    expect([eosId, padId]).toEqual([ids['<|im_end|>'], ids['<|im_end|>']]);
  });
});

test("registered tokenizers are saved by name, Hugging Face's as their files", () => {
  for (const tokenizer of [new ByteTokenizer(), new WordTokenizer()]) {
    for (const [name, content] of tokenizerFiles(tokenizer)) writeFileSync(join(folder, name), content);
    expect(loadTokenizer(folder)).toEqual(tokenizer);
  }
  class Own extends ByteTokenizer {}
  expect(tokenizerFiles(new Own()).size).toBe(0);
  writeTokenizer(folder);
  const files = tokenizerFiles(loadTokenizer(folder));
  expect([...files.keys()]).toEqual(['tokenizer.json', 'tokenizer_config.json']);
  for (const [name, content] of files) expect(readFileSync(join(folder, name)).equals(content as Uint8Array)).toBe(true);
});
