/** Runs one call, and says what is wrong with how it went. */
import * as v from '../../../src';
import { native } from '../../../src/native';
import { Boom, freeHeld, h, I, M, n, startCase, T } from './hostile';

export interface Finding {
  kind: 'crash' | 'hang' | 'foreign error' | 'bad error' | 'leak' | 'slow' | 'memory' | 'canary' | 'unhandled rejection';
  text: string;
  /** Where in the library, as far as that is known. */
  where: string;
  source: string;
}

/** Two findings of one signature are the same one. */
export const signatureOf = ({ kind, text, where }: Finding): string => `${kind}|${where}|${where === '' ? text.replace(/-?\d+(\.\d+)?/g, '#').slice(0, 80) : ''}`;

/** Under sanitizers, whose libraries are loaded first, a call takes longer and more memory. */
export const SLOWER = /[at]san/.test(process.env.LD_PRELOAD ?? '') ? 6 : 1;
/** Of this process's CPUs: other processes may slow a call down. */
const MOST_MILLISECONDS = 5000 * SLOWER;
const REPEATS = 3;
const MOST_KILOBYTES = 2 * 2 ** 20 * SLOWER;
/** Tensors of more elements are not read: who asks for gigabytes gets them. */
const MOST_READ = 1e6;

const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
const names = ['v', 'h', 'n', 'T', 'M', 'I'];
const scope = [v, h, n, T, M, I];

type Body = (...all: unknown[]) => unknown;

/** The call as a function; null where the changes have left no program. */
function compile(source: string): Body | null {
  try {
    const Constructor = source.startsWith('await ') ? AsyncFunction : Function;
    return new Constructor(...names, `return (${source}\n)`) as unknown as Body;
  } catch {
    return null;
  }
}

/** Reads all that a call has given. */
function use(value: unknown, depth = 0): void {
  if (value instanceof v.Tensor) {
    if (!value.isDisposed && value.size <= MOST_READ) value.dataSync();
  } else if (depth < 3 && typeof value === 'object' && value !== null) {
    if (Array.isArray(value)) value.slice(0, 100).forEach((item) => use(item, depth + 1));
    else if (Object.getPrototypeOf(value) === Object.prototype) { for (const key of Object.keys(value).slice(0, 100)) use((value as Record<string, unknown>)[key], depth + 1); }
  }
}

/** What V8, Node or a dependency says where nobody has checked. */
const internal =
  /Cannot (read|set|convert|mix|destructure|assign|add|access|use|redefine)|is not (a function|iterable|a constructor|defined|an object|extensible)|Invalid (array|typed array|string|count|array buffer)|Maximum call stack|Reduce of empty|incompatible receiver|\bnapi|Node-API failed|Converting circular|undefined is not|object null/;
/** What comes of a caller's own object, not of what we ask of it. */
const callersOwn = /proxy that has been revoked|on proxy:|thrown by a hostile value|Class constructors? .*cannot be invoked/;

