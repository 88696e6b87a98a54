/** A child process that answers commands: a line and bytes go in, a line and bytes come back. */
import { spawn, type ChildProcess } from 'node:child_process';

/** Runs commands one after the other. Ends with `close`, or with this process. */
export class Child {
  private readonly process: ChildProcess;
  private chunks: Buffer[] = [];
  private waiting: (() => void) | undefined;
  private ended: string | undefined;

  constructor(command: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv } = {}) {
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    let complaint = '';
    this.process.stderr!.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
    this.process.stdout!.on('data', (chunk: Buffer) => {
      this.chunks.push(chunk);
      this.waiting?.();
    });
    const end = (reason: string) => {
      this.ended ??= `${command} ended (${reason})${complaint.trim() === '' ? '' : `: ${complaint.trim().split('\n').at(-1)}`}`;
      this.waiting?.();
    };
    this.process.on('error', (error) => end(error.message));
    this.process.on('close', (code, signal) => end(signal ?? `exit code ${code}`));
    this.process.stdin!.on('error', () => undefined); // The reader of the answer learns that the process has ended.
  }

  /** Sends a line and then bytes, as many as the line promises. */
  async send(line: string, ...bytes: readonly ArrayBufferView[]): Promise<void> {
    const stdin = this.process.stdin!;
    const write = (part: string | Uint8Array) => new Promise<void>((done) => (this.ended === undefined ? stdin.write(part, () => done()) : done()));
    await write(`${line}\n`);
    // In pieces: one write holds less than 2 GiB.
    const PIECE = 2 ** 26;
    for (const { buffer, byteOffset, byteLength } of bytes) {
      for (let at = 0; at < byteLength; at += PIECE) await write(new Uint8Array(buffer, byteOffset + at, Math.min(PIECE, byteLength - at)));
    }
  }

  private async more(): Promise<void> {
    if (this.ended !== undefined) throw new Error(this.ended);
    await new Promise<void>((done) => (this.waiting = done));
    this.waiting = undefined;
  }

  /** The next line. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.chunks.findIndex((chunk) => chunk.includes(10));
      if (end >= 0) {
        const head = Buffer.concat(this.chunks.slice(0, end + 1));
        const at = head.indexOf(10);
        this.chunks = [head.subarray(at + 1), ...this.chunks.slice(end + 1)];
        return head.toString('utf8', 0, at);
      }
      await this.more();
    }
  }

  /** The next `count` bytes. */
  async bytes(count: number): Promise<ArrayBuffer> {
    const result = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      const chunk = this.chunks.shift();
      if (chunk === undefined) {
        await this.more();
        continue;
      }
      const taken = chunk.subarray(0, count - filled);
      result.set(taken, filled);
      filled += taken.length;
      if (taken.length < chunk.length) this.chunks.unshift(chunk.subarray(taken.length));
    }
    return result.buffer;
  }

  close(): void {
    this.process.stdin!.end();
    this.process.kill();
  }
}
