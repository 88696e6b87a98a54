/**
 * Loads the native addon and types its surface. Everything native goes through here; its failures become `NativeError`.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import nodeGypBuild from 'node-gyp-build';
import { NativeError, showValue } from './errors';
import { packageFolder } from './package';

/** A row of the instruction table (native/core/instructions.h). */
export interface InstructionInfo {
  name: string;
  operands: number;
  kind: 'numeric' | 'floating' | 'compare' | 'logical' | 'select';
}

/** A row of the kernel table (native/core/kernels.h). */
export interface KernelInfo {
  name: string;
  views: number;
  scalars: number;
  attributes: number;
}

/** What the addon can do, read from its own tables. */
export interface NativeDescription {
  version: string;
  /** The number of the first row of `instructions`; those before it are `ops`. */
  firstInstruction: number;
  instructions: InstructionInfo[];
  ops: Record<'load' | 'constant' | 'cast' | 'scan' | 'scan_prev' | 'loop' | 'state', number>;
  kernels: KernelInfo[];
  dtypes: string[];
  devices: string[];
  /** Instruction set the CPU code runs with: baseline, avx2 or avx512. */
  isa: string;
  /** Whether the CPU compiles fused programs with scans. */
  compilesScans: boolean;
  threads: number;
}

/** A device as this machine has it. */
export interface DeviceInfo {
  /** Whether tensors can be put there. */
  available: boolean;
  /** Why it is not available. */
  reason?: string;
  /** The model's name. */
  name?: string;
  /** GPUs: compute capability, such as "9.0". */
  computeCapability?: string;
  /** Bytes of the device's memory, of all its processes together. */
  memoryBytes?: number;
  /** GPUs: the newest CUDA version that the driver knows, such as "13.0". */
  driver?: string;
}

export interface NativeMemory {
  bytes: number;
  buffers: number;
  cachedBytes: number;
  plans: number;
}

/** The addon's surface. Ids are positive integers; every argument is checked on the native side too. */
export interface NativeAddon {
  describe(): NativeDescription;
  /** 'cpu' or 'cuda'. For CUDA it opens the library, which takes a moment. */
  deviceInfo(device: string): DeviceInfo;
  allocate(device: string, bytes: number): number;
  free(id: number): void;
  upload(id: number, byteOffset: number, data: ArrayBufferView): void;
  download(id: number, byteOffset: number, into: ArrayBufferView): void;
  createPlan(device: string, words: Float64Array): number;
  destroyPlan(id: number): void;
  execute(plan: number, buffers: Int32Array, scalars: Float64Array): void;
  /** Waits for all that runs on the device; throws what failed in it. */
  synchronize(device: string): void;
  /**
   * For measuring, on a GPU only: the seconds of the device alone for all that is asked for between the two, the host's share left out as long as it was
   * `queued` before the device began (native/cuda/timer.h).
   */
  startTimer(device: string): void;
  stopTimer(device: string): { seconds: number; queued: boolean };
  memory(): NativeMemory;
  trim(): void;
  setThreads(count: number): void;
  setIsa(name: string): void;
}

function load(): NativeAddon {
  try {
    return nodeGypBuild(packageFolder) as NativeAddon;
  } catch (error) {
    throw new NativeError(whyNot(error as Error));
  }
}

/** What is missing, and the command that mends it: prebuilt addons come for some systems only (docs/installation.md). */
function whyNot(error: Error): string {
  const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as { version: string };
  const other = process.env.VANTAGE_RL_PREBUILD;
  const mend = other
    ? `VANTAGE_RL_PREBUILD: expected a folder with an addon that loads in build/Release/ or prebuilds/, got ${showValue(other)}; unset it to take the package's own`
    : existsSync(join(packageFolder, 'src'))
    ? 'In a clone run: npm run setup'
    : 'Build it, with a C++20 compiler, CMake and make, by: npx vantage build';
  const reason = error.message.split('\n')[0].trim();
  return `vantage-rl ${version}: no native addon for ${process.platform}-${process.arch} (Node ${process.version}) loads. ${mend}. (${reason}) \`npx vantage doctor\` says what was looked for.`;
}

let loaded: NativeAddon | undefined;
let described: NativeDescription | undefined;

/** The addon, loaded at first use. */
export function native(): NativeAddon {
  return (loaded ??= load());
}

/** The addon's tables, read once. */
export function nativeDescription(): NativeDescription {
  return (described ??= callNative((addon) => addon.describe()));
}

const known = new Map<string, DeviceInfo>();

/** What there is to know of a device. The first question about 'cuda' opens its library and the driver. */
export function deviceInfo(device: string): DeviceInfo {
  let info = known.get(device);
  if (!info) known.set(device, info = callNative((addon) => addon.deviceInfo(device)));
  return info;
}

/** Runs a call into the addon; an error that it throws becomes a NativeError with the same message. */
export function callNative<T>(call: (addon: NativeAddon) => T): T {
  try {
    return call(native());
  } catch (error) {
    if (error instanceof NativeError) throw error;
    throw new NativeError((error as Error).message);
  }
}
