/** The short version of `npm run test:memory`, in a process of its own: Jest's heap makes a collection take as long as the test may. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { readsTypeScript } from '../programs';

test('a training run with all its files is flat in memory', async () => {
  const command = ['--expose-gc', ...readsTypeScript, join(__dirname, 'training.ts'), '160'];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: join(__dirname, '../..') });
  expect(stdout.trim().split('\n')).toEqual([
    expect.stringMatching(/^160 steps on /),
    ...Array.from({ length: 8 }, (_, i) => expect.stringMatching(new RegExp(`^ *${(i + 1) * 20}: device `)) as string),
    'flat',
  ]);
}, 120_000);
