import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readGsm8k, readJsonl, readParquet, writeJsonl, writeParquet } from '../../src/data';
import { DataError } from '../../src/errors';

const folder = mkdtempSync(join(tmpdir(), 'vantage-data-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
const path = (extension: string) => join(folder, `file-${count++}.${extension}`);
function fileWith(content: string | Uint8Array, extension = 'jsonl'): string {
  const file = path(extension);
  writeFileSync(file, content);
  return file;
}

describe('JSON Lines', () => {
  test('round trip, with blank lines and CR skipped', () => {
    const values = [{ a: 'ü\n"' }, [1, null], 'text'];
    const file = path('jsonl');
    writeJsonl(file, values);
    expect(readJsonl(file).map(({ value }) => value)).toEqual(values);
    expect(readJsonl(fileWith('{"a":1}\r\n\n  \n2'))).toEqual([
      { value: { a: 1 }, line: 1 },
      { value: 2, line: 4 },
    ]);
  });

  test('a byte-order mark is no part of the first value', () => {
    expect(readJsonl(fileWith('\uFEFF{"a":1}\n'))[0].value).toEqual({ a: 1 });
  });

  test.each([
    ['{"a":1}\n{"a":\n', ':2: malformed JSON ('],
    [Uint8Array.from([0x31, 0x0a, 0x22, 0xff, 0x22, 0x0a]), ':2: expected UTF-8 text'],
    ['', ': expected one JSON value a line, got an empty file'],
    ['\n \n', ': expected one JSON value a line, got an empty file'],
  ])('%j', (content, message) => {
    const file = fileWith(content);
    expect(() => readJsonl(file)).toThrow(file + message);
    expect(() => readJsonl(file)).toThrow(DataError);
  });

  test('missing files and folders', () => {
    expect(() => readJsonl(join(folder, 'none.jsonl'))).toThrow('none.jsonl: no such file');
    expect(() => readJsonl(folder)).toThrow(`${folder}: is a folder, expected a file`);
  });

  test('a failed write leaves nothing behind', () => {
    const below = fileWith('x', 'txt');
    expect(() => writeJsonl(join(below, 'a.jsonl'), [1])).toThrow('cannot be written');
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('Parquet', () => {
  const rows = [
    {
      data_source: 'a',
      prompt: [
        { role: 'system', content: 'ü' },
        { role: 'user', content: '' },
      ],
      spec: { truth: '1', weights: [0.5, 2], deep: { flags: [true, false] } },
      index: 2 ** 40,
      mixed: 1,
    },
    { data_source: 'b', prompt: [], spec: { truth: null, weights: [], deep: { flags: [] } }, index: -3, mixed: 0.25 },
    { data_source: null, prompt: [{ role: 'user', content: 'c' }], spec: null, index: null, mixed: -1 },
  ];

  test('nested rows survive a round trip', async () => {
    const file = path('parquet');
    await writeParquet(file, rows);
    expect(await readParquet(file)).toEqual(rows);
  });

  test('the stored types are those that pyarrow gives such rows', async () => {
    const file = path('parquet');
    await writeParquet(file, rows);
    const { parquetMetadata, parquetSchema } = await import('hyparquet');
    const bytes = readFileSync(file);
    const { children } = parquetSchema(
      parquetMetadata(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer),
    );
    const [source, prompt, spec, index, mixed] = children;
    expect([source.element.converted_type, index.element.type, mixed.element.type]).toEqual(['UTF8', 'INT64', 'DOUBLE']);
    expect(prompt.element.converted_type).toBe('LIST');
    expect(prompt.children[0].children[0].children.map(({ element }) => element.name)).toEqual(['role', 'content']);
    expect(spec.children.map(({ element }) => element.name)).toEqual(['truth', 'weights', 'deep']);
  });

  test('rows of different fields, and columns of nulls alone', async () => {
    const file = path('parquet');
    await writeParquet(file, [{ a: 1 }, { b: 'x', c: null }]);
    expect(await readParquet(file)).toEqual([
      { a: 1, b: null, c: null },
      { a: null, b: 'x', c: null },
    ]);
  });

  test('more rows than a row group holds', async () => {
    const many = Array.from({ length: 2500 }, (_, i) => ({ id: i, words: Array.from({ length: i % 4 }, (_, j) => `w${j}`) }));
    const file = path('parquet');
    await writeParquet(file, many);
    expect(await readParquet(file)).toEqual(many);
  });

  test.each([
    [[], 'expected at least one row'],
    [[{ a: 1 }, { a: 'x' }], 'column a: expected values of one type, got integer and string'],
    [[{ a: [{ b: 1 }, { b: true }] }], 'column a[].b: expected values of one type, got integer and boolean'],
    [[{ a: {} }], 'column a: expected objects with fields, got {}'],
    [[{ a: 3n }], 'column a: expected JSON-like values, got 3n (bigint)'],
  ])('%# is refused', async (wrong: object[], message) => {
    const file = path('parquet');
    await expect(writeParquet(file, wrong)).rejects.toThrow(message);
    expect(existsSync(file)).toBe(false);
  });

  test('a file that is no Parquet', async () => {
    await expect(readParquet(fileWith('PAR0 this is nothing of the kind', 'parquet'))).rejects.toThrow('expected a Parquet file (it does not begin and end with PAR1)');
  });

  /** The bytes of a file of the rows, and the file with one of them changed. */
  async function damaged(change: (bytes: Buffer) => void): Promise<string> {
    const file = path('parquet');
    await writeParquet(file, rows);
    const bytes = readFileSync(file);
    change(bytes);
    writeFileSync(file, bytes);
    return file;
  }

  // The reader makes a promise for each column, and would let that of an unknown one be rejected with nobody there: the process would end.
  test('columns of a row group that are not those of the schema', async () => {
    const file = await damaged((bytes) => void bytes.write('mixes', bytes.lastIndexOf('mixed')));
    await expect(readParquet(file)).rejects.toThrow(`${file}: expected a Parquet file (the columns of a row group are not those of the schema (data_source, prompt.list.element.role,`);
  });

  test('a footer or a column that is longer than the file', async () => {
    const footer = await damaged((bytes) => void bytes.writeUInt32LE(1e9, bytes.length - 8));
    await expect(readParquet(footer)).rejects.toThrow('(a footer of 1000000000 bytes is longer than the file)');
    const cut = await damaged(() => undefined);
    const bytes = readFileSync(cut);
    writeFileSync(cut, Buffer.concat([bytes.subarray(0, 4), bytes.subarray(60)]));
    await expect(readParquet(cut)).rejects.toThrow(/^.*: expected a Parquet file \(/);
  });

  test('any byte of it may be another: there are rows, or an error that names the file', async () => {
    const original = await damaged(() => undefined);
    const bytes = readFileSync(original);
    for (let at = 0; at < bytes.length; at += 3) {
      for (const value of [0, 0xff]) {
        const changed = Buffer.from(bytes);
        changed[at] = value;
        writeFileSync(original, changed);
        try {
          expect(Array.isArray(await readParquet(original))).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message).toContain(`${original}: expected a Parquet file (`);
        }
      }
    }
  });
});

describe('GSM8K', () => {
  const lines = (...values: object[]) => fileWith(values.map((value) => `${JSON.stringify(value)}\n`).join(''));

  test('a row is what SkyRL makes of it', () => {
    const file = lines({ question: 'What is 1 + 1?', answer: '1+1=2\n#### 2' }, { question: 'Q', answer: '#### -1,234,567.5' });
    const { rows, truthsWithCommas } = readGsm8k(file, 'train');
    expect(rows[0]).toEqual({
      data_source: 'openai/gsm8k',
      prompt: [{ role: 'user', content: 'What is 1 + 1? Let\'s think step by step and output the final answer after "####".' }],
      env_class: 'gsm8k',
      reward_spec: { method: 'rule', ground_truth: '2' },
      extra_info: { split: 'train', index: 0, answer: '1+1=2\n#### 2', question: 'What is 1 + 1?' },
    });
    expect([rows[1].reward_spec.ground_truth, rows[1].extra_info.index, truthsWithCommas]).toEqual(['-1234567.5', 1, 1]);
  });

  test.each([
    [{ question: 'Q' }, ':2: answer: expected text, got undefined'],
    [{ question: 3, answer: '#### 1' }, ':2: question: expected text, got 3'],
    [{ question: 'Q', answer: 'four' }, `:2: answer: expected '#### ' and a number, got "four"`],
    [[1], ':2: expected an object with question and answer, got [1]'],
  ])('%j', (wrong, message) => {
    const file = lines({ question: 'Q', answer: '#### 1' }, wrong);
    expect(() => readGsm8k(file, 'train')).toThrow(file + message);
  });

  const real = join(__dirname, '../../../shared/data/gsm8k');
  const present = existsSync(real);
  if (!present) console.warn('skipped: ../shared/data/gsm8k is not here');
  (present ? test : test.skip).each([
    ['train', 7473, 79],
    ['test', 1319, 14],
  ])('the real %s file has %i rows, %i truths with commas', (split, size, commas) => {
    const { rows, truthsWithCommas } = readGsm8k(join(real, `${split}.jsonl`), split);
    expect([rows.length, truthsWithCommas]).toEqual([size, commas]);
    expect(rows.every(({ reward_spec }) => /^-?[0-9.]+$/.test(reward_spec.ground_truth))).toBe(true);
  });
});