/** The first place outside of Node and V8 that an error passed. */
function placeOf(error: Error): string {
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  for (const frame of frames) {
    if (frame.includes('node:') || !/[\\/]/.test(frame)) {
      if (frame.includes('eval at')) return 'caller';
      continue;
    }
    if (frame.includes('eval at') || /fuzz[\\/]api/.test(frame)) return 'caller';
    const found = /at (?:async )?(?:(\S+(?: \S+)*?) \()?.*?[\\/]src[\\/](.*?):\d+/.exec(frame);
    if (found) return `${found[2]} ${found[1] ?? ''}`.trim();
  }
  return 'caller';
}

/** A promise that was not settled in time. */
class Late extends Error {}

function judge(error: unknown, source: string): Finding | null {
  if (error instanceof Late) return { kind: 'slow', text: `a promise that is not settled after ${MOST_MILLISECONDS} ms`, where: '', source };
  if (error instanceof Boom) return null;
  if (!(error instanceof Error)) return { kind: 'bad error', text: `threw ${typeof error}, which is no Error`, where: '', source };
  const { message } = error;
  if (typeof message !== 'string' || message === '') return { kind: 'bad error', text: 'an empty message', where: placeOf(error), source };
  if (callersOwn.test(message)) return null;
  const text = `${error.name}: ${message.slice(0, 300)}`;
  // What the caller's own function ran into is quoted.
  const quoted = error.cause instanceof Error && placeOf(error.cause) === 'caller' ? error.cause.message : '';
  if (error instanceof v.VantageError) return internal.test(message.replace(quoted, '')) ? { kind: 'bad error', text, where: placeOf(error), source } : null;
  const where = placeOf(error);
  // What the system says of a file names it. An object that changes while it is looked at is the caller's doing; it must not do more than throw; and the text of an error that he makes is his own.
  if (source.includes('h.fickle(') || where.startsWith('errors.ts new ')) return null;
  if (where === 'caller' || /^E[A-Z]+$/.test(String((error as NodeJS.ErrnoException).code))) return null;
  // The addon's own errors are plain ones.
  if (error.constructor === Error && !internal.test(message) && source.includes('n.')) return null;
  return { kind: 'foreign error', text, where, source };
}

let expected: string | undefined;

/** The bits of a computation that goes through programs, a scan, kernels and an estimator. */
function canary(): string {
  return v.tidy(() => {
    const x = v.tensor([[0.1, 0.5, -0.3, 2], [1, -1, 0.25, 0]]);
    const y = v.scan([x], { reverse: true }, (state, [r]) => r.add(state.mul(0.9)));
    const z = v.whiten(y.matmul(x.transpose()), v.ones([2, 2], { dtype: 'bool' })).sum(1);
    const { advantages } = v.computeAdvantages('rloo', { rewards: x, masks: v.ones([2, 4]), groupIds: [1, 1] });
    return [y, z, advantages].map((tensor) => Buffer.from(tensor.dataSync().buffer).toString('hex')).join();
  });
}

export function checkCanary(source: string): Finding | null {
  try {
    const bits = canary();
    expected ??= bits;
    return bits === expected ? null : { kind: 'canary', text: 'the same computation gives other bits', where: '', source };
  } catch (error) {
    return { kind: 'canary', text: `a computation that worked before fails: ${(error as Error).message}`, where: '', source };
  }
}

const usage = () => {
  const { tensors, buffers, bytes } = v.memory();
  return `${tensors} tensors, ${buffers} buffers, ${bytes} bytes`;
};
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Whether the collector takes what is left: then it is no leak. */
async function isCollected(before: string): Promise<boolean> {
  for (let i = 0; i < 4; i++) {
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 2 * i));
    if (usage() === before) return true;
  }
  return false;
}

function restore(source: string): void {
  // What `main` leaves.
  process.exitCode = undefined;
  freeHeld();
  if (/setThreads|setIsa/.test(source)) {
    native().setThreads(2);
    native().setIsa(isa);
  }
  if (source.includes('register')) {
    for (const [list, remove] of registries) for (const name of list()) if (!registered.has(name)) remove(name);
  }
}

const registries: [() => string[], (name: string) => void][] = [
  [v.listAdvantageEstimators, v.unregisterAdvantageEstimator],
  [v.listPolicyLosses, v.unregisterPolicyLoss],
  [v.listEnvironments, v.unregisterEnvironment],
  [v.listTokenizers, (name) => v.tokenizers.unregister(name)],
];
const registered = new Set(registries.flatMap(([list]) => list()));
const { isa } = native().describe();

/** Calls, and reads what comes, in a `tidy`; a promise is handed on. */
function runIn(body: Body): Promise<unknown> | null {
  let pending: Promise<unknown> | null = null;
  v.tidy(() => {
    const result = body(...scope);
    if (result instanceof Promise) pending = result;
    else use(result);
  });
  return pending;
}

