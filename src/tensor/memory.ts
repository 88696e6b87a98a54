/** Device memory and its lifetime: buffers, `tidy`, `memory()`. */
import { ignoreRejection, NativeError, TensorError } from '../errors';
import { callNative, deviceInfo, native } from '../native';
import { describe } from './shape';

export const devices = ['cpu', 'cuda'] as const;

/** Where tensors live and programs run. @useDeclaredType */
export type Device = (typeof devices)[number];

let chosenDevice: Device | undefined;

/** Where tensors are made unless told otherwise: what `setDefaultDevice` said, else the environment's VANTAGE_DEVICE, else the CPU. */
export function defaultDevice(): Device {
  return (chosenDevice ??= process.env.VANTAGE_DEVICE ? checkDevice('VANTAGE_DEVICE', process.env.VANTAGE_DEVICE) : 'cpu');
}

/**
 * Where tensors are made from now on unless told otherwise. Returns what it was.
 *
 * @throws TensorError for a device that is unknown, or that this machine lacks (the message says why)
 */
export function setDefaultDevice(device: Device): Device {
  const before = defaultDevice();
  chosenDevice = checkDevice('setDefaultDevice', device);
  return before;
}

/** A device given by a caller, which must be there; the default one where none is given. */
export function checkDevice(operation: string, device: unknown): Device {
  if (device === undefined) return defaultDevice();
  if (!devices.includes(device as Device)) {
    throw new TensorError(`${operation}: expected device ${devices.map((name) => `'${name}'`).join(' or ')}, got ${describe(device)}`);
  }
  const { available, reason } = deviceInfo(device as Device);
  if (!available) throw new TensorError(`${operation}: device '${device as Device}' cannot be used: ${reason}`);
  return device as Device;
}

/**
 * Waits until everything that was queued on a device is done. A GPU works while the program goes on: before a clock is read, wait for it. Reading a value waits
 * by itself; on the CPU all is done already.
 *
 * @param device default: the default device
 * @throws NativeError that says what failed in the queued work, such as an index out of range
 * @example
 * const y = tensor([1, 2, 3]).exp().realize();
 * synchronize();
 */
export function synchronize(device?: Device): void {
  const place = checkDevice('synchronize', device);
  callNative((addon) => addon.synchronize(place));
}

/** @throws NativeError where there is no memory, with what might make some */
function allocate(device: Device, bytes: number): number {
  try {
    return callNative((addon) => addon.allocate(device, bytes));
  } catch (error) {
    const alive = memory();
    if (!(error instanceof NativeError) || !error.message.includes('out of memory') || alive.bytes < bytes) throw error;
    const held = `${alive.tensors} tensors hold ${(alive.bytes / 2 ** 20).toFixed(0)} MiB`;
    throw new NativeError(`${error.message}: ${held}. JavaScript collects those that nobody needs between turns of its event loop: await something in a long loop, or wrap its steps in tidy()`, {
      cause: error,
    });
  }
}

/** A block of device memory, freed when the last node that holds it lets go. */
export class DeviceBuffer {
  readonly id: number;
  /** Counts in-place changes, so that a graph built on an earlier content can be refused. */
  version = 0;
  /** The evaluation that met this buffer last, and its number among the arrays of that one. */
  binding = 0;
  leaf = 0;
  private references = 0;

  constructor(
    readonly device: Device,
    readonly bytes: number,
  ) {
    this.id = allocate(device, bytes);
  }

  retain(): void {
    this.references++;
  }

  release(): void {
    if (--this.references === 0) native().free(this.id);
  }
}

/** What a `tidy` has to dispose of. A list, in which each member knows its place: a set would cost as much as the rest of a small tensor. */
export class Scope {
  readonly members: Disposable[] = [];

  add(tensor: Disposable): void {
    tensor.scope = this;
    tensor.place = this.members.push(tensor) - 1;
  }

  /** By its place, as a Proxy of a member stands for the member. Returns the member. */
  delete({ place }: Disposable): Disposable {
    const member = this.members[place]!;
    const last = this.members.pop()!;
    if (last !== member) {
      this.members[place] = last;
      last.place = place;
    }
    member.scope = null;
    return member;
  }

