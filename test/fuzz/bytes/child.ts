/**
 * The process that reads changed files, one input after the other. It writes a byte to descriptor 3 before each, so that its parent (main.ts) knows that it is
 * alive; what it reads lies in a folder, where the parent finds it if it is not. Its argument is JSON: `ChildOptions`, or several. It prints a line for each.
 */
import { appendFileSync, mkdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { memory } from '../../../src';
import { VantageError } from '../../../src/errors';
import { Coverage } from './coverage';
import { type Files, mutate, Random } from './mutate';
import { jsonOf, type Part, type PartName, parts, readFolder, writeFolder } from './parts';

export interface ChildOptions {
  part: PartName;
  seed: number;
  /** How many inputs, and how many seconds: what ends first. */
  runs: number;
  seconds: number;
  /** Of its own, emptied. */
  folder: string;
  /** Counts the processes: the one before ended in the midst of it. */
  round?: number;
  /** A folder with one input, which is all that is read. */
  replay?: string;
}

/** A line of `findings.jsonl`; the input lies in the folder `finding_N`. */
export interface Finding {
  kind: 'hang' | 'memory' | 'leak' | 'error' | 'crash';
  text: string;
  folder: string;
}

export interface Summary {
  part: PartName;
  runs: number;
  /** Inputs that reached something new. */
  kept: number;
  coverage: number;
  accepted: number;
}

const MOST_SECONDS = 2;
const MOST_GROWTH = 300 * 2 ** 20;
/** Inputs between two looks at the coverage, which cost as much as some of them. */
const BATCH = 25;
/** What grows further than this is not changed again. */
const MOST_BYTES = 1 << 18;
/** What JavaScript says of our own mistakes, and of those of the libraries that we call. */
const INTERNAL =
  /Cannot (read|set|destructure|convert|mix)|is not (a function|iterable|defined|a constructor)|Invalid (array|typed array|string) length|Maximum call stack|out of bounds|Offset is outside|of undefined|Array buffer allocation|status \d+$/;

class Fuzzer {
  private readonly work: string;
  private readonly known = new Set<string>();
  private findings = 0;
  accepted = 0;

  constructor(private readonly part: Part, private readonly options: ChildOptions) {
    this.work = join(options.folder, 'input');
    mkdirSync(this.work, { recursive: true });
  }

  /** Reads an input. What it finds is written down at once: the next input may end the process. @param isRight it has to be accepted */
  async run(files: Files, isRight = false): Promise<void> {
    writeFolder(this.work, files);
    writeSync(3, '.');
    const before = memory();
    const peak = process.resourceUsage().maxRSS;
    const start = performance.now();
    let error: unknown = null;
    try {
      await this.part.read(this.work);
      this.accepted++;
    } catch (thrown) {
      error = thrown ?? new Error('undefined was thrown');
    }
    if (isRight && error !== null) throw new Error('an input that is right is refused', { cause: error });
    const seconds = (performance.now() - start) / 1000;
    const growth = (process.resourceUsage().maxRSS - peak) * 1024;
    if (seconds > MOST_SECONDS) this.report('hang', `it took ${seconds.toFixed(1)} s`, files);
    if (growth > MOST_GROWTH) this.report('memory', `the process grew by ${Math.round(growth / 2 ** 20)} MiB`, files);
    if (memory().tensors > before.tensors) this.report('leak', `${memory().tensors - before.tensors} tensors are left${error === null ? '' : ` after ${(error as Error).message}`}`, files);
    const problem = error === null ? null : this.problemOf(error);
    if (problem !== null) this.report('error', problem, files);
  }

  /** What is wrong with an error; null where it is one of ours, and says which file it is about. */
  private problemOf(error: unknown): string | null {
    if (!(error instanceof Error)) return `what was thrown is no Error: ${String(error)}`;
    const frame = error.stack?.split('\n').find((line) => line.trim().startsWith('at ')) ?? '';
    if (!(error instanceof VantageError)) return `${error.name}: ${error.message}${frame}`;
    if (!error.message.includes(this.options.folder)) return `the file is not named: ${error.name}: ${error.message}${frame}`;
    const said = error.message.replaceAll(this.options.folder, '').replace(/got [\s\S]*/, '');
    return INTERNAL.test(said) ? `internal words: ${error.message}` : null;
  }

  private report(kind: Finding['kind'], text: string, files: Files): void {
    const same = `${kind} ${text.replaceAll(/"(?:[^"\\]|\\.)*"|'[^']*'|\d+/g, '#').slice(0, 90)}`;
    if (this.known.has(same)) return;
    this.known.add(same);
    const folder = join(this.options.folder, `finding_${this.options.round ?? 0}_${++this.findings}`);
    writeFolder(folder, files);
    const finding: Finding = { kind, text: text.slice(0, 600), folder };
    appendFileSync(join(this.options.folder, 'findings.jsonl'), `${JSON.stringify(finding)}\n`);
  }
}

async function seedsOf(part: Part, folder: string): Promise<Map<string, Uint8Array>[]> {
  const inputs: Map<string, Uint8Array>[] = [];
  for (const [i, write] of part.seeds.entries()) {
    const seed = join(folder, `seed_${i}`);
    mkdirSync(seed, { recursive: true });
    await write(seed);
    inputs.push(readFolder(seed));
  }
  return inputs;
}

let coverage: Coverage | null = null;

async function fuzz(options: ChildOptions): Promise<Summary> {
  const part: Part = parts[options.part];
  await part.prepare?.(join(options.folder, 'prepared'));
  const fuzzer = new Fuzzer(part, options);
  if (options.replay !== undefined) {
    await fuzzer.run(readFolder(options.replay));
    return { part: options.part, runs: 1, kept: 0, coverage: 0, accepted: fuzzer.accepted };
  }
  const corpus = await seedsOf(part, options.folder);
  for (const files of corpus) await fuzzer.run(files, true);
  coverage ??= new Coverage();
  for (const files of corpus) await fuzzer.run(files);
  coverage.add(coverage.take());
  const random = new Random(options.seed);
  const end = performance.now() + 1000 * options.seconds;
  let [runs, kept] = [0, 0];
  while (runs < options.runs && performance.now() < end) {
    const batch = Array.from({ length: Math.min(BATCH, options.runs - runs) }, () => mutate(random.of(corpus), corpus, random, jsonOf));
    for (const files of batch) await fuzzer.run(files);
    runs += batch.length;
    if (coverage.take().length === 0) continue;
    // The batch reached something new: each by itself again, to see which.
    for (const files of batch) {
      await fuzzer.run(files);
      const fresh = coverage.take();
      if (fresh.length === 0 || sizeOf(files) > MOST_BYTES) continue;
      coverage.add(fresh);
      corpus.push(files);
      kept++;
    }
  }
  return { part: options.part, runs, kept, coverage: coverage.size, accepted: fuzzer.accepted };
}

const sizeOf = (files: Files): number => [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0);

async function main(given: ChildOptions | ChildOptions[]): Promise<void> {
  for (const options of Array.isArray(given) ? given : [given]) process.stdout.write(`${JSON.stringify(await fuzz(options))}\n`);
}

if (require.main === module) {
  main(JSON.parse(process.argv[2]!) as ChildOptions).then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(error);
      process.exit(3);
    },
  );
}
