/** Ctrl-C asks a run to end after its step; a second one ends the process at once, as it would without us. */
export class Interrupt {
  private asked = false;

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
    if (this.asked) {
      this.remove();
      process.kill(process.pid, 'SIGINT');
    }
    this.asked = true;
  };
}

/** Lets the event loop turn, so that signals are heard between steps. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
