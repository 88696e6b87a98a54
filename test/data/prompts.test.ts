import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ByteTokenizer,
  createTokenizer,
  DataLoader,
  generateTask,
  inBatches,
  listTokenizers,
  PromptDataset,
  registerTokenizer,
  encodeObservations,
  type Tokenizer,
  tokenizers,
  ToolWordTokenizer,
  WordTokenizer,
  writeJsonl,
  writeParquet,
} from '../../src/data';
import { SmallRandom } from '../../src/data/random';
import { environments } from '../../src/environments';
import { DataError } from '../../src/errors';

const folder = mkdtempSync(join(tmpdir(), 'vantage-prompts-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('ByteTokenizer', () => {
  const tokenizer = new ByteTokenizer();

  test.each(['', 'plain', 'ünïcode €', '👩‍🚀', '\uFEFFmark', 'a\0b'])('%j survives', (text) => {
    const ids = tokenizer.encode(text);
    expect(ids).toEqual([...Buffer.from(text)]);
    expect(tokenizer.decode([...ids, tokenizer.eosId, tokenizer.padId])).toBe(text);
  });

  test('decode never throws', () => {
    expect(tokenizer.decode([0xe2, 0x82])).toBe('\uFFFD');
    expect(tokenizer.decode([-1, 65, 1e9, Number.NaN, 66])).toBe('AB');
    expect(tokenizer.decode(Int32Array.of(72, 105))).toBe('Hi');
  });

  test('a conversation ends where the answer begins', () => {
    const ids = tokenizer.encodeChat([
      { role: 'system', content: 'Be short.' },
      { role: 'user', content: '1+1?' },
    ]);
    expect(tokenizer.decode(ids)).toBe('system: Be short.\nuser: 1+1?\nassistant:');
  });
});

describe('WordTokenizer', () => {
  const tokenizer = new WordTokenizer();

  test('#### is one token, the end and the padding are outside the text', () => {
    expect(tokenizer.encode('3 9 1 4 =')).toEqual([3, 9, 1, 4, 10]);
    expect(tokenizer.encode(' ####  9\n')).toEqual([11, 9]);
    expect(tokenizer.decode([11, 9, tokenizer.eosId, tokenizer.padId])).toBe('#### 9');
    expect(new Set([...tokenizer.encode('0 1 2 3 4 5 6 7 8 9 = ####'), tokenizer.eosId, tokenizer.padId]).size).toBe(tokenizer.vocabSize);
  });

  test('what is outside the vocabulary is an error', () => {
    expect(() => tokenizer.encode('3 ten')).toThrow(
      'word tokenizer: expected words of its vocabulary (0 1 2 3 4 5 6 7 8 9 = ####), got "ten"',
    );
    expect(() => tokenizer.decode([14])).toThrow('expected ids from 0 to 13, got 14');
    expect(() => new WordTokenizer(['a', 'a'])).toThrow(DataError);
    expect(() => new WordTokenizer(['a b'])).toThrow('without white space, got "a b"');
    expect(() => new WordTokenizer([])).toThrow(DataError);
  });
});

test('the tokenizer with words for tools has the ids of the other one', () => {
  const tokenizer = new ToolWordTokenizer();
  expect(tokenizer.encode('3 9 = #### 1')).toEqual(new WordTokenizer().encode('3 9 = #### 1'));
  expect(tokenizer.decode(tokenizer.encode('<tool> 3 </tool> <result> 4 </result>'))).toBe('<tool> 3 </tool> <result> 4 </result>');
});