/** Whether a call leaves something each time. V8 may hold on to what the last one had in its hands. */
async function isLeak(body: Body, before: string, source: string): Promise<boolean> {
  startCase();
  if (await isCollected(before)) return false;
  const { tensors, buffers } = v.memory();
  for (let i = 0; i < REPEATS; i++) {
    try {
      runIn(body);
    } catch {
      // It threw before.
    }
    restore(source);
    startCase();
    await isCollected(before);
  }
  const now = v.memory();
  return Math.max(now.tensors - tensors, now.buffers - buffers) >= REPEATS - 1;
}

export interface Outcome {
  finding: Finding | null;
  threw: boolean;
  compiled: boolean;
}

interface Spent {
  milliseconds: number;
  kilobytes: number;
}

function spent(): Spent {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  return { milliseconds: (userCPUTime + systemCPUTime) / 1000, kilobytes: maxRSS };
}

/** A call that is over sooner has not taken too much; what was spent is asked for after it, and after every so many others, as that takes as long as a small call. */
const QUICK = 100;
const BETWEEN = 20;

let last = spent();
let quick = 0;
let unchecked = 0;

/**
 * Runs a call and reads what it gives, in a `tidy`.
 *
 * @param canaryAfter the canary runs once so many calls have thrown: it takes as long as several of them, and what is broken stays so
 */
export async function runCase(source: string, canaryAfter = 1): Promise<Outcome> {
  const body = compile(source);
  if (!body) return { finding: null, threw: false, compiled: false };
  startCase();
  const isAsync = source.startsWith('await ');
  const before = usage();
  const start = performance.now();
  let finding: Finding | null = null;
  let threw = false;
  let pending: Promise<unknown> | null = null;
  try {
    if (isAsync) use(await within(body(...scope) as Promise<unknown>));
    else {
      pending = runIn(body);
      if (pending) await within(pending);
    }
  } catch (error) {
    threw = true;
    finding = judge(error, source);
  }
  const isQuick = performance.now() - start < QUICK && ++quick < BETWEEN;
  const now = isQuick ? last : spent();
  try {
    restore(source);
  } catch (error) {
    finding ??= { kind: 'canary', text: `what the call has left cannot be undone: ${(error as Error).message}`, where: '', source };
  }
  // Memory first: where pages come slowly, a call is slow because it takes so many.
  const grown = now.kilobytes - last.kilobytes;
  if (grown > MOST_KILOBYTES) finding ??= { kind: 'memory', text: `${Math.round(grown / 1024)} MiB more than ever before`, where: '', source };
  const milliseconds = now.milliseconds - last.milliseconds;
  if (milliseconds > MOST_MILLISECONDS) finding ??= { kind: 'slow', text: `${Math.round(milliseconds)} ms`, where: '', source };
  if (!isQuick) [last, quick] = [now, 0];
  if (!isAsync && !pending && usage() !== before) {
    const left = usage();
    if (await isLeak(body, before, source)) finding ??= { kind: 'leak', text: `before: ${before}; after: ${left}`, where: '', source };
    last = spent();
  }
  // A promise that nobody waits for is heard of a turn later.
  if (/async|romise|rejected/.test(source)) await nextTurn();
  if (threw && ++unchecked >= canaryAfter) {
    unchecked = 0;
    finding ??= checkCanary(source);
  }
  return { finding, threw, compiled: true };
}

export interface Usage {
  device: v.MemoryInfo;
  resident: number;
}

/** What is alive once all garbage is gone: collected tensors are released by finalizers, which run between turns of the event loop. */
export async function settled(): Promise<Usage> {
  startCase();
  for (let i = 0; i < 4; i++) {
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 2 * i));
  }
  return { device: v.memory(), resident: process.memoryUsage.rss() };
}

async function within(promise: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Late()), MOST_MILLISECONDS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
