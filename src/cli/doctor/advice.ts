import { isClone } from './binary';
import type { CudaInfo, Findings, Problem } from './findings';

const DEVICES = ['cpu', 'cuda'];

/** One line for each thing that is wrong, with what to run. */
export function advise(findings: Omit<Findings, 'problems' | 'ok'>, env = process.env): Problem[] {
  const { node, binary, cpu, cuda, defaultDevice } = findings;
  const problems: Problem[] = [];
  const error = (text: string, command: string): void => void problems.push({ severity: 'error', text, command });
  const warn = (text: string, command: string): void => void problems.push({ severity: 'warning', text, command });

  if (!node.supported) error(`Node ${node.version} is too old: 20.19 or newer is needed`, 'install one from https://nodejs.org');
  if (binary.error !== null) error(`the native addon cannot be used: ${binary.error}`, rebuild(binary.error, env));
  else if (cpu.selfTest?.passed !== true) error(`results on the CPU are wrong: ${failures(cpu.selfTest)}`, env.VANTAGE_ISA === 'baseline' ? build() : 'export VANTAGE_ISA=baseline');
  if (binary.kind === 'debug build') warn('the addon in use is a debug build, which is slow', build());
  if (env.VANTAGE_DEVICE && !DEVICES.includes(env.VANTAGE_DEVICE)) error(`VANTAGE_DEVICE='${env.VANTAGE_DEVICE}': expected cpu or cuda`, 'unset VANTAGE_DEVICE');

  const forCuda = adviseCuda(cuda);
  if (forCuda !== null) {
    // Where nobody asked for CUDA and no GPU is here, nothing is wrong; a library that breaks its process is worth a word all the same.
    if (defaultDevice.device === 'cuda') error(`VANTAGE_DEVICE=cuda, but ${forCuda.text}`, forCuda.command);
    else if (cuda.hardware > 0 || cuda.gpus.length > 0 || cuda.libraryFrom === 'VANTAGE_CUDA_LIBRARY' || forCuda.always) warn(forCuda.text, forCuda.command);
  }
  if (cuda.device !== null) {
    if (cuda.matmul === 'built-in') warn('no cuBLAS was found (libcublas.so.13 or .12): products of large matrices on the GPU are slower', 'export LD_LIBRARY_PATH=FOLDER_OF_LIBCUBLAS');
    if (cuda.programs === 'interpreted' && env.VANTAGE_CUDA_PROGRAMS !== 'interpret') {
      warn(`fused programs are interpreted on the GPU, which is slower: ${cuda.nvrtc}`, 'export VANTAGE_NVRTC=FILE_OF_LIBNVRTC');
    }
  }
  return problems;
}

const failures = (test: Findings['cpu']['selfTest']): string =>
  test === null ? 'the self-test did not run' : test.checks.filter(({ passed }) => !passed).map(({ name, detail }) => `${name}: ${detail}`).join('; ');

const build = (): string => (isClone() ? 'npm run setup' : 'npx vantage build');

/** Where a reason begins with the variable of the environment that is refused. */
function unset(reason: string): string | null {
  const refused = /^(VANTAGE_\w+):/.exec(reason)?.[1];
  return refused === undefined ? null : `unset ${refused}`;
}

function rebuild(reason: string, env: NodeJS.ProcessEnv): string {
  const refused = unset(reason);
  if (refused !== null) return refused;
  if (env.VANTAGE_RL_PREBUILD !== undefined) return 'unset VANTAGE_RL_PREBUILD';
  return build();
}

/** What to do about CUDA, and whether it is said without anybody having asked for CUDA. */
function adviseCuda(cuda: CudaInfo): { text: string; command: string; always?: boolean } | null {
  const other = cuda.libraryFrom === 'VANTAGE_CUDA_LIBRARY';
  const withCuda = other ? 'unset VANTAGE_CUDA_LIBRARY' : isClone() ? 'npm run setup -- --cuda' : 'npm install vantage-rl@latest';
  switch (cuda.status) {
    case 'ok':
    case 'not tried':
      return null;
    case 'no library':
      return { text: other ? `VANTAGE_CUDA_LIBRARY: ${cuda.library}: no such file` : 'there is no CUDA library beside the addon', command: withCuda };
    case 'not loadable':
    case 'other sources':
      return { text: cuda.reason!, command: withCuda, always: true };
    case 'no driver':
      return { text: cuda.reason!, command: 'install the NVIDIA driver (580 or newer for CUDA 13), or in a container: docker run --gpus all …' };
    case 'driver too old':
      return { text: cuda.reason!, command: 'install a newer NVIDIA driver (580 or newer for CUDA 13)', always: true };
    case 'no device':
      return { text: 'the driver shows no GPU', command: 'nvidia-smi -L; echo $CUDA_VISIBLE_DEVICES' };
    case 'failed':
      return { text: `CUDA cannot be used: ${cuda.reason}`, command: unset(cuda.reason!) ?? 'nvidia-smi', always: true };
    case 'wrong result':
      return { text: `results on the GPU are wrong: ${failures(cuda.selfTest)}`, command: 'export VANTAGE_DEVICE=cpu', always: true };
    case 'crashed':
    case 'timed out':
      return { text: `CUDA cannot be used: ${cuda.reason}`, command: other ? withCuda : 'export VANTAGE_DEVICE=cpu, and see: nvidia-smi, dmesg', always: true };
  }
}