describe('messages behind an answer', () => {
  const messages = [{ role: 'user', content: '7' }];

  test('are those of the tokenizer', () => {
    const bytes = new ByteTokenizer();
    expect(bytes.decode(encodeObservations(bytes, messages))).toBe('\nuser: 7\nassistant:');
    expect(encodeObservations(new WordTokenizer(), messages)).toEqual([7]);
  });

  test('begin behind the end of an answer, where the chat form has one', () => {
    // The form of ChatML: a system text first, `e` ends a message, `u`, `a` begin one.
    const chat: Tokenizer = Object.assign(new WordTokenizer(['S', 'e', 'u', 'a', '7']), {
      eosId: 1,
      encodeChat(given: readonly { role: string; content: string }[]): number[] {
        const text = ['S', ...given.map(({ role, content }) => `${role[0]} ${content} e`), 'a'].join(' ');
        return (this as unknown as WordTokenizer).encode(text);
      },
    });
    expect(chat.encodeChat(messages)).toEqual([0, 2, 4, 1, 3]);
    expect(encodeObservations(chat, messages)).toEqual([2, 4, 1, 3]);
  });
});

test('tokenizers are created by name', () => {
  expect(listTokenizers()).toEqual(['byte', 'word', 'word_tools']);
  expect(createTokenizer('byte')).toBeInstanceOf(ByteTokenizer);
  expect(() => createTokenizer('bite')).toThrow("Unknown tokenizer 'bite'. Did you mean 'byte'? Registered: byte, word, word_tools");
  registerTokenizer('letters', class extends ByteTokenizer {});
  expect(createTokenizer('letters').vocabSize).toBe(258);
  tokenizers.unregister('letters');
});

describe('SmallRandom', () => {
  test('seeds and streams give their own sequences, always the same', () => {
    const draw = (seed: number, stream?: number) =>
      Array.from(
        { length: 4 },
        (
          (random) => () => random.next()
        )(new SmallRandom(seed, stream)),
      );
    expect(draw(42)).toEqual(draw(42, 0));
    const sequences = [draw(42), draw(43), draw(42, 1), draw(42 + 2 ** 32), draw(0)];
    expect(new Set(sequences.map(String)).size).toBe(sequences.length);
  });

  test('below is even', () => {
    const random = new SmallRandom(1);
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[random.below(7)]++;
    const chiSquare = counts.reduce((sum, n) => sum + (n - 10_000) ** 2 / 10_000, 0);
    expect(chiSquare).toBeLessThan(22.5);
    expect(() => random.below(0)).toThrow(DataError);
  });

  test('every permutation of four comes up about as often', () => {
    const random = new SmallRandom(2);
    const counts = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const key = random.permutation(4).join('');
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    expect([...counts.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)).toBeLessThan(50);
  });
});

describe('DataLoader', () => {
  const examples = Array.from({ length: 10 }, (_, i) => i);
  const loader = (options = {}) => new DataLoader(examples, { batchSize: 3, seed: 42, ...options });

  test('an epoch takes no example twice and drops the last, partial batch', () => {
    const data = loader();
    expect(data.batchesPerEpoch).toBe(3);
    const epochs = [0, 1, 2].map((epoch) => {
      expect(data.epoch).toBe(epoch);
      return [data.next(), data.next(), data.next()].flat();
    });
    for (const epoch of epochs) expect(new Set(epoch).size).toBe(9);
    expect(new Set(epochs.map(String)).size).toBe(3);
    expect(data.epoch).toBe(3);
  });

  test('the seed decides the order', () => {
    const order = (seed: number) => loader({ seed, batchSize: 10 }).next();
    expect(order(1)).toEqual(order(1));
    expect(order(1)).not.toEqual(order(2));
    expect(loader({ shuffle: false }).next()).toEqual([0, 1, 2]);
  });

  test('continues from any saved state', () => {
    const data = loader();
    for (let taken = 0; taken < 8; taken++) {
      const state = JSON.parse(JSON.stringify(data.state()));
      const continued = loader();
      continued.restore(state);
      const expected = data.next();
      expect(continued.next()).toEqual(expected);
      expect(continued.state()).toEqual(data.state());
    }
  });

  test('refuses a state of another run', () => {
    const state = loader().state();
    expect(() => loader().restore({ ...state, seed: 7 })).toThrow('seed of the saved state: expected 42 as in this run, got 7');
    expect(() => loader().restore({ ...state, size: 11 })).toThrow('size of the saved state: expected 10');
    expect(() => loader().restore({ ...state, batch: 3 })).toThrow('expected an epoch and a batch below 3');
    expect(() => loader().restore({ ...state, epoch: -1 })).toThrow(DataError);
  });

  test('refuses a dataset without a batch, and sizes that are none', () => {
    expect(() => loader({ batchSize: 11 })).toThrow('expected at least one batch of 11 examples, got 10 examples');
    expect(() => loader({ batchSize: 0 })).toThrow('batchSize: expected a positive integer, got 0');
  });

  test('inBatches leaves nothing out', () => {
    expect([...inBatches(examples, 4)]).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
  });
});

