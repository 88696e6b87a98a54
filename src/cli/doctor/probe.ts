/**
 * The program that `vantage doctor` starts for a device: it loads the addon and uses the device. Only in a process of its own, as a broken addon, library or driver
 * ends its process. Findings go to file descriptor 3, one JSON object a line, written before the next step begins: what is there survives a crash.
 */
import { readFileSync, writeSync } from 'node:fs';
import { basename } from 'node:path';
import type { DeviceInfo } from '../../native';
import type { SelfTest } from './findings';

/** A line of the probe; its lines together are what it found. */
export interface Probed {
  /** What is being done from here on. */
  step?: string;
  isa?: string;
  compilesScans?: boolean;
  usableIsas?: string[];
  threads?: number;
  device?: DeviceInfo;
  selfTest?: SelfTest;
  /** Files of libraries that the process has opened, as far as they matter here. */
  libraries?: string[];
  error?: string;
  done?: boolean;
}

const tell = (line: Probed): void => void writeSync(3, `${JSON.stringify(line)}\n`);

const isas = ['baseline', 'avx2', 'avx512'];

/** Libraries that are opened at run time where they are there. */
function openedLibraries(): string[] {
  try {
    const paths = readFileSync('/proc/self/maps', 'utf8').split('\n').map((line) => line.slice(line.indexOf('/')).trim());
    return [...new Set(paths)].filter((path) => /^lib(cublas|nvrtc|openblas|blas|mkl_rt)\.so/.test(basename(path)));
  } catch {
    return [];
  }
}

function probe(device: 'cpu' | 'cuda'): void {
  tell({ step: 'loading the addon' });
  const { callNative, deviceInfo, native, nativeDescription } = require('../../native') as typeof import('../../native');
  native();
  if (device === 'cpu') {
    tell({ step: 'choosing an instruction set' });
    const { isa, threads, compilesScans } = callNative(nativeDescription);
    tell({ isa, threads, compilesScans });
    const usable = isas.filter((name) => canUse(() => callNative((addon) => addon.setIsa(name))));
    tell({ usableIsas: usable, step: 'computing' });
    const { selfTest } = require('./self_test') as typeof import('./self_test');
    const results = usable.map((name) => {
      tell({ step: `computing with ${name}` });
      callNative((addon) => addon.setIsa(name));
      return selfTest('cpu', ` (${name})`);
    });
    tell({ selfTest: { passed: results.every(({ passed }) => passed), checks: results.flatMap(({ checks }) => checks) } });
  } else {
    tell({ step: 'opening the CUDA library' });
    const info = deviceInfo('cuda');
    tell({ device: info });
    if (info.available) {
      tell({ step: 'computing on the GPU' });
      tell({ selfTest: (require('./self_test') as typeof import('./self_test')).selfTest('cuda') });
    }
  }
  tell({ libraries: openedLibraries(), done: true, step: 'ending' });
}

function canUse(call: () => void): boolean {
  try {
    call();
    return true;
  } catch {
    return false;
  }
}

/** The program. */
export function start(): void {
  try {
    probe(process.argv[2] === 'cuda' ? 'cuda' : 'cpu');
  } catch (error) {
    tell({ error: error instanceof Error ? error.message : String(error) });
  }
}

if (require.main === module) start();
