/** Runs workloads: inputs, checks, timing. */
import { deviceInfo } from 'vantage-rl';
import { firstDifference } from './check';
import { native } from '../src/native';
import { JavaScript, PublicApi, PublicInputs, Skipped, type Contender } from './contender';
import { availableMemory, cacheBytes } from './machine';
import { rounded, takeTurns, takeTurnsOnDevice, type Effort, type Timed, type TimedOnDevice, type Times } from './measure';
import type { Harness } from './native';
import type { PythonPeers } from './peers/python';
import { tfjsContender } from './peers/tfjs';
import type { OnDevice, Row } from './row';
import { byteSize, checkedRanges, floorBytes, rowsOf, type Data, type Device, type HostArrays, type Results, type Workload } from './workload';

/** Whom the workloads are run with; what is missing is not there on this machine. */
export interface Arena {
  device: Device;
  effort: Effort;
  harness: Harness;
  /** Whether the kernels are timed without Node, too. */
  native: boolean;
  python?: PythonPeers | undefined;
  tfjs?: Awaited<ReturnType<typeof import('./peers/tfjs').startTfjs>> | undefined;
  note(message: string): void;
}

export interface Outcome {
  row?: Row;
  failures: string[];
}

/** The copy that is the floor: arrays much larger than the cache; on a GPU so large that starting it costs nothing beside it. */
const copyBytes = (device: Device, cache: number) => (device === 'cuda' ? 2 ** 30 : Math.max(64e6, 4 * cache));

type Kind = 'ours' | 'variant' | 'native' | 'peer';
interface Entrant {
  name: string;
  kind: Kind;
  contender: Contender;
}

/** Ours and JavaScript, which computes in float64; the others sum in float32 in orders of their own, and may be ten times as far off. */
const TOLERANCE = { relative: 1e-5, absolute: 1e-5 };
const LIBRARY_FACTOR = 10;

const failure = (workload: Workload, who: string, what: string) => `${workload.name}: ${who}: ${what}`;

/** What the results have to be, and of which rows. */
function expectedOf(workload: Workload, arrays: HostArrays): Results {
  const ranges = checkedRanges(workload);
  const rows = workload.shape[0]!;
  const part = (array: HostArrays[string]) => rowsOf(array, array.shape[0] === rows ? ranges : undefined);
  const inputs: Data = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, part(array)]));
  return workload.reference(inputs, ranges ? workload.checkedRows! : rows);
}

/** Every contender that exists for a workload. */
async function enter(workload: Workload, arrays: HostArrays, inputs: PublicInputs, sets: number, arena: Arena, failures: string[]): Promise<Entrant[]> {
  const entrants: Entrant[] = [];
  const add = async (kind: Kind, name: string, make: () => Contender | undefined | Promise<Contender | undefined>) => {
    try {
      const contender = await make();
      if (contender) entrants.push({ name, kind, contender });
    } catch (error) {
      if (error instanceof Skipped) arena.note(`${name}: skipped, ${error.message}`);
      else failures.push(failure(workload, name, (error as Error).message));
    }
  };
  const names = Object.keys(workload.outputs);
  await add('ours', 'vantage', () => new PublicApi(inputs, workload.ours, names));
  for (const [name, run] of Object.entries(workload.variants ?? {})) await add('variant', name, () => new PublicApi(inputs, run, names));
  if (arena.native && workload.native) await add('native', 'native', () => arena.harness.load(workload, arrays, sets));
  if (workload.javascript && arena.device === 'cpu') await add('peer', 'javascript', () => new JavaScript(arrays, workload, workload.javascript!, sets));
  if (arena.tfjs) await add('peer', 'tfjs', () => tfjsContender(arena.tfjs!, workload, arrays, sets));
  if (arena.python) {
    try {
      for (const [name, contender] of Object.entries(await arena.python.load(workload, arrays, sets))) await add('peer', name, () => contender);
    } catch (error) {
      failures.push(failure(workload, 'python', (error as Error).message));
    }
  }
  return entrants;
}

