/** What a recording says about where it was made, and the sizes that the suite depends on. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { deviceInfo } from 'vantage-rl';
import type { Device } from './workload';

export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  gpu: string | null;
  driver: string | null;
  node: string;
  platform: string;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function output(command: string, ...args: string[]): string | null {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', cwd: join(__dirname, '..') });
  return status === 0 ? stdout.trim() : null;
}

/** @param device the one that was measured: of several GPUs it names the right one */
export function machine(device: Device): Machine {
  const [first = null, driver = null] = output('nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader')?.split('\n')[0]?.split(', ') ?? [];
  const gpu = device === 'cuda' ? (deviceInfo('cuda').name ?? first) : first;
  const memoryGiB = Math.round(totalmem() / 2 ** 30);
  return { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, memoryGiB, gpu, driver, node: process.version, platform: `${process.platform} ${process.arch}` };
}

/** The commit that is checked out, marked where files differ from it. Outside of a clone what VANTAGE_BENCH_COMMIT says, or null. */
export function commit(): string | null {
  if (process.env.VANTAGE_BENCH_COMMIT) return process.env.VANTAGE_BENCH_COMMIT;
  const head = output('git', 'rev-parse', '--short=12', 'HEAD');
  return head && (output('git', 'status', '--porcelain', '--untracked-files=no') === '' ? head : `${head}+changes`);
}

/** An H100's and an H200's second-level cache is 50 MB. */
const GPU_CACHE = 60e6;
const COMMON_CPU_CACHE = 32 * 2 ** 20;

/** Bytes of the last-level cache: larger arrays come from memory. */
export function cacheBytes(device: Device): number {
  if (device === 'cuda') return GPU_CACHE;
  const folder = '/sys/devices/system/cpu/cpu0/cache';
  try {
    const units = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
    const sizes = readdirSync(folder).map((index) => /^(\d+)([KMG])$/.exec(read(join(folder, index, 'size')) ?? ''));
    return Math.max(...sizes.map((match) => (match ? Number(match[1]) * units[match[2] as keyof typeof units] : 0))) || COMMON_CPU_CACHE;
  } catch {
    return COMMON_CPU_CACHE;
  }
}

/** Memory that can be had now: caches of files count as free. */
export function availableMemory(): number {
  const match = /^MemAvailable:\s+(\d+) kB/m.exec(read('/proc/meminfo') ?? '');
  return match ? Number(match[1]) * 1024 : freemem();
}
