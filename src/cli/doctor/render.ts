import type { CudaInfo, Findings, SelfTest } from './findings';

type Colour = 'red' | 'green' | 'yellow' | 'bold' | 'dim';
const CODES: Record<Colour, number> = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 };

const LABEL_WIDTH = 18;
const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const times = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

/** The findings as text: a part for each subject, a line for each fact. */
export function render(findings: Findings, { coloured }: { coloured: boolean }): string {
  const paint = (colour: Colour, text: string): string => (coloured ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text);
  const lines: string[] = [];
  const part = (title: string): void => void lines.push(...(lines.length > 0 ? [''] : []), paint('bold', title));
  const row = (label: string, text: string): void => void lines.push(`  ${label.padEnd(LABEL_WIDTH)}${text}`);
  const more = (text: string): void => row('', paint('dim', text));
  const good = (text: string): string => paint('green', text);
  const bad = (text: string): string => paint('red', text);
  const showTest = (test: SelfTest | null): void => {
    if (test === null) return row('self-test', 'not run');
    row('self-test', test.passed ? good(`${times(test.checks.length, 'result')} as expected`) : bad('failed'));
    for (const { name, passed, detail } of test.checks) if (!passed) row('', bad(`${name}: ${detail}`));
  };

  const { vantage, node, system, binary, cpu, cuda, defaultDevice, problems, ok } = findings;
  part('Vantage');
  row('version', vantage.version);
  row('folder', vantage.folder);
  row('Node', `${node.version}${node.supported ? '' : bad(' (20.19 or newer is needed)')}`);
  const libc = system.libc === null ? '' : `, ${system.libc.name}${system.libc.version === null ? '' : ` ${system.libc.version}`}`;
  row('system', `${system.distribution ?? system.platform}, ${system.platform}-${system.arch}${libc}, kernel ${system.kernel}`);
  row('memory', gibibytes(system.memoryBytes));

  part('Native addon');
  row('file', binary.path === null ? bad('none') : `${binary.path} (${binary.kind})`);
  row('loads', binary.loads ? good('yes') : bad(`no: ${binary.error}`));
  for (const [i, { place, found }] of binary.lookedIn.entries()) row(i === 0 ? 'looked in' : '', paint('dim', `${place}: ${found.length === 0 ? 'nothing' : found.join(', ')}`));

  part('CPU');
  row('model', cpu.model ?? 'unknown');
  row('features', cpu.features.join(' ') || 'unknown');
  if (cpu.isa !== null) {
    row('instruction set', `${cpu.isa}, ${cpu.isaFrom === 'VANTAGE_ISA' ? 'from VANTAGE_ISA' : `the best that CPU and addon have: ${cpu.usableIsas.join(', ')}`}`);
    if (cpu.usableIsas.length > 1) more(`VANTAGE_ISA=${cpu.usableIsas.slice(0, -1).join('|')} limits it`);
    row(
      'fused scans',
      cpu.scans === 'compiled' ? 'compiled' : `interpreted (${cpu.isa === 'avx512' ? 'VANTAGE_CPU_PROGRAMS, or the system, does not let them be compiled' : 'avx512 alone has a compiler'})`,
    );
    const { threads, threadsFrom, cores, affinity, cgroupLimit } = cpu;
    const why = {
      VANTAGE_NUM_THREADS: 'from VANTAGE_NUM_THREADS',
      cgroup: `the container may use ${cgroupLimit} of ${times(cores, 'core')} (/sys/fs/cgroup/cpu.max)`,
      affinity: `this process may run on ${affinity} of ${times(cores, 'core')}`,
      cores: 'one for each core',
    }[threadsFrom!];
    row('threads', `${threads}, ${why}`);
    row('matrix products', cpu.matmul === 'built-in' ? 'kernels of its own' : cpu.matmul!);
  }
  showTest(cpu.selfTest);

  part('CUDA');
  row('used', cuda.status === 'ok' ? good('yes, where asked for') : `no (${cuda.status}): ${cuda.reason}`);
  showCuda(cuda, row);
  if (cuda.device !== null) showTest(cuda.selfTest);
  row('default device', `${defaultDevice.device}${defaultDevice.from === 'default' ? '; VANTAGE_DEVICE is not set' : ', from VANTAGE_DEVICE'}`);

  part(problems.length === 0 ? 'Nothing is wrong' : 'What to do');
  for (const { severity, text, command } of problems) lines.push(`  ${severity === 'error' ? bad('error') : paint('yellow', 'warning')}  ${text}: ${paint('bold', command)}`);
  if (problems.length === 0) lines.pop(), lines.push(good('Nothing is wrong.'));
  else if (ok) lines.push('  The CPU works.');
  return lines.join('\n');
}

function showCuda({ library, libraryFrom, libraryExists, device, matmul, programs, nvrtc, gpus, hardware, driverVersion, status }: CudaInfo, row: (label: string, text: string) => void): void {
  if (library !== null) row('library', `${library}${libraryExists ? '' : ' (no such file)'}, ${libraryFrom === 'beside the addon' ? libraryFrom : 'from VANTAGE_CUDA_LIBRARY'}`);
  row('driver', driverVersion ?? (status === 'ok' ? 'version unknown' : 'none found'));
  if (gpus.length === 0 && device === null) row('GPUs', hardware === 0 ? 'none found' : `${hardware} on the PCI bus`);
  for (const { index, name, computeCapability, memoryBytes } of gpus) row(`GPU ${index}`, `${name}, compute capability ${computeCapability}, ${gibibytes(memoryBytes)}`);
  if (device === null) return;
  row('in use', `${device.name}, compute capability ${device.computeCapability}, ${gibibytes(device.memoryBytes)}, driver for CUDA ${device.driver}`);
  row('matrix products', matmul === 'built-in' ? 'kernels of its own' : `cuBLAS (${matmul})`);
  row('fused programs', programs === 'compiled' ? `compiled${nvrtc === null ? '' : ` by NVRTC (${nvrtc})`}` : `interpreted: ${nvrtc}`);
}