/** Those whose results are right. A peer that fails does not stop the others; a wrong result is reported and not timed. */
async function passing(workload: Workload, entrants: Entrant[], expected: Results, arena: Arena, failures: string[]): Promise<Entrant[]> {
  const kept: Entrant[] = [];
  for (const entrant of entrants) {
    const { relative, absolute } = workload.tolerance ?? TOLERANCE;
    const factor = entrant.kind === 'peer' && entrant.name !== 'javascript' ? LIBRARY_FACTOR : 1;
    try {
      const difference = firstDifference(await entrant.contender.check(checkedRanges(workload)), expected, { relative: factor * relative, absolute: factor * absolute });
      if (difference === null) kept.push(entrant);
      else failures.push(failure(workload, entrant.name, difference));
    } catch (error) {
      if (error instanceof Skipped) arena.note(`${entrant.name}: skipped, ${error.message}`);
      else failures.push(failure(workload, entrant.name, (error as Error).message));
    }
  }
  return kept;
}

const bytesOf = (workload: Workload, arrays: HostArrays) => [...Object.values(arrays), ...Object.values(workload.outputs)].reduce((sum, array) => sum + byteSize(array), 0);

/** Sets of arrays that together are twice the cache: the first has left it when it comes again. */
function setsFor(bytes: number, cache: number): number {
  return bytes >= 2 * cache ? 1 : Math.max(2, Math.ceil((2 * cache) / Math.max(1, bytes)));
}
const MOST_SETS = 64;

/** Why a workload is not run here, or null. */
export function reasonToSkip(workload: Workload, device: Device = 'cpu', available = availableMemory(), onDevice = deviceInfo(device).memoryBytes ?? 0): string | null {
  const short = (times: number, memory: number, whose: string) => {
    const needed = times * floorBytes(workload);
    return needed <= memory ? null : `needs about ${Math.ceil(needed / 2 ** 30)} GiB${whose}, of which ${Math.floor(memory / 2 ** 30)} are free`;
  };
  // Inputs and outputs: ours, a variant's, JavaScript's, tfjs's, Python's and the harness's; the reference is in float64.
  if (device === 'cpu') return short(7, available, '');
  // The host holds the inputs; the GPU those of ours, of Python's and of the harness with what each computes.
  return short(2, available, '') ?? short(5, onDevice, ' on the GPU');
}

export async function runWorkload(workload: Workload, arena: Arena): Promise<Outcome> {
  const failures: string[] = [];
  const entrants: Entrant[] = [];
  let inputs: PublicInputs | undefined;
  try {
    const arrays = workload.inputs();
    const cache = cacheBytes(arena.device);
    const bytes = bytesOf(workload, arrays);
    const sets = Math.min(MOST_SETS, setsFor(bytes, cache));
    const expected = expectedOf(workload, arrays);
    inputs = new PublicInputs(arrays, sets, arena.device);
    entrants.push(...(await enter(workload, arrays, inputs, sets, arena, failures)));
    const right = await passing(workload, entrants, expected, arena, failures);
    if (!right.some(({ kind }) => kind === 'ours')) return { failures };
    const failed = (name: string, error: Error) => void failures.push(failure(workload, name, error.message));
    return { row: await timeRow(workload, right, { cache, bytes, sets }, arena, failed), failures };
  } catch (error) {
    return { failures: [...failures, failure(workload, 'stopped', (error as Error).message)] };
  } finally {
    for (const { contender } of entrants) await contender.dispose();
    inputs?.dispose();
    // The others use the same GPU.
    native().trim();
    try {
      await arena.python?.unload();
    } catch {
      // It has ended, which its contenders have reported. The next workloads do without it.
      arena.python = undefined;
    }
  }
}

type Failed = (name: string, error: Error) => void;

/** Times of the copy and of all entrants under their names. @throws Error where the copy or ours did not get through */
async function race(entrants: Entrant[], copy: Timed, rotate: boolean, more: Record<string, Timed>, arena: Arena, failed: Failed): Promise<Record<string, Times>> {
  const timed: Record<string, Timed> = { copy, ...more };
  for (const { name, kind, contender } of entrants) {
    const inJavaScript = kind === 'ours' || kind === 'variant' || name === 'javascript' || name === 'tfjs';
    timed[name] = { time: contender.time.bind(contender), rotate, inJavaScript };
  }
  const times = await takeTurns(timed, arena.effort, failed);
  const missing = ['copy', 'vantage'].find((name) => times[name] === undefined);
  if (missing !== undefined) throw new Error(`without the times of ${missing} there is nothing to report`);
  return times;
}

