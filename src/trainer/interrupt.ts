/** A launcher (npx, tsx) may hand on the Ctrl-C that the terminal sent us already. Milliseconds. */
const SAME_PRESS = 1000;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
export type InterruptSignal = (typeof SIGNALS)[number];

/** Thrown by `Interrupt.check`: what was under way is left unfinished. */
export class Interrupted extends Error {}

/** SIGINT (Ctrl-C) or SIGTERM asks a run to end after its step; a second one ends the process at once, as it would without us. */
export class Interrupt {
  private readonly listeners = { SIGINT: () => this.hear('SIGINT'), SIGTERM: () => this.hear('SIGTERM') };
  private heard: InterruptSignal | null = null;
  private disarming: NodeJS.Timeout | null = null;

  /** Listens until `remove`. */
  constructor() {
    for (const signal of SIGNALS) process.on(signal, this.listeners[signal]);
  }

  get requested(): boolean {
    return this.heard !== null;
  }

  /** Which signal it was. */
  get signal(): InterruptSignal | null {
    return this.heard;
  }

  /** Lets signals be heard. @throws Interrupted where one asks to end */
  async check(): Promise<void> {
    await turn();
    if (this.requested) throw new Interrupted();
  }

  remove(): void {
    for (const signal of SIGNALS) process.off(signal, this.listeners[signal]);
    if (this.disarming) clearTimeout(this.disarming);
  }

  private hear(signal: InterruptSignal): void {
    if (this.requested) return;
    this.heard = signal;
    // Without a listener the system ends the process at once, in the middle of a computation too; a listener would be called after it.
    this.disarming = setTimeout(() => this.remove(), SAME_PRESS).unref();
    const name = signal === 'SIGINT' ? 'Ctrl-C' : signal;
    process.stderr.write(`\n${name}: ending after this step; once more ends at once\n`);
  }
}

/** Lets the event loop turn, so that signals are heard between steps. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
