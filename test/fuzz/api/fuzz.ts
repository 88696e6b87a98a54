/** Runs calls in child processes: one that dies or hangs is a finding, and the next goes on behind it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readsTypeScript } from '../../programs';
import { caseOf } from './cases';
import type { Report } from './child';
import { smaller } from './mutate';
import type { PartName } from './recipes';
import { signatureOf, type Finding, type Usage } from './run_case';

export interface FuzzOptions {
  part?: PartName | null;
  seed: number;
  count: number;
  from?: number;
  /** Calls given as text, instead of drawn ones. */
  sources?: readonly string[];
  shrink?: boolean;
  /** Of the processes that make the calls, beside this one's: what loads sanitizers. */
  environment?: Record<string, string>;
  onFinding?: (finding: Finding, index: number) => void;
  onProgress?: (calls: number) => void;
  /** Told before the first call of a process, every 50,000 calls, and after the last. */
  onUsage?: (usage: Usage, index: number) => void;
}

export interface FuzzResult {
  calls: number;
  /** Calls that threw, and calls that were programs at all. */
  threw: number;
  programs: number;
  findings: Finding[];
}

/** A call that keeps the child busy for so long will not end. */
const STALLED = 30_000;
/** With sanitizers. */
const STALLED_SANITIZED = 180_000;
const MOST_SHRINKS = 60;

interface ChildEnd {
  /** The call under way when it ended, or -1. */
  at: number;
  /** Why it ended; null where it was done. */
  death: string | null;
  stalled: boolean;
}

function runChild(order: object, environment: Record<string, string>, onReport: (report: Report) => void): Promise<ChildEnd> {
  const folder = mkdtempSync(join(tmpdir(), 'vantage-fuzz-'));
  const file = join(folder, 'progress');
  const progress = openSync(file, 'w+');
  const child: ChildProcess = spawn(process.execPath, ['--expose-gc', ...readsTypeScript, join(__dirname, 'child.ts')], {
    stdio: ['ignore', 'ignore', 'pipe', progress, 'ipc'],
    cwd: join(__dirname, '../../..'),
    env: { ...process.env, ...environment },
  });
  const most = environment.LD_PRELOAD ? STALLED_SANITIZED : STALLED;
  let errors = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-20_000)));
  child.on('message', (report) => onReport(report as Report));
  child.send(order);
  const at = () => {
    const bytes = readFileSync(file);
    return bytes.length < 8 ? -1 : bytes.readDoubleLE(0);
  };
  let [last, since, stalled] = [-1, Date.now(), false];
  const watch = setInterval(() => {
    const now = at();
    if (now !== last) [last, since] = [now, Date.now()];
    else if (Date.now() - since > most) {
      stalled = true;
      child.kill('SIGKILL');
    }
  }, 1000);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearInterval(watch);
      const end = { at: at(), death: code === 0 ? null : `${signal ?? `exit code ${code}`}\n${errors.trim().slice(-4000)}`, stalled };
      closeSync(progress);
      rmSync(folder, { recursive: true, force: true });
      resolve(end);
    });
  });
}

/** The smallest call that still ends the process; the call itself where it does so only behind others. */
async function shrinkDeath(source: string, kind: 'crash' | 'hang', environment: Record<string, string>): Promise<{ source: string; alone: boolean }> {
  const dies = async (candidates: readonly string[]) => {
    const { at, death, stalled } = await runChild({ part: null, seed: 0, from: 0, to: candidates.length, sources: candidates, shrink: false }, environment, () => {});
    return death !== null && stalled === (kind === 'hang') ? at : null;
  };
  if ((await dies([source])) === null) return { source, alone: false };
  if (kind === 'hang') return { source, alone: true };
  let best = source;
  for (let i = 0; i < MOST_SHRINKS; i++) {
    const candidates = [...smaller(best)].filter((candidate) => candidate.length < best.length).slice(0, 200);
    const at = candidates.length > 0 ? await dies(candidates) : null;
    if (at === null || at < 0) break;
    best = candidates[at]!;
  }
  return { source: best, alone: true };
}

export async function fuzz({ part = null, seed, count, from = 0, sources, shrink = true, environment = {}, onFinding, onProgress, onUsage }: FuzzOptions): Promise<FuzzResult> {
  const result: FuzzResult = { calls: 0, threw: 0, programs: 0, findings: [] };
  const known = new Set<string>();
  const found = (finding: Finding, index: number) => {
    if (known.has(signatureOf(finding))) return;
    known.add(signatureOf(finding));
    result.findings.push(finding);
    onFinding?.(finding, index);
  };
  const onReport = (report: Report) => {
    if (report.type === 'finding') return found(report.finding, report.index);
    if (report.type === 'usage') return onUsage?.(report.usage, report.index);
    result.calls += report.calls;
    result.threw += report.threw;
    result.programs += report.programs;
    onProgress?.(result.calls);
  };
  let next = from;
  while (next < from + count) {
    const { at, death, stalled } = await runChild({ part, seed, from: next, to: from + count, sources, shrink }, environment, onReport);
    if (death === null) break;
    if (at < next) throw new Error(`the fuzzer's child process does not start: ${death}`);
    const kind = stalled ? 'hang' : 'crash';
    const source = sources ? sources[at]! : caseOf(part, seed, at);
    const small = shrink ? await shrinkDeath(source, kind, environment) : { source, alone: true };
    found({
      kind,
      text: small.alone ? death : `${death}\n(only behind the calls before it: --seed ${seed} --from ${next} --count ${at - next + 1}${part ? ` --part ${part}` : ''})`,
      // Nothing else tells one from another.
      where: /\b[vn](\.\w+)+/.exec(small.source)?.[0] ?? 'a call',
      source: small.source,
    }, at);
    next = at + 1;
  }
  return result;
}
