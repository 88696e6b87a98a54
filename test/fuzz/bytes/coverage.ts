/** Which blocks of our sources (and of the readers that we use) ran, as V8 counts them. */
import { Session } from 'node:inspector';

interface FunctionCoverage {
  functionName: string;
  ranges: { startOffset: number; endOffset: number; count: number }[];
}

interface TakenCoverage {
  result: { scriptId: string; url: string; functions: FunctionCoverage[] }[];
}

const WATCHED = /\/src\/|hyparquet|huggingface|\/yaml\//;

export class Coverage {
  private readonly session = new Session();
  private readonly seen = new Set<string>();

  constructor() {
    this.session.connect();
    this.session.post('Profiler.enable');
    this.session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** How many pairs of a block and a magnitude of its count were seen. */
  get size(): number {
    return this.seen.size;
  }

  /** What ran since the last call, as far as it was never added. */
  take(): string[] {
    let taken: TakenCoverage | null = null;
    // A session of the thread's own answers before `post` returns.
    this.session.post('Profiler.takePreciseCoverage', (error, result) => {
      if (error) throw error;
      taken = result as TakenCoverage;
    });
    const fresh: string[] = [];
    for (const { scriptId, url, functions } of taken!.result) {
      if (!WATCHED.test(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          if (count === 0) continue;
          const key = `${scriptId}:${startOffset}:${endOffset}:${Math.min(4, Math.floor(Math.log2(count)))}`;
          if (!this.seen.has(key)) fresh.push(key);
        }
      }
    }
    return fresh;
  }

  add(keys: readonly string[]): void {
    for (const key of keys) this.seen.add(key);
  }
}
