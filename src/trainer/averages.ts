import type { Metrics } from '../tracking';

/** Combines the metrics of several batches: means, but the least of those whose name ends in `_min` and the greatest of those in `_max`. */
export class Averages {
  private readonly totals = new Map<string, { value: number; weight: number }>();

  /** @param weight how much these count in the means (1) */
  add(metrics: Metrics, weight = 1): void {
    for (const [name, value] of Object.entries(metrics)) {
      const total = this.totals.get(name);
      if (name.endsWith('_min')) this.totals.set(name, { value: Math.min(value, total?.value ?? value), weight: 1 });
      else if (name.endsWith('_max')) this.totals.set(name, { value: Math.max(value, total?.value ?? value), weight: 1 });
      else this.totals.set(name, { value: (total?.value ?? 0) + value * weight, weight: (total?.weight ?? 0) + weight });
    }
  }

  result(): Metrics {
    return Object.fromEntries([...this.totals].map(([name, { value, weight }]) => [name, value / weight]));
  }
}
