/** `trainer.stop_when`: a run ends once it is good enough. */
import type { Config } from '../config';
import { ConfigError, didYouMean } from '../errors';
import type { Metrics } from '../tracking';

export class StopWhen {
  /** The last values of the metric, at most `window`. */
  readonly recent: number[] = [];

  /** @param rule null: it never holds */
  constructor(private readonly rule: Config['trainer']['stop_when']) {}

  restore(recent: readonly number[]): void {
    this.recent.splice(0, Infinity, ...recent);
  }

  /** Whether the mean over the window, these metrics included, is large enough. @throws ConfigError where it names a metric that a step does not have */
  holds(metrics: Metrics): boolean {
    if (this.rule === null) return false;
    const { metric, window, value: wanted } = this.rule;
    const value = metrics[metric];
    if (value === undefined) {
      if ('trainer/global_step' in metrics && !metric.startsWith('eval/')) {
        const nearest = didYouMean(metric, Object.keys(metrics));
        const hint = nearest === null ? '' : ` Did you mean '${nearest}'?`;
        throw new ConfigError(`trainer.stop_when.metric: expected a metric of this run, got '${metric}'.${hint} Metrics: ${Object.keys(metrics).join(', ')}`);
      }
      return false;
    }
    this.recent.push(value);
    if (this.recent.length > window) this.recent.shift();
    return this.recent.length === window && this.recent.reduce((sum, each) => sum + each, 0) / window >= wanted;
  }
}
