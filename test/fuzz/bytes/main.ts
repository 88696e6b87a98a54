/**
 * `npm run fuzz:bytes`: changed files for everything that reads files, guided by V8's coverage. Usage:
 *   node --import tsx test/fuzz/bytes/main.ts [--part safetensors,…] [--seconds 60] [--runs N] [--seed 1] [--out FOLDER]
 *   node --import tsx test/fuzz/bytes/main.ts --part tokenizer --replay FOLDER
 * A finding is a process that ends, a read of more than 2 s, memory that grows without bound, tensors that are left behind, and an error that is not one of ours or does
 * not name the file. Its files are kept. Exit code 1 where there is any.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { parseArgs } from 'node:util';
import { readsTypeScript } from '../../programs';
import type { ChildOptions, Finding, Summary } from './child';

const PARTS = ['safetensors', 'data', 'parquet', 'metrics', 'tokenizer', 'model', 'config', 'checkpoint'];
/** A read that takes longer than this is ended with its process. */
const MOST_SECONDS = 15;
/** Of the first input: loading everything takes its time. */
const MOST_SECONDS_TO_START = 120;

interface Ended {
  summary: Summary | null;
  /** Inputs that were begun. */
  begun: number;
  why: string;
}

function runChild(options: ChildOptions): Promise<Ended> {
  const command = ['--max-old-space-size=600', ...readsTypeScript, join(__dirname, 'child.ts'), JSON.stringify(options)];
  const child: ChildProcess = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  let [begun, hangs, output, errors] = [0, false, '', ''];
  let last = performance.now();
  (child.stdio[3] as Readable).on('data', (bytes: Buffer) => {
    begun += bytes.length;
    last = performance.now();
  });
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-4000)));
  const watch = setInterval(() => {
    const idle = (performance.now() - last) / 1000;
    if (idle < (begun === 0 ? MOST_SECONDS_TO_START : MOST_SECONDS)) return;
    hangs = true;
    child.kill('SIGKILL');
  }, 500);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearInterval(watch);
      const summary = code === 0 ? (JSON.parse(output.trim().split('\n').at(-1)!) as Summary) : null;
      resolve({ summary, begun, why: hangs ? 'hang' : `${signal ?? `exit code ${code}`}: ${errors.trim().slice(-1500)}` });
    });
  });
}

const readFindings = (folder: string): Finding[] => {
  const file = join(folder, 'findings.jsonl');
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Finding) : [];
};

/** A part until its time or its inputs are used up, in one process after the other. */
async function fuzz(options: ChildOptions): Promise<Finding[]> {
  const end = performance.now() + 1000 * options.seconds;
  let left = options.runs;
  for (let round = 0; left > 0 && performance.now() < end; round++) {
    const seconds = Math.max(1, (end - performance.now()) / 1000);
    const ended = await runChild({ ...options, round, seed: options.seed + 1000 * round, runs: left, seconds });
    left -= ended.begun;
    if (ended.summary !== null) {
      const { runs, kept, coverage, accepted } = ended.summary;
      console.log(`${options.part}: ${runs} inputs (${accepted} accepted), ${kept} kept for what they reached, ${coverage} blocks; seed ${options.seed + 1000 * round}`);
      break;
    }
    if (ended.begun === 0 || ended.why.includes('is refused')) throw new Error(`${options.part}: the process did not begin: ${ended.why}`);
    const folder = join(options.folder, `crash_${round}`);
    cpSync(join(options.folder, 'input'), folder, { recursive: true });
    const isHang = ended.why === 'hang';
    const finding: Finding = { kind: isHang ? 'hang' : 'crash', text: isHang ? `it did not end in ${MOST_SECONDS} s` : ended.why, folder };
    appendFileSync(join(options.folder, 'findings.jsonl'), `${JSON.stringify(finding)}\n`);
    if (options.replay !== undefined) break;
  }
  return readFindings(options.folder);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { part: { type: 'string' }, seconds: { type: 'string' }, runs: { type: 'string' }, seed: { type: 'string' }, replay: { type: 'string' }, out: { type: 'string' } },
  });
  const chosen = values.part?.split(',') ?? PARTS;
  const unknown = chosen.find((part) => !PARTS.includes(part));
  if (unknown !== undefined) throw new Error(`--part: expected some of ${PARTS.join(', ')}, got '${unknown}'`);
  const number = (name: 'seconds' | 'runs' | 'seed', otherwise: number): number => {
    const value = values[name] === undefined ? otherwise : Number(values[name]);
    if (!Number.isInteger(value) || value < 0) throw new Error(`--${name}: expected a whole number, got '${values[name]}'`);
    return value;
  };
  const root = mkdtempSync(join(values.out ?? tmpdir(), 'vantage-fuzz-'));
  const found: (Finding & { part: string })[] = [];
  for (const part of chosen) {
    const options = { part, seed: number('seed', 1), runs: number('runs', 1e9), seconds: number('seconds', values.runs === undefined ? 60 : 3600), folder: join(root, part) };
    const findings = await fuzz({ ...options, ...(values.replay !== undefined && { replay: values.replay }) } as ChildOptions);
    found.push(...findings.map((finding) => ({ part, ...finding })));
  }
  for (const { part, kind, text, folder } of found) {
    console.log(`\n${part}: ${kind}: ${text}\n  npm run fuzz:bytes -- --part ${part} --replay ${folder}`);
  }
  console.log(`\n${found.length} findings`);
  if (found.length === 0) rmSync(root, { recursive: true });
  return found.length === 0 ? 0 : 1;
}

main().then(
  (code) => (process.exitCode = code),
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  },
);
