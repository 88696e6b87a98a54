/** How far a run is: its metrics, its time, and whether `trainer.stop_when` holds. */
import type { Config } from '../config';
import { ConfigError, didYouMean } from '../errors';
import type { Metrics, MetricsRecord } from '../tracking';

type StopWhen = Config['trainer']['stop_when'];

/** The part of the training state that steps add to and no step reads. */
export class Progress {
  private records: MetricsRecord[] = [];
  /** The last values of `stop_when.metric`, at most its window. */
  private recent: number[] = [];
  private start = performance.now();

  constructor(private readonly stopWhen: StopWhen) {}

  /** A record a step; step 0 is the evaluation before training. */
  get history(): MetricsRecord[] {
    return this.records;
  }

  /** What training took so far, also before it was resumed. */
  get seconds(): number {
    return (performance.now() - this.start) / 1000;
  }

  /** Begins the clock, after `seconds`. */
  startClock(seconds = 0): void {
    this.start = performance.now() - 1000 * seconds;
  }

  /** Goes on after these records. */
  restore(history: readonly MetricsRecord[], seconds: number): void {
    this.records = [...history];
    this.startClock(seconds);
    const { stopWhen } = this;
    if (stopWhen === null) return;
    // The evaluation before training does not count.
    this.recent = history.flatMap(({ step, [stopWhen.metric]: value }) => (step > 0 ? (value ?? []) : [])).slice(-stopWhen.window);
  }

  /** @returns the metrics of the last step, whose record is taken back */
  takeBack(): Metrics {
    const { step: _, ...metrics } = this.records[this.records.length - 1];
    this.restore(this.records.slice(0, -1), this.seconds);
    return metrics as Metrics;
  }

  add(step: number, metrics: Metrics): void {
    this.records.push({ step, ...metrics });
  }

  /** Looks at the metrics of a step, or of its evaluation. @returns `holds`. @throws ConfigError where `stop_when` names a metric that a step does not have */
  isSolved(metrics: Metrics): boolean {
    const { stopWhen } = this;
    if (stopWhen === null) return false;
    const value = metrics[stopWhen.metric];
    if (value === undefined) {
      if ('trainer/global_step' in metrics && !stopWhen.metric.startsWith('eval/')) {
        const nearest = didYouMean(stopWhen.metric, Object.keys(metrics));
        const hint = nearest === null ? '' : ` Did you mean '${nearest}'?`;
        throw new ConfigError(
          `trainer.stop_when.metric: expected a metric of this run, got '${stopWhen.metric}'.${hint} Metrics: ${Object.keys(metrics).join(', ')}`,
        );
      }
      return false;
    }
    this.recent.push(value);
    if (this.recent.length > stopWhen.window) this.recent.shift();
    return this.holds;
  }

  /** Whether the mean of the window is what `stop_when` asks for. */
  get holds(): boolean {
    const { stopWhen, recent } = this;
    return stopWhen !== null && recent.length === stopWhen.window && recent.reduce((sum, value) => sum + value, 0) / recent.length >= stopWhen.value;
  }
}
