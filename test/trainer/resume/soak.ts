/**
 * Kills runs for as long as one likes, and compares each with the run that was never killed: `npm run test:soak -- --minutes 5 --seed 1`. Ends with exit code 1 at the first difference.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { type Kills, killAtRandom, runChild } from './children';
import { kinds, remains, writeTinyConfig } from './runs';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' }, seed: { type: 'string', default: '1' }, kills: { type: 'string', default: '6' } } });
const end = Date.now() + 60_000 * Number(values.minutes);

/** Runs `body` in a folder with a configuration. */
async function inFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-soak-'));
  try {
    writeTinyConfig(folder);
    return await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function soak(): Promise<void> {
  const total: Kills & { runs: number } = { kills: 0, duringSaves: 0, processes: 0, runs: 0 };
  const wholes = new Map<string, object>();
  for (let seed = Number(values.seed); Date.now() < end; seed++) {
    const names = Object.keys(kinds);
    const kind = names[seed % names.length]!;
    const overrides = [...kinds[kind]!, 'trainer.ckpt_interval=1', 'trainer.max_ckpts_to_keep=2'];
    if (!wholes.has(kind)) wholes.set(kind, await inFolder(async (folder) => (await runChild(folder, { overrides }), remains(folder))));
    await inFolder(async (folder) => {
      // Steps wait a little, so that kills fall into all their parts.
      const env = { VANTAGE_TEST_PAUSE: '40', VANTAGE_NUM_THREADS: String(1 + (seed % 2)) };
      const counts = await killAtRandom(folder, seed, Number(values.kills), { overrides, env });
      for (const key of ['kills', 'duringSaves', 'processes'] as const) total[key] += counts[key];
      total.runs++;
      if (!isDeepStrictEqual(remains(folder), wholes.get(kind))) throw new Error(`seed ${seed}, ${kind}: another end than that of the run that was not killed`);
    });
    console.log(`seed ${seed}, ${kind}: the same; so far ${total.runs} runs, ${total.kills} kills, ${total.duringSaves} of them during a save`);
  }
}

void soak().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
