import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { runProbe } from './child';
import type { Check, CudaInfo, CudaStatus } from './findings';
import { readText } from './system';

const LIBRARY = process.platform === 'darwin' ? 'libvantage_cuda.dylib' : 'libvantage_cuda.so';

/** How the reasons of the native code begin (native/cuda/runtime.cpp, native/addon/cuda_library.cpp), and what they come to. */
export const REASONS: readonly [text: string, status: CudaStatus][] = [
  ['this build has no CUDA library', 'not loadable'],
  ['VANTAGE_CUDA_LIBRARY: expected the file of a CUDA library', 'not loadable'],
  ['was built from other sources', 'other sources'],
  ['there is no NVIDIA driver', 'no driver'],
  ['the NVIDIA driver is too old', 'driver too old'],
  ['there is no CUDA device', 'no device'],
];

const statusOf = (reason: string, libraryExists: boolean): CudaStatus => {
  const status = REASONS.find(([text]) => reason.includes(text))?.[1] ?? 'failed';
  return status === 'not loadable' && !libraryExists ? 'no library' : status;
};

/** Everything about CUDA. The library is opened in processes of their own, each of which may take `seconds`. */
export async function cudaInfo(addon: string | null, { seconds, env = process.env }: { seconds: number; env?: NodeJS.ProcessEnv }): Promise<CudaInfo> {
  const named = env.VANTAGE_CUDA_LIBRARY || null;
  const library = named ?? (addon === null ? null : join(dirname(addon), LIBRARY));
  const about = {
    library,
    libraryFrom: named !== null ? 'VANTAGE_CUDA_LIBRARY' : library === null ? null : 'beside the addon',
    libraryExists: library !== null && existsSync(library),
    hardware: nvidiaDevices(),
    ...(await driver(seconds)),
  } as const;
  const nothing = { device: null, matmul: null, nvrtc: null, programs: null, selfTest: null };
  if (addon === null) return { status: 'not tried', reason: 'the addon does not load', ...nothing, ...about };

  const { found, outcome, reason } = await runProbe('cuda', { seconds, env });
  if (outcome !== 'done') return { status: outcome === 'timed out' ? 'timed out' : outcome === 'crashed' ? 'crashed' : 'failed', reason, ...nothing, ...about };
  const { available, reason: why, name, computeCapability, memoryBytes, driver: known } = found.device!;
  if (!available) {
    const status = statusOf(why!, about.libraryExists);
    // The file that is missing has a field of its own.
    return { status, reason: status === 'no library' ? REASONS[0]![0] : why!, ...nothing, ...about };
  }

  const { programs, nvrtc, checks } = await compiledPrograms({ seconds, env });
  const all = [...found.selfTest!.checks, ...checks];
  const passed = all.every((check) => check.passed);
  return {
    status: passed ? 'ok' : 'wrong result',
    reason: passed ? null : 'its self-test failed',
    device: { name: name!, computeCapability: computeCapability!, memoryBytes: memoryBytes!, driver: known! },
    matmul: found.libraries!.find((path) => basename(path).startsWith('libcublas.')) ?? 'built-in',
    nvrtc,
    programs,
    selfTest: { passed, checks: all },
    ...about,
  };
}

type Programs = Pick<CudaInfo, 'programs' | 'nvrtc'> & { checks: Check[] };

/** Whether NVRTC compiles programs here, and whether they are right: asked of a second process, as the first few runs of a program are interpreted otherwise. */
async function compiledPrograms({ seconds, env }: { seconds: number; env: NodeJS.ProcessEnv }): Promise<Programs> {
  const interpreted = (why: string | null): Programs => ({ programs: 'interpreted', nvrtc: why, checks: [] });
  if (env.VANTAGE_CUDA_PROGRAMS === 'interpret') return interpreted('VANTAGE_CUDA_PROGRAMS=interpret');
  const { found, outcome, reason } = await runProbe('cuda', { seconds, env: { ...env, VANTAGE_CUDA_PROGRAMS: 'compile' } });
  if (outcome !== 'done') return interpreted(reason);
  const { checks } = found.selfTest!;
  const without = checks.find(({ detail }) => detail?.includes('there is no NVRTC'));
  if (without) return interpreted(without.detail);
  const nvrtc = found.libraries!.find((path) => basename(path).startsWith('libnvrtc.')) ?? null;
  return { programs: 'compiled', nvrtc, checks: checks.map((check) => ({ ...check, name: `${check.name} (compiled)` })) };
}

const VENDOR = '0x10de';

/** Display controllers and accelerators of NVIDIA on the PCI bus. */
function nvidiaDevices(): number {
  const folder = '/sys/bus/pci/devices';
  if (!existsSync(folder)) return 0;
  const isGpu = (device: string): boolean => readText(join(folder, device, 'vendor'))?.trim() === VENDOR && /^0x(03|12)/.test(readText(join(folder, device, 'class')) ?? '');
  return readdirSync(folder).filter(isGpu).length;
}

/** What the driver's own tool lists; without it, what the kernel's module says. */
async function driver(seconds: number): Promise<Pick<CudaInfo, 'driverVersion' | 'gpus'>> {
  const query = ['--query-gpu=index,name,driver_version,compute_cap,memory.total', '--format=csv,noheader,nounits'];
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', query, { timeout: seconds * 1000, killSignal: 'SIGKILL' });
    const gpus = readGpus(stdout);
    if (gpus.length > 0) return { driverVersion: gpus[0]!.driver, gpus };
  } catch {
    // Not there, or it says that it cannot reach the driver.
  }
  const version = /Kernel Module(?: for \S+)?\s+(\d[\d.]*)/.exec(readText('/proc/driver/nvidia/version') ?? '')?.[1] ?? null;
  return { driverVersion: version, gpus: [] };
}

/** Lines such as `0, NVIDIA H100 80GB HBM3, 580.65.06, 9.0, 81559`. */
export function readGpus(csv: string): CudaInfo['gpus'] {
  return csv.trim().split('\n').map((line) => line.split(', ')).filter((row) => row.length === 5).map(([index, name, driver, computeCapability, mebibytes]) => ({
    index: Number(index),
    name: name!,
    driver: driver!,
    computeCapability: computeCapability!,
    memoryBytes: Number(mebibytes) * 2 ** 20,
  }));
}
