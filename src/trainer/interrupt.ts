/** A launcher (npx, tsx) may hand on the Ctrl-C that the terminal sent us already: milliseconds in which a signal is the same one. */
const SAME_PRESS = 150;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** What ends a run before its time. @useDeclaredType */
export type InterruptSignal = (typeof SIGNALS)[number];

/** Thrown by `Interrupt.check`: what was under way is left unfinished. */
export class Interrupted extends Error {}

/** SIGINT (Ctrl-C) or SIGTERM asks a run to end after its step; a second one ends the process at once, as it would without us. */
export class Interrupt {
  private readonly listeners = { SIGINT: () => this.hear('SIGINT'), SIGTERM: () => this.hear('SIGTERM') };
  private listens = true;
  private heard: InterruptSignal | null = null;
  /** A run that waits, for an environment say, has no handle of its own: without one Node would end the process as if all were done. */
  private readonly handle = setInterval(() => undefined, 2 ** 30);

  /**
   * Listens until the first signal, or until `remove`.
   * @param underWay what is done before the run ends, as the user is told it: `finishing step 12, then saving`
   */
  constructor(private readonly underWay: () => string = () => 'ending after this step') {
    for (const signal of SIGNALS) process.on(signal, this.listeners[signal]);
  }

  get requested(): boolean {
    return this.heard !== null;
  }

  /** Which signal it was. */
  get signal(): InterruptSignal | null {
    return this.heard;
  }

  /**
   * Lets signals be heard: a computation keeps the event loop, and with it our listeners, waiting. After the first one they are taken away: without a listener the system itself
   * ends the process, whatever it computes.
   */
  async turn(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (!this.requested || !this.listens) return;
    await new Promise((resolve) => setTimeout(resolve, SAME_PRESS));
    this.stopListening();
  }

  /** `turn`. @throws Interrupted where a signal asks to end */
  async check(): Promise<void> {
    await this.turn();
    if (this.requested) throw new Interrupted();
  }

  remove(): void {
    clearInterval(this.handle);
    this.stopListening();
  }

  private stopListening(): void {
    this.listens = false;
    for (const signal of SIGNALS) process.off(signal, this.listeners[signal]);
  }

  private hear(signal: InterruptSignal): void {
    if (this.requested) return;
    this.heard = signal;
    const [name, again] = signal === 'SIGINT' ? ['Ctrl-C', 'press Ctrl-C again'] : [signal, 'once more'];
    process.stderr.write(`\n${name}: ${this.underWay()}; ${again} to leave at once without saving\n`);
    // Where the run waits, no turn comes.
    setTimeout(() => this.stopListening(), SAME_PRESS).unref();
  }
}
