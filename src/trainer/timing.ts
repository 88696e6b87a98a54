import type { Metrics } from '../tracking';

/** Seconds that parts of a step took, as `timing/…` metrics. */
export class Timing {
  private readonly seconds: Metrics = {};

  time<T>(name: string, run: () => T): T {
    const start = performance.now();
    try {
      return run();
    } finally {
      this.add(name, start);
    }
  }

  async timeAsync<T>(name: string, run: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await run();
    } finally {
      this.add(name, start);
    }
  }

  metrics(): Metrics {
    return Object.fromEntries(Object.entries(this.seconds).map(([name, value]) => [`timing/${name}`, value]));
  }

  private add(name: string, start: number): void {
    this.seconds[name] = (this.seconds[name] ?? 0) + (performance.now() - start) / 1000;
  }
}
