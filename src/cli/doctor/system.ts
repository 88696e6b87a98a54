import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import type { CpuInfo, SystemInfo } from './findings';

/** A file's text, or null where it cannot be read. */
export function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

export function systemInfo(): SystemInfo {
  const distribution = /^PRETTY_NAME="?([^"\n]*)/m.exec(readText('/etc/os-release') ?? '')?.[1] ?? null;
  const limit = process.constrainedMemory?.() ?? 0;
  return {
    platform: process.platform,
    arch: process.arch,
    kernel: release(),
    distribution,
    libc: libc(),
    // Without a limit it is 0 or beyond all memory.
    memoryBytes: limit > 0 && limit < totalmem() ? limit : totalmem(),
  };
}

function libc(): SystemInfo['libc'] {
  if (process.platform !== 'linux') return null;
  const { header, sharedObjects } = process.report.getReport() as { header: { glibcVersionRuntime?: string }; sharedObjects: string[] };
  if (header.glibcVersionRuntime !== undefined) return { name: 'glibc', version: header.glibcVersionRuntime };
  return sharedObjects.some((file) => /\bmusl\b/.test(file)) ? { name: 'musl', version: null } : null;
}

/** What the code for AVX2 (x86-64-v3) and AVX-512 (x86-64-v4) is made of, and what newer CPUs have beyond it; on ARM, their vectors. */
const FEATURES = [
  'sse4_2',
  'avx',
  'avx2',
  'bmi1',
  'bmi2',
  'f16c',
  'fma',
  'abm',
  'movbe',
  'avx512f',
  'avx512bw',
  'avx512cd',
  'avx512dq',
  'avx512vl',
  'avx512_bf16',
  'avx512_fp16',
  'amx_tile',
  'amx_bf16',
  'asimd',
  'bf16',
  'sve',
  'sve2',
];

type Hardware = Pick<CpuInfo, 'model' | 'features' | 'cores' | 'affinity' | 'cgroupLimit'>;

export function hardware(): Hardware {
  const text = readText('/proc/cpuinfo') ?? '';
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(text)?.[1]?.split(' '));
  const all = cpus();
  return {
    model: all[0]?.model.trim() || null,
    features: FEATURES.filter((name) => flags.has(name)),
    cores: all.length || availableParallelism(),
    affinity: affinity(readText('/proc/self/status') ?? '') ?? availableParallelism(),
    cgroupLimit: cgroupLimit(readText('/sys/fs/cgroup/cpu.max') ?? ''),
  };
}

/** How many CPUs the kernel lets this process run on: `Cpus_allowed_list: 0-3,8` gives 5. */
export function affinity(status: string): number | null {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1];
  if (list === undefined) return null;
  return list.split(',').map((range) => range.split('-').map(Number)).reduce((sum, [first, last = first]) => sum + last! - first! + 1, 0);
}

/** CPUs' worth of time in a period: `150000 100000` gives 1.5; `max 100000` is no limit. */
export function cgroupLimit(cpuMax: string): number | null {
  const [quota, period] = cpuMax.trim().split(/\s+/).map(Number);
  return quota! > 0 && period! > 0 ? quota! / period! : null;
}

/** What decided the number of threads, by the rules of native/cpu/thread_pool.cpp. */
export function threadsFrom({ cores, affinity, cgroupLimit }: Hardware, wanted = process.env.VANTAGE_NUM_THREADS): NonNullable<CpuInfo['threadsFrom']> {
  if (wanted) return 'VANTAGE_NUM_THREADS';
  if (cgroupLimit !== null && Math.ceil(cgroupLimit) < affinity) return 'cgroup';
  return affinity < cores ? 'affinity' : 'cores';
}
