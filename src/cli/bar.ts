import { formatDuration } from '../tracking/format';

const REDRAW_MS = 100;
const PLAIN_MS = 5000;
const CELLS = 24;

/** The part of a stream that is written to. */
interface Stream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** How far something is: on a terminal a bar on one line that is redrawn, elsewhere a line every five seconds. */
export class Bar {
  private readonly start = performance.now();
  private shown = { time: -Infinity, isDrawn: false };

  constructor(private readonly stream: Stream) {}

  show(done: number, total: number, label: string): void {
    const { stream, start } = this;
    const now = performance.now();
    const since = now - Math.max(this.shown.time, stream.isTTY ? -Infinity : start);
    if (since < (stream.isTTY ? REDRAW_MS : PLAIN_MS)) return;
    const left = done === 0 || done === total ? '' : `  ${formatDuration((((now - start) / done) * (total - done)) / 1000)} left`;
    const count = `${String(done).padStart(String(total).length)}/${total}`;
    const filled = Math.round((CELLS * done) / Math.max(1, total));
    const line = stream.isTTY ? `${count}  ${'━'.repeat(filled)}${'─'.repeat(CELLS - filled)}  ${label}${left}` : `${count}  ${label}${left}`;
    stream.write(stream.isTTY ? `\r${line.slice(0, (stream.columns || 80) - 1)}\x1b[K` : `${line}\n`);
    this.shown = { time: now, isDrawn: stream.isTTY === true };
  }

  /** Leaves the line empty for what comes next. */
  clear(): void {
    if (this.shown.isDrawn) this.stream.write('\r\x1b[K');
    this.shown.isDrawn = false;
  }
}
