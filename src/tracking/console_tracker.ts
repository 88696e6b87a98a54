import { checkFields, checkNumber, checkText } from '../data/check';
import { DataError, showValue } from '../errors';
import { formatDuration, formatNumber } from './format';
import { checkMetrics, type Metrics, type Tracker } from './tracker';

/** What the console shows of a step's metrics: the label and the metric. */
const SHOWN: readonly (readonly [label: string, metric: string])[] = [
  ['reward', 'reward/avg_raw_reward'],
  ['loss', 'policy/final_loss'],
  ['eval', 'eval/all/avg_score'],
];

const REDRAW_MS = 100;
const PLAIN_MS = 5000;
const PLAIN_STEPS = 10;
/** The speed is that of this many last steps, so that the time left follows what the run does now. */
const SPEED_STEPS = 20;
const BAR_WIDTH = 28;
const BAR_MINIMUM = 8;

/** The part of a terminal stream that the tracker uses. */
export interface ConsoleStream {
  /** Takes a piece of text. */
  write(text: string): unknown;
  /** Whether a terminal shows it: then a line is drawn over again. */
  isTTY?: boolean;
  /** The terminal's width. */
  columns?: number;
}

/** Options of {@link ConsoleTracker}. */
export interface ConsoleTrackerOptions {
  /** How many steps the run will take; without it there is neither a bar nor a time left. */
  totalSteps?: number;
  /** Where it writes. Default: standard output. */
  stream?: ConsoleStream;
  /** Whether evaluations will come: without them that of before the training is not shown beside later steps. Default true. */
  evaluates?: boolean;
  /** Milliseconds from any origin; the clock of the process unless told otherwise. */
  now?: () => number;
}

/**
 * Shows how a run is doing: on a terminal a progress bar on one line (step, reward, loss, steps a second, time left), redrawn at most ten
 * times a second; elsewhere a plain line every ten steps or five seconds. The last step is always shown.
 */
export class ConsoleTracker implements Tracker {
  private readonly stream: ConsoleStream;
  private readonly now: () => number;
  private readonly totalSteps?: number;
  private readonly evaluates: boolean;
  private readonly times: { step: number; time: number }[] = [];
  private readonly latest = new Map<string, { value: number; step: number }>();
  private step = 0;
  private shown = { step: 0, time: -Infinity };
  private barIsDrawn = false;
  private closed = false;

  constructor(options: ConsoleTrackerOptions = {}) {
    checkFields('ConsoleTracker', 'options', options);
    this.stream = options.stream ?? process.stdout;
    if (typeof this.stream.write !== 'function') throw new DataError(`ConsoleTracker: stream: expected a stream with a method write, got ${showValue(this.stream)}`);
    this.now = options.now ?? (() => performance.now());
    this.totalSteps = options.totalSteps;
    if (this.totalSteps !== undefined) checkNumber('ConsoleTracker', 'totalSteps', this.totalSteps);
    this.evaluates = options.evaluates ?? true;
    // Heard only when the training loop lets the event loop turn, which it does once a step.
    if (this.stream.isTTY) process.on('SIGINT', this.onInterrupt);
  }

  log(step: number, metrics: Metrics): void {
    if (this.closed) return;
    checkMetrics('ConsoleTracker', step, metrics);
    const time = this.now();
    this.step = step;
    if (this.times.at(-1)?.step !== step) this.times.push({ step, time });
    if (this.times.length > SPEED_STEPS + 1) this.times.shift();
    for (const [, metric] of SHOWN) if (metrics[metric] !== undefined) this.latest.set(metric, { value: metrics[metric], step });
    const isFirst = this.shown.time === -Infinity;
    const isDue = this.stream.isTTY
      ? time - this.shown.time >= REDRAW_MS
      : isFirst || time - this.shown.time >= PLAIN_MS || step - this.shown.step >= PLAIN_STEPS;
    if (isDue || step === this.totalSteps) this.show(time);
  }

  /** Prints a line of the run's own above the progress bar. */
  message(text: string): void {
    checkText('ConsoleTracker', 'message', text);
    if (!this.barIsDrawn) return void this.stream.write(`${text}\n`);
    this.stream.write(`\r\x1b[K${text}\n`);
    this.show(this.now());
  }

  close(): void {
    if (this.closed) return;
    if (this.times.length > 0 && this.shown.step !== this.step) this.show(this.now());
    this.finish();
  }

  private finish(): void {
    this.closed = true;
    process.off('SIGINT', this.onInterrupt);
    if (this.barIsDrawn) this.stream.write('\n');
    this.barIsDrawn = false;
  }

  /** Leaves the terminal on a line of its own; then whoever else handles the interruption does so, or the process ends as it would have. */
  private readonly onInterrupt = (): void => {
    this.finish();
    if (process.listenerCount('SIGINT') === 0) process.kill(process.pid, 'SIGINT');
  };

  private show(time: number): void {
    this.shown = { step: this.step, time };
    const columns = this.stream.columns || 80;
    if (!this.stream.isTTY) return void this.stream.write(`${this.describe().join('  ')}\n`);
    // The last column stays free: a full line would wrap on some terminals and leave its first half behind.
    this.stream.write(`\r${this.withBar(this.describe(), columns - 1)}\x1b[K`);
    this.barIsDrawn = true;
  }

  /** The parts of the line, the step first, each as `label value`. */
  private describe(): string[] {
    const total = this.totalSteps;
    const parts = [total === undefined ? `step ${this.step}` : `step ${String(this.step).padStart(String(total).length)}/${total}`];
    for (const [label, metric] of SHOWN) {
      const latest = this.latest.get(metric);
      if (latest === undefined || (label === 'eval' && latest.step !== this.step && !this.evaluates)) continue;
      // What this step did not measure (an evaluation) says when it was measured.
      const from = latest.step === this.step ? '' : ` (step ${latest.step})`;
      parts.push(`${label} ${formatNumber(latest.value)}${from}`);
    }
    const [first, last] = [this.times[0], this.times[this.times.length - 1]];
    const speed = (1000 * (last.step - first.step)) / (last.time - first.time);
    if (Number.isFinite(speed) && speed > 0) {
      parts.push(`${formatNumber(speed)} steps/s`);
      if (total !== undefined && total > this.step) parts.push(`${formatDuration((total - this.step) / speed)} left`);
    }
    return parts;
  }

  /** Puts the bar behind the step as wide as the terminal allows; on a narrow one the bar goes first, then the last parts. */
  private withBar([head, ...rest]: string[], width: number): string {
    const room = width - [head, ...rest].join('  ').length - 2;
    if (this.totalSteps !== undefined && room >= BAR_MINIMUM) {
      const cells = Math.min(BAR_WIDTH, room);
      const filled = Math.round(cells * Math.min(1, this.step / this.totalSteps));
      return [head, `${'━'.repeat(filled)}${'─'.repeat(cells - filled)}`, ...rest].join('  ');
    }
    return [head, ...rest].join('  ').slice(0, Math.max(0, width));
  }
}