describe('generated tasks', () => {
  test.each(['gmax', 'max4'] as const)('the answers of %s are right and its environment rewards them', async (task) => {
    const { train, validation } = generateTask(task, { trainSize: 300, validationSize: 50 });
    for (const row of [...train, ...validation]) {
      const { question, answer } = row.extra_info as { question: string; answer: string };
      const largest = Math.max(...question.split(' ').slice(0, 4).map(Number));
      expect(question).toMatch(/^\d \d \d \d =$/);
      expect(row.prompt).toEqual([{ role: 'user', content: question }]);
      expect(row.reward_spec.ground_truth).toBe(String(largest));
      const rewardOf = async (text: string) => (await new (environments.get(row.env_class))({ ...row }).step(text)).reward;
      expect([await rewardOf(answer), await rewardOf(answer.replace(/\d/, String((largest + 1) % 10)))]).toEqual([1, 0]);
      const tokenizer = new WordTokenizer();
      expect(tokenizer.decode(tokenizer.encode(answer))).toBe(answer);
    }
  });

  test('the answers of sort3 are right and its environment rewards them', async () => {
    const { train, validation } = generateTask('sort3', { trainSize: 300, validationSize: 50 });
    for (const row of [...train, ...validation]) {
      const { question, answer } = row.extra_info as { question: string; answer: string };
      expect(question).toMatch(/^\d \d \d =$/);
      expect(answer.split(' ').map(Number)).toEqual(question.split(' ').slice(0, 3).map(Number).sort((a, b) => a - b));
      const environment = () => new (environments.get('sort3'))({ ...row });
      expect([(await environment().step(answer)).reward, (await environment().step(`${answer} =`)).reward]).toEqual([1, 0]);
    }
    expect(() => generateTask('sort3', { validationSize: 1000 })).toThrow('validationSize: expected an integer from 1 to 999, got 1000');
  });

  test('lookup hides a table, whose entry under the largest digit is the answer', async () => {
    const { train } = generateTask('lookup', { trainSize: 300, validationSize: 50 });
    const tokenizer = new ToolWordTokenizer();
    for (const row of train) {
      const { question, answer, table, key } = row.extra_info as { question: string; answer: string; table: string[]; key: string };
      expect(key).toBe(String(Math.max(...question.split(' ').slice(0, 4).map(Number))));
      const environment = new (environments.get('lookup'))({ ...row });
      const { observations, reward, done } = await environment.step(`<tool> ${key} </tool>`);
      expect([reward, done, answer]).toEqual([0.5, false, `#### ${table[Number(key)]}`]);
      expect(tokenizer.encodeChat(observations)).toHaveLength(3);
      expect(await environment.step(answer)).toEqual({ observations: [], reward: 0.5, done: true });
    }
    // Prompts do not tell the answer.
    expect(new Set(train.filter(({ extra_info }) => extra_info.key === '9').map(({ reward_spec }) => reward_spec.ground_truth)).size).toBe(10);
    expect(generateTask('lookup', { trainSize: 300, validationSize: 50 }).train).toEqual(train);
  });

  test('an unknown task is refused', () => {
    expect(() => generateTask('toString' as 'gmax')).toThrow('generateTask: expected one of gmax, max4, sort3, lookup, got "toString"');
  });

  test('no prompt is in both sets, none comes twice, the seed decides', () => {
    const prompts = ({ seed = 42 } = {}) => {
      const { train, validation } = generateTask('gmax', { seed });
      return [train, validation].map((rows) => rows.map((row) => row.prompt[0].content));
    };
    const [train, validation] = prompts();
    expect([train.length, validation.length, new Set([...train, ...validation]).size]).toEqual([2048, 256, 2304]);
    expect(prompts()).toEqual([train, validation]);
    expect(prompts({ seed: 43 })).not.toEqual([train, validation]);
  });

  test('a training set larger than all prompts repeats its own only', () => {
    const { train, validation } = generateTask('max4', { trainSize: 12_000, validationSize: 9_000 });
    const held = new Set(validation.map((row) => row.prompt[0].content));
    expect(train.filter((row) => held.has(row.prompt[0].content))).toEqual([]);
    expect(new Set(train.map((row) => row.prompt[0].content)).size).toBe(1000);
  });

  test.each([{ trainSize: 0 }, { validationSize: 10_000 }, { seed: -1 }, { trainSize: 1.5 }])('%j is refused', (options) => {
    expect(() => generateTask('gmax', options)).toThrow(/generateTask: \w+: expected an integer from/);
  });
});

