/** A short run of `npm run fuzz:bytes`: fixed seeds, all parts in one process, as loading it takes longer than the inputs. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readsTypeScript } from '../../programs';
import type { ChildOptions, Summary } from './child';
import type { PartName } from './parts';

const names: PartName[] = ['safetensors', 'data', 'parquet', 'metrics', 'tokenizer', 'model', 'config', 'checkpoint'];

test('changed files of all kinds end in errors that name them, and leave nothing behind', () => {
  const root = mkdtempSync(join(tmpdir(), 'vantage-fuzz-'));
  try {
    const options = names.map((part): ChildOptions => ({ part, seed: 7, runs: 50, seconds: 60, folder: join(root, part) }));
    const { status, stdout, stderr } = spawnSync(process.execPath, [...readsTypeScript, join(__dirname, 'child.ts'), JSON.stringify(options)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    expect([status, stderr]).toEqual([0, '']);
    const summaries = stdout.trim().split('\n').map((line) => JSON.parse(line) as Summary);
    expect(summaries.map(({ part, runs }) => [part, runs])).toEqual(names.map((part) => [part, 50]));
    for (const { part, accepted, runs } of summaries) expect([part, accepted > 0 && accepted < 3 * runs]).toEqual([part, true]);
    const findings = names.flatMap((part) => (existsSync(join(root, part, 'findings.jsonl')) ? readFileSync(join(root, part, 'findings.jsonl'), 'utf8') : []));
    expect(findings).toEqual([]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}, 120_000);
