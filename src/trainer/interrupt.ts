/** A launcher (npx, tsx) may hand on the Ctrl-C that the terminal sent us already. */
const SAME_PRESS = 1000;

/** Ctrl-C asks a run to end after its step; a second one ends the process at once, as it would without us. */
export class Interrupt {
  private asked = false;
  private since = 0;

  /** Listens until `remove`. */
  constructor() {
    process.on('SIGINT', this.listener);
  }

  get requested(): boolean {
    return this.asked;
  }

  remove(): void {
    process.off('SIGINT', this.listener);
  }

  private readonly listener = (): void => {
    if (this.asked && Date.now() - this.since < SAME_PRESS) return;
    if (this.asked) {
      this.remove();
      process.kill(process.pid, 'SIGINT');
    }
    this.asked = true;
    this.since = Date.now();
    process.stderr.write('\nCtrl-C: ending after this step; once more ends at once\n');
  };
}

/** Lets the event loop turn, so that signals are heard between steps. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