/** The medians of the entrants of a kind. */
function medians(entrants: Entrant[], kind: Kind, times: Record<string, Times>): Record<string, number> {
  return Object.fromEntries(entrants.filter((one) => one.kind === kind && times[one.name]).map(({ name }) => [name, times[name]!.median]));
}

/** What a row says of variants and kernels, if it has any. */
function variantsOf(entrants: Entrant[], times: Record<string, Times>): { variants?: Record<string, number> } {
  const variants = medians(entrants, 'variant', times);
  return Object.keys(variants).length > 0 ? { variants } : {};
}

async function timeRow(workload: Workload, entrants: Entrant[], { cache, bytes, sets }: { cache: number; bytes: number; sets: number }, arena: Arena, failed: Failed): Promise<Row> {
  const large = copyBytes(arena.device, cache);
  const moved = floorBytes(workload);
  const ours = entrants.find(({ kind }) => kind === 'ours')!.contender;
  const copy: Timed = { time: (calls) => arena.harness.copy(large, calls), rotate: false };
  const call: Timed = { time: ours.time.bind(ours), rotate: sets > 1, calls: 1 };
  const times = await race(entrants, copy, sets > 1, { call }, arena, failed);
  const onDevice = await timeOnDevice(entrants, times, sets > 1, arena, failed);
  const floorSeconds = rounded((moved / (2 * large)) * times.copy!.median);
  const seconds = times.vantage!;
  // Half of the cache: it is shared, and the interpreter lives there, too.
  const hot = bytes <= cache / 2 ? { hot: await timeHot(entrants, moved, arena, failed) } : {};
  return {
    workload: workload.name,
    device: arena.device,
    shape: workload.shape,
    dtype: workload.dtype,
    tokens: workload.tokens,
    seconds,
    floorSeconds,
    floorRatio: rounded(seconds.median / floorSeconds),
    peers: medians(entrants, 'peer', times),
    checked: true,
    call: times.call!,
    ...variantsOf(entrants, times),
    ...(times.native && { native: times.native }),
    ...onDevice,
    ...hot,
  };
}

/** What a GPU needs for itself, of everyone who can be asked. */
async function timeOnDevice(entrants: Entrant[], times: Record<string, Times>, rotate: boolean, arena: Arena, failed: Failed): Promise<{ onDevice?: OnDevice }> {
  if (arena.device === 'cpu') return {};
  const timed: Record<string, TimedOnDevice> = {};
  for (const { name, contender } of entrants) {
    const seconds = times[name]?.median;
    if (contender.timeOnDevice && seconds !== undefined) timed[name] = { timeOnDevice: contender.timeOnDevice.bind(contender), rotate, seconds };
  }
  const found = await takeTurnsOnDevice(timed, arena.effort.rounds, failed);
  const of = (kind: Kind) => Object.fromEntries(entrants.filter((one) => one.kind === kind && found[one.name] !== undefined).map(({ name }) => [name, found[name]!]));
  return {
    onDevice: {
      ...(found.vantage !== undefined && { seconds: found.vantage }),
      ...(found.native !== undefined && { native: found.native }),
      variants: of('variant'),
      peers: of('peer'),
    },
  };
}

async function timeHot(entrants: Entrant[], moved: number, arena: Arena, failed: Failed): Promise<NonNullable<Row['hot']>> {
  const copy: Timed = { time: (calls) => arena.harness.copy(moved / 2, calls), rotate: false };
  const times = await race(entrants, copy, false, {}, arena, failed);
  const [seconds, floorSeconds] = [times.vantage!.median, times.copy!.median];
  const onDevice = await timeOnDevice(entrants, times, false, arena, failed);
  return {
    seconds,
    floorSeconds,
    floorRatio: rounded(seconds / floorSeconds),
    peers: medians(entrants, 'peer', times),
    ...variantsOf(entrants, times),
    ...(times.native && { native: times.native.median }),
    ...onDevice,
  };
}
