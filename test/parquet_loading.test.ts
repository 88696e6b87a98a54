import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

describe('ES-module-only dependencies load under Jest', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vantage-parquet-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  it('writes a Parquet file with hyparquet-writer and reads it with hyparquet', async () => {
    const { parquetWriteFile } = await import('hyparquet-writer');
    const { asyncBufferFromFile, parquetReadObjects } = await import('hyparquet');
    const filename = join(directory, 'rows.parquet');
    await parquetWriteFile({
      filename,
      columnData: [
        { name: 'question', data: ['3 9 1 4 =', 'naïve €'], type: 'STRING' },
        { name: 'answer', data: [9, -4], type: 'INT32' },
      ],
    });
    const rows = await parquetReadObjects({ file: await asyncBufferFromFile(filename) });
    expect(rows).toEqual([
      { question: '3 9 1 4 =', answer: 9 },
      { question: 'naïve €', answer: -4 },
    ]);
  });
});
