/** Runs calls one after the other, in a process that may die of them; the one that started it is told of what is found. */
import { mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { caseOf } from './cases';
import { checkCanary, runCase, settled, signatureOf, type Finding, type Usage } from './run_case';
import { smaller } from './mutate';
import type { PartName } from './recipes';

export interface Order {
  part: PartName | null;
  seed: number;
  from: number;
  to: number;
  /** A file where the number of the call under way is written. */
  progress: number;
  /** Calls given as text, instead of drawn ones. */
  sources?: readonly string[];
  shrink: boolean;
}

export type Report =
  | { type: 'finding'; finding: Finding; index: number }
  | { type: 'counts'; calls: number; threw: number; programs: number }
  | { type: 'usage'; usage: Usage; index: number };

/** After so many calls everything has to be as it was before the first. */
const STRETCH = 50_000;
/** Drawn calls that threw between two runs of the canary. */
const CANARY_AFTER = 8;

const send = (report: Report) => process.send!(report);
const folder = mkdtempSync(join(tmpdir(), 'vantage-fuzz-'));
process.chdir(folder);
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
Error.stackTraceLimit = 40;

let current = '';
process.on('unhandledRejection', (error: unknown) => {
  if ((error as Error)?.name === 'Boom') return;
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  send({ type: 'finding', index: -1, finding: { kind: 'unhandled rejection', text, where: '', source: current } });
});

/** The smallest call of the same finding that is reached by leaving out one thing at a time. */
async function shrink(finding: Finding): Promise<Finding> {
  const signature = signatureOf(finding);
  let best = finding;
  const end = performance.now() + 20_000;
  let tries = 0;
  for (let progress = true; progress;) {
    progress = false;
    for (const source of smaller(best.source)) {
      if (performance.now() > end || tries > 400) return best;
      if (source.length >= best.source.length) continue;
      tries++;
      const { finding: again } = await runCase(source);
      if (!again || signatureOf(again) !== signature) continue;
      best = again;
      progress = true;
      break;
    }
  }
  return best;
}

/** All calls together must leave nothing: neither those that are not looked at one by one, as they go on by themselves, nor what a single one could have left by accident. */
function checkUsage(before: Usage, after: Usage, from: number, index: number): void {
  const kinds = ['tensors', 'buffers', 'bytes'] as const;
  const more = kinds.filter((kind) => after.device[kind] > before.device[kind]);
  if (more.length === 0) return;
  const text = `calls ${from} to ${index} left ${more.map((kind) => `${after.device[kind] - before.device[kind]} ${kind}`).join(', ')}`;
  send({ type: 'finding', index, finding: { kind: 'leak', text, where: 'all calls', source: current } });
}

async function work({ part, seed, from, to, progress, sources, shrink: shrinks }: Order): Promise<void> {
  checkCanary('');
  const before = await settled();
  send({ type: 'usage', usage: before, index: from });
  const look = async (index: number) => {
    const usage = await settled();
    send({ type: 'usage', usage, index });
    checkUsage(before, usage, from, index);
  };
  const known = new Set<string>();
  let [calls, threw, programs] = [0, 0, 0];
  const place = Buffer.alloc(8);
  const count = () => {
    send({ type: 'counts', calls, threw, programs });
    [calls, threw, programs] = [0, 0, 0];
  };
  for (let index = from; index < to; index++) {
    place.writeDoubleLE(index);
    writeSync(progress, place, 0, 8, 0);
    current = sources ? sources[index]! : caseOf(part, seed, index);
    const outcome = await runCase(current, sources ? 1 : CANARY_AFTER);
    calls++;
    if (outcome.threw) threw++;
    if (outcome.compiled) programs++;
    if (outcome.finding && !known.has(signatureOf(outcome.finding))) {
      known.add(signatureOf(outcome.finding));
      send({ type: 'finding', index, finding: shrinks ? await shrink(outcome.finding) : outcome.finding });
    }
    if (calls === 500) {
      count();
      await new Promise((resolve) => setImmediate(resolve));
    }
    if ((index + 1 - from) % STRETCH === 0) await look(index + 1);
  }
  count();
  // A call given as text may have left something on purpose: it is told of by itself.
  if (!sources) {
    const finding = checkCanary(current);
    if (finding) send({ type: 'finding', index: to - 1, finding });
    await look(to);
  }
}

process.once('message', (order: Order) => {
  void work({ ...order, progress: 3 }).then(() => process.disconnect());
});
