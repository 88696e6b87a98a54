import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Children whose output is captured: each leads its own process group, so that an interruption ends compilers and all. */
const running = new Set();
let stopping = false;

/**
 * Runs a command to its end with no standard input and captures what it prints, both streams in order. `onOutput` is called with each piece of it.
 * @returns {Promise<{code: number, output: string}>} code 127 where the command cannot be started
 */
export async function capture(command, args, { cwd, env = process.env, onOutput } = {}) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  running.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
      onOutput?.(text);
    });
  }
  try {
    const [code, signal] = await once(child, 'close');
    running.delete(child);
    // An interrupted command may well exit with 0. Nothing goes on from here: the process is about to end.
    if (stopping) await new Promise(() => {});
    return { code: code ?? 128, output: signal ? `${output}\n(ended by ${signal})\n` : output };
  } catch (error) {
    running.delete(child);
    return { code: 127, output: `${command}: ${error.message}\n` };
  }
}

/** The child that has the terminal, where there is one: it decides itself what an interruption means. */
let foreground = null;

/** Runs a command on this terminal; resolves to its exit code. Ctrl-C reaches it directly, other signals are passed on to it. */
export async function attach(command, args, { cwd, env = process.env } = {}) {
  foreground = spawn(command, args, { cwd, env, stdio: 'inherit' });
  try {
    const [code] = await once(foreground, 'close');
    return code ?? 130;
  } catch (error) {
    console.error(`${command}: ${error.message}`);
    return 127;
  } finally {
    foreground = null;
  }
}

function signalGroups(signal) {
  for (const { pid } of running) {
    try {
      process.kill(-pid, signal);
    } catch {
      // The group ended between the check and the signal.
    }
  }
}

const GRACE_MS = 3000;

/** Runs `action` so that Ctrl-C, SIGTERM and SIGHUP end every captured child before this process exits with 130. */
export async function interruptible(action) {
  const stop = (signal) => {
    if (foreground !== null) {
      if (signal !== 'SIGINT') foreground.kill(signal);
      return;
    }
    if (stopping) return;
    stopping = true;
    process.stdout.write('\ninterrupted: what was not finished will be done again by the next run\n');
    signalGroups('SIGTERM');
    const deadline = Date.now() + GRACE_MS;
    setInterval(() => {
      if (running.size > 0 && Date.now() < deadline) return;
      signalGroups('SIGKILL');
      process.exit(130);
    }, 20);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, stop);
  try {
    return await action();
  } finally {
    for (const signal of signals) process.off(signal, stop);
  }
}