  dispose(): void {
    const { members } = this;
    while (members.length > 0) members[members.length - 1]!.dispose();
  }
}

/** What can be given back at the end of a `tidy`. */
export abstract class Disposable {
  /** @internal The `tidy` that will dispose of it, and its place there. */
  scope: Scope | null = null;
  /** @internal */
  place = 0;

  /** Takes it off its scope's list, too. */
  abstract dispose(): void;
  /** @internal Nothing disposes of it from now on, but who has it or the collector. */
  abstract leaveToCollector(): void;
}

let innermost: Scope | undefined;

/** The innermost `tidy` under way. */
export function currentScope(): Scope | undefined {
  return innermost;
}

/** Takes a tensor out of every `tidy` that is under way: it lives until it is disposed or collected. */
export function keep<T extends Disposable>(tensor: T): T {
  if (tensor instanceof Disposable && tensor.scope) {
    tensor.scope.delete(tensor).leaveToCollector();
  }
  return tensor;
}

/**
 * Runs `fn` and disposes of every tensor made in it, but for those in what it returns (a tensor, or arrays and plain objects of them).
 *
 * @throws TensorError if `fn` returns a Promise: its tensors would be disposed of before it is done.
 * @example
 * const total = tidy(() => tensor([1, 2, 3]).mul(2).sum());
 */
export function tidy<T>(fn: () => T): T {
  if (typeof fn !== 'function') throw new TensorError(`tidy: expected a function, got ${describe(fn)}`);
  const outer = innermost;
  const scope = new Scope();
  innermost = scope;
  let result: T;
  try {
    result = fn();
  } catch (error) {
    innermost = outer;
    scope.dispose();
    throw error;
  }
  innermost = outer;
  try {
    // The result is the caller's, and may throw when it is looked into.
    if (typeof (result as { then?: unknown } | null)?.then === 'function') {
      ignoreRejection(result);
      throw new TensorError('tidy: expected a function that returns at once, got one that returns a Promise');
    }
    visitTensors(result, scope, (tensor) => {
      const member = scope.delete(tensor);
      if (outer) outer.add(member);
      else member.leaveToCollector();
    });
  } finally {
    scope.dispose();
  }
  return result;
}

/** Not by push(...), which takes no more than the stack holds; and by what is there, as a list may be all holes. */
function pushObjects(holder: object, stack: unknown[]): void {
  for (const value of Object.values(holder) as unknown[]) if (typeof value === 'object') stack.push(value);
}

function visitTensors(value: unknown, scope: Scope, visit: (tensor: Disposable) => void): void {
  const seen = new Set<unknown>();
  const stack = [value];
  while (stack.length > 0) {
    const current = stack.pop();
    if (typeof current !== 'object' || current === null) continue;
    if (current instanceof Disposable && current.scope === scope) {
      visit(current);
      continue;
    }
    if (seen.has(current)) continue;
    seen.add(current);
    if (Array.isArray(current)) pushObjects(current, stack);
    else if (current instanceof Map) pushObjects([...current.values()], stack);
    else if (Object.getPrototypeOf(current) === Object.prototype || Object.getPrototypeOf(current) === null) pushObjects(current, stack);
  }
}

/** What this process holds, by {@link memory}. */
export interface MemoryInfo {
  /** Tensors that were made and neither disposed nor collected. */
  tensors: number;
  /** Device buffers in use, and their bytes. */
  buffers: number;
  /** Bytes of the device buffers in use. */
  bytes: number;
  /** Freed memory that is kept for the next allocation. */
  cachedBytes: number;
  /** Compiled plans that are kept for graphs of the same structure. */
  plans: number;
}

/** Counts of live tensors, set by the Tensor class. */
export const liveTensors = { count: 0 };

/** What is allocated now. */
export function memory(): MemoryInfo {
  const { bytes, buffers, cachedBytes, plans } = native().memory();
  return { tensors: liveTensors.count, buffers, bytes, cachedBytes, plans };
}
