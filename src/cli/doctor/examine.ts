import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { advise } from './advice';
import { packageFolder } from '../../package';
import { findBinary } from './binary';
import { runProbe } from './child';
import { cudaInfo } from './cuda';
import type { BinaryInfo, CpuInfo, Findings } from './findings';
import { hardware, systemInfo, threadsFrom } from './system';

/**
 * Looks at this machine. The addon and the CUDA library are loaded in processes of their own, which may take `seconds` each: whatever is broken there,
 * this one goes on.
 */
export async function examine({ seconds }: { seconds: number }): Promise<Findings> {
  const { version, engines } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as { version: string; engines: { node: string } };
  const { file, info } = findBinary();
  const { cpu, loads, error } = await cpuInfo(file, seconds);
  const cuda = await cudaInfo(loads ? file : null, { seconds });
  const device = process.env.VANTAGE_DEVICE || 'cpu';
  const binary: BinaryInfo = { ...info, loads, error: info.error ?? error };
  const usable = device === 'cpu' ? loads : device === 'cuda' && cuda.status === 'ok';
  const findings: Omit<Findings, 'problems' | 'ok'> = {
    vantage: { version, folder: packageFolder },
    node: { version: process.versions.node, executable: process.execPath, supported: isAtLeast(process.versions.node, engines.node) },
    system: systemInfo(),
    binary,
    cpu,
    cuda,
    defaultDevice: { device, from: process.env.VANTAGE_DEVICE ? 'VANTAGE_DEVICE' : 'default', usable },
  };
  return { ...findings, problems: advise(findings), ok: loads && cpu.selfTest?.passed === true };
}

async function cpuInfo(file: string | null, seconds: number): Promise<{ cpu: CpuInfo; loads: boolean; error: string | null }> {
  const machine = hardware();
  const nothing = { isa: null, usableIsas: [], isaFrom: null, scans: null, threads: null, threadsFrom: null, matmul: null, selfTest: null };
  if (file === null) return { cpu: { ...machine, ...nothing }, loads: false, error: null };
  const { found, outcome, reason } = await runProbe('cpu', { seconds });
  const { isa, threads, compilesScans, usableIsas = [], libraries = [], selfTest = null } = found;
  if (outcome !== 'done') return { cpu: { ...machine, ...nothing }, loads: false, error: reason };
  const cpu: CpuInfo = {
    ...machine,
    isa: isa!,
    usableIsas,
    isaFrom: process.env.VANTAGE_ISA ? 'VANTAGE_ISA' : 'best',
    scans: compilesScans ? 'compiled' : 'interpreted',
    threads: threads!,
    threadsFrom: threadsFrom(machine),
    matmul: libraries.find((path) => /^lib(openblas|blas|mkl_rt)/.test(basename(path))) ?? 'built-in',
    selfTest,
  };
  return { cpu, loads: true, error: null };
}

/** Whether a version is one of `>=20.19`. */
export function isAtLeast(version: string, range: string): boolean {
  const [given, least] = [version, range.replace(/^>=/, '')].map((text) => text.split('.').map(Number));
  for (const [i, part] of least!.entries()) if (given![i] !== part) return given![i]! > part;
  return true;
}