describe('PromptDataset', () => {
  const { train } = generateTask('gmax', { trainSize: 4 });
  const load = (file: string, options = {}) => PromptDataset.load({ files: [file], tokenizer: new WordTokenizer(), maxPromptLength: 5, envClass: 'gsm8k', ...options });

  test('Parquet, JSON Lines and JSON give the same examples', async () => {
    const [parquet, jsonl, json] = ['parquet', 'jsonl', 'json'].map((extension) => join(folder, `same.${extension}`));
    await writeParquet(parquet, train);
    writeJsonl(jsonl, train);
    writeFileSync(json, JSON.stringify(train));
    const [first, ...others] = await Promise.all([parquet, jsonl, json].map((file) => load(file)));
    expect(first.examples[0]).toEqual({
      id: '0',
      prompt: train[0].prompt,
      promptIds: new WordTokenizer().encode(train[0].prompt[0].content),
      dataSource: 'vantage/gmax',
      envClass: 'gmax',
      row: train[0],
    });
    for (const other of others) expect(other.examples).toEqual(first.examples);
    const both = await load(parquet, { files: [parquet, jsonl] });
    expect(both.examples.map(({ id }) => id)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
  });

  test('long prompts are dropped and counted; what a row does not say is filled in', async () => {
    const file = join(folder, 'long.jsonl');
    writeJsonl(file, [
      { prompt: [{ role: 'user', content: '1 2 3 4 5 =' }] },
      { prompt: [{ role: 'user', content: '1 =' }], env_class: null },
    ]);
    const dataset = await load(file);
    expect([dataset.length, dataset.dropped]).toEqual([1, 1]);
    expect(dataset.examples[0]).toMatchObject({ id: '1', dataSource: 'unknown', envClass: 'gsm8k' });
  });

  test.each([
    ['bad-1.jsonl', '{"prompt":[]}', ':1: prompt: expected a list of {role, content}, got []'],
    ['bad-2.jsonl', '\n{"prompt":[{"role":"user","content":3}]}', ':2: prompt: expected a list of {role, content}'],
    ['bad-3.jsonl', '{"prompt":[{"role":"user","content":"1"}],"env_class":3}', ':1: env_class: expected text, got 3'],
    ['bad-4.jsonl', '{"prompt":[{"role":"user","content":"ten"}]}', ':1: word tokenizer: expected words'],
    ['bad-5.jsonl', '{"prompt":[{"role":"user","content":""}]}', ':1: prompt: expected at least one token, got none'],
    ['bad-6.jsonl', '7', ':1: expected a row (an object), got 7'],
    ['bad-7.json', '[{"prompt":1}]', ': row 1: prompt: expected a list'],
    ['bad-8.json', '{"prompt":1}', ': expected a list of rows'],
    ['bad-9.json', '[', ': malformed JSON ('],
    ['bad.csv', 'a,b', ': expected a .parquet, .jsonl or .json file'],
  ])('%s', async (name, content, message) => {
    const file = join(folder, name);
    writeFileSync(file, content);
    await expect(load(file)).rejects.toThrow(file + message);
  });
});
